"""The doctor: every precondition of a backup, each with a verdict and a remedy."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

from backupd.catalog import Catalog
from backupd.config import Config
from backupd.errors import BackupdError, ProjectError, StoreError, TableUnreadable
from backupd.model import Clock, Table
from backupd.notify import DeliveryFailure
from backupd.project import Discovery, KeyKind, Project, TableMeasure
from backupd.slots import Timetable
from backupd.store import Store
from backupd.words import plural

_PROBE_NAME = "backupd-check-probe"
_SKEW_WORTH_A_WARNING = timedelta(seconds=30)
_SLOW_COUNT_SECONDS = 4.0
_LITTLE_SPACE_BYTES = 1 << 30


class Verdict(StrEnum):
    """How one precondition stands."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's report. `remedy` says what to do about it."""

    subject: str
    verdict: Verdict
    text: str
    remedy: str | None = None


def check_config(config: Config) -> Iterator[Finding]:
    """Look at what is set."""
    yield Finding("configuration", Verdict.OK, str(config.file) if config.file else "no file; environment and defaults")
    for warning in config.warnings:
        yield Finding("configuration", Verdict.WARNING, warning)


def check_schedule(timetables: Mapping[str, Timetable]) -> Iterator[Finding]:
    """Say when the daemon does what, in words."""
    for job, timetable in timetables.items():
        words = f"{job.replace('_', ' ')} {timetable.words()} ({timetable.timezone})"
        yield Finding("schedule", Verdict.OK, words)


def check_notifications(config: Config, send: Callable[[], tuple[DeliveryFailure, ...]] | None) -> Iterator[Finding]:
    """Look at whether anybody would be told; `send` sends a test message to every address."""
    section = config.section("notify")
    count = len(section["urls"])
    if not count and not section["ping_url"]:
        remedy = "Set notify.urls or notify.ping_url, or watch /metrics with the rules of `backupd monitoring`."
        yield Finding("notifications", Verdict.WARNING, "nobody is told when a backup fails", remedy)
        return
    switch = "a dead-man switch" if section["ping_url"] else "no dead-man switch"
    yield Finding("notifications", Verdict.OK, f"messages go to {plural(count, 'destination')}, {switch}")
    if send is None:
        return
    failures = send()
    for failure in failures:
        yield Finding("notifications", Verdict.PROBLEM, f"{failure.target}: {failure.reason}", "Mend notify.urls.")
    if count and not failures:
        yield Finding("notifications", Verdict.OK, "a test message was taken by every address")


def check_catalog(catalog: Catalog, now: datetime) -> Iterator[Finding]:
    """Look at the record of backups."""
    last = catalog.last_completed()
    if last is None:
        yield Finding("catalog", Verdict.WARNING, "no completed backup yet", "Take one: backupd backup")
        return
    hours = (now - last.created_at) / timedelta(hours=1)
    yield Finding("catalog", Verdict.OK, f"last completed backup {hours:,.1f} hours ago ({last.backup_id[:8]})")


def check_store(store: Store) -> Iterator[Finding]:
    """Look whether archives can be put there. Raises StoreError where they cannot."""
    _write_probe(store)
    yield Finding("store", Verdict.OK, f"{store.url} takes, gives back and deletes a probe")
    free = store.free_bytes()
    if free is not None:
        verdict = Verdict.WARNING if free < _LITTLE_SPACE_BYTES else Verdict.OK
        remedy = "Free some space, or move the archives: store.url." if verdict is Verdict.WARNING else None
        yield Finding("space", verdict, f"{free / 1e9:,.1f} GB free in the store", remedy)


def _write_probe(store: Store) -> None:
    with tempfile.TemporaryDirectory(prefix="backupd-") as directory:
        source = Path(directory) / _PROBE_NAME
        source.write_bytes(b"probe")
        store.put(_PROBE_NAME, source)
    with store.open(_PROBE_NAME) as file:
        if file.read() != b"probe":
            raise StoreError(f"{store.url} gave back something else than was put there")
    store.delete(_PROBE_NAME)


