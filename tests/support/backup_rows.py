"""Builds backups as the catalog lists them, for the tests of what decides about them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TypedDict, Unpack

from backupd.model import Backup, BackupTable, BackupType, Status, Trigger

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
"""A Sunday, one hour after the nightly backup."""

LAST_NIGHT = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)


class BackupFields(TypedDict, total=False):
    """The fields of a `Backup` that a test may want to set."""

    backup_id: str
    type: BackupType
    status: Status
    finished_at: datetime | None
    archive: str | None
    size_bytes: int
    tables: tuple[BackupTable, ...]
    warnings: tuple[str, ...]
    error: str | None
    pinned: bool
    verified_at: datetime | None
    missing_since: datetime | None
    deleting: bool


def backup_row(created_at: datetime = LAST_NIGHT, **fields: Unpack[BackupFields]) -> Backup:
    """A completed, proven, automatic backup with an archive of 1,000 bytes, unless told otherwise."""
    backup_id = fields.get("backup_id", created_at.strftime("%Y%m%d%H%M%S"))
    given = {
        "archive": None if fields.get("status") is Status.FAILED else f"{backup_id}.zip",
        "verified_at": created_at,
        "size_bytes": 1000,
        "type": BackupType.AUTOMATIC,
        "status": Status.COMPLETED,
        **fields,
        "backup_id": backup_id,
    }
    return Backup(
        created_at=created_at,
        trigger=Trigger.SCHEDULE,
        platform="Car Audio Competition Platform",
        project="xyz.supabase.co",
        **given,  # type: ignore[arg-type]  # the keys are those of BackupFields
    )


def nightly(nights_ago: int, **fields: Unpack[BackupFields]) -> Backup:
    """The automatic backup of 02:00 so many nights before `NOW`; 0 is last night's."""
    return backup_row(LAST_NIGHT - timedelta(days=nights_ago), **fields)
