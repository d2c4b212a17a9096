"""Messages to people and dead-man pings: what is sent, where to, and what could not be delivered."""

from __future__ import annotations

from backupd.notify.events import (
    Event,
    EventKind,
    Failure,
    Origin,
    drill_failed,
    failed,
    partial,
    recovered,
    stale,
    trial,
)
from backupd.notify.failures import DeliveryFailure
from backupd.notify.notifier import Notifier, NotifySettings

__all__ = [
    "DeliveryFailure",
    "Event",
    "EventKind",
    "Failure",
    "Notifier",
    "NotifySettings",
    "Origin",
    "drill_failed",
    "failed",
    "partial",
    "recovered",
    "stale",
    "trial",
]
