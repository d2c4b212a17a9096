"""A page of the history: backups sorted and filtered by the database, with how many there are in all."""

# ruff: noqa: S608 what is put into SQL text here are constants of ours; every value is bound

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from backupd.catalog.rows import backup_from_row, instant_to_text
from backupd.model import Backup, BackupType, Status

_DURATION = "julianday(coalesce(finished_at, created_at)) - julianday(created_at)"
SORTS: Mapping[str, str] = {
    "created": "created_at",
    "size": "size_bytes",
    "rows": "total_rows",
    "duration": _DURATION,
    "type": "type",
    "status": "status",
    "verified": "coalesce(verified_at, '')",
}
"""What a history can be sorted by, and how SQL says it."""


@dataclass(frozen=True, slots=True)
class HistoryQuery:
    """Which backups, in which order. `sort` is one of `SORTS`; `after` is the id of the backup before the first.

    `after` goes by creation, newest first, whatever else is asked for: a page then stays the same while new backups
    come. `created_from` and `created_before` bound `created_at`.
    """

    type: BackupType | None = None
    status: Status | None = None
    sort: str = "created"
    descending: bool = True
    limit: int = 25
    offset: int = 0
    after: str | None = None
    created_from: datetime | None = None
    created_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Some backups, without their tables; how many tables each has, by id; and how many backups match in all."""

    backups: tuple[Backup, ...]
    tables: Mapping[str, int]
    total: int


def read_history(connection: sqlite3.Connection, query: HistoryQuery) -> HistoryPage:
    """Read the page the query asks for."""
    conditions = _conditions(query)
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    values = list(conditions.values())
    total = connection.execute(f"SELECT count(*) FROM backups {where}", _bound(values)).fetchone()[0]
    if query.after is not None:
        after = "(created_at, backup_id) < (SELECT created_at, backup_id FROM backups WHERE backup_id = ?)"
        where = f"{where} AND {after}" if where else f"WHERE {after}"
        values.append(query.after)
    direction = "DESC" if query.descending else "ASC"
    order = f"{SORTS[query.sort]} {direction}, created_at {direction}, backup_id {direction}"
    rows = connection.execute(
        f"SELECT *, (SELECT count(*) FROM backup_tables t WHERE t.backup_id = backups.backup_id) AS tables"
        f" FROM backups {where} ORDER BY {order} LIMIT ? OFFSET ?",
        [*_bound(values), query.limit, query.offset],
    ).fetchall()
    return HistoryPage(
        backups=tuple(backup_from_row(row) for row in rows),
        tables={row["backup_id"]: row["tables"] for row in rows},
        total=int(total),
    )


def _conditions(query: HistoryQuery) -> dict[str, object]:
    wanted = {
        "type = ?": query.type,
        "status = ?": query.status,
        "created_at >= ?": query.created_from and instant_to_text(query.created_from),
        "created_at < ?": query.created_before and instant_to_text(query.created_before),
    }
    return {condition: value for condition, value in wanted.items() if value is not None}


def _bound(values: list[object]) -> list[object]:
    return [str(value) if isinstance(value, BackupType | Status) else value for value in values]
