"""Restores for tests: in one line, and what pg_dump says of both databases afterwards."""

from __future__ import annotations

import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from backupd.catalog import Catalog
from backupd.model import Backup, OnProgress, ShouldStop, ignore_progress, never_stop, utc_now
from backupd.project import Project
from backupd.restore import (
    Choice,
    Plan,
    ProvenArchive,
    RestoreReport,
    Witness,
    open_proven,
    plan_restore,
    run_restore,
)
from backupd.sandbox.binaries import find_binaries
from backupd.sandbox.driver import connect
from backupd.store import DirectoryStore
from tests.support.skips import require

_COPY = re.compile(r"COPY (\S+|\"[^\n]*\") \([^\n]*\) FROM stdin;")
_SETVAL = re.compile(r"SELECT pg_catalog\.setval\('(?P<name>[^\n]*)', (?P<value>\d+), (?P<called>\w+)\);")


def witness(on_progress: OnProgress = ignore_progress, should_stop: ShouldStop = never_stop) -> Witness:
    """The witness of a run that nobody watches."""
    return Witness(utc_now, on_progress, should_stop)


def plan_of(
    project: Project, directory: Path, backup: Backup, *, own_project: str | None = None, **choice: Any
) -> Plan:
    """The plan of a restore out of the store that `back_up` has put the archive into."""
    with _proven(directory, backup, witness()) as archive:
        return plan_restore(project, archive, Choice(**choice), directory / "restores", own_project=own_project)


def restore(
    project: Project,
    directory: Path,
    backup: Backup,
    *,
    watched_by: Witness | None = None,
    confirmed: str | None = None,
    **choice: Any,
) -> RestoreReport:
    """A whole restore out of the store that `back_up` has put the archive into; what it raises goes through."""
    seen_by = watched_by or witness()
    with _proven(directory, backup, seen_by) as archive:
        plan = plan_restore(project, archive, Choice(**choice), directory / "restores")
        host = project.host if confirmed is None else confirmed
        return run_restore(project, archive, plan, directory / "restores", seen_by, confirmed=host)


def dump(database_url: str) -> dict[str, list[str]]:
    """What `pg_dump --data-only` says: the rows of each table in COPY's words, sorted, and where sequences stand."""
    program = find_binaries() / "pg_dump"
    require(program.exists(), "pg_dump", "pip install 'backupd[sandbox]'")
    command = [str(program), "--data-only", database_url]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    tables: dict[str, list[str]] = defaultdict(list)
    current: str | None = None
    for line in text.split("\n"):
        if current is not None:
            if line == "\\.":
                current = None
            else:
                tables[current].append(line)
        elif found := _COPY.fullmatch(line):
            current = found[1]
            tables[current] = []
        elif found := _SETVAL.fullmatch(line):
            tables[f"sequence {found['name']}"] = [f"{found['value']} {found['called']}"]
    return {name: sorted(lines) for name, lines in tables.items()}


def only_tables(dumped: dict[str, list[str]]) -> dict[str, list[str]]:
    """A dump without its sequences."""
    return {name: rows for name, rows in dumped.items() if not name.startswith("sequence ")}


def execute(database_url: str, sql: str) -> None:
    """Run SQL as the database's owner would in the SQL editor."""
    with connect(database_url) as connection:
        connection.execute(sql.encode())


@contextmanager
def _proven(directory: Path, backup: Backup, seen_by: Witness) -> Iterator[ProvenArchive]:
    store = DirectoryStore(directory / "archives")
    with Catalog.open(directory / "catalog.db") as catalog, open_proven(store, catalog, backup, seen_by) as archive:
        yield archive
