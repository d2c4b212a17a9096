"""What the catalog holds, in figures: for the page and the metrics."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from backupd.model import BackupType, Status

KEPT = "archive IS NOT NULL AND missing_since IS NULL AND deleting = 0"
"""SQL: the store has the archive and nobody is deleting it."""

_FIGURES = f"""
    SELECT type, status, count(*) AS backups, coalesce(sum(missing_since IS NOT NULL), 0) AS missing,
           coalesce(sum(CASE WHEN {KEPT} THEN size_bytes END), 0) AS size_bytes,
           min(CASE WHEN {KEPT} THEN created_at END) AS oldest,
           max(CASE WHEN {KEPT} THEN coalesce(finished_at, created_at) END) AS newest
    FROM backups GROUP BY type, status
"""  # noqa: S608 KEPT is a constant


@dataclass(frozen=True, slots=True)
class Statistics:
    """Figures over all backups. Each mapping has every key, so that a figure that is zero is shown as zero.

    `size_bytes` and `oldest_created_at` are over archives that the store has. `last_success_at` is when the newest
    completed backup that the store still has was finished. `missing` counts rows whose archive is missing.
    """

    counts: Mapping[tuple[BackupType, Status], int]
    size_bytes: Mapping[BackupType, int]
    oldest_created_at: Mapping[BackupType, datetime | None]
    last_success_at: Mapping[BackupType, datetime | None]
    missing: int

    @property
    def total(self) -> int:
        """How many backups there are, of whatever type and status."""
        return sum(self.counts.values())

    @property
    def total_size_bytes(self) -> int:
        """What all archives take in the store."""
        return sum(self.size_bytes.values())


def read_statistics(connection: sqlite3.Connection) -> Statistics:
    """Work the figures out in one pass over an index."""
    rows = connection.execute(_FIGURES).fetchall()
    counts = {(type_, status): 0 for type_ in BackupType for status in Status}
    counts |= {(BackupType(row["type"]), Status(row["status"])): row["backups"] for row in rows}
    by_type = {type_: [row for row in rows if row["type"] == type_] for type_ in BackupType}
    return Statistics(
        counts=counts,
        size_bytes={type_: sum(row["size_bytes"] for row in own) for type_, own in by_type.items()},
        oldest_created_at={type_: _earliest(own) for type_, own in by_type.items()},
        last_success_at={type_: _last_success(own) for type_, own in by_type.items()},
        missing=sum(row["missing"] for row in rows),
    )


def _earliest(rows: list[sqlite3.Row]) -> datetime | None:
    return min((datetime.fromisoformat(row["oldest"]) for row in rows if row["oldest"]), default=None)


def _last_success(rows: list[sqlite3.Row]) -> datetime | None:
    newest = [row["newest"] for row in rows if row["status"] == Status.COMPLETED and row["newest"]]
    return datetime.fromisoformat(newest[0]) if newest else None
