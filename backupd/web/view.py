"""What the pages and the metrics show: read from the catalog by a connection of their own, and from the daemon."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from backupd import __version__
from backupd.catalog import Catalog, health_facts
from backupd.errors import CatalogError, StoreError
from backupd.figures import CatalogFigures, Figures, LiveFigures
from backupd.health import Health, HealthFacts, assess
from backupd.log import Logger
from backupd.model import Backup, Clock, DaemonState
from backupd.project import KeyKind, Traffic
from backupd.store import Store

_BUSY_TIMEOUT_SECONDS = 0.5
"""A page would rather say that the catalog is locked than make somebody wait for it."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where what is shown comes from. `store` and `key_kind` are asked anew: a reload may change them."""

    catalog_file: Path
    clock: Clock
    log: Logger
    daemon: Callable[[], DaemonState]
    store: Callable[[], Store]
    key_kind: Callable[[], KeyKind]
    stale_after: Callable[[], timedelta]
    traffic: Traffic
    count_catalog_error: Callable[[], None]
    show_tables: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """How things stand: the verdict, and the facts a person wants to see beside it."""

    health: Health
    last_success: Backup | None
    state: DaemonState
    now: datetime


class View:
    """Reads what is shown. Never blocks on a run: it has its own connection, and the catalog is a write-ahead log."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._catalog: Catalog | None = None
        self._identity: tuple[int, int] | None = None
        self._opening = threading.Lock()
        self._figures: tuple[int, CatalogFigures] | None = None

    def close(self) -> None:
        """Close the connection to the catalog."""
        if self._catalog is not None:
            self._catalog.close()
            self._catalog = None

    def state(self) -> DaemonState:
        """What the daemon says of itself."""
        return self._sources.daemon()

    def now(self) -> datetime:
        """The present instant."""
        return self._sources.clock()

    def figures(self) -> Figures:
        """Everything a scrape shows. Without a readable catalog its figures are absent, which alerts notice."""
        return Figures(self._live(), self._catalog_figures())

    def standing(self) -> Standing:
        """How things stand now."""
        sources = self._sources
        now, state = sources.clock(), sources.daemon()
        try:
            facts = health_facts(self.catalog(), sources.stale_after())
        except CatalogError as problem:
            self._note(problem)
            facts = HealthFacts(sources.stale_after(), catalog_error=problem.message)
        facts = replace(
            facts,
            running_since=state.running_since,
            started_at=state.started_at,
            ticked_at=state.ticked_at,
            hung=state.hung,
        )
        return Standing(assess(facts, now), facts.last_success, state, now)

    def _catalog_figures(self) -> CatalogFigures | None:
        """The catalog's figures, worked out anew only when somebody has written to it since."""
        try:
            catalog = self.catalog()
            version = catalog.data_version()
            if self._figures is None or self._figures[0] != version:
                self._figures = version, catalog.figures(with_tables=self._sources.show_tables)
        except CatalogError as error:
            self._note(error)
            return None
        return self._figures[1]

    def _live(self) -> LiveFigures:
        sources = self._sources
        state = sources.daemon()
        return LiveFigures(
            version=__version__,
            running_operation=state.operation,
            running_since=state.running_since,
            progress_ratio=state.progress_ratio,
            next_runs=state.next_runs,
            ticked_at=state.ticked_at,
            requests=dict(sources.traffic.requests),
            retries=dict(sources.traffic.retries),
            received_bytes=sources.traffic.received_bytes,
            store_free_bytes=self.free_bytes(),
            legacy_api_key=sources.key_kind() is KeyKind.LEGACY_SERVICE_ROLE,
        )

    def catalog(self) -> Catalog:
        """The catalog, opened anew when its file is another one than before. Raises CatalogError."""
        with self._opening:
            identity = _identity(self._sources.catalog_file)
            if self._catalog is None or identity != self._identity:
                self.close()
                file = self._sources.catalog_file
                self._catalog = Catalog.open(file, busy_timeout_seconds=_BUSY_TIMEOUT_SECONDS)
                self._identity = _identity(file)
            return self._catalog

    def free_bytes(self) -> int | None:
        """How much can still be put into the store; None where nobody can tell."""
        try:
            return self._sources.store().free_bytes()
        except StoreError as error:
            self._sources.log.warning("store.unreadable", error=error.message)
            return None

    def _note(self, error: CatalogError) -> None:
        """Count and log it, and open the file anew the next time: it may have been mended or replaced."""
        self._sources.log.error("catalog.unreadable", error=error.message)
        self._sources.count_catalog_error()
        self._figures = None
        self.close()


def _identity(file: Path) -> tuple[int, int] | None:
    """Which file this is; None when there is none."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
