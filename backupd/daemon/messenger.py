"""Delivers messages and pings in their order, beside the runs: a service that hangs holds up no backup and no stop."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from backupd.log import Logger
from backupd.notify import DeliveryFailure
from backupd.runner import as_failure

Delivery = Callable[[], tuple[DeliveryFailure, ...]]
"""Sends one message or ping, and gives what could not be delivered."""


class Messenger:
    """Sends one thing after the other, in a thread of its own. `count_failure` is told of each that did not arrive."""

    def __init__(self, count_failure: Callable[[], None]) -> None:
        self._count_failure = count_failure
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Delivery, Logger]] = deque()
        self._busy = False
        self._thread: threading.Thread | None = None

    def send(self, delivery: Delivery, log: Logger) -> None:
        """Have it sent after what was given before, and return at once. What goes wrong is counted and logged."""
        with self._changed:
            self._waiting.append((delivery, log))
            self._changed.notify_all()
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="messenger", daemon=True)
                self._thread.start()

    def flush(self, seconds: float) -> int:
        """Wait so long at most until everything is sent; gives how many are not."""
        with self._changed:
            self._changed.wait_for(lambda: self._left == 0, seconds)
            return self._left

    @property
    def _left(self) -> int:
        return len(self._waiting) + self._busy

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                delivery, log = self._waiting.popleft()
                self._busy = True
            self._deliver(delivery, log)
            with self._changed:
                self._busy = False
                self._changed.notify_all()

    def _deliver(self, delivery: Delivery, log: Logger) -> None:
        try:
            failures = delivery()
        except Exception as error:  # noqa: BLE001 - the end of this thread's line: nobody above it could go on
            failures = (DeliveryFailure("notify", as_failure(error).message),)
        for failure in failures:
            log.warning("notification.failed", target=failure.target, reason=failure.reason)
            self._count_failure()
