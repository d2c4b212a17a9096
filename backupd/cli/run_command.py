"""`backupd run`: the daemon."""

from __future__ import annotations

import platform
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import click

from backupd.catalog import Catalog
from backupd.cli.building import build_notifier, drill_settings, retention_policy, stale_after, timetables
from backupd.cli.entrance import Entrance
from backupd.cli.serving import Serving
from backupd.config import Config, ProjectSettings
from backupd.daemon import Daemon, Services, Signals, Surroundings
from backupd.errors import BackupdError, CatalogError, ConfigError, ExitCode
from backupd.log import Logger, make_logger
from backupd.model import ShouldStop
from backupd.notify import Origin
from backupd.project import Project, Traffic, require_full_sight
from backupd.runner import Runner
from backupd.sdnotify import ServiceManager
from backupd.slots import RetryPolicy
from backupd.store import open_store


@click.command()
@click.pass_obj
def run(entrance: Entrance) -> ExitCode:
    r"""Run the daemon: a backup every night, a cleanup every week, until it is told to stop.

    \b
    Signals:
      SIGUSR1          back up now
      SIGHUP           read the configuration again
      SIGTERM, SIGINT  stop within one page, leaving nothing half-done
    """
    signals = Signals()
    # From here on: a SIGUSR1 or SIGHUP that came earlier would end the process.
    signals.hold()
    try:
        parts = DaemonParts(entrance)
        around = Surroundings(
            parts.state_directory,
            entrance.clock,
            ServiceManager(entrance.environ),
            parts.pages.metrics,
            serve=parts.pages.serve,
            signals=signals,
        )
        return Daemon(parts, around).run()
    except BackupdError as error:
        # The door says it in plain words as well; this is for whoever searches the log.
        make_logger(sys.stderr).critical("daemon.refused", error=entrance.clean(error.message), hint=error.hint)
        raise


class DaemonParts:
    """Builds what the daemon works with; catalog and traffic last from one reload to the next."""

    def __init__(self, entrance: Entrance) -> None:
        self._entrance = entrance
        self.state_directory = entrance.state_directory
        self._traffic = Traffic()
        self._file = entrance.catalog_file
        self._catalog = entrance.catalog
        self._identity = _identity(self._file)
        self._services: Services | None = None
        self.pages = Serving(entrance, self._traffic)

    def build(self) -> Services:
        """Read the configuration anew and build the parts of it. Raises ConfigError, KeyRefused and StoreError."""
        config = self._entrance.load_config()
        if config.state_directory != self.state_directory:
            raise ConfigError(
                f"state.directory changed to {config.state_directory}, and a running daemon cannot move",
                hint="Restart it: systemctl restart backupd",
            )
        log = self._logger(config)
        for warning in config.warnings:
            log.warning("config.doubtful", warning=warning)
        self.pages.use(config)
        self._services = self._build(config, log)
        return self._services

    def catalog_is_replaced(self) -> bool:
        """Whether the catalog's file is not the one that was opened any more."""
        return _identity(self._file) != self._identity

    def with_new_catalog(self) -> Services:
        """The same services over the catalog that is there now, made if there is none. Raises CatalogError."""
        if self._services is None:
            raise CatalogError("nothing has been built yet")
        identity = _identity(self._file)
        catalog = Catalog.open(self._file)
        self._catalog, before = self._entrance.closing.enter_context(catalog), self._catalog
        self._identity = identity or _identity(self._file)
        before.close()
        runner = self._runner(self._services.log)
        self._services = replace(self._services, catalog=catalog, runner=runner)
        return self._services

    def _build(self, config: Config, log: Logger) -> Services:
        project = config.project()
        schedule = config.schedule()
        return Services(
            log=log,
            catalog=self._catalog,
            store=open_store(config.store_url),
            runner=self._runner(log),
            key_kind=require_full_sight(project.key.reveal()),
            open_project=partial(self._open_project, project, log),
            platform=project.platform,
            origin=Origin(project.platform, urlsplit(project.url).netloc, platform.node()),
            notifier=build_notifier(config, self._entrance.environ),
            policy=retention_policy(config),
            drill=drill_settings(config),
            drill_reports=self._entrance.state_directory / "drills",
            timetables=timetables(config),
            retry=RetryPolicy(schedule.retries),
            catch_up=schedule.catch_up,
            stale_after=stale_after(config),
            deadline_seconds=schedule.deadline_hours * 3600.0,
            stall_seconds=schedule.stall_minutes * 60.0,
        )

    def _logger(self, config: Config) -> Logger:
        """A reload may bring new secrets, which must not be shown either."""
        level = "debug" if self._entrance.debug else "info"
        return make_logger(sys.stderr, level=level, secrets=config.secrets)

    def _runner(self, log: Logger) -> Runner:
        return Runner(self.state_directory, self._catalog, clock=self._entrance.clock, log=log)

    def _open_project(self, settings: ProjectSettings, log: Logger, should_stop: ShouldStop) -> Project:
        return Project(settings, log=log, should_stop=should_stop, traffic=self._traffic)


def _identity(file: Path) -> tuple[int, int] | None:
    """Which file this is; None when there is none."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
