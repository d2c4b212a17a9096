"""Signals, blocked from the start and taken one by one by the loop: nothing ever runs inside a signal handler."""

from __future__ import annotations

import os
import signal
import threading

STOPPING = frozenset({signal.SIGTERM, signal.SIGINT})
_WAKE = signal.SIGUSR2
_HELD = frozenset({signal.SIGUSR1, signal.SIGHUP, _WAKE, *STOPPING})


class Signals:
    """The signals of this process, for the one thread that calls `hold`: the loop's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: int | None = None

    def hold(self) -> None:
        """From now on signals wait until `next` takes them. Threads started later leave them alone as well."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
        with self._lock:
            self._thread = threading.get_ident()

    def next(self, seconds: float) -> int | None:
        """Wait for a signal for so long at most; gives its number, None when none came."""
        caught = signal.sigtimedwait(_HELD, seconds)
        return None if caught is None else caught.si_signo

    def wake(self) -> None:
        """Let `next` return now. From any thread; after `let_go` it does nothing."""
        with self._lock:
            if self._thread is not None:
                signal.pthread_kill(self._thread, _WAKE)

    def let_go(self) -> None:
        """The loop is over: there is nothing to wake any more."""
        with self._lock:
            self._thread = None

    def exit_now(self, code: int) -> None:
        """End the process with this exit code, whatever its threads are doing."""
        os._exit(code)

    def exit_at_next(self, code: int) -> None:
        """From now on a signal that asks to stop ends the process at once with this exit code."""
        for number in STOPPING:
            signal.signal(number, lambda *_: self.exit_now(code))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
