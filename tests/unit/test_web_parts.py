"""The pure parts of the pages: nights, words, charts, progress, exposure, links, limits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from backupd.catalog import AuditEntry, Catalog
from backupd.errors import ConfigError
from backupd.model import BackupType, DaemonState, Progress, Status
from backupd.web.activity import activity_of
from backupd.web.charts import charts
from backupd.web.exposure import exposure_of
from backupd.web.limits import Attempts
from backupd.web.nights import NIGHTS, nights, soon
from backupd.web.signing import DownloadLink, Signer
from tests.support.pages import NOW, backup

UTC_ZONE = ZoneInfo("UTC")
BERLIN = ZoneInfo("Europe/Berlin")
WEB: dict[str, Any] = {
    "listen": ("127.0.0.1", 8787),
    "base_url": None,
    "tls_certificate": None,
    "tls_key": None,
    "trusted_proxies": (),
    "allow_plain_http": False,
}


def night_of(days_ago: int, status: Status = Status.COMPLETED, **changes: object) -> Any:
    """An automatic backup of 02:00 so many days ago."""
    return backup(days_ago, hours_ago=24 * days_ago + 10, status=status, **changes)


def test_nights_are_thirty_with_tonight_last() -> None:
    """One cell for each night."""
    found = nights([], NOW, UTC_ZONE, None)
    assert (len(found), found[-1].day) == (NIGHTS, NOW.date())


def test_nights_before_the_first_backup_were_not_missed() -> None:
    """Whoever installs it today has not failed for a month."""
    first = night_of(3)
    outcomes = [night.outcome for night in nights([first], NOW, UTC_ZONE, first.created_at)]
    assert outcomes[-5:] == ["before", "completed", "missed", "missed", "missed"]


def test_nights_count_the_best_attempt() -> None:
    """A retry that went right makes the night right."""
    failed, retried = night_of(1, Status.FAILED), night_of(1)
    found = nights([failed, retried], NOW, UTC_ZONE, failed.created_at)[-2]
    assert (found.outcome, found.attempts) == ("completed", 2)


def test_nights_do_not_count_manual_backups() -> None:
    """They say nothing of whether the nightly job works."""
    manual = night_of(0, type=BackupType.MANUAL)
    assert nights([manual], NOW, UTC_ZONE, manual.created_at)[-1].outcome == "missed"


def test_night_whose_hour_has_not_come_is_not_missed() -> None:
    """At one in the morning the backup of two o'clock is ahead."""
    assert nights([], NOW, UTC_ZONE, NOW - timedelta(days=9), due_today=False)[-1].outcome == "ahead"


def test_nights_are_those_of_the_schedule() -> None:
    """23:30 UTC is half past midnight of the next day in Berlin."""
    late = backup(1, hours_ago=12.5)
    assert nights([late], NOW, BERLIN, late.created_at)[-1].outcome == "completed"


@pytest.mark.parametrize(
    ("hours", "words"),
    [
        (14, "tonight at 02:00"),
        (7, "tonight at 19:00"),
        (2, "today at 14:00"),
        (26, "tomorrow at 14:00"),
        (72, "on Wednesday at 12:00"),
        (24 * 9, "on 01 December at 12:00"),
        (-1, "now"),
    ],
)
def test_soon_is_said_as_people_say_it(hours: float, words: str) -> None:
    """Seen from a Sunday at noon."""
    assert soon(NOW + timedelta(hours=hours), NOW, UTC_ZONE) == words


def test_soon_after_midnight_is_tonight_still() -> None:
    """At one o'clock, two o'clock is tonight, not tomorrow."""
    one = datetime(2026, 11, 22, 1, tzinfo=UTC)
    assert soon(one + timedelta(hours=1), one, UTC_ZONE) == "tonight at 02:00"


def test_charts_need_two_backups() -> None:
    """One point is no line."""
    assert charts([backup(1, 1)]) == []


def test_charts_show_oldest_first_from_zero() -> None:
    """A drop to a tenth looks like one: the line stands on zero."""
    size = charts([backup(2, 1, size_bytes=100), backup(1, 2, size_bytes=1000)])[0]
    assert [round(point.y) for point in size.points] == [8, 80]
    assert size.latest == "100 B"


def test_charts_leave_failed_backups_out() -> None:
    """They have no size."""
    made = [backup(1, 1), backup(2, 2, Status.FAILED), backup(3, 3)]
    assert {len(chart.points) for chart in charts(made)} == {2}


def running(*tables: Progress, stage: str = "reading", seconds: float = 10) -> DaemonState:
    """A daemon that has been backing up for so long."""
    latest = tables[-1] if stage == "reading" else Progress(stage, "users", 50, 100)
    since = NOW - timedelta(seconds=seconds)
    return DaemonState(since, NOW, {}, "backup", since, "b7f3c2a1", latest, tables=tables)


