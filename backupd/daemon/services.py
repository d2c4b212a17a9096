"""What the daemon works with: parts built from one configuration, exchanged as a whole when it is read again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from backupd.catalog import Catalog
from backupd.log import Logger
from backupd.model import ShouldStop
from backupd.notify import Notifier, Origin
from backupd.project import Project
from backupd.retention import Policy
from backupd.runner import Runner
from backupd.slots import RetryPolicy, Timetable
from backupd.store import Store


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of one configuration. `open_project` connects for one run, which `should_stop` can end."""

    log: Logger
    catalog: Catalog
    store: Store
    runner: Runner
    open_project: Callable[[ShouldStop], Project]
    platform: str
    origin: Origin
    notifier: Notifier
    policy: Policy
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
