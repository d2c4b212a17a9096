"""Keeps the timetable: `schedule` wakes it, the catalog says what has been done, `slots` decides what is due."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import schedule

from backupd.catalog import Catalog
from backupd.errors import BackupdError
from backupd.log import Logger
from backupd.model import Clock, SlotRecord, Trigger
from backupd.slots import Due, RetryPolicy, Timetable, due, next_attempt

_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

Start = Callable[[str, Due], bool]
"""Begins a job, and says whether it did. Must not raise."""


class Planner:
    """Begins each slot of each job once, whatever happens to the process, the machine or its clock.

    A `schedule` job may fire late, twice or not at all: all it does is look. What is due is decided from the catalog.
    A catalog that cannot be read or written silences no night: what is remembered is then kept in memory as well, so
    that the slot is run, fails for everybody to see, and is tried again after a pause and not at every tick.

    `is_free` says whether a job could begin now. It is asked before the catalog: otherwise a run that ends between
    the two would still look as if it had to be run.
    """

    def __init__(
        self, catalog: Catalog, start: Start, *, is_free: Callable[[], bool], clock: Clock, log: Logger
    ) -> None:
        self._catalog = catalog
        self._start = start
        self._is_free = is_free
        self._clock = clock
        self._log = log
        self._scheduler = schedule.Scheduler()
        self._timetables: dict[str, Timetable] = {}
        self._policy = RetryPolicy()
        self._memory: dict[str, SlotRecord | None] = {}
        self._unsaved: set[str] = set()
        self._unread: set[str] = set()
        self._under_way: set[str] = set()

    def use(self, catalog: Catalog, log: Logger) -> None:
        """Remember in this catalog from now on."""
        self._catalog = catalog
        self._log = log

    def register(self, timetables: Mapping[str, Timetable], policy: RetryPolicy) -> None:
        """Take these jobs instead of the ones before. Also called after a clock step: `schedule` keeps wall times."""
        self._timetables = dict(timetables)
        self._policy = policy
        self._scheduler.clear()
        for job, timetable in timetables.items():
            every = self._scheduler.every()
            on_its_day = every.day if timetable.weekday is None else getattr(every, _WEEKDAYS[timetable.weekday])
            on_its_day.at(f"{timetable.at:%H:%M}", str(timetable.timezone)).do(self._look_at, job)
            self._recall(job)

    def run_pending(self) -> None:
        """Let `schedule` fire what it holds due."""
        self._scheduler.run_pending()

    def look(self) -> None:
        """Look whether a slot of any job is due: missed ones, and failed ones whose pause is over."""
        for job in self._timetables:
            self._look_at(job)

    @property
    def idle_seconds(self) -> float:
        """How long until `schedule` has something to fire; never negative, as its own figure can be."""
        return max(self._scheduler.idle_seconds or 0.0, 0.0)

    def due(self, job: str) -> Due | None:
        """The slot of this job that has to be run now."""
        return due(self._timetables[job], self._recall(job), self._clock(), self._policy)

    def next_runs(self) -> dict[str, datetime]:
        """When each job is run next: at its next slot, or earlier where one is overdue or to be tried again."""
        now = self._clock()
        return {
            job: timetable.next(now)
            if job in self._under_way
            else next_attempt(timetable, self._memory.get(job), now, self._policy)
            for job, timetable in self._timetables.items()
        }

    def skip_missed(self) -> None:
        """Let go of what was missed while the daemon was away (`schedule.catch_up = false`); retries go on."""
        for job in self._timetables:
            missed = self.due(job)
            if missed is not None and missed.trigger is Trigger.CATCH_UP:
                self._remember(SlotRecord(job, missed.slot_at, 0, self._clock(), settled=True))
                self._log.warning("slot.skipped", job_name=job, slot_at=missed.slot_at.isoformat())

    def began(self, job: str, slot: Due) -> None:
        """Remember that an attempt at a slot begins; before it does, so that a crash does not repeat it for ever."""
        self._under_way.add(job)
        self._remember(SlotRecord(job, slot.slot_at, slot.attempt, self._clock(), settled=False))
        self._log.info("slot.begun", job_name=job, slot_at=slot.slot_at.isoformat(), attempt=slot.attempt)

    def ended(self, job: str, slot: Due, *, success: bool) -> timedelta | None:
        """Remember how it ended; gives the pause before the next attempt, None when there will be none."""
        again = not success and slot.attempt <= self._policy.retries
        self._remember(SlotRecord(job, slot.slot_at, slot.attempt, self._clock(), settled=not again))
        self._under_way.discard(job)
        return self._policy.pause(slot.attempt) if again else None

    def let_go(self, job: str, slot: Due) -> None:
        """Forget an attempt that was ended because the daemon stops: it was nobody's fault, and is made up for."""
        tried_at = self._clock() - self._policy.pause(slot.attempt)
        self._remember(SlotRecord(job, slot.slot_at, slot.attempt - 1, tried_at, settled=False))
        self._under_way.discard(job)

    def _look_at(self, job: str) -> None:
        """What `schedule` calls. It must not raise: `schedule` would fire it again at every tick, and no other job."""
        if not self._is_free():
            return
        slot = self.due(job)
        if slot is not None:
            self._start(job, slot)

    def _recall(self, job: str) -> SlotRecord | None:
        """What is remembered of a job: what the catalog says, or what could not be written or read there."""
        unsaved = self._memory.get(job) if job in self._unsaved else None
        if unsaved is not None:
            self._remember(unsaved)
            return unsaved
        try:
            self._memory[job] = self._catalog.slot(job)
            self._unread.discard(job)
        except BackupdError as error:
            self._complain(self._unread, job, "slot.unread", error)
        return self._memory.get(job)

    def _remember(self, record: SlotRecord) -> None:
        self._memory[record.job] = record
        try:
            self._catalog.save_slot(record)
            self._unsaved.discard(record.job)
        except BackupdError as error:
            self._complain(self._unsaved, record.job, "slot.unsaved", error)

    def _complain(self, known: set[str], job: str, event: str, error: BackupdError) -> None:
        """Say it once, not at every tick."""
        if job not in known:
            self._log.error(event, job_name=job, error=error.message, hint=error.hint)
        known.add(job)