def check_project(project: Project, clock: Clock) -> Iterator[Finding]:
    """Look at the project: key, services, tables, grants, row cap, statement time-out, clock."""
    yield _check_key(project)
    try:
        there = project.time()
        found = project.discover()
    except ProjectError as error:
        yield problem("Data API", error)
        return
    yield Finding("Data API", Verdict.OK, f"{project.host} answers; {len(found.tables)} tables to back up")
    yield from _check_services(project)
    yield from _check_clock(there, clock())
    yield from _check_tables(project, found)


def _check_key(project: Project) -> Finding:
    if project.key_kind is KeyKind.LEGACY_SERVICE_ROLE:
        remedy = "Make a secret key: Supabase dashboard → Project Settings → API Keys."
        return Finding("key", Verdict.WARNING, "a legacy service_role key; these are being retired", remedy)
    return Finding("key", Verdict.OK, f"a {project.key_kind} key")


def _check_services(project: Project) -> Iterator[Finding]:
    for service in project.services():
        if service.refusal is None:
            yield Finding(service.name, Verdict.OK, "takes the key")
        else:
            remedy = "Tables are backed up all the same; this service is only needed for what is built on it."
            yield Finding(service.name, Verdict.WARNING, service.refusal, remedy)


def _check_clock(there: datetime | None, here: datetime) -> Iterator[Finding]:
    if there is None:
        return
    skew = abs(there - here)
    if skew > _SKEW_WORTH_A_WARNING:
        text = f"differs from the project's by {skew.total_seconds():,.0f} s"
        yield Finding("clock", Verdict.WARNING, text, "Run a time service: timedatectl set-ntp true")
    else:
        yield Finding("clock", Verdict.OK, "agrees with the project's")


def _check_tables(project: Project, found: Discovery) -> Iterator[Finding]:
    for unreadable in found.unreadable:
        yield Finding(f"table {unreadable.name}", Verdict.PROBLEM, unreadable.message, unreadable.hint)
    for warning in found.warnings:
        yield Finding("tables", Verdict.WARNING, warning)
    if found.read_only:
        names = ", ".join(str(name) for name in found.read_only)
        yield Finding("views", Verdict.OK, f"left out, because they can only be read: {names}")
    measures = list(_collect(project.measure, found.tables))
    yield from (finding for finding in measures if isinstance(finding, Finding))
    measured = [measure for measure in measures if isinstance(measure, TableMeasure)]
    yield from _check_keys(found.tables)
    yield from _check_speed(measured)
    yield from _check_row_cap(project, measured)


def _collect(measure: Callable[[Table], TableMeasure], tables: tuple[Table, ...]) -> Iterator[TableMeasure | Finding]:
    for table in tables:
        try:
            yield measure(table)
        except TableUnreadable as error:
            yield problem(f"table {table.name}", error)


def _check_keys(tables: tuple[Table, ...]) -> Iterator[Finding]:
    without = [str(table.name) for table in tables if not table.primary_key]
    if without:
        text = f"no primary key: {', '.join(without)}. Rows written during a backup may be missed or doubled"
        yield Finding("keys", Verdict.WARNING, text, "Add a primary key, or name unique columns in project.keys.")
    elif tables:
        yield Finding("keys", Verdict.OK, "every table has a primary key")


def _check_speed(measured: list[TableMeasure]) -> Iterator[Finding]:
    if not measured:
        return
    slowest = max(measured, key=lambda one: one.seconds)
    total = sum(one.rows or 0 for one in measured)
    text = f"{total:,} rows in {len(measured)} tables; the slowest count took {slowest.seconds:.1f} s"
    if slowest.seconds > _SLOW_COUNT_SECONDS or not all(one.exact for one in measured):
        remedy = "alter role service_role set statement_timeout = '60s'; notify pgrst, 'reload config';"
        yield Finding("statement time-out", Verdict.WARNING, f"{text} ({slowest.table.name})", remedy)
    else:
        yield Finding("statement time-out", Verdict.OK, text)


def _check_row_cap(project: Project, measured: list[TableMeasure]) -> Iterator[Finding]:
    if not measured:
        return
    largest = max(measured, key=lambda one: one.rows or 0)
    given = project.row_cap(largest.table)
    if largest.rows is not None and given < largest.rows:
        yield Finding("row cap", Verdict.OK, f"the server gives {given:,} rows at a time; pages follow it")


def problem(subject: str, error: BackupdError) -> Finding:
    """Turn an error into a finding."""
    return Finding(subject, Verdict.PROBLEM, error.message, error.hint)
