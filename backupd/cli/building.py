"""Builds parts from sections of the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from backupd.config import Config
from backupd.daemon.services import DAILY_BACKUP, WEEKLY_CLEANUP, WEEKLY_DRILL
from backupd.drill import DrillSettings, can_drill
from backupd.notify import EventKind, Notifier, NotifySettings
from backupd.retention import Policy
from backupd.slots import Timetable


def retention_policy(config: Config) -> Policy:
    """How long backups are kept."""
    return Policy(**config.section("retention"), stale_after=stale_after(config))


def stale_after(config: Config) -> timedelta:
    """The age from which the last success is too old."""
    return timedelta(hours=config.section("health")["stale_after_hours"])


def build_notifier(config: Config, environ: Mapping[str, str]) -> Notifier:
    """Who tells people and dead-man switches."""
    section = config.section("notify")
    settings = NotifySettings(
        urls=section["urls"],
        ping_url=section["ping_url"],
        on=frozenset(EventKind(word) for word in section["on"]),
        timeout_seconds=float(section["timeout_seconds"]),
    )
    return Notifier(settings, environ=environ)


def drill_settings(config: Config, check_command: str | None = None) -> DrillSettings:
    """Where and how restores are rehearsed; `check_command` takes the place of the configured one."""
    section = config.section("drill")
    return DrillSettings(
        database_url=section["database_url"],
        check_command=check_command or section["check_command"],
        check_seconds=section["check_minutes"] * 60.0,
    )


def timetables(config: Config) -> dict[str, Timetable]:
    """When each job of the daemon falls due; drills only where this machine can rehearse a restore."""
    schedule = config.schedule()
    cleanup_day, cleanup_at = schedule.weekly_cleanup
    found = {
        DAILY_BACKUP: Timetable(schedule.daily_backup, schedule.timezone),
        WEEKLY_CLEANUP: Timetable(cleanup_at, schedule.timezone, cleanup_day),
    }
    if schedule.weekly_drill is not None and can_drill(drill_settings(config)):
        drill_day, drill_at = schedule.weekly_drill
        found[WEEKLY_DRILL] = Timetable(drill_at, schedule.timezone, drill_day)
    return found
