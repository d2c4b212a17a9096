"""`backupd run`: the daemon."""

from __future__ import annotations

import platform
import sys
from functools import partial
from urllib.parse import urlsplit

import click

from backupd.cli.building import build_notifier, retention_policy, stale_after
from backupd.cli.entrance import Entrance
from backupd.config import ProjectSettings
from backupd.daemon import DAILY_BACKUP, WEEKLY_CLEANUP, Daemon, Services, Surroundings
from backupd.errors import ExitCode
from backupd.log import make_logger
from backupd.model import ShouldStop
from backupd.notify import Origin
from backupd.project import Project, Traffic, require_full_sight
from backupd.runner import Runner
from backupd.sdnotify import ServiceManager
from backupd.slots import RetryPolicy, Timetable
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
    parts = DaemonParts(entrance)
    around = Surroundings(entrance.state_directory, entrance.clock, parts.log, ServiceManager(entrance.environ))
    return Daemon(parts.build, around).run()


class DaemonParts:
    """Builds what the daemon works with; log, catalog, runner and traffic last from one reload to the next."""

    def __init__(self, entrance: Entrance) -> None:
        self._entrance = entrance
        level = "debug" if entrance.debug else "info"
        self.log = make_logger(sys.stderr, level=level, secrets=entrance.config.secrets)
        self._runner = Runner(entrance.state_directory, entrance.catalog, clock=entrance.clock, log=self.log)
        self._traffic = Traffic()

    def build(self) -> Services:
        """Read the configuration anew and build the parts of it. Raises ConfigError, KeyRefused and StoreError."""
        config = self._entrance.load_config()
        for warning in config.warnings:
            self.log.warning("config.doubtful", warning=warning)
        project = config.project()
        require_full_sight(project.key.reveal())
        schedule = config.schedule()
        cleanup_day, cleanup_at = schedule.weekly_cleanup
        return Services(
            catalog=self._entrance.catalog,
            store=open_store(config.store_url),
            runner=self._runner,
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
