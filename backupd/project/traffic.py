"""What goes over the wire: counted for the metrics, and kept below a rate."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Traffic:
    """What went over the wire so far, counted for the metrics. Safe to use from several threads."""

    requests: Counter[str] = field(default_factory=Counter)
    retries: Counter[str] = field(default_factory=Counter)
    received_bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answered(self, code: str) -> None:
        """Count a request by its status code, or by the word for what happened instead of one."""
        with self._lock:
            self.requests[code] += 1

    def retried(self, reason: str) -> None:
        """Count a retry by its reason."""
        with self._lock:
            self.retries[reason] += 1

    def received(self, size_bytes: int) -> None:
        """Count bytes as they came over the wire: this is what egress is billed by."""
        with self._lock:
            self.received_bytes += size_bytes


class Throttle:
    """Keeps the rate at which bytes are taken off the wire below a cap, over all threads together."""

    def __init__(self, bytes_per_second: int | None, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._rate = bytes_per_second
        self._monotonic = monotonic
        self._free_at = monotonic()
        self._lock = threading.Lock()

    def pause_for(self, size_bytes: int) -> float:
        """Seconds to wait before the next read, now that `size_bytes` have been read."""
        if not self._rate:
            return 0.0
        with self._lock:
            now = self._monotonic()
            self._free_at = max(self._free_at, now) + size_bytes / self._rate
            return self._free_at - now

    def bytes_within(self, seconds: float, most: int) -> int:
        """How many bytes may come in so many seconds; `most` where there is no cap, or where it is not reached."""
        return min(most, max(1, int(self._rate * seconds))) if self._rate else most
