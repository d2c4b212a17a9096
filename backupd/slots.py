"""When a job is due: its slots as instants, and whether one of them still has to be run. Pure.

A slot is one instant at which a job falls due. Slots are computed here and remembered in the catalog; `schedule` only
wakes the daemon. That is what makes each slot run once: `schedule` itself forgets everything at a restart, and after a
spring night in Europe/Berlin it fires a 02:00 job twice the next day.
"""

from __future__ import annotations

from calendar import day_name
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from backupd.model import SlotRecord, Trigger

_PUNCTUAL = timedelta(minutes=5)
"""A slot run later than this was missed and is being caught up."""

_CLOCK_SLACK = timedelta(days=2)
"""A recorded slot further in the future than this was recorded by a clock that was wrong; it must not silence the
nights until then. Within this, a clock that was stepped back finds its slots done already."""


@dataclass(frozen=True, slots=True)
class Timetable:
    """When a job falls due: every day, or on one day of the week, at a local time."""

    at: time
    timezone: ZoneInfo
    weekday: int | None = None

    def latest(self, now: datetime) -> datetime:
        """The last slot at or before `now`."""
        return next(slot for slot in self._slots(now, -1) if slot <= now)

    def next(self, now: datetime) -> datetime:
        """The first slot after `now`."""
        return next(slot for slot in self._slots(now, 1) if slot > now)

    def words(self) -> str:
        """`daily at 02:00`, `on Sundays at 03:00`."""
        when = f"{self.at:%H:%M}"
        return f"daily at {when}" if self.weekday is None else f"on {day_name[self.weekday]}s at {when}"

    def _slots(self, now: datetime, step: int) -> Iterator[datetime]:
        day = now.astimezone(self.timezone).date() - timedelta(days=step)
        while True:
            if self.weekday is None or day.weekday() == self.weekday:
                yield self._instant(day)
            day += timedelta(days=step)

    def _instant(self, day: date) -> datetime:
        """The slot of one local day.

        An hour the clock skips in spring is read with the offset before the change, so 02:00 becomes 03:00; of an
        hour that comes twice in autumn, the first is meant (PEP 495, `fold=0`).
        """
        return datetime.combine(day, self.at, self.timezone).astimezone(UTC)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a slot that failed is tried again, and how long to wait before: growing pauses."""

    retries: int = 3
    first_pause: timedelta = timedelta(minutes=5)
    growth: int = 3

    def pause(self, attempt: int) -> timedelta:
        """How long to wait after the attempt number `attempt`, counted from 1."""
        factor: int = self.growth ** (attempt - 1)
        return self.first_pause * factor


@dataclass(frozen=True, slots=True)
class Due:
    """A slot that has to be run now."""

    slot_at: datetime
    attempt: int
    trigger: Trigger


def due(timetable: Timetable, record: SlotRecord | None, now: datetime, policy: RetryPolicy) -> Due | None:
    """Decide whether the last slot still has to be run; `record` is what the catalog remembers of this job.

    Of several missed slots only the last is run: a backup taken now is worth as much for all of them.
    """
    slot_at = timetable.latest(now)
    if record is None or record.slot_at < slot_at or record.slot_at > now + _CLOCK_SLACK:
        late = now - slot_at > _PUNCTUAL
        return Due(slot_at, 1, Trigger.CATCH_UP if late else Trigger.SCHEDULE)
    if record.settled or record.attempts > policy.retries:
        return None
    # With no attempt on record, one was begun and let go again: nothing has to be waited for.
    waited = now - record.tried_at
    if record.attempts > 0 and timedelta(0) <= waited < policy.pause(record.attempts):
        return None
    return Due(record.slot_at, record.attempts + 1, Trigger.SCHEDULE)


def next_attempt(timetable: Timetable, record: SlotRecord | None, now: datetime, policy: RetryPolicy) -> datetime:
    """When the job is run next, as far as can be said now: a slot that failed is tried again before the next one."""
    if due(timetable, record, now, policy) is not None:
        return now
    if record is None or record.settled or record.attempts > policy.retries:
        return timetable.next(now)
    return min(record.tried_at + policy.pause(record.attempts), timetable.next(now))