def test_activity_adds_tables_up_and_reckons_the_time_left() -> None:
    """Rows of rows over all tables, bytes a second, seconds left."""
    state = running(Progress("reading", "users", 100, 100, 1000), Progress("reading", "payments", 100, 300, 1000))
    found = activity_of(state, None, NOW, None)
    assert found is not None
    assert (found.rows, found.expected_rows, found.bytes_per_second, found.seconds_left) == (200, 400, 200, 10)


def test_activity_expects_of_tables_to_come_what_they_held_last_time() -> None:
    """The bar does not jump back when the next table begins."""
    found = activity_of(running(Progress("reading", "users", 100, 100, 1)), None, NOW, backup(1, 24))
    assert found is not None
    assert found.expected_rows == 100 + 697_221


def test_activity_never_runs_backwards_from_stage_to_stage() -> None:
    """Reading, verifying, storing."""
    tables = (Progress("reading", "users", 100, 100, 1),)
    states = [running(*tables, stage=stage) for stage in ("reading", "verifying", "storing")]
    ratios = [found.ratio or 0 for state in states if (found := activity_of(state, None, NOW, None))]
    assert ratios == sorted(ratios)
    assert 0.5 < ratios[0] < 1


def test_activity_of_an_idle_daemon_is_none() -> None:
    """Nothing is shown then."""
    assert activity_of(DaemonState(NOW, NOW, {}), None, NOW, None) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "backups.example.org"])
def test_exposure_to_others_without_tls_is_refused_with_the_ways_out(host: str) -> None:
    """Passwords would be read on the way."""
    with pytest.raises(ConfigError) as caught:
        exposure_of({**WEB, "listen": (host, 8787)})
    for way in ("tls_certificate", "trusted_proxies", "allow_plain_http", "SSH tunnel"):
        assert way in (caught.value.hint or "")


@pytest.mark.parametrize(
    "setting",
    [
        {"tls_certificate": "a", "tls_key": "b"},
        {"trusted_proxies": ("127.0.0.1",)},
        {"allow_plain_http": True},
    ],
)
def test_exposure_to_others_is_allowed_by_each_way_out(setting: dict[str, Any]) -> None:
    """TLS here, TLS in front, or the owner's word."""
    assert exposure_of({**WEB, "listen": ("0.0.0.0", 8787), **setting}) is not None


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_exposure_to_this_machine_needs_nothing(host: str) -> None:
    """The default."""
    found = exposure_of({**WEB, "listen": (host, 8787)})
    assert found is not None
    assert found.secure is False


def test_exposure_with_half_of_tls_is_refused() -> None:
    """A certificate without its key."""
    with pytest.raises(ConfigError, match="go together"):
        exposure_of({**WEB, "tls_certificate": "a"})


def test_exposure_off_is_none() -> None:
    """Nothing is served."""
    assert exposure_of({**WEB, "listen": None}) is None


def test_link_of_another_process_does_not_hold() -> None:
    """The key is made anew at every start."""
    link = DownloadLink("id", "session", NOW + timedelta(minutes=1))
    path = Signer(b"one").path(link, "a.zip")
    signature = path.rpartition("signature=")[2]
    until = str(int(link.expires_at.timestamp()))
    assert Signer(b"one").read("id", "session", until, signature, NOW) == link
    assert Signer(b"other").read("id", "session", until, signature, NOW) is None


def test_attempts_are_forgotten_after_the_window() -> None:
    """Fifteen minutes later one may try again."""
    clock = [0.0]
    attempts = Attempts(2, 60, monotonic=lambda: clock[0])
    attempts.failed("a")
    clock[0] = 10
    attempts.failed("a")
    assert (attempts.wait_seconds("a"), attempts.wait_seconds("b")) == (50, 0)
    clock[0] = 61
    assert attempts.wait_seconds("a") == 0


def test_attempts_of_very_many_names_stay_bounded() -> None:
    """Whoever makes names up fills no memory."""
    attempts = Attempts(2, 60)
    for number in range(10_050):
        attempts.failed(str(number))
    assert len(attempts._failures) == 10_000


def test_audit_log_lets_the_oldest_go(tmp_path: Any) -> None:
    """Whoever guesses passwords fills no disk."""
    with Catalog.open(tmp_path / "catalog.sqlite") as catalog:
        catalog.audit.add(AuditEntry(NOW, "first", "sign in", "::1", "done"))
        with catalog._database.write() as connection:
            connection.execute("UPDATE sqlite_sequence SET seq = 20999 WHERE name = 'audit'")
        catalog.audit.add(AuditEntry(NOW, "last", "sign in", "::1", "done"))
        assert [entry.who for entry in catalog.audit.entries()] == ["last"]
