"""The pages over a catalog, with a daemon that says what the test wants it to say."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import httpx
from starlette.applications import Starlette

from backupd.catalog import Catalog
from backupd.config import Secret
from backupd.figures import Figures
from backupd.log import make_logger
from backupd.metrics import Metrics
from backupd.model import (
    Backup,
    BackupTable,
    BackupType,
    DaemonState,
    Status,
    TableStatus,
    Trigger,
)
from backupd.project import KeyKind, Traffic
from backupd.web import Address, Listener, Pages, Sources, View, make_app
from tests.support.stores import MemoryStore

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@dataclass
class Site:
    """Everything behind the pages; a test changes what it needs before it asks."""

    directory: Path
    now: datetime = NOW
    state: DaemonState = field(
        default_factory=lambda: DaemonState(
            started_at=NOW - timedelta(days=2),
            ticked_at=NOW - timedelta(seconds=3),
            next_runs={"daily_backup": NOW + timedelta(hours=14), "weekly_cleanup": NOW + timedelta(days=6)},
        )
    )
    token: str | None = None
    show_tables: bool = False
    traffic: Traffic = field(default_factory=Traffic)
    log: StringIO = field(default_factory=StringIO)
    _closing: ExitStack = field(default_factory=ExitStack)

    @property
    def catalog_file(self) -> Path:
        """Where the catalog is."""
        return self.directory / "catalog.sqlite"

    def record(self, *backups: Backup) -> None:
        """Put backups on record."""
        with Catalog.open(self.catalog_file) as catalog:
            for backup in backups:
                catalog.save(backup)

    def client(self) -> httpx.Client:
        """A browser in front of the pages, served by a real listener. `close` ends it."""
        listener = Listener(self.app(), Address("127.0.0.1", 0))
        listener.start()
        self._closing.callback(listener.stop)
        return self._closing.enter_context(httpx.Client(base_url=f"http://{listener.address}"))

    def close(self) -> None:
        """End every client and listener."""
        self._closing.close()

    def app(self) -> Starlette:
        """The application."""

        def figures() -> Figures:
            return view.figures()

        metrics = Metrics(figures)
        view = View(
            Sources(
                catalog_file=self.catalog_file,
                clock=lambda: self.now,
                log=make_logger(self.log),
                daemon=lambda: self.state,
                store=MemoryStore,
                key_kind=lambda: KeyKind.SECRET,
                stale_after=lambda: timedelta(hours=26),
                traffic=self.traffic,
                count_catalog_error=metrics.catalog_errors.inc,
                show_tables=self.show_tables,
            )
        )
        return make_app(Pages(view, metrics, metrics_token=Secret(self.token) if self.token else None))


def backup(number: int, hours_ago: float, status: Status = Status.COMPLETED, **changes: object) -> Backup:
    """A backup of so many hours ago, with one table called `payments`."""
    created_at = NOW - timedelta(hours=hours_ago)
    values: dict[str, object] = {
        "backup_id": f"{number:08x}-0000",
        "created_at": created_at,
        "finished_at": created_at + timedelta(seconds=14),
        "type": BackupType.AUTOMATIC,
        "status": status,
        "trigger": Trigger.SCHEDULE,
        "platform": "Car Audio Competition Platform",
        "project": "xyz.supabase.co",
        "archive": None if status is Status.FAILED else f"car-audio_{number}.zip",
        "size_bytes": 18_400_000,
        "total_rows": 697_221,
        "tables": (BackupTable("payments", TableStatus.COMPLETED, 697_221, 61_200_000),),
        "verified_at": created_at + timedelta(seconds=14),
    }
    return Backup(**{**values, **changes})  # type: ignore[arg-type]
