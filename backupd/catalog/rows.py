"""Between values and the catalog's rows, and from a sidecar to a backup."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime

from backupd.model import (
    ArchivedTable,
    Backup,
    BackupTable,
    BackupType,
    Paging,
    Run,
    Sidecar,
    SlotRecord,
    Status,
    TableStatus,
    Trigger,
)


def backup_from_sidecar(sidecar: Sidecar, *, verified_at: datetime | None = None) -> Backup:
    """The backup that a sidecar describes, as the catalog lists it. `verified_at` is when it was last read back."""
    manifest = sidecar.manifest
    return Backup(
        backup_id=manifest.backup_id,
        created_at=manifest.created_at,
        type=manifest.type,
        status=manifest.status,
        trigger=manifest.trigger,
        platform=manifest.platform,
        project=manifest.project,
        finished_at=manifest.finished_at,
        archive=sidecar.archive,
        size_bytes=sidecar.size_bytes,
        sha256=sidecar.sha256,
        total_rows=manifest.total_rows,
        tables=tuple(_backup_table(archived) for archived in manifest.tables),
        warnings=manifest.warnings,
        verified_at=verified_at,
    )


def _backup_table(archived: ArchivedTable) -> BackupTable:
    return BackupTable(
        name=str(archived.table.name),
        status=archived.status,
        rows=archived.rows,
        bytes=archived.bytes,
        sha256=archived.sha256,
        paging=archived.paging,
        message=archived.message,
    )


def instant_to_text(at: datetime) -> str:
    """ISO 8601 in UTC with microseconds: texts sort as the instants do. A naive time is a mistake: `ValueError`."""
    if at.tzinfo is None:
        raise ValueError(f"an instant must be aware: {at.isoformat()}")
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def _optional_text(at: datetime | None) -> str | None:
    return None if at is None else instant_to_text(at)


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def printable(text: str | None) -> str | None:
    """The text as SQLite can hold it: messages may quote a file name that is not UTF-8."""
    return None if text is None else text.encode("utf-8", "backslashreplace").decode()


def backup_to_row(backup: Backup) -> dict[str, object]:
    """A row of `backups`, by column."""
    return {
        "backup_id": backup.backup_id,
        "created_at": instant_to_text(backup.created_at),
        "finished_at": _optional_text(backup.finished_at),
        "type": backup.type,
        "status": backup.status,
        "trigger": backup.trigger,
        "platform": backup.platform,
        "project": backup.project,
        "archive": backup.archive,
        "size_bytes": backup.size_bytes,
        "sha256": backup.sha256,
        "total_rows": backup.total_rows,
        "warnings": json.dumps(backup.warnings),
        "error": printable(backup.error),
        "pinned": backup.pinned,
        "verified_at": _optional_text(backup.verified_at),
        "missing_since": _optional_text(backup.missing_since),
        "deleting": backup.deleting,
    }


def backup_from_row(row: sqlite3.Row, tables: Sequence[BackupTable] = ()) -> Backup:
    """A backup from its row and its tables."""
    return Backup(
        backup_id=row["backup_id"],
        created_at=datetime.fromisoformat(row["created_at"]),
        type=BackupType(row["type"]),
        status=Status(row["status"]),
        trigger=Trigger(row["trigger"]),
        platform=row["platform"],
        project=row["project"],
        finished_at=_instant(row["finished_at"]),
        archive=row["archive"],
        size_bytes=row["size_bytes"],
        sha256=row["sha256"],
        total_rows=row["total_rows"],
        tables=tuple(tables),
        warnings=tuple(json.loads(row["warnings"])),
        error=row["error"],
        pinned=bool(row["pinned"]),
        verified_at=_instant(row["verified_at"]),
        missing_since=_instant(row["missing_since"]),
        deleting=bool(row["deleting"]),
    )


def table_to_row(backup_id: str, position: int, table: BackupTable) -> dict[str, object]:
    """A row of `backup_tables`, by column."""
    return {
        "backup_id": backup_id,
        "position": position,
        "name": table.name,
        "status": table.status,
        "rows": table.rows,
        "bytes": table.bytes,
        "sha256": table.sha256,
        "paging": table.paging,
        "message": printable(table.message),
    }


def table_from_row(row: sqlite3.Row) -> BackupTable:
    """One table of a backup from its row."""
    return BackupTable(
        name=row["name"],
        status=TableStatus(row["status"]),
        rows=row["rows"],
        bytes=row["bytes"],
        sha256=row["sha256"],
        paging=None if row["paging"] is None else Paging(row["paging"]),
        message=row["message"],
    )


def run_to_row(run: Run) -> dict[str, object]:
    """A row of `runs`, by column."""
    return {
        "run_id": run.run_id,
        "operation": run.operation,
        "trigger": run.trigger,
        "status": run.status,
        "started_at": instant_to_text(run.started_at),
        "finished_at": _optional_text(run.finished_at),
        "backup_id": run.backup_id,
        "error": printable(run.error),
        "hint": printable(run.hint),
    }


def run_from_row(row: sqlite3.Row) -> Run:
    """A run from its row."""
    return Run(
        run_id=row["run_id"],
        operation=row["operation"],
        trigger=Trigger(row["trigger"]),
        status=Status(row["status"]),
        started_at=datetime.fromisoformat(row["started_at"]),
        finished_at=_instant(row["finished_at"]),
        backup_id=row["backup_id"],
        error=row["error"],
        hint=row["hint"],
    )


def slot_to_row(record: SlotRecord) -> dict[str, object]:
    """A row of `slots`."""
    return {
        "job": record.job,
        "slot_at": instant_to_text(record.slot_at),
        "attempts": record.attempts,
        "tried_at": instant_to_text(record.tried_at),
        "settled": record.settled,
    }


def slot_from_row(row: sqlite3.Row) -> SlotRecord:
    """A slot out of a row of `slots`."""
    return SlotRecord(
        job=row["job"],
        slot_at=datetime.fromisoformat(row["slot_at"]),
        attempts=row["attempts"],
        tried_at=datetime.fromisoformat(row["tried_at"]),
        settled=bool(row["settled"]),
    )
