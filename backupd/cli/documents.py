"""Backups and reports as JSON documents, in the manifest's words."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from backupd.model import Backup
from backupd.verify import VerifyReport


def backup_document(backup: Backup) -> dict[str, Any]:
    """A backup as `backup --json`, `show --json` and `list --json` print it. Sizes in bytes, instants in UTC."""
    return {
        "backup_id": backup.backup_id,
        "created_at": _instant(backup.created_at),
        "finished_at": _instant(backup.finished_at),
        "status": str(backup.status),
        "type": str(backup.type),
        "trigger": str(backup.trigger),
        "platform": backup.platform,
        "project": backup.project,
        "archive": backup.archive,
        "size_bytes": backup.size_bytes,
        "sha256": backup.sha256,
        "total_rows": backup.total_rows,
        "tables": [
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
        ],
        "warnings": list(backup.warnings),
        "error": backup.error,
        "pinned": backup.pinned,
        "verified_at": _instant(backup.verified_at),
        "missing_since": _instant(backup.missing_since),
    }


def verify_document(backup_id: str, report: VerifyReport) -> dict[str, Any]:
    """What verification found."""
    return {
        "backup_id": backup_id,
        "ok": report.ok,
        "tables": report.tables,
        "rows": report.rows,
        "bytes": report.bytes,
        "problems": [{"where": problem.where, "what": problem.what} for problem in report.problems],
    }


def _instant(moment: datetime | None) -> str | None:
    return moment.isoformat().replace("+00:00", "Z") if moment else None
