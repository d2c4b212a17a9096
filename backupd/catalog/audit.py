"""Who did what, to which backup, from where, and how it ended."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import datetime

from backupd.catalog.database import Database
from backupd.catalog.rows import instant_to_text, printable

_KEPT = 20_000
"""Entries beyond this are let go, oldest first: whoever guesses passwords must not fill the disk."""

_TRIM_EVERY = 500


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One deed. `outcome` is `done` or `refused`; `detail` says more where there is more to say."""

    at: datetime
    who: str
    what: str
    address: str
    outcome: str
    backup_id: str | None = None
    detail: str | None = None


class AuditLog:
    """Entries are only ever added; the oldest go when there are too many. Any method may raise CatalogError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, entry: AuditEntry) -> None:
        """Write an entry down."""
        values = (
            instant_to_text(entry.at),
            printable(entry.who),
            entry.what,
            entry.address,
            entry.outcome,
            printable(entry.backup_id),
            printable(entry.detail),
        )
        with self._database.write() as connection:
            added = connection.execute(
                "INSERT INTO audit (at, who, what, address, outcome, backup_id, detail) VALUES (?, ?, ?, ?, ?, ?, ?)",
                values,
            ).lastrowid
            if added is not None and added % _TRIM_EVERY == 0:
                connection.execute("DELETE FROM audit WHERE entry_id <= ?", (added - _KEPT,))

    def entries(self, *, limit: int = 50, offset: int = 0) -> tuple[AuditEntry, ...]:
        """Entries, newest first."""
        query = "SELECT * FROM audit ORDER BY entry_id DESC LIMIT ? OFFSET ?"
        with self._database.read() as connection:
            return tuple(_entry(row) for row in connection.execute(query, (limit, offset)))

    def count(self) -> int:
        """How many entries there are."""
        with self._database.read() as connection:
            return int(connection.execute("SELECT count(*) FROM audit").fetchone()[0])


def _entry(row: sqlite3.Row) -> AuditEntry:
    return AuditEntry(
        at=datetime.fromisoformat(row["at"]),
        who=row["who"],
        what=row["what"],
        address=row["address"],
        outcome=row["outcome"],
        backup_id=row["backup_id"],
        detail=row["detail"],
    )
