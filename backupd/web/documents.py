"""Backups, runs, jobs and decisions as JSON: the API's words, which are the manifest's."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from backupd.catalog import HistoryPage
from backupd.cleanup import CleanupReport
from backupd.model import Backup, Run


def instant(at: datetime | None) -> str | None:
    """An instant in UTC as RFC 3339 writes it."""
    return at.isoformat().replace("+00:00", "Z") if at else None


def backup_document(backup: Backup, *, tables: int | None = None) -> dict[str, Any]:
    """A backup; with its tables when they were read, else with how many there are."""
    return {
        "backup_id": backup.backup_id,
        "created_at": instant(backup.created_at),
        "finished_at": instant(backup.finished_at),
        "status": str(backup.status),
        "type": str(backup.type),
        "trigger": str(backup.trigger),
        "platform": backup.platform,
        "project": backup.project,
        "archive": backup.archive,
        "size_bytes": backup.size_bytes,
        "sha256": backup.sha256,
        "total_rows": backup.total_rows,
        "table_count": len(backup.tables) if tables is None else tables,
        "warnings": list(backup.warnings),
        "error": backup.error,
        "pinned": backup.pinned,
        "verified_at": instant(backup.verified_at),
        "missing_since": instant(backup.missing_since),
    }


def whole_backup_document(backup: Backup) -> dict[str, Any]:
    """A backup with each of its tables."""
    tables = [
        {
            "name": table.name,
            "status": str(table.status),
            "rows": table.rows,
            "bytes": table.bytes,
            "sha256": table.sha256,
            "paging": str(table.paging) if table.paging else None,
            "message": table.message,
        }
        for table in backup.tables
    ]
    return {**backup_document(backup), "tables": tables}


def backups_document(page: HistoryPage, limit: int) -> dict[str, Any]:
    """A page of backups, and the id to go on after."""
    more = len(page.backups) == limit and bool(page.backups)
    return {
        "backups": [backup_document(one, tables=page.tables[one.backup_id]) for one in page.backups],
        "total": page.total,
        "next_after": page.backups[-1].backup_id if more else None,
    }


def run_document(run: Run) -> dict[str, Any]:
    """A run."""
    return {
        "run_id": run.run_id,
        "operation": run.operation,
        "trigger": str(run.trigger),
        "status": str(run.status),
        "started_at": instant(run.started_at),
        "finished_at": instant(run.finished_at),
        "backup_id": run.backup_id,
        "error": run.error,
        "hint": run.hint,
    }


def cleanup_document(report: CleanupReport) -> dict[str, Any]:
    """What a cleanup would do."""
    return {
        "decisions": [
            {"backup_id": one.backup.backup_id, "decision": str(one.action), "reason": one.reason}
            for one in report.decisions
        ],
        "would_delete": [backup.backup_id for backup in report.deleted],
        "would_free_bytes": report.freed_bytes,
        "refused": [{"backup_id": one.backup.backup_id, "reason": one.reason} for one in report.refused],
    }
