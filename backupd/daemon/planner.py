"""Keeps the timetable: `schedule` wakes it, the catalog says what has been done, `slots` decides what is due."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import schedule

from backupd.catalog import Catalog
from backupd.errors import BackupdError
from backupd.log import Logger
from backupd.model import Clock, SlotRecord
from backupd.slots import Due, RetryPolicy, Timetable, due

_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

Start = Callable[[str, Due], bool]
"""Begins a job, and says whether it did; it does not when another run is under way. Must not raise."""


class Planner:
    """Begins each slot of each job once, whatever happens to the process, the machine or its clock.

    A `schedule` job may fire late, twice or not at all: all it does is look. What is due is decided from the catalog.
    """

    def __init__(self, catalog: Catalog, start: Start, *, clock: Clock, log: Logger) -> None:
        self._catalog = catalog
        self._start = start
        self._clock = clock
        self._log = log
        self._scheduler = schedule.Scheduler()
        self._timetables: dict[str, Timetable] = {}
        self._policy = RetryPolicy()

    def register(self, timetables: Mapping[str, Timetable], policy: RetryPolicy) -> None:
        """Take these jobs instead of the ones before. Also called after a clock step: `schedule` keeps wall times."""
        self._timetables = dict(timetables)
        self._policy = policy
        self._scheduler.clear()
        for job, timetable in timetables.items():
            every = self._scheduler.every()
            on_its_day = every.day if timetable.weekday is None else getattr(every, _WEEKDAYS[timetable.weekday])
            on_its_day.at(f"{timetable.at:%H:%M}", str(timetable.timezone)).do(self._look_at, job)

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

    def next_runs(self) -> dict[str, datetime]:
        """The next slot of each job."""
        now = self._clock()
        return {job: timetable.next(now) for job, timetable in self._timetables.items()}

    def skip_missed(self) -> None:
        """Let go of what was missed while the daemon was away (`schedule.catch_up = false`)."""
        now = self._clock()
        for job, timetable in self._timetables.items():
            missed = due(timetable, self._catalog.slot(job), now, self._policy)
            if missed is not None:
                self._catalog.save_slot(SlotRecord(job, missed.slot_at, 0, now, settled=True))
                self._log.warning("slot.skipped", job_name=job, slot_at=missed.slot_at.isoformat())

    def began(self, job: str, slot: Due) -> None:
        """Remember that an attempt at a slot begins; before it does, so that a crash does not repeat it for ever."""
        self._catalog.save_slot(SlotRecord(job, slot.slot_at, slot.attempt, self._clock(), settled=False))

    def ended(self, job: str, slot: Due, *, success: bool) -> timedelta | None:
        """Remember how it ended; gives the pause before the next attempt, None when there will be none."""
        again = not success and slot.attempt <= self._policy.retries
        self._catalog.save_slot(SlotRecord(job, slot.slot_at, slot.attempt, self._clock(), settled=not again))
        return self._policy.pause(slot.attempt) if again else None

    def postponed(self, job: str, slot: Due) -> None:
        """Remember that an attempt did not take place, because another process holds the lock."""
        long_ago = self._clock() - self._policy.pause(slot.attempt)
        self._catalog.save_slot(SlotRecord(job, slot.slot_at, slot.attempt - 1, long_ago, settled=False))

    def _look_at(self, job: str) -> None:
        """What `schedule` calls. It must not raise: `schedule` would fire it again at every tick, and no other job."""
        try:
            slot = due(self._timetables[job], self._catalog.slot(job), self._clock(), self._policy)
            if slot is not None and self._start(job, slot):
                self._log.info("slot.begun", job_name=job, slot_at=slot.slot_at.isoformat(), attempt=slot.attempt)
        except BackupdError as error:
            self._log.error("slot.unknown", job_name=job, error=error.message)
