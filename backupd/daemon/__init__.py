"""The process: schedule loop, signals, catch-up, watchdog, orderly stop."""

from __future__ import annotations

from backupd.daemon.heartbeat import Sign, living_daemon, read_sign
from backupd.daemon.loop import DAILY_BACKUP, WEEKLY_CLEANUP, Daemon, Joined, Surroundings
from backupd.daemon.services import Services

__all__ = [
    "DAILY_BACKUP",
    "WEEKLY_CLEANUP",
    "Daemon",
    "Joined",
    "Services",
    "Sign",
    "Surroundings",
    "living_daemon",
    "read_sign",
]
