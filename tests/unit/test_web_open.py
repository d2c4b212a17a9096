"""The pages that need no login: liveness, health, metrics. They tell the truth, and no secrets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from backupd.catalog import Catalog
from backupd.model import BackupType, Run, Status, Trigger
from tests.support.pages import NOW, Site, backup

BROWSER = {"Accept": "text/html,application/xhtml+xml"}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site with nothing on record yet."""
    site = Site(tmp_path)
    yield site
    site.close()


def test_health_with_a_fresh_backup_is_healthy(site: Site) -> None:
    """200, the state in one word, and no reasons."""
    site.record(backup(1, hours_ago=10))
    answer = site.client().get("/health")
    assert (answer.status_code, answer.json()["state"], answer.json()["reasons"]) == (200, "healthy", [])


def test_health_tells_the_last_good_backup(site: Site) -> None:
    """When, how old, how large, how many rows, verified or not."""
    site.record(backup(1, hours_ago=10), backup(2, hours_ago=1, status=Status.FAILED))
    last = site.client().get("/health").json()["last_success"]
    assert (last["age_seconds"], last["size_bytes"], last["total_rows"]) == (36_000, 18_400_000, 697_221)


def test_health_when_stale_is_503(site: Site) -> None:
    """A load balancer, an uptime check and a person all understand 503."""
    site.record(backup(1, hours_ago=40))
    answer = site.client().get("/health")
    assert (answer.status_code, answer.json()["state"]) == (503, "unhealthy")


def test_health_for_a_browser_is_a_page_with_the_state_in_words(site: Site) -> None:
    """Big state, last good backup, what is wrong and what to do."""
    site.record(backup(1, hours_ago=40))
    answer = site.client().get("/health", headers=BROWSER)
    assert answer.headers["content-type"].startswith("text/html")
    for words in ("Unhealthy", "Last good backup 1 day ago", "40 hours old", "backupd check", "697,221", "18.4 MB"):
        assert words in answer.text


def test_health_after_a_failed_drill_says_so(site: Site) -> None:
    """A rehearsed restore that went wrong shows on the page, until one goes right."""
    site.record(backup(1, hours_ago=10))
    with Catalog.open(site.catalog_file) as catalog:
        catalog.finish_run(Run("d1", "drill", Trigger.SCHEDULE, Status.FAILED, NOW - timedelta(hours=2)))
    client = site.client()
    assert client.get("/health").json()["reasons"][0]["text"] == "The last restore drill failed."
    with Catalog.open(site.catalog_file) as catalog:
        catalog.finish_run(Run("d2", "drill", Trigger.CLI, Status.COMPLETED, NOW - timedelta(hours=1)))
    assert client.get("/health").json()["reasons"] == []


def test_health_names_no_table_key_or_path(site: Site) -> None:
    """Whoever can connect may read it, so it says nothing that helps an attacker."""
    site.record(backup(1, hours_ago=40), backup(2, hours_ago=1, status=Status.FAILED, error="GRANT on payments"))
    client = site.client()
    pages = client.get("/health").text + client.get("/health", headers=BROWSER).text + client.get("/metrics").text
    for secret in ("payments", "car-audio_1.zip", str(site.directory), "xyz.supabase.co"):
        assert secret not in pages


def test_health_with_a_corrupt_catalog_says_so(site: Site) -> None:
    """Unhealthy with the reason, not a 500 without words."""
    site.catalog_file.write_bytes(b"this is not a database, whatever it says" * 100)
    answer = site.client().get("/health")
    assert (answer.status_code, answer.json()["reasons"][0]["text"]) == (503, "The catalog cannot be read.")


def test_health_after_the_catalog_was_mended_is_healthy_again(site: Site) -> None:
    """The page does not hold on to a broken file."""
    site.catalog_file.write_bytes(b"this is not a database, whatever it says" * 100)
    client = site.client()
    assert client.get("/health").status_code == 503
    site.catalog_file.unlink()
    site.record(backup(1, hours_ago=1))
    assert client.get("/health").json()["state"] == "healthy"


def test_healthz_while_the_loop_turns_is_ok(site: Site) -> None:
    """Liveness has nothing to do with how fresh backups are."""
    assert site.client().get("/healthz").status_code == 200


