"""Notifications: what a message says, what a ping's URL is, and that no secret is told."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from datetime import timedelta

import pytest

from backupd.errors import ProjectUnreachable
from backupd.model import BackupTable, BackupType, Status, TableStatus
from backupd.notify import (
    Event,
    EventKind,
    Failure,
    Notifier,
    NotifySettings,
    Origin,
    failed,
    partial,
    recovered,
    stale,
    trial,
)
from backupd.notify.failures import redacted
from backupd.notify.ping import PingSignal, ping_url
from tests.support.backup_rows import LAST_NIGHT, NOW, nightly

ORIGIN = Origin("Car Audio", "xyz.supabase.co", "box1")
RUN_ID = "b7f3c2a1-0000-4000-8000-000000000001"


def failure(hint: str | None = "look at the project's status page") -> Failure:
    """Last night's backup failed, the one of the night before had not."""
    error = ProjectUnreachable("xyz.supabase.co did not answer", hint=hint)
    return Failure(BackupType.AUTOMATIC, LAST_NIGHT, error, nightly(1).created_at, "b7f3c2a1")


def test_failed_message_says_what_why_and_what_to_do() -> None:
    """Whoever reads the message on a telephone knows what happened, what still stands and what to do."""
    assert failed(ORIGIN, failure(), NOW) == Event(
        EventKind.FAILED,
        "Backup failed: Car Audio",
        "The automatic backup of Car Audio (xyz.supabase.co), begun 2026-11-22 02:00 UTC, failed. "
        "No archive was published; the earlier ones are untouched.\n\n"
        "Why: xyz.supabase.co did not answer\n\n"
        "What to do: look at the project's status page\n\n"
        "The last good backup was begun 2026-11-21 02:00 UTC, 25 hours ago.\n\n"
        "backupd on box1",
        "b7f3c2a1",
    )


def test_failed_without_hint_still_says_what_to_do() -> None:
    """An error that has no advice of its own sends the reader to the log."""
    assert "What to do: read the log (journalctl -u backupd)" in failed(ORIGIN, failure(hint=None), NOW).body


def test_partial_message_names_what_is_lacking() -> None:
    """Each table that did not come out whole has its line, with the remedy the server's answer calls for."""
    tables = (
        BackupTable("users", TableStatus.COMPLETED, 5, 10),
        BackupTable(
            "payments", TableStatus.FAILED, 0, 0, message="no grant: GRANT SELECT ON payments TO service_role;"
        ),
        BackupTable("votes", TableStatus.INCOMPLETE, 3, 9),
    )
    event = partial(ORIGIN, nightly(0, status=Status.PARTIAL, tables=tables), None, NOW)
    assert event.title == "Backup partial: Car Audio"
    assert (
        "What is lacking:\n"
        "- payments (failed): no grant: GRANT SELECT ON payments TO service_role;\n"
        "- votes (incomplete): no reason recorded\n\n"
    ) in event.body
    assert "There is no good backup yet." in event.body


def test_partial_with_many_tables_keeps_the_message_short() -> None:
    """A hundred broken tables are counted, not listed."""
    tables = tuple(BackupTable(f"t{n}", TableStatus.FAILED, 0, 0, message="gone") for n in range(100))
    body = partial(ORIGIN, nightly(0, status=Status.PARTIAL, tables=tables), None, NOW).body
    assert body.count("(failed)") == 10
    assert "- and 90 more\n" in body


def test_partial_without_tables_says_where_to_look() -> None:
    """When the tables are not at hand the message names the command that shows them."""
    body = partial(ORIGIN, nightly(0, backup_id="b7f3c2a1-ffff", status=Status.PARTIAL), None, NOW).body
    assert "What is lacking: see backupd show b7f3c2a1\n" in body


@pytest.mark.parametrize(
    ("age", "title"),
    [
        (timedelta(hours=31), "No good backup for 31 hours: Car Audio"),
        (timedelta(days=9), "No good backup for 9 days: Car Audio"),
        (None, "No good backup yet: Car Audio"),
    ],
)
def test_stale_title_says_for_how_long(age: timedelta | None, title: str) -> None:
    """The title alone tells how bad it is."""
    last = None if age is None else NOW - age
    assert stale(ORIGIN, last, timedelta(hours=26), NOW).title == title


def test_stale_message_states_the_limit() -> None:
    """The body says what was expected."""
    body = stale(ORIGIN, None, timedelta(hours=26), NOW).body
    assert "Car Audio (xyz.supabase.co) should have one at least every 26 hours." in body


def test_recovered_message_gives_the_figures_and_the_gap() -> None:
    """Good news says what there is now and since when there had been nothing good."""
    event = recovered(ORIGIN, nightly(0, size_bytes=18_400_000), nightly(4).created_at)
    assert event.title == "Backups work again: Car Audio"
    assert "completed and was proven: 0 rows, 18.4 MB. " in event.body
    assert "The good one before it was begun 2026-11-18 02:00 UTC." in event.body


