"""Projects for tests: settings in one line, everything read in one call, a backup taken and opened again."""

from __future__ import annotations

import io
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backupd.archive.reader import ArchiveReader
from backupd.backup import BackupRequest, Witness, run_backup
from backupd.catalog import Catalog
from backupd.config import ProjectSettings, Secret
from backupd.log import make_logger
from backupd.model import (
    Backup,
    BackupType,
    Manifest,
    ShouldStop,
    Table,
    Trigger,
    ignore_progress,
    never_stop,
    utc_now,
)
from backupd.project import Patience, Project, TableOutcome, Traffic
from backupd.store import DirectoryStore

QUICK = Patience(connect_seconds=2, read_seconds=20, request_seconds=60, attempts=3, first_pause_seconds=0.01)
"""Patience of a test: a few tries without long pauses."""


@dataclass(frozen=True, slots=True)
class TableRead:
    """What came of one table: its rows to the byte, and how it ended."""

    rows: list[bytes]
    outcome: TableOutcome


def open_project(
    url: str,
    key: str,
    *,
    patience: Patience = QUICK,
    should_stop: ShouldStop = never_stop,
    traffic: Traffic | None = None,
    **settings: Any,
) -> Project:
    """A project with default settings, unless told otherwise, and the patience of a test. Logs into nothing."""
    chosen = ProjectSettings(**{"url": url, "key": Secret(key), "platform": "Test", **settings})
    log = make_logger(io.StringIO())
    return Project(chosen, log=log, should_stop=should_stop, patience=patience, traffic=traffic)


def read_tables(project: Project, tables: Sequence[Table] | None = None) -> dict[str, TableRead]:
    """Read `tables`, or all that the project lists, to the end."""
    wanted = project.discover().tables if tables is None else tables
    with project.read(wanted) as lanes:
        taken = {}
        for table, lane in zip(wanted, lanes, strict=True):
            rows = [bytes(row) for page in lane for row in page]
            taken[str(table.name)] = TableRead(rows, lane.outcome)
        return taken


def read_table(project: Project, name: str) -> TableRead:
    """Read one of the tables that the project lists."""
    return read_tables(project, [table for table in project.discover().tables if str(table.name) == name])[name]


def back_up(project: Project, directory: Path, *, should_stop: ShouldStop = never_stop) -> Backup:
    """Take a whole backup into `directory`; what `run_backup` raises goes through."""
    with Catalog.open(directory / "catalog.db") as catalog:
        work = directory / "work"
        work.mkdir(exist_ok=True)
        request = BackupRequest(str(uuid.uuid4()), BackupType.MANUAL, Trigger.CLI, "Test")
        witness = Witness(utc_now, ignore_progress, should_stop)
        return run_backup(project, _store(directory), catalog, request, work, witness)


def archived_rows(directory: Path, backup: Backup) -> dict[str, list[bytes]]:
    """The rows of each table in the archive of `backup`, to the byte."""
    with _store(directory).open(str(backup.archive)) as file, ArchiveReader(file) as reader:
        return {
            str(archived.table.name): list(reader.rows(archived))
            for archived in reader.manifest.tables
            if archived.file is not None
        }


def archived_manifest(directory: Path, backup: Backup) -> Manifest:
    """The manifest in the archive of `backup`."""
    with _store(directory).open(str(backup.archive)) as file, ArchiveReader(file) as reader:
        return reader.manifest


def _store(directory: Path) -> DirectoryStore:
    return DirectoryStore(directory / "archives")
