"""The nouns: backups, tables, counts, manifests and runs, as frozen values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

Clock = Callable[[], datetime]
"""Gives the present instant, aware and in UTC. Passed in wherever time matters, so that tests own it."""

ShouldStop = Callable[[], bool]
"""Asked between two pages and two blocks: True means stop now and leave nothing half-done."""


def utc_now() -> datetime:
    """The present instant by the machine's clock."""
    return datetime.now(UTC)


def never_stop() -> bool:
    """The `ShouldStop` of a run nobody can interrupt."""
    return False


class BackupType(StrEnum):
    """Who wanted the backup. Automatic ones expire, manual ones are kept for ever."""

    MANUAL = "manual"
    AUTOMATIC = "automatic"


class Status(StrEnum):
    """How a backup or a run stands. `partial` is published but lacks something, and never counts as a success."""

    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    PARTIAL = "partial"
    FAILED = "failed"


class Trigger(StrEnum):
    """What set a run off."""

    SCHEDULE = "schedule"
    CATCH_UP = "catch_up"
    SIGNAL = "signal"
    WEB = "web"
    API = "api"
    CLI = "cli"


class TableStatus(StrEnum):
    """How one table came out. `incomplete`: rows are in the archive, but not all; `failed`: none are."""

    COMPLETED = "completed"
    INCOMPLETE = "incomplete"
    FAILED = "failed"


class Paging(StrEnum):
    """How a table was walked: by its primary key, by physical row position, or by counting rows off."""

    KEY = "key"
    CTID = "ctid"
    OFFSET = "offset"


@dataclass(frozen=True, slots=True, order=True)
class TableName:
    """A table by schema and name."""

    schema: str
    name: str

    def __str__(self) -> str:
        """As the original system and people write it: bare in `public`, qualified elsewhere."""
        return self.name if self.schema == "public" else f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True)
class Column:
    """A column and its PostgreSQL type as the project's OpenAPI document names it (`timestamp with time zone`)."""

    name: str
    type: str
    required: bool = False


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """One column that refers to a column of another table."""

    column: str
    table: str
    foreign_column: str


@dataclass(frozen=True, slots=True)
class Table:
    """What the project says of one table. `columns` is empty when it says nothing."""

    name: TableName
    columns: tuple[Column, ...] = ()
    primary_key: tuple[str, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()


@dataclass(frozen=True, slots=True)
class Count:
    """How many rows the project says a table has. `exact` is False for the planner's estimate."""

    rows: int
    exact: bool


@dataclass(frozen=True, slots=True)
class ArchivedTable:
    """One table as the manifest describes it. `bytes` and `sha256` are of the uncompressed member `file`."""

    table: Table
    status: TableStatus
    file: str | None = None
    rows: int = 0
    bytes: int = 0
    sha256: str | None = None
    paging: Paging | None = None
    count_before: Count | None = None
    count_after: Count | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an archive says of itself. `project` is the host of the project, never a key."""

    backup_id: str
    created_at: datetime
    finished_at: datetime
    type: BackupType
    trigger: Trigger
    status: Status
    platform: str
    project: str
    generator: str
    tables: tuple[ArchivedTable, ...]
    warnings: tuple[str, ...] = ()
    format: int = 1

    @property
    def total_rows(self) -> int:
        """Rows in the archive, over all its tables."""
        return sum(archived.rows for archived in self.tables)

    @property
    def tables_backed_up(self) -> tuple[str, ...]:
        """Names of the tables that have a file in the archive."""
        return tuple(str(archived.table.name) for archived in self.tables if archived.file is not None)


@dataclass(frozen=True, slots=True)
class Sidecar:
    """The manifest of an archive together with the name, size and checksum of the archive as it is stored."""

    manifest: Manifest
    archive: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class BackupTable:
    """One table of a backup as the catalog lists it."""

    name: str
    status: TableStatus
    rows: int
    bytes: int
    sha256: str | None = None
    paging: Paging | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup as the catalog knows it. `archive` is its name in the store, None until one is published.

    `missing_since` is set while the store does not have the archive; `deleting` is set between the decision to
    delete and the end of the deletion; `verified_at` is the last time every byte was read back and found right.
    """

    backup_id: str
    created_at: datetime
    type: BackupType
    status: Status
    trigger: Trigger
    platform: str
    project: str
    finished_at: datetime | None = None
    archive: str | None = None
    size_bytes: int = 0
    sha256: str | None = None
    total_rows: int = 0
    tables: tuple[BackupTable, ...] = ()
    warnings: tuple[str, ...] = ()
    error: str | None = None
    pinned: bool = False
    verified_at: datetime | None = None
    missing_since: datetime | None = None
    deleting: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """One attempt at an operation (`backup`, `verify`, `cleanup`, …)."""

    run_id: str
    operation: str
    trigger: Trigger
    status: Status
    started_at: datetime
    finished_at: datetime | None = None
    backup_id: str | None = None
    error: str | None = None
    hint: str | None = None

    @property
    def was_interrupted(self) -> bool:
        """Whether it was told to stop, or its process died, rather than failing by itself."""
        return self.status is Status.FAILED and (self.error or "").startswith("interrupted")


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run is. Sent often: a receiver throttles, a sender does not.

    `stage` is one of `reading`, `verifying`, `storing`; `expected_rows` is None where the project gave no count.
    """

    stage: str
    table: str | None = None
    rows: int = 0
    expected_rows: int | None = None
    bytes: int = 0
    status: TableStatus | None = None
    message: str | None = None


OnProgress = Callable[[Progress], None]
"""Told of progress, from any thread; must be quick and must not raise."""


def ignore_progress(progress: Progress) -> None:
    """The `OnProgress` of a run nobody watches."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object in a store: its name, its size, and when it was put there."""

    name: str
    size_bytes: int
    modified_at: datetime = field(compare=False)


@dataclass(frozen=True, slots=True)
class SlotRecord:
    """What is remembered of a job's last slot: how often it was tried, when last, and whether that is the end of it."""

    job: str
    slot_at: datetime
    attempts: int
    tried_at: datetime
    settled: bool


@dataclass(frozen=True, slots=True)
class DaemonState:
    """What the daemon says of itself, at one moment. `progress_ratio` is None where nobody can tell how far a run is.

    `hung` is whether the run under way has not moved for longer than it may; `tables` is the last that was heard of
    each table it has begun to read.
    """

    started_at: datetime
    ticked_at: datetime
    next_runs: Mapping[str, datetime]
    operation: str | None = None
    running_since: datetime | None = None
    backup_id: str | None = None
    progress: Progress | None = None
    progress_ratio: float | None = None
    hung: bool = False
    tables: tuple[Progress, ...] = ()
