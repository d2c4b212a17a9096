"""The record of backups and runs."""

# ruff: noqa: S608 what is put into SQL text here are constants and column names of ours; every value is bound

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType

from backupd.catalog.audit import AuditLog
from backupd.catalog.database import Database
from backupd.catalog.figures import read_figures
from backupd.catalog.history import HistoryPage, HistoryQuery, read_history
from backupd.catalog.rows import (
    backup_from_row,
    backup_to_row,
    instant_to_text,
    printable,
    run_from_row,
    run_to_row,
    slot_from_row,
    slot_to_row,
    table_from_row,
    table_to_row,
)
from backupd.catalog.sessions import Sessions
from backupd.catalog.statistics import KEPT, Statistics, read_statistics
from backupd.errors import BackupNotFound
from backupd.figures import CatalogFigures
from backupd.model import Backup, BackupType, Run, SlotRecord, Status

LATEST = "latest"
"""The reference that means the newest backup there is something to restore from."""

_NEWEST_FIRST = "ORDER BY created_at DESC, backup_id DESC"
_CANDIDATES_SHOWN = 8


class Catalog:
    """What is known of backups and runs. Methods may be called from several threads and processes.

    Every change is one transaction that is on the disk when the method returns. Every method may raise `CatalogError`;
    methods that are given the id of a backup raise `BackupNotFound` when there is none, `forget` excepted.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def open(cls, path: Path, *, busy_timeout_seconds: float = 5.0) -> Catalog:
        """Open the catalog, made or brought up to the present version if need be.

        Waits `busy_timeout_seconds` for other processes, here and later. Raises `CatalogError` for a file that is
        damaged, not a catalog, from a newer backupd, locked for longer than that, or that cannot be written.
        """
        return cls(Database(path, busy_timeout_seconds=busy_timeout_seconds))

    def close(self) -> None:
        """Close the file. Closing twice is no error."""
        self._database.close()

    def __enter__(self) -> Catalog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def save(self, backup: Backup) -> None:
        """Insert the backup, or replace the one of the same id, together with its tables.

        A pin is never lost by saving, since someone may have set it after the backup was read: only `set_pinned` takes
        it off. An archive name that belongs to another backup is a `CatalogError`.
        """
        with self._database.write() as connection:
            _upsert(connection, "backups", "backup_id", backup_to_row(backup), keep="pinned")
            connection.execute("DELETE FROM backup_tables WHERE backup_id = ?", (backup.backup_id,))
            for position, table in enumerate(backup.tables):
                _insert(connection, "backup_tables", table_to_row(backup.backup_id, position, table))

    def backup(self, reference: str) -> Backup:
        """The backup, with its tables, that `reference` means: an id, the beginning of one id only, or `latest`.

        `latest` is the newest completed or partial backup whose archive the store has. Raises `BackupNotFound`.
        """
        with self._database.read() as connection:
            row = _latest(connection) if reference == LATEST else _by_prefix(connection, reference)
            return _with_tables(connection, row)

    def backups(
        self,
        *,
        type: BackupType | None = None,  # noqa: A002 the word for it
        status: Status | None = None,
        limit: int | None = None,
        offset: int = 0,
        with_tables: bool = False,
    ) -> tuple[Backup, ...]:
        """Backups, newest first; their `tables` are empty unless asked for, which keeps a long list cheap."""
        where, values = _where({"type": type, "status": status})
        query = f"SELECT * FROM backups {where} {_NEWEST_FIRST} LIMIT ? OFFSET ?"
        with self._database.read() as connection:
            rows = connection.execute(query, [*values, -1 if limit is None else limit, offset]).fetchall()
            return tuple(_with_tables(connection, row) if with_tables else backup_from_row(row) for row in rows)

    def history(self, query: HistoryQuery) -> HistoryPage:
        """A page of the history, sorted and filtered here."""
        with self._database.read() as connection:
            return read_history(connection, query)

    @property
    def sessions(self) -> Sessions:
        """Who is signed in."""
        return Sessions(self._database)

    @property
    def audit(self) -> AuditLog:
        """Who did what."""
        return AuditLog(self._database)

    def last_completed(self, type: BackupType | None = None) -> Backup | None:  # noqa: A002 the word for it
        """The newest completed backup, with its tables, whose archive the store has; None when there is none."""
        where, values = _where({"type": type, "status": Status.COMPLETED})
        with self._database.read() as connection:
            query = f"SELECT * FROM backups {where} AND {KEPT} {_NEWEST_FIRST} LIMIT 1"
            row = connection.execute(query, values).fetchone()
            return None if row is None else _with_tables(connection, row)

    def set_pinned(self, backup_id: str, pinned: bool) -> None:
        """Pin the backup, so that it never expires, or take the pin off."""
        self._set(backup_id, "pinned", pinned)

    def set_verified(self, backup_id: str, at: datetime | None) -> None:
        """Note when every byte was read back and found right; None when that no longer holds."""
        self._set(backup_id, "verified_at", None if at is None else instant_to_text(at))

    def set_missing(self, backup_id: str, at: datetime | None) -> None:
        """Note since when the store lacks the archive; None when it has it."""
        self._set(backup_id, "missing_since", None if at is None else instant_to_text(at))

    def mark_deleting(self, backup_id: str) -> None:
        """Note that the deletion was decided. It comes before the archive goes, so that a crash leaves no doubt."""
        self._set(backup_id, "deleting", True)

    def forget(self, backup_id: str) -> None:
        """Drop the row, after the archive is gone. Forgetting what is not known is no error."""
        with self._database.write() as connection:
            connection.execute("DELETE FROM backups WHERE backup_id = ?", (backup_id,))

    def start_run(self, run: Run) -> None:
        """Record a run that begins. A run of the same id is a `CatalogError`."""
        with self._database.write() as connection:
            _insert(connection, "runs", run_to_row(run))

    def finish_run(self, run: Run) -> None:
        """Record how a run ended, also when the catalog was replaced meanwhile and does not know of its start."""
        with self._database.write() as connection:
            _upsert(connection, "runs", "run_id", run_to_row(run))

    def runs(self, *, operation: str | None = None, limit: int = 50) -> tuple[Run, ...]:
        """Runs, of one operation or of all, newest first."""
        where, values = _where({"operation": operation})
        query = f"SELECT * FROM runs {where} ORDER BY started_at DESC, rowid DESC LIMIT ?"
        with self._database.read() as connection:
            return tuple(run_from_row(row) for row in connection.execute(query, [*values, limit]))

    def interrupt_unfinished(self, at: datetime, reason: str = "interrupted") -> tuple[str, ...]:
        """Make backups and runs that are still in progress `failed` for this reason; give the backups' ids.

        To be called only by who holds the run lock: it cannot tell a dead run from a living one.
        """
        change = "SET status = 'failed', error = ?, finished_at = ? WHERE status = 'in_progress'"
        with self._database.write() as connection:
            rows = connection.execute(f"SELECT backup_id FROM backups WHERE status = 'in_progress' {_NEWEST_FIRST}")
            interrupted = tuple(row["backup_id"] for row in rows)
            for table in ("backups", "runs"):
                connection.execute(f"UPDATE {table} {change}", (printable(reason), instant_to_text(at)))
        return interrupted

    def slot(self, job: str) -> SlotRecord | None:
        """What is remembered of the job's last slot, None before its first."""
        with self._database.read() as connection:
            row = connection.execute("SELECT * FROM slots WHERE job = ?", (job,)).fetchone()
            return None if row is None else slot_from_row(row)

    def save_slot(self, record: SlotRecord) -> None:
        """Remember a slot instead of the job's one before."""
        with self._database.write() as connection:
            _upsert(connection, "slots", "job", slot_to_row(record))

    def statistics(self) -> Statistics:
        """Figures over all backups, cheap enough to be asked for at every scrape."""
        with self._database.read() as connection:
            return read_statistics(connection)

    def data_version(self) -> int:
        """A number that changes when somebody else, another connection or process, has changed the catalog."""
        with self._database.read() as connection:
            return int(connection.execute("PRAGMA data_version").fetchone()[0])

    def figures(self, *, with_tables: bool = False) -> CatalogFigures:
        """What the metrics say of backups and runs; rows of each table only when asked for."""
        with self._database.read() as connection:
            return read_figures(connection, with_tables=with_tables)

    def _set(self, backup_id: str, column: str, value: object) -> None:
        with self._database.write() as connection:
            done = connection.execute(f"UPDATE backups SET {column} = ? WHERE backup_id = ?", (value, backup_id))
        if done.rowcount == 0:
            raise BackupNotFound(f"there is no backup with the id {backup_id}", hint="backupd list shows what there is")


