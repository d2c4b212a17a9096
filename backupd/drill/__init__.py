"""Rehearses a restore: an archive into a throwaway PostgreSQL, every row compared, every reference followed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from backupd.archive.order import load_order
from backupd.archive.reader import ArchiveReader
from backupd.catalog import Catalog
from backupd.drill.checking import CommandResult, run_check_command
from backupd.drill.report import DrilledTable, DrillReport
from backupd.drill.scratch import Scratch, ScratchTable
from backupd.errors import ArchiveError, BackupNotFound, Interrupted
from backupd.model import ArchivedTable, Backup, Clock, OnProgress, Progress, ShouldStop
from backupd.restore.compare import compare_rows
from backupd.sandbox.binaries import find_binaries
from backupd.sandbox.driver import SandboxError, SandboxMissing, connect
from backupd.sandbox.postgres import start_postgres
from backupd.store import Store
from backupd.verify import verify_stored

__all__ = ["CommandResult", "DrillReport", "DrillSettings", "DrilledTable", "Rehearsal", "can_drill", "run_drill"]


@dataclass(frozen=True, slots=True)
class DrillSettings:
    """Where and how to rehearse.

    `database_url` is a PostgreSQL that may make databases, None for an embedded one. `check_command` is the owner's
    own test; it gets the scratch database's address in DATABASE_URL. `check_seconds` is how long it may take.
    """

    database_url: str | None = None
    check_command: str | None = None
    check_seconds: float = 600.0


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What a drill tells the world while it goes on, and how the world tells it to stop."""

    clock: Clock
    on_progress: OnProgress
    should_stop: ShouldStop


def can_drill(settings: DrillSettings) -> bool:
    """Whether this machine can rehearse a restore: it has psycopg, and a PostgreSQL of its own or somebody else's."""
    if find_spec("psycopg") is None:
        return False
    if settings.database_url is not None:
        return True
    try:
        find_binaries()
    except SandboxMissing:
        return False
    return True


def run_drill(
    store: Store,
    catalog: Catalog,
    backup: Backup,
    settings: DrillSettings,
    work_directory: Path,
    rehearsal: Rehearsal,
) -> DrillReport:
    """Restore `backup` into a throwaway database and report what came of it; the report says whether all is well.

    The archive is verified first. Raises BackupNotFound without an archive, StoreError, SandboxError when there is no
    PostgreSQL to be had, ArchiveError for an archive that cannot even be opened, and Interrupted.
    """
    if backup.archive is None:
        raise BackupNotFound(f"backup {backup.backup_id[:8]} is {backup.status}: no archive was published")
    started_at = rehearsal.clock()
    verified = verify_stored(
        store,
        catalog,
        backup,
        clock=rehearsal.clock,
        on_progress=rehearsal.on_progress,
        should_stop=rehearsal.should_stop,
    )
    with (
        store.open(backup.archive) as file,
        ArchiveReader(file) as reader,
        _scratch(settings, work_directory) as scratch,
    ):
        archived = [table for table in reader.manifest.tables if table.file is not None]
        tables = [_drill_table(scratch, reader, one, work_directory, rehearsal) for one in _in_order(archived)]
        dangling = tuple(scratch.dangling_references())
        checked = _check(settings, scratch, rehearsal)
    return DrillReport(
        backup_id=backup.backup_id,
        archive=backup.archive,
        started_at=started_at,
        finished_at=rehearsal.clock(),
        damage=tuple(str(problem) for problem in verified.problems),
        tables=tuple(tables),
        dangling=dangling,
        command=checked,
    )


@contextmanager
def _scratch(settings: DrillSettings, work_directory: Path) -> Iterator[Scratch]:
    """A database of its own, gone afterwards."""
    if settings.database_url is not None:
        with Scratch.on(settings.database_url) as scratch:
            yield scratch
        return
    with tempfile.TemporaryDirectory(dir=work_directory) as directory, start_postgres(Path(directory)) as postgres:
        url = postgres.create_database("drill")
        with connect(url) as connection:
            yield Scratch(connection, url)


def _in_order(archived: list[ArchivedTable]) -> list[ArchivedTable]:
    """Tables in the order they would be restored in, parents first."""
    by_name = {one.table.name: one for one in archived}
    return [by_name[name] for name in load_order(one.table for one in archived).tables]


def _drill_table(
    scratch: Scratch, reader: ArchiveReader, archived: ArchivedTable, work_directory: Path, rehearsal: Rehearsal
) -> DrilledTable:
    """Build one table, load it, and compare what the database then gives with the archive."""
    name = str(archived.table.name)

    def rows() -> Iterator[bytes]:
        for number, row in enumerate(reader.rows(archived), 1):
            if number % 1000 == 0:
                rehearsal.on_progress(Progress("loading", name, number, archived.rows))
                if rehearsal.should_stop():
                    raise Interrupted("interrupted while rehearsing a restore; nothing is kept of it")
            yield row

    table: ScratchTable | None = None
    try:
        table = scratch.build(archived.table)
        scratch.load(table, rows())
        comparison = compare_rows(
            lambda: reader.rows(archived), lambda: scratch.rows(table), table.key, directory=work_directory
        )
    except (SandboxError, ArchiveError) as error:
        stand_ins = table.stand_ins if table else ()
        return DrilledTable(name, archived.rows, 0, error.message, stand_ins)
    problem = None if comparison.equal and comparison.found == archived.rows else _difference(archived, str(comparison))
    return DrilledTable(name, archived.rows, comparison.found, problem, table.stand_ins)


def _difference(archived: ArchivedTable, words: str) -> str:
    return f"the manifest promises {archived.rows:,} rows; comparing with the archive: {words}"


def _check(settings: DrillSettings, scratch: Scratch, rehearsal: Rehearsal) -> CommandResult | None:
    if settings.check_command is None:
        return None
    rehearsal.on_progress(Progress("checking"))
    return run_check_command(settings.check_command, scratch.url, settings.check_seconds, rehearsal.should_stop)
