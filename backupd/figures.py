"""The figures that metrics are made from, as frozen values: what the catalog says, and what the daemon knows now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from backupd.model import BackupType, Status


@dataclass(frozen=True, slots=True)
class LastBackup:
    """The newest ended backup of a type. Seconds, bytes, counts."""

    status: Status
    duration_seconds: float
    size_bytes: int
    rows: int
    tables: int


@dataclass(frozen=True, slots=True)
class CatalogFigures:
    """What the catalog says, over all backups and runs. None stands for never.

    `drilled` is when a drill last found nothing wrong, and how many seconds it took.
    """

    last_success_at: Mapping[BackupType, datetime | None]
    last_attempt_at: Mapping[BackupType, datetime | None]
    last: Mapping[BackupType, LastBackup]
    backups: Mapping[tuple[BackupType, Status], int]
    size_bytes: Mapping[BackupType, int]
    oldest_at: Mapping[BackupType, datetime | None]
    runs: Mapping[tuple[str, str], int]
    verified_at: datetime | None
    mismatches: int
    tables_disappeared: int
    drilled: tuple[datetime, float] | None = None
    table_rows: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LiveFigures:
    """What the daemon itself knows now. `progress_ratio` is None where nobody can tell."""

    version: str
    running_operation: str | None
    running_since: datetime | None
    progress_ratio: float | None
    next_runs: Mapping[str, datetime]
    ticked_at: datetime | None
    requests: Mapping[str, int]
    retries: Mapping[str, int]
    received_bytes: int
    store_free_bytes: int | None
    legacy_api_key: bool


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything a scrape shows. `catalog` is None when it could not be read: those metrics are then absent."""

    live: LiveFigures
    catalog: CatalogFigures | None
