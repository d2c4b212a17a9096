"""What the daemon works with: parts built from one configuration, exchanged as a whole when it is read again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from backupd.catalog import Catalog
from backupd.daemon.signals import Signals
from backupd.drill import DrillSettings
from backupd.log import Logger
from backupd.metrics import Metrics
from backupd.model import Clock, ShouldStop
from backupd.notify import Notifier, Origin
from backupd.project import KeyKind, Project
from backupd.retention import Policy
from backupd.runner import Runner
from backupd.sdnotify import ServiceManager
from backupd.slots import RetryPolicy, Timetable
from backupd.store import Store

if TYPE_CHECKING:
    from backupd.daemon.loop import Daemon

DAILY_BACKUP = "daily_backup"
WEEKLY_CLEANUP = "weekly_cleanup"
WEEKLY_DRILL = "weekly_drill"

_CATCH_UP_JITTER_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of one configuration. `open_project` connects for one run, which `should_stop` can end.

    `drill_reports` is the directory where reports of drills are kept.
    """

    log: Logger
    catalog: Catalog
    store: Store
    runner: Runner
    key_kind: KeyKind
    open_project: Callable[[ShouldStop], Project]
    platform: str
    origin: Origin
    notifier: Notifier
    policy: Policy
    drill: DrillSettings
    drill_reports: Path
    timetables: Mapping[str, Timetable]
    retry: RetryPolicy
    catch_up: bool
    stale_after: timedelta
    deadline_seconds: float
    stall_seconds: float


class Parts(Protocol):
    """Where services come from."""

    def build(self) -> Services:
        """Read the configuration and build the services of it. Raises BackupdError when it cannot be used."""

    def catalog_is_replaced(self) -> bool:
        """Whether the catalog's file is not the one that was opened any more: it was deleted or exchanged."""

    def with_new_catalog(self) -> Services:
        """The same services over the catalog that is there now, made if there is none. Raises CatalogError."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the daemon is given of the world.

    `serve` shows the daemon to the outside while its block lasts; it raises BackupdError when it cannot.
    `jitter` is how many seconds after the start the first slot may begin, so that many hosts that come up together do
    not call at once. `lock_pause_seconds`: how long to wait before another process is asked for the lock again.
    """

    state_directory: Path
    clock: Clock
    manager: ServiceManager
    metrics: Metrics
    serve: Callable[[Daemon], AbstractContextManager[object]] = nullcontext
    signals: Signals = field(default_factory=Signals)
    monotonic: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = lambda: random.uniform(0, _CATCH_UP_JITTER_SECONDS)  # noqa: S311 - not a secret
    lock_pause_seconds: float = 5.0
