"""`backupd run`: the daemon."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from urllib.parse import urlsplit

import click

from backupd.cli.building import build_notifier, retention_policy, stale_after
from backupd.cli.entrance import Entrance
from backupd.config import Config, ProjectSettings, Secret
from backupd.daemon import DAILY_BACKUP, WEEKLY_CLEANUP, Daemon, Services, Surroundings
from backupd.errors import ExitCode
from backupd.log import make_logger
from backupd.metrics import Figures, Metrics
from backupd.model import ShouldStop
from backupd.notify import Origin
from backupd.project import Project, Traffic, require_full_sight
from backupd.runner import Runner
from backupd.sdnotify import ServiceManager
from backupd.slots import RetryPolicy, Timetable
from backupd.store import open_store
from backupd.web import Address, Listener, Pages, Sources, View, make_app


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
    parts = DaemonParts(entrance)
    around = Surroundings(
        entrance.state_directory,
        entrance.clock,
        parts.log,
        ServiceManager(entrance.environ),
        parts.metrics,
        serve=parts.serve,
    )
    return Daemon(parts.build, around).run()


class DaemonParts:
    """Builds what the daemon works with; log, catalog, runner and traffic last from one reload to the next."""

    def __init__(self, entrance: Entrance) -> None:
        self._entrance = entrance
        level = "debug" if entrance.debug else "info"
        self.log = make_logger(sys.stderr, level=level, secrets=entrance.config.secrets)
        self._runner = Runner(entrance.state_directory, entrance.catalog, clock=entrance.clock, log=self.log)
        self._traffic = Traffic()
        self._view: View | None = None
        self.metrics = Metrics(self._figures)

    @contextmanager
    def serve(self, daemon: Daemon) -> Iterator[None]:
        """Serve the pages of a daemon while the block lasts. Raises BackupdError when the address is taken."""
        config = self._entrance.config
        self._view = View(self._sources(daemon, config))
        address = config.section("web")["listen"]
        if address is None:
            yield
            return
        token = config.section("web")["metrics_token"]
        pages = Pages(self._view, self.metrics, metrics_token=Secret(token) if token else None)
        listener = Listener(make_app(pages), Address(*address))
        listener.start()
        self.log.info("listener.started", address=str(listener.address))
        try:
            yield
        finally:
            listener.stop()

    def _figures(self) -> Figures:
        if self._view is None:
            message = "nothing is served yet"
            raise RuntimeError(message)
        return self._view.figures()

    def _sources(self, daemon: Daemon, config: Config) -> Sources:
        return Sources(
            catalog_file=self._entrance.catalog_file,
            clock=self._entrance.clock,
            log=self.log,
            daemon=daemon.state,
            store=lambda: daemon.services.store,
            key_kind=lambda: daemon.services.key_kind,
            stale_after=lambda: daemon.services.stale_after,
            traffic=self._traffic,
            count_catalog_error=self.metrics.catalog_errors.inc,
            show_tables=config.section("web")["table_metrics"],
        )

    def build(self) -> Services:
        """Read the configuration anew and build the parts of it. Raises ConfigError, KeyRefused and StoreError."""
        config = self._entrance.load_config()
        for warning in config.warnings:
            self.log.warning("config.doubtful", warning=warning)
        project = config.project()
        schedule = config.schedule()
        cleanup_day, cleanup_at = schedule.weekly_cleanup
        return Services(
            catalog=self._entrance.catalog,
            store=open_store(config.store_url),
            runner=self._runner,
            key_kind=require_full_sight(project.key.reveal()),
            open_project=partial(self._open_project, project),
            platform=project.platform,
            origin=Origin(project.platform, urlsplit(project.url).netloc, platform.node()),
            notifier=build_notifier(config, self._entrance.environ),
            policy=retention_policy(config),
            timetables={
                DAILY_BACKUP: Timetable(schedule.daily_backup, schedule.timezone),
                WEEKLY_CLEANUP: Timetable(cleanup_at, schedule.timezone, cleanup_day),
            },
            retry=RetryPolicy(schedule.retries),
            catch_up=schedule.catch_up,
            stale_after=stale_after(config),
            deadline_seconds=schedule.deadline_hours * 3600.0,
            stall_seconds=schedule.stall_minutes * 60.0,
        )

    def _open_project(self, settings: ProjectSettings, should_stop: ShouldStop) -> Project:
        return Project(settings, log=self.log, should_stop=should_stop, traffic=self._traffic)
