"""The doctor: what it says of each precondition."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import cast
from zoneinfo import ZoneInfo

import pytest

from backupd.catalog import Catalog
from backupd.check import (
    Verdict,
    check_catalog,
    check_config,
    check_notifications,
    check_project,
    check_schedule,
    check_store,
)
from backupd.config import load_config
from backupd.errors import ProjectUnreachable, StoreError, TableUnreadable
from backupd.model import StoredObject, Table, TableName
from backupd.notify import DeliveryFailure
from backupd.project import Discovery, KeyKind, Project, ServiceAnswer, TableMeasure, Unreadable
from backupd.slots import Timetable
from tests.support.archives import make_table
from tests.support.backup_rows import backup_row
from tests.support.stores import MemoryStore

NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
OK = {Verdict.OK}
FOUND = Discovery((make_table("users"),))


@dataclass(frozen=True)
class PaperProject:
    """What the doctor asks of a project, answered as the test wants it."""

    key_kind: KeyKind = KeyKind.SECRET
    host: str = "xyz.supabase.co"
    found: Discovery = FOUND
    refusal: str | None = None
    clock: datetime | None = NOW
    seconds: float = 0.1
    rows: int | None = 5000
    exact: bool = True
    unreadable: str | None = None
    away: bool = False

    def discover(self) -> Discovery:
        """Which tables there are."""
        if self.away:
            raise ProjectUnreachable("xyz.supabase.co is away", hint="Is it up?")
        return self.found

    def time(self) -> datetime | None:
        """What time it is there."""
        return self.clock

    def services(self) -> tuple[ServiceAnswer, ...]:
        """How the other services take the key."""
        return (ServiceAnswer("Auth", self.refusal),)

    def measure(self, table: Table) -> TableMeasure:
        """How long a count takes."""
        if self.unreadable == table.name.name:
            raise TableUnreadable("it is broken", hint="Mend it.")
        return TableMeasure(table, self.rows, self.exact, self.seconds)

    def row_cap(self, table: Table) -> int:  # noqa: ARG002 - the project's signature
        """How many rows come at a time."""
        return 1000


def verdicts(project: PaperProject) -> dict[str, tuple[Verdict, str, str | None]]:
    """Each line of the report by its subject."""
    findings = check_project(cast("Project", project), lambda: NOW)
    return {finding.subject: (finding.verdict, finding.text, finding.remedy) for finding in findings}


def test_check_of_a_project_with_nothing_wrong_is_ok_throughout() -> None:
    """Every line is there, and each is ok."""
    found = verdicts(PaperProject())
    assert {verdict for verdict, _, _ in found.values()} == OK
    assert {"key", "Data API", "Auth", "clock", "keys", "statement time-out", "row cap"} == set(found)
    assert "5,000 rows" in found["statement time-out"][1]
    assert "1,000 rows at a time" in found["row cap"][1]


@pytest.mark.parametrize(
    ("changes", "subject", "verdict", "words"),
    [
        ({"key_kind": KeyKind.LEGACY_SERVICE_ROLE}, "key", Verdict.WARNING, "legacy"),
        ({"away": True}, "Data API", Verdict.PROBLEM, "is away"),
        ({"refusal": "401 no"}, "Auth", Verdict.WARNING, "401 no"),
        ({"clock": NOW + timedelta(minutes=2)}, "clock", Verdict.WARNING, "120 s"),
        ({"seconds": 6.0}, "statement time-out", Verdict.WARNING, "6.0 s (users)"),
        ({"exact": False}, "statement time-out", Verdict.WARNING, "users"),
        ({"unreadable": "users"}, "table users", Verdict.PROBLEM, "it is broken"),
        ({"found": Discovery((make_table("log", primary_key=()),))}, "keys", Verdict.WARNING, "no primary key: log"),
        (
            {"found": Discovery((make_table("a"),), (Unreadable(TableName("public", "b"), "no grant", "GRANT …"),))},
            "table b",
            Verdict.PROBLEM,
            "no grant",
        ),
    ],
)
def test_check_of_a_project_with_something_wrong_says_what_and_what_to_do(
    changes: dict[str, object], subject: str, verdict: Verdict, words: str
) -> None:
    """That line, with a remedy, and nothing else is worse than before."""
    found = verdicts(replace(PaperProject(), **changes))  # type: ignore[arg-type]
    given, text, remedy = found.pop(subject)
    assert given is verdict
    assert words in text
    assert remedy
    assert {one for one, _, _ in found.values()} <= OK


def test_check_of_a_clock_the_project_does_not_tell_says_nothing() -> None:
    """No line rather than a guess."""
    assert "clock" not in verdicts(replace(PaperProject(), clock=None))


class FullStore(MemoryStore):
    """A store on a disk with little left."""

    def free_bytes(self) -> int | None:
        """Half a gigabyte."""
        return 500_000_000


class ForgetfulStore(MemoryStore):
    """A store that does not give back what it was given."""

    def put(self, name: str, source: Path) -> StoredObject:
        """Keep something else."""
        source.write_bytes(b"other")
        return super().put(name, source)


def test_check_of_a_store_puts_and_takes_away_a_probe() -> None:
    """Nothing of it stays."""
    store = MemoryStore()
    assert [finding.verdict for finding in check_store(store)] == [Verdict.OK]
    assert list(store.list()) == []


def test_check_of_a_store_with_little_space_is_a_warning() -> None:
    """Before it is full, not after."""
    assert [(one.subject, one.verdict) for one in check_store(FullStore())][1] == ("space", Verdict.WARNING)


def test_check_of_a_store_that_loses_data_is_an_error() -> None:
    """A probe that comes back changed is worse than none."""
    with pytest.raises(StoreError, match="gave back something else"):
        list(check_store(ForgetfulStore()))


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    """A new catalog."""
    with Catalog.open(tmp_path / "catalog.sqlite") as opened:
        yield opened


def test_check_of_the_catalog_tells_the_age_of_the_last_good_backup(catalog: Catalog) -> None:
    """None yet is a warning, with the command that takes one."""
    (none,) = check_catalog(catalog, NOW)
    catalog.save(backup_row(NOW - timedelta(hours=6)))
    (six_hours,) = check_catalog(catalog, NOW)
    assert (none.verdict, none.remedy) == (Verdict.WARNING, "Take one: backupd backup")
    assert (six_hours.verdict, "6.0 hours ago" in six_hours.text) == (Verdict.OK, True)


def test_check_of_the_configuration_repeats_its_warnings() -> None:
    """A URL without encryption is pointed out here as well."""
    findings = list(check_config(load_config({"SUPABASE_URL": "http://h.co"})))
    assert [finding.verdict for finding in findings] == [Verdict.OK, Verdict.WARNING]


def test_check_schedule_says_each_job_in_words() -> None:
    """What the daemon does when, with the time zone."""
    (found,) = check_schedule({"daily_backup": Timetable(time(2), ZoneInfo("Europe/Berlin"))})
    assert found.text == "daily backup daily at 02:00 (Europe/Berlin)"


def test_check_notifications_without_any_warns_that_nobody_is_told() -> None:
    """Silence is what people fear; so it is said."""
    (found,) = check_notifications(load_config({}), None)
    assert (found.verdict, found.text) == (Verdict.WARNING, "nobody is told when a backup fails")


def test_check_notifications_sends_only_when_asked() -> None:
    """A look does not wake anybody."""
    found = list(check_notifications(load_config({"BACKUPD_NOTIFY__URLS": "json://127.0.0.1/"}), None))
    assert [one.text for one in found] == ["messages go to 1 destination, no dead-man switch"]


def test_check_notifications_that_arrive_are_said_to() -> None:
    """The test message was taken."""
    found = list(check_notifications(load_config({"BACKUPD_NOTIFY__URLS": "json://127.0.0.1/"}), lambda: ()))
    assert found[-1].text == "a test message was taken by every address"


def test_check_notifications_that_do_not_arrive_are_problems() -> None:
    """Each by its place in the settings."""
    failures = (DeliveryFailure("notify.urls, json (number 1)", "no answer within 10 s"),)
    found = list(check_notifications(load_config({"BACKUPD_NOTIFY__URLS": "json://127.0.0.1/"}), lambda: failures))
    assert (found[-1].verdict, found[-1].text) == (
        Verdict.PROBLEM,
        "notify.urls, json (number 1): no answer within 10 s",
    )
