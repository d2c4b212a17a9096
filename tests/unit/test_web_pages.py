"""What the admin's pages show and do, without a script."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from backupd.model import BackupType, Progress, Status, TableStatus, Trigger
from tests.support.admin_site import AdminSite, press
from tests.support.pages import NOW
from tests.support.processes import wait_until


@pytest.fixture
def site(tmp_path: Path) -> Iterator[AdminSite]:
    """A site with nothing on record."""
    site = AdminSite(tmp_path)
    yield site
    site.close()


def rows(page: str) -> list[str]:
    """The short ids of the history, in order."""
    return re.findall(r'<span class="id">(\w+)</span>', page)


def test_dashboard_without_backups_invites_to_create_one(site: AdminSite) -> None:
    """An empty state that says what to do."""
    page = site.signed_in().get("/").text
    assert "No good backup yet." in page
    assert "Create the first one above" in page


def test_dashboard_says_in_one_sentence_how_things_stand(site: AdminSite) -> None:
    """In the colour and the shape of that state."""
    site.put(1, hours_ago=6)
    page = site.signed_in().get("/").text
    assert "Last good backup 6 hours ago. Next tonight at 02:00." in page
    assert 'class="standing healthy"' in page


def test_dashboard_when_stale_says_why_and_what_to_do(site: AdminSite) -> None:
    """The reasons of the health page, in its colour."""
    site.put(1, hours_ago=50)
    page = site.signed_in().get("/").text
    assert 'class="standing unhealthy"' in page
    assert "backupd check" in page


def test_dashboard_shows_statistics_and_schedule(site: AdminSite) -> None:
    """Total, manual, automatic, size; each job with its time in words."""
    site.put(1, hours_ago=6, content=b"x" * 2000)
    site.put(2, hours_ago=3, type=BackupType.MANUAL, content=b"x" * 3000)
    page = site.signed_in().get("/").text
    tiles = dict(re.findall(r"<dt>(Total|Manual|Automatic|Size in all)</dt><dd[^>]*>([^<]+)</dd>", page))
    assert tiles == {"Total": "2", "Manual": "1", "Automatic": "1", "Size in all": "5.0 kB"}
    assert "daily at 02:00" in page
    assert "on Sundays at 03:00" in page


def test_dashboard_escapes_what_comes_from_outside(site: AdminSite) -> None:
    """A table, a message or a platform cannot bring a script in."""
    site.put(1, status=Status.PARTIAL, platform="<script>alert(1)</script>", warnings=("<img src=x onerror=alert(1)>",))
    client = site.signed_in()
    pages = client.get("/").text + client.get("/backups/00000001-0000").text
    assert "<script>alert" not in pages
    assert "<img" not in pages
    assert "&lt;img src=x" in pages


def test_history_is_newest_first_and_in_pages(site: AdminSite) -> None:
    """Twenty-five to a page, with the way on."""
    for number in range(1, 31):
        site.put(number, hours_ago=number)
    client = site.signed_in()
    first, second = client.get("/").text, client.get("/?page=2").text
    assert (rows(first)[:2], len(rows(first)), len(rows(second))) == (["00000001", "00000002"], 25, 5)
    assert "1–25 of 30" in first
    assert 'href="/?page=2#history"' in first


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("sort=size", ["00000002", "00000001", "00000003"]),
        ("sort=size&order=asc", ["00000003", "00000001", "00000002"]),
        ("sort=rows", ["00000003", "00000002", "00000001"]),
        ("sort=created&order=asc", ["00000003", "00000002", "00000001"]),
        ("type=manual", ["00000002"]),
        ("status=partial", ["00000003"]),
        ("type=manual&status=partial", []),
        ("sort=nonsense&page=-1&status='", ["00000001", "00000002", "00000003"]),
        ("day=2026-11-21", ["00000003"]),
        ("day=never", ["00000001", "00000002", "00000003"]),
    ],
)
def test_history_is_sorted_and_filtered_by_the_server(site: AdminSite, query: str, expected: list[str]) -> None:
    """What the address asks for; nonsense is taken for not asked."""
    site.put(1, hours_ago=1, content=b"x" * 20, total_rows=1)
    site.put(2, hours_ago=2, content=b"x" * 30, total_rows=2, type=BackupType.MANUAL)
    site.put(3, hours_ago=20, content=b"x" * 10, total_rows=3, status=Status.PARTIAL)
    assert rows(site.signed_in().get(f"/?{query}").text) == expected


def test_history_sort_links_turn_round(site: AdminSite) -> None:
    """A second click sorts the other way, and keeps the filter."""
    site.put(1)
    page = site.signed_in().get("/?sort=size&type=automatic").text
    assert 'href="/?type=automatic&amp;sort=size&amp;order=asc#history"' in page
    assert 'aria-sort="descending"' in page


def test_activity_is_shown_with_its_bar_and_figures(site: AdminSite) -> None:
    """Without a script too: the page reads itself anew then."""
    tables = (Progress("reading", "users", 500, 1000, 3_000_000), Progress("reading", "payments", 0, 1000, 0))
    site.state = replace(
        site.state, operation="backup", running_since=NOW - timedelta(seconds=10), progress=tables[0], tables=tables
    )
    page = site.signed_in().get("/").text
    assert "500 of 2,000" in page
    assert 'value="22"' in page
    assert "300.0 kB/s" in page
    assert '<noscript><meta http-equiv="refresh"' in page


@pytest.mark.parametrize("kind", ["manual", "automatic"])
def test_create_asks_the_daemon_for_a_backup_of_that_type(site: AdminSite, kind: str) -> None:
    """Create backup, and Test auto backup: trigger web."""
    answer = press(site.signed_in(), "/", "/backups", type=kind)
    assert (answer.status_code, site.asked) == (303, [(BackupType(kind), Trigger.WEB)])


def test_create_of_no_known_type_is_refused(site: AdminSite) -> None:
    """400, and nothing is begun."""
    assert (press(site.signed_in(), "/", "/backups", type="weekly").status_code, site.asked) == (400, [])


def test_create_while_one_runs_says_that_it_was_joined(site: AdminSite) -> None:
    """One backup at a time."""
    site.joins = "22222222-0000"
    client = site.signed_in()
    answer = press(client, "/", "/backups", type="manual")
    assert "A backup was already under way" in client.get(answer.headers["location"]).text


def test_note_shows_known_words_only(site: AdminSite) -> None:
    """Nobody can put words into the page by its address."""
    client = site.signed_in()
    assert "pay here" not in client.get("/?note=pay+here").text
    page = client.get("/?note=begun&backup=evil/../javascript:alert(1)").text
    assert "The backup has begun." in page
    assert "javascript" not in page


def test_backup_page_shows_every_table(site: AdminSite) -> None:
    """Rows, bytes, checksum, how it was walked, and what is wrong with it."""
    made = site.put(1)
    table = replace(
        made.tables[0], status=TableStatus.INCOMPLETE, message="3 rows fewer than counted", sha256="ab" * 32
    )
    site.catalog.save(replace(made, status=Status.PARTIAL, tables=(table,), warnings=("audit_log was left out",)))
    page = site.signed_in().get("/backups/00000001-0000").text
    for words in (
        "payments",
        "697,221",
        "61.2 MB",
        "abababababab",
        "3 rows fewer than counted",
        "audit_log was left out",
    ):
        assert words in page


@pytest.mark.parametrize("path", ["/backups/ffffffff", "/backups/0000", "/backups/latest", "/backups/%2e%2e%2fetc"])
def test_backup_page_of_no_whole_id_is_not_found(site: AdminSite, path: str) -> None:
    """A link means the same tomorrow: prefixes are for people who type."""
    site.put(1)
    assert site.signed_in().get(path).status_code == 404


def test_pin_keeps_a_backup_and_unpin_lets_it_go(site: AdminSite) -> None:
    """Both by a button."""
    site.put(1)
    client, page = site.signed_in(), "/backups/00000001-0000"
    press(client, page, f"{page}/pin", pinned="yes")
    assert site.catalog.backup("00000001-0000").pinned is True
    press(client, page, f"{page}/pin", pinned="no")
    assert site.catalog.backup("00000001-0000").pinned is False


def test_delete_asks_by_name_and_warns_of_the_last_good_one(site: AdminSite) -> None:
    """The page names the backup, its rows and its file; nothing is deleted by looking."""
    site.put(1)
    page = site.signed_in().get("/backups/00000001-0000/delete").text
    for words in (
        "Delete the automatic backup 00000001 for good?",
        "697,221 rows",
        "car-audio_1.zip",
        "newest good backup",
    ):
        assert words in page
    assert site.store.size("car-audio_1.zip") is not None


def test_delete_removes_archive_and_row_and_is_written_down(site: AdminSite) -> None:
    """The file first, then the row, then who did it."""
    site.put(1)
    page = "/backups/00000001-0000/delete"
    assert press(site.signed_in(), page, page).headers["location"] == "/?note=deleted"
    assert (site.store.size("car-audio_1.zip"), site.catalog.backups()) == (None, ())
    newest = site.catalog.audit.entries(limit=1)[0]
    assert (newest.what, newest.backup_id, newest.outcome, newest.who) == (
        "delete",
        "00000001-0000",
        "done",
        "admin token",
    )


def test_delete_of_a_pinned_backup_is_refused_and_written_down(site: AdminSite) -> None:
    """409, nothing is gone, and the audit log has the refusal."""
    site.put(1, pinned=True)
    page = "/backups/00000001-0000/delete"
    answer = press(site.signed_in(), page, page)
    assert (answer.status_code, "is pinned" in answer.text) == (409, True)
    assert site.catalog.audit.entries(limit=1)[0].outcome == "refused"


def test_verify_reads_the_archive_back_and_says_what_is_wrong(site: AdminSite) -> None:
    """The archive of this test is none, and that is found."""
    site.put(1)
    client, page = site.signed_in(), "/backups/00000001-0000"
    assert press(client, page, f"{page}/verify").status_code == 303
    wait_until(lambda: "The archive is not what it was." in client.get(page).text, "the outcome on the page")
    assert site.catalog.backup("00000001-0000").verified_at is None


def test_verify_while_a_run_is_under_way_is_refused(site: AdminSite) -> None:
    """409 at once, instead of an errand that could only fail."""
    site.put(1)
    site.state = replace(site.state, operation="backup", running_since=NOW)
    page = "/backups/00000001-0000"
    answer = press(site.signed_in(), page, f"{page}/verify")
    assert (answer.status_code, "a backup is under way" in answer.text) == (409, True)


def test_cleanup_shows_every_decision_and_deletes_what_it_said(site: AdminSite) -> None:
    """First the preview with its reasons, then the deed."""
    for number in range(1, 6):
        site.put(number, hours_ago=24 * number - 20)
    site.put(9, hours_ago=24 * 45)
    client = site.signed_in()
    page = client.get("/cleanup").text
    assert "1 backup would be deleted now" in page
    assert "over automatic_days = 30" in page
    press(client, "/cleanup", "/cleanup")
    wait_until(lambda: "1 backup deleted" in client.get("/cleanup").text, "the outcome on the page")
    assert [one.backup_id[:8] for one in site.catalog.backups()] == [f"0000000{n}" for n in range(1, 6)]


def test_cleanup_with_nothing_to_delete_says_so(site: AdminSite) -> None:
    """And offers no button for it."""
    site.put(1)
    page = site.signed_in().get("/cleanup").text
    assert "Nothing has expired" in page
    assert 'action="/cleanup"' not in page


def test_audit_shows_who_did_what_from_where(site: AdminSite) -> None:
    """Newest first."""
    client = site.signed_in()
    press(client, "/", "/backups", type="manual")
    page = client.get("/audit").text
    assert page.index("create") < page.index("by token")
    assert "127.0.0.1" in page


def test_pages_for_an_unknown_address_say_so_kindly(site: AdminSite) -> None:
    """404 with the way back."""
    answer = site.signed_in().get("/nowhere")
    assert (answer.status_code, "There is no such page." in answer.text, 'href="/"' in answer.text) == (404, True, True)


def test_first_paint_needs_little(site: AdminSite) -> None:
    """Everything together stays under 100 kB: the page, its styles, its scripts, its icon."""
    for number in range(1, 61):
        site.put(number, hours_ago=24 * number)
    client = site.signed_in()
    page = client.get("/").text
    parts = re.findall(r'(?:href|src)="(/static/[^"]+)"', page)
    total = len(page.encode()) + sum(len(client.get(part).content) for part in parts)
    assert len(parts) == 5
    assert total < 100_000


def test_drills_shows_what_was_found_newest_first(site: AdminSite) -> None:
    """A failed rehearsal with its problems, in words that cannot break out of the page."""
    directory = site.directory / "drills"
    directory.mkdir()
    found: list[tuple[int, list[str]]] = [(1, []), (2, ["users: <b>2 missing</b>"])]
    for number, problems in found:
        report = {
            "backup_id": f"0000000{number}-0000",
            "ok": not problems,
            "started_at": f"2026-11-2{number}T04:00:00+00:00",
            "seconds": 12.0,
            "rows": 697_221,
            "problems": problems,
            "tables": [{"name": "users", "kept_as_json": []}],
        }
        (directory / f"2026112{number}T040000Z_0000000{number}.json").write_text(json.dumps(report))
    (directory / "broken.json").write_text("{")
    page = site.signed_in().get("/drills").text
    assert page.index("00000002") < page.index("00000001")
    assert "users: &lt;b&gt;2 missing&lt;/b&gt;" in page
    assert "697,221 rows" in page
