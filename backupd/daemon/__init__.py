"""The process: schedule loop, signals, catch-up, watchdog, orderly stop."""

from __future__ import annotations

from backupd.daemon.heartbeat import Sign, living_daemon, read_sign
from backupd.daemon.loop import Daemon
from backupd.daemon.requests import Joined
from backupd.daemon.services import DAILY_BACKUP, WEEKLY_CLEANUP, Parts, Services, Surroundings
from backupd.daemon.signals import Signals

__all__ = [
    "DAILY_BACKUP",
    "WEEKLY_CLEANUP",
    "Daemon",
    "Joined",
    "Parts",
    "Services",
    "Sign",
    "Signals",
    "Surroundings",
    "living_daemon",
    "read_sign",
]