def _insert(connection: sqlite3.Connection, table: str, row: Mapping[str, object]) -> None:
    connection.execute(_insertion(table, row), row)


def _upsert(
    connection: sqlite3.Connection, table: str, key: str, row: Mapping[str, object], *, keep: str | None = None
) -> None:
    """Insert, or replace the row of the same key and no other: `INSERT OR REPLACE` would delete any row in the way.

    The flag in the column `keep` stays set where it is.
    """
    changes = [f"{name} = excluded.{name}" for name in row if name not in {key, keep}]
    if keep is not None:
        changes.append(f"{keep} = max({keep}, excluded.{keep})")
    connection.execute(f"{_insertion(table, row)} ON CONFLICT ({key}) DO UPDATE SET {', '.join(changes)}", row)


def _insertion(table: str, row: Mapping[str, object]) -> str:
    return f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join(f':{name}' for name in row)})"


def _where(equal: Mapping[str, object | None]) -> tuple[str, list[object]]:
    """A WHERE clause for the columns that have a value."""
    wanted = {name: value for name, value in equal.items() if value is not None}
    clause = " AND ".join(f"{name} = ?" for name in wanted)
    return f"WHERE {clause}" if clause else "", list(wanted.values())


def _with_tables(connection: sqlite3.Connection, row: sqlite3.Row) -> Backup:
    query = "SELECT * FROM backup_tables WHERE backup_id = ? ORDER BY position"
    return backup_from_row(row, [table_from_row(found) for found in connection.execute(query, (row["backup_id"],))])


