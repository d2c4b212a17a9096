"""What admins ask for beside backups: verify and cleanup, one at a time, in a thread of their own."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from backupd.errors import BackupdError, RunLocked
from backupd.log import Logger
from backupd.model import Clock, Progress
from backupd.runner import as_failure

_REMEMBERED = 64


@dataclass(slots=True)
class Errand:
    """Something under way. `progress` is the last that was heard of it."""

    operation: str
    subject: str | None
    started_at: datetime
    progress: Progress | None = None
    stop: threading.Event = field(default_factory=threading.Event)

    def on_progress(self, progress: Progress) -> None:
        """Take note of how far it is."""
        self.progress = progress


@dataclass(frozen=True, slots=True)
class Ending:
    """How an errand ended: one line for a person, and what was found, line by line."""

    operation: str
    at: datetime
    well: bool
    words: str
    details: tuple[str, ...] = ()


Work = Callable[[Errand], Ending]


class Errands:
    """Does one errand at a time and remembers how the last ones ended. Its methods may be called from any thread."""

    def __init__(self, *, clock: Clock, log: Callable[[], Logger]) -> None:
        self._clock = clock
        self._log = log
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._current: Errand | None = None
        self._endings: OrderedDict[tuple[str, str | None], Ending] = OrderedDict()
        self._closed = False

    @property
    def current(self) -> Errand | None:
        """What is under way."""
        return self._current

    def ending(self, operation: str, subject: str | None = None) -> Ending | None:
        """How the last errand of this kind ended, None when there was none since the start."""
        return self._endings.get((operation, subject))

    def begin(self, operation: str, subject: str | None, work: Work) -> None:
        """Begin an errand. Raises RunLocked when another is under way, or when the daemon stops."""
        with self._lock:
            if self._closed or self._current is not None:
                busy = f"a {self._current.operation} is under way" if self._current else "the daemon is stopping"
                raise RunLocked(busy, hint="Wait for it to end, then try again.")
            errand = self._current = Errand(operation, subject, self._clock())
            self._endings.pop((operation, subject), None)
            self._thread = threading.Thread(
                target=self._run, args=(errand, work), name=f"errand-{operation}", daemon=True
            )
            self._thread.start()

    def close(self, seconds: float) -> None:
        """Begin none any more, ask the one under way to stop, and wait for it."""
        with self._lock:
            self._closed = True
            thread = self._thread
            if self._current is not None:
                self._current.stop.set()
        if thread is not None:
            thread.join(seconds)

    def _run(self, errand: Errand, work: Work) -> None:
        try:
            ending = work(errand)
        except BackupdError as error:
            details = (error.hint,) if error.hint else ()
            ending = Ending(errand.operation, self._clock(), False, error.message, details)
        except Exception as error:  # noqa: BLE001 - the end of this thread's line: it becomes how the errand ended
            failure = as_failure(error)
            self._log().critical("errand.failed", operation=errand.operation, exc_info=error)
            ending = Ending(errand.operation, self._clock(), False, failure.message)
        with self._lock:
            self._endings[errand.operation, errand.subject] = ending
            while len(self._endings) > _REMEMBERED:
                self._endings.popitem(last=False)
            self._current = None