def test_recovered_first_backup_says_so() -> None:
    """There may have been none before."""
    assert "It is the first good one." in recovered(ORIGIN, nightly(0), None).body


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(999, "999 B"), (1000, "1.0 kB"), (999_960, "1.0 MB"), (4_400_000_000, "4.4 GB"), (2_000_000_000_000, "2.0 TB")],
)
def test_recovered_size_is_written_for_people(size_bytes: int, text: str) -> None:
    """Sizes have one decimal and the unit that suits them."""
    assert f"0 rows, {text}. " in recovered(ORIGIN, nightly(0, size_bytes=size_bytes), None).body


def test_origin_without_platform_name_is_not_said_twice() -> None:
    """A platform that is called by its host is named once."""
    assert str(Origin("xyz.supabase.co", "xyz.supabase.co", "box1")) == "xyz.supabase.co"


def test_notify_event_that_is_not_wanted_sends_nothing() -> None:
    """`on` decides; an address that would fail if it were tried shows that it was not."""
    settings = NotifySettings(urls=("nonsense",), on=frozenset({EventKind.FAILED}))
    event = Event(EventKind.RECOVERED, "title", "body")
    assert Notifier(settings, environ={}).notify(event) == ()


def test_notifier_without_addresses_does_nothing() -> None:
    """Nothing configured is nothing to fail."""
    notifier = Notifier(NotifySettings(), environ={})
    assert notifier.notify(trial(ORIGIN)) == ()
    assert notifier.ping_started(RUN_ID) == notifier.ping_succeeded(RUN_ID) == notifier.ping_failed(RUN_ID) == ()


def test_notify_settings_do_not_show_addresses() -> None:
    """Printing the settings tells no secret."""
    shown = repr(NotifySettings(urls=("slack://T0KEN/A/B",), ping_url="https://hc-ping.com/5ecret"))
    assert "T0KEN" not in shown
    assert "5ecret" not in shown


@pytest.mark.parametrize(
    ("base", "signal", "expected"),
    [
        ("https://hc-ping.com/uuid", PingSignal.START, "https://hc-ping.com/uuid/start?rid="),
        ("https://hc-ping.com/uuid/", PingSignal.SUCCESS, "https://hc-ping.com/uuid?rid="),
        ("https://hc-ping.com/key/slug?create=1", PingSignal.FAIL, "https://hc-ping.com/key/slug/fail?create=1&rid="),
        ("http://u:p@host:8000/a%2Fb?x=%20#frag", PingSignal.START, "http://u:p@host:8000/a%2Fb/start?x=%20&rid="),
    ],
)
def test_ping_url_adds_to_path_and_query(base: str, signal: PingSignal, expected: str) -> None:
    """The signal goes to the end of the path, the run to the query, and the rest is left as given."""
    assert ping_url(base, signal, RUN_ID) == expected + RUN_ID


def test_ping_url_run_id_that_is_no_uuid_becomes_one() -> None:
    """Start and end of one run carry the same UUID, another run another."""
    rids = [ping_url("https://h/x", PingSignal.START, run).partition("rid=")[2] for run in ("run-1", "run-1", "run-2")]
    assert [uuid.UUID(rid) for rid in rids[:2]] == [uuid.UUID(rids[0])] * 2
    assert rids[2] != rids[0]


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("slack://T0ken/Secret9/#chan", "refused t0KEN at /Secret9/"),
        ("mailto://joe:p%40ss%3Aword@mail.example.org", "login of joe with p@ss:word to mail.example.org failed"),
        ("https://hc-ping.com/abc-123-def", "cannot use https://hc-ping.com/abc-123-def/start"),
        ("discord://12345/to_k3n", "12345: to_k3n; k3n"),
    ],
)
def test_redacted_text_holds_no_piece_of_the_address(url: str, text: str) -> None:
    """Tokens, hosts, users and passwords are taken out, whatever their capitals and encoding."""
    shown = redacted(text, url).lower()
    secrets = [
        "t0ken",
        "secret9",
        "joe",
        "p@ss",
        "word",
        "mail.example",
        "abc",
        "123",
        "def",
        "hc-ping",
        "12345",
        "k3n",
    ]
    assert [secret for secret in secrets if secret in shown] == []


def test_redacted_text_keeps_the_rest_in_one_short_line() -> None:
    """What is left still tells what went wrong."""
    assert redacted("Failed:\n error=403", "slack://T0ken") == "Failed: error=403"
    assert redacted("x" * 1000, "slack://T0ken") == "x" * 299 + "…"


def test_import_of_notify_loads_neither_apprise_nor_httpx() -> None:
    """The daemon stays small: what is heavy is imported when it is needed, and apprise only in the child."""
    code = "import backupd.notify, sys; print(sorted({'apprise', 'httpx', 'requests'} & set(sys.modules)))"
    printed = subprocess.run(
        [sys.executable, "-c", code], env=dict(os.environ), capture_output=True, text=True, check=True
    )
    assert printed.stdout == "[]\n"
