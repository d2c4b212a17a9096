"""One thing at a time beside the loop, watched: who asked for it, how far it is, and whether it still moves."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from backupd.model import Progress, Trigger

Monotonic = Callable[[], float]

_HUNG_AFTER_SECONDS = 120.0


def nothing() -> None:
    """Nothing is to be done."""


class Guard:
    """Says when a run has to stop: it was asked to, it takes too long, or it does not move any more.

    `reason` then says why, None when it was asked to. Used from several threads; each field is written by one.
    """

    def __init__(self, *, deadline_seconds: float, stall_seconds: float, monotonic: Monotonic = time.monotonic) -> None:
        self._monotonic = monotonic
        self._stall_seconds = stall_seconds
        self._end = monotonic() + deadline_seconds
        self._moved_at = monotonic()
        self._deadline_seconds = deadline_seconds
        self._asked = threading.Event()
        self._tables: dict[str, Progress] = {}
        self.latest: Progress | None = None
        self.reason: str | None = None
        self._is_over = False

    def end(self) -> None:
        """The run has ended, and only its messages are left: whoever asks now wants another."""
        self._is_over = True

    def on_progress(self, progress: Progress) -> None:
        """Take note that the run moves."""
        self._moved_at = self._monotonic()
        self.latest = progress
        if progress.stage == "reading" and progress.table is not None:
            before = self._tables.get(progress.table)
            expected = progress.expected_rows or (before.expected_rows if before else None)
            self._tables[progress.table] = replace(progress, expected_rows=expected)

    def ask_to_stop(self) -> None:
        """Ask the run to stop at the next page."""
        self._asked.set()

    def should_stop(self) -> bool:
        """Whether the run has to stop now."""
        if self._asked.is_set() or self.reason is not None:
            return True
        if self._late_seconds > 0:
            self.reason = f"it took longer than {self._deadline_seconds / 3600:g} hours (schedule.deadline_hours)"
        elif self._stalled_seconds > 0:
            self.reason = f"it made no progress for {self._stall_seconds / 60:g} minutes (schedule.stall_minutes)"
        return self.reason is not None

    def should_stop_between_steps(self) -> bool:
        """The same, for a run whose only progress is that it asks this between two steps."""
        self._moved_at = self._monotonic()
        return self.should_stop()

    @property
    def tables(self) -> tuple[Progress, ...]:
        """The last that was heard of each table, in the order in which they were begun."""
        return tuple(self._tables.copy().values())

    @property
    def progress_ratio(self) -> float | None:
        """How much of the rows that are known to come has been read; None before any are known."""
        tables = list(self._tables.values())
        expected = sum(one.expected_rows or one.rows for one in tables)
        return min(1.0, sum(one.rows for one in tables) / expected) if expected else None

    @property
    def may_be_joined(self) -> bool:
        """Whether the run can still answer somebody else's request: it has not ended, and is not being ended."""
        return not (self._is_over or self._asked.is_set() or self.reason is not None)

    @property
    def is_hung(self) -> bool:
        """Whether the run should have stopped long ago and has not: then only a restart helps."""
        return max(self._late_seconds, self._stalled_seconds) > _HUNG_AFTER_SECONDS

    @property
    def _late_seconds(self) -> float:
        return self._monotonic() - self._end

    @property
    def _stalled_seconds(self) -> float:
        """How long it has not moved beyond what is allowed. A large archive on its way to the store has no pages."""
        if self.latest is not None and self.latest.stage == "storing":
            return 0.0
        return self._monotonic() - self._moved_at - self._stall_seconds


@dataclass(frozen=True, slots=True)
class Task:
    """Something the worker does. `backup_id` is that of the backup it takes.

    `let_go` undoes what was noted at its beginning; it is called when the task is left behind in the middle.
    """

    operation: str
    trigger: Trigger
    started_at: datetime
    guard: Guard
    work: Callable[[], None] = field(repr=False)
    backup_id: str | None = None
    let_go: Callable[[], None] = field(default=nothing, repr=False)


class Worker:
    """Does one task at a time, in a thread of its own."""

    def __init__(self, when_done: Callable[[], None]) -> None:
        self._when_done = when_done
        self._lock = threading.Lock()
        self._task: Task | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def task(self) -> Task | None:
        """What is being done now."""
        return self._task

    def start(self, task: Task) -> bool:
        """Begin a task; False when another is under way, or when no more are taken."""
        with self._lock:
            if self._task is not None or self._closed:
                return False
            # A daemon thread: one that hangs must not keep a process alive whose loop is over.
            thread = threading.Thread(target=self._run, args=(task,), name=f"worker-{task.operation}", daemon=True)
            thread.start()
            self._task, self._thread = task, thread
            return True

    def close(self, seconds: float) -> bool:
        """Take no more tasks, ask the one under way to stop, and wait for it. False when it did not stop in time."""
        with self._lock:
            self._closed = True
            task, thread = self._task, self._thread
        if task is not None:
            task.guard.ask_to_stop()
        if thread is not None:
            thread.join(seconds)
            return not thread.is_alive()
        return True

    def _run(self, task: Task) -> None:
        try:
            task.work()
        finally:
            with self._lock:
                self._task = None
            self._when_done()
