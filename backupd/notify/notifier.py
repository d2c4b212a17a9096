"""What is to be told to whom, and by which way. A failure to notify never touches the run it tells of."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from backupd import __version__
from backupd.notify.courier import Courier
from backupd.notify.events import Event, EventKind
from backupd.notify.failures import DeliveryFailure
from backupd.notify.ping import Pinger, PingSignal


@dataclass(frozen=True, slots=True)
class NotifySettings:
    """Where messages and pings go. All addresses are secrets and do not show when this is printed.

    `urls` are apprise addresses, `ping_url` is a dead-man URL that speaks the protocol of healthchecks.io, `on` the
    events that are worth a message. `timeout_seconds` is for one message to all addresses, and for one try of a ping.
    """

    urls: tuple[str, ...] = field(default=(), repr=False)
    ping_url: str | None = field(default=None, repr=False)
    on: frozenset[EventKind] = frozenset(EventKind)
    timeout_seconds: float = 10.0


class Notifier:
    """Sends messages and pings. No method raises: each gives what could not be delivered, to be counted and logged.

    A message takes `timeout_seconds` at most, a ping about twice that. `environ` is the process environment; `wait`
    pauses for so many seconds between two tries.
    """

    def __init__(
        self,
        settings: NotifySettings,
        *,
        environ: Mapping[str, str],
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        self._settings = settings
        self._courier = Courier(environ, settings.timeout_seconds)
        self._pinger = (
            None
            if settings.ping_url is None
            else Pinger(settings.ping_url, settings.timeout_seconds, f"backupd/{__version__}", wait)
        )

    def notify(self, event: Event) -> tuple[DeliveryFailure, ...]:
        """Send the event to every address, if it is one of those that are wanted; a test always is."""
        if event.kind is not EventKind.TEST and event.kind not in self._settings.on:
            return ()
        return self._courier.send(event, self._settings.urls)

    def ping_started(self, run_id: str) -> tuple[DeliveryFailure, ...]:
        """An automatic backup begins."""
        return self._ping(PingSignal.START, run_id, "")

    def ping_succeeded(self, run_id: str, body: str = "") -> tuple[DeliveryFailure, ...]:
        """An automatic backup completed; `body` says so in a line or two."""
        return self._ping(PingSignal.SUCCESS, run_id, body)

    def ping_failed(self, run_id: str, body: str = "") -> tuple[DeliveryFailure, ...]:
        """An automatic backup failed or came out partial; `body` says why."""
        return self._ping(PingSignal.FAIL, run_id, body)

    def _ping(self, signal: PingSignal, run_id: str, body: str) -> tuple[DeliveryFailure, ...]:
        return () if self._pinger is None else self._pinger.send(signal, run_id, body)