def _latest(connection: sqlite3.Connection) -> sqlite3.Row:
    query = f"SELECT * FROM backups WHERE status IN ('completed', 'partial') AND {KEPT} {_NEWEST_FIRST} LIMIT 1"
    row: sqlite3.Row | None = connection.execute(query).fetchone()
    if row is None:
        raise BackupNotFound("there is no backup yet that could be restored", hint="backupd backup makes one")
    return row


def _by_prefix(connection: sqlite3.Connection, reference: str) -> sqlite3.Row:
    """The one row whose id is `reference`, or else begins with it, in upper or lower case."""
    query = f"SELECT * FROM backups WHERE substr(backup_id, 1, ?) = ? COLLATE NOCASE {_NEWEST_FIRST}"
    rows = connection.execute(query, (len(reference), reference)).fetchall() if reference else []
    exact = [row for row in rows if row["backup_id"] == reference]
    if len(exact or rows) == 1:
        found: sqlite3.Row = (exact or rows)[0]
        return found
    if rows:
        raise BackupNotFound(
            _ambiguous(reference, rows), hint="give more of the id; backupd list shows the ids in full"
        )
    raise BackupNotFound(
        f"there is no backup whose id begins with {reference!r}", hint="backupd list shows what there is"
    )


def _ambiguous(reference: str, rows: Sequence[sqlite3.Row]) -> str:
    shown = [f"{row['backup_id']} ({row['type']}, {row['created_at'][:16]}Z)" for row in rows[:_CANDIDATES_SHOWN]]
    more = f" and {len(rows) - len(shown)} more" if len(rows) > len(shown) else ""
    return f"{len(rows)} backups have ids that begin with {reference!r}: {', '.join(shown)}{more}"