@pytest.mark.parametrize("trouble", [{"ticked_at": NOW - timedelta(minutes=6)}, {"hung": True}])
def test_healthz_when_nothing_moves_is_503(site: Site, trouble: dict[str, object]) -> None:
    """A loop that does not turn, or a worker that does not move, is not alive."""
    site.state = replace(site.state, **trouble)  # type: ignore[arg-type]
    assert site.client().get("/healthz").status_code == 503


def test_metrics_are_served_as_text(site: Site) -> None:
    """What Prometheus asks for without OpenMetrics."""
    site.record(backup(1, hours_ago=10))
    answer = site.client().get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert 'backupd_backup_last_success_timestamp_seconds{type="automatic"} 1.795312814e+09' in answer.text


def test_metrics_are_served_as_openmetrics_when_asked(site: Site) -> None:
    """Content negotiation, as Prometheus does it."""
    answer = site.client().get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


def test_metrics_count_what_the_catalog_says(site: Site) -> None:
    """After a mixture of outcomes each number is the catalog's."""
    site.record(
        backup(1, 50),
        backup(2, 40, Status.PARTIAL),
        backup(3, 30, Status.FAILED),
        backup(4, 20),
        backup(5, 10, type=BackupType.MANUAL),
    )
    page = site.client().get("/metrics").text
    for line in (
        'backupd_backups{status="completed",type="automatic"} 2.0',
        'backupd_backups{status="partial",type="automatic"} 1.0',
        'backupd_backups{status="failed",type="automatic"} 1.0',
        'backupd_backups{status="completed",type="manual"} 1.0',
        'backupd_backups_size_bytes{type="automatic"} 5.52e+07',
        'backupd_backup_last_rows{type="manual"} 697221.0',
    ):
        assert line in page


def test_metrics_after_a_write_by_somebody_else_are_new(site: Site) -> None:
    """Figures are kept between scrapes only as long as nobody writes to the catalog."""
    client = site.client()
    site.record(backup(1, 10))
    assert 'backupd_backups{status="completed",type="automatic"} 1.0' in client.get("/metrics").text
    site.record(backup(2, 5))
    assert 'backupd_backups{status="completed",type="automatic"} 2.0' in client.get("/metrics").text


def test_metrics_with_an_unreadable_catalog_count_the_error(site: Site) -> None:
    """The page is served, without the catalog's series, and says that something is wrong."""
    site.catalog_file.write_bytes(b"this is not a database, whatever it says" * 100)
    client = site.client()
    client.get("/metrics")
    page = client.get("/metrics").text
    assert "backupd_backup_last_success" not in page
    assert "backupd_catalog_errors_total 1.0" in page or "backupd_catalog_errors_total 2.0" in page


def test_metrics_with_a_token_refuse_whoever_lacks_it(site: Site) -> None:
    """401 and not one figure."""
    site.token = "a-long-random-text"
    answer = site.client().get("/metrics", headers={"Authorization": "Bearer wrong"})
    assert (answer.status_code, "backupd_" in answer.text) == (401, False)


def test_metrics_with_a_token_answer_whoever_has_it(site: Site) -> None:
    """The bearer token of the configuration."""
    site.token = "a-long-random-text"
    answer = site.client().get("/metrics", headers={"Authorization": "Bearer a-long-random-text"})
    assert answer.status_code == 200


def test_metrics_of_tables_are_shown_only_when_wanted(site: Site) -> None:
    """Names of tables are nobody's business unless the owner says so."""
    site.record(backup(1, 10))
    site.show_tables = True
    assert 'backupd_table_last_rows{table="payments"} 697221.0' in site.client().get("/metrics").text


def test_pages_carry_the_security_headers(site: Site) -> None:
    """No inline script, no framing, no sniffing, no cache."""
    headers = site.client().get("/health", headers=BROWSER).headers
    assert "script-src 'self'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"


def test_health_page_has_no_inline_script_or_style(site: Site) -> None:
    """What the policy forbids is not there."""
    page = site.client().get("/health", headers=BROWSER).text
    assert "<style" not in page
    assert "style=" not in page
    assert page.count("<script") == page.count("<script src=")
