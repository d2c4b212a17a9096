"""What the catalog says for the metrics, in a few queries that stay cheap with ten thousand backups."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from datetime import datetime

from backupd.catalog.statistics import read_statistics
from backupd.figures import CatalogFigures, LastBackup
from backupd.model import BackupType, Status

_LAST_ATTEMPT = "SELECT created_at FROM backups WHERE type = ? ORDER BY created_at DESC LIMIT 1"
_LAST_ENDED = """
    SELECT backup_id, status, created_at, finished_at, size_bytes, total_rows FROM backups
    WHERE type = ? AND status <> 'in_progress' ORDER BY created_at DESC LIMIT 1
"""
_LAST_PUBLISHED = """
    SELECT backup_id FROM backups WHERE status IN ('completed', 'partial') ORDER BY created_at DESC LIMIT 2
"""
_LAST_DRILL = """
    SELECT started_at, finished_at FROM runs
    WHERE operation = 'drill' AND status = 'completed' ORDER BY started_at DESC LIMIT 1
"""
_TABLES = "SELECT name, rows FROM backup_tables WHERE backup_id = ?"
_RUNS = """
    SELECT operation,
           CASE WHEN status = 'failed' AND error LIKE 'interrupted%' THEN 'interrupted' ELSE status END AS result,
           count(*) AS runs
    FROM runs WHERE status <> 'in_progress' GROUP BY operation, result
"""


def read_figures(connection: sqlite3.Connection, *, with_tables: bool = False) -> CatalogFigures:
    """Work the figures out; rows of each table of the newest backup only when asked for."""
    statistics = read_statistics(connection)
    newest, before = _last_two_tables(connection)
    return CatalogFigures(
        last_success_at=statistics.last_success_at,
        last_attempt_at={kind: _last_attempt(connection, kind) for kind in BackupType},
        last={kind: last for kind in BackupType if (last := _last_ended(connection, kind)) is not None},
        backups=statistics.counts,
        size_bytes=statistics.size_bytes,
        oldest_at=statistics.oldest_created_at,
        runs={(row["operation"], row["result"]): row["runs"] for row in connection.execute(_RUNS)},
        verified_at=_instant(connection.execute("SELECT max(verified_at) FROM backups").fetchone()[0]),
        mismatches=statistics.missing,
        drilled=_last_drill(connection),
        tables_disappeared=len(before.keys() - newest.keys()),
        table_rows=newest if with_tables else {},
    )


def _last_attempt(connection: sqlite3.Connection, kind: BackupType) -> datetime | None:
    row = connection.execute(_LAST_ATTEMPT, (kind,)).fetchone()
    return None if row is None else datetime.fromisoformat(row["created_at"])


def _last_ended(connection: sqlite3.Connection, kind: BackupType) -> LastBackup | None:
    row = connection.execute(_LAST_ENDED, (kind,)).fetchone()
    if row is None:
        return None
    finished_at = _instant(row["finished_at"]) or datetime.fromisoformat(row["created_at"])
    return LastBackup(
        status=Status(row["status"]),
        duration_seconds=(finished_at - datetime.fromisoformat(row["created_at"])).total_seconds(),
        size_bytes=row["size_bytes"],
        rows=row["total_rows"],
        tables=len(_tables(connection, row["backup_id"])),
    )


def _last_drill(connection: sqlite3.Connection) -> tuple[datetime, float] | None:
    """When a drill last found nothing wrong, and how many seconds it took."""
    row = connection.execute(_LAST_DRILL).fetchone()
    if row is None:
        return None
    finished_at = datetime.fromisoformat(row["finished_at"])
    return finished_at, (finished_at - datetime.fromisoformat(row["started_at"])).total_seconds()


def _last_two_tables(connection: sqlite3.Connection) -> tuple[Mapping[str, int], Mapping[str, int]]:
    """Rows by table of the newest published backup, and of the one before; the newest stands in where there is one."""
    ids = [row["backup_id"] for row in connection.execute(_LAST_PUBLISHED)]
    newest = _tables(connection, ids[0]) if ids else {}
    return newest, _tables(connection, ids[1]) if len(ids) > 1 else newest


def _tables(connection: sqlite3.Connection, backup_id: str) -> dict[str, int]:
    return {row["name"]: row["rows"] for row in connection.execute(_TABLES, (backup_id,))}


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
