"""How often somebody may try to sign in: so many failures in so many minutes, by address and by account."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable

_MOST_NAMES = 10_000


class Attempts:
    """Remembers failures for `window_seconds`; more than `most` of one name within that are too many.

    Memory is bounded: of very many names the oldest are forgotten.
    """

    def __init__(self, most: int, window_seconds: float, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._window_seconds = window_seconds
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    def wait_seconds(self, name: str) -> float:
        """How long this name has to wait before it may try again; 0 when it may now."""
        with self._lock:
            failures = self._recent(name)
            if len(failures) < self._most:
                return 0.0
            return max(failures[0] + self._window_seconds - self._monotonic(), 0.0)

    def failed(self, name: str) -> None:
        """Note a failure."""
        with self._lock:
            self._failures.setdefault(name, deque(maxlen=self._most)).append(self._monotonic())
            self._failures.move_to_end(name)
            while len(self._failures) > _MOST_NAMES:
                self._failures.popitem(last=False)

    def succeeded(self, name: str) -> None:
        """Forget the failures of whoever has proved who they are."""
        with self._lock:
            self._failures.pop(name, None)

    def _recent(self, name: str) -> deque[float]:
        failures = self._failures.get(name, deque())
        oldest = self._monotonic() - self._window_seconds
        while failures and failures[0] <= oldest:
            failures.popleft()
        return failures
