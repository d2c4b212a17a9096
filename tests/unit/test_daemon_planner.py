"""A year of nights, with restarts and clock steps: each slot runs once."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from io import StringIO
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import time_machine

from backupd.catalog import Catalog
from backupd.daemon.planner import Planner
from backupd.log import make_logger
from backupd.model import Trigger, utc_now
from backupd.slots import Due, RetryPolicy, Timetable

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    """An empty catalog."""
    with Catalog.open(tmp_path / "catalog.sqlite") as opened:
        yield opened


class Life:
    """A planner whose runs end at once, and the process around it that may be killed and started again."""

    def __init__(self, catalog: Catalog, zone: str) -> None:
        self.catalog = catalog
        self.zone = ZoneInfo(zone)
        self.ran: list[tuple[str, Due]] = []
        self.fails = 0
        self.busy = False
        self.start()

    def start(self) -> None:
        """Start the process anew: all that `schedule` knew is gone."""
        self.planner = Planner(
            self.catalog, self.begin, is_free=lambda: not self.busy, clock=utc_now, log=make_logger(StringIO())
        )
        self.register()

    def register(self) -> None:
        """Register the jobs of the product."""
        timetables = {
            "daily_backup": Timetable(time(2), self.zone),
            "weekly_cleanup": Timetable(time(3), self.zone, weekday=6),
        }
        self.planner.register(timetables, RetryPolicy())

    def begin(self, job: str, slot: Due) -> bool:
        """Run a slot at once; the next `fails` of them fail."""
        self.planner.began(job, slot)
        self.ran.append((job, slot))
        self.planner.ended(job, slot, success=self.fails == 0)
        self.fails = max(0, self.fails - 1)
        return True

    def tick(self) -> None:
        """One turn of the daemon's loop."""
        self.planner.run_pending()
        self.planner.look()

    def days(self, job: str) -> list[date]:
        """The local dates of the slots that ran."""
        return [slot.slot_at.astimezone(self.zone).date() for name, slot in self.ran if name == job]


@pytest.mark.parametrize("zone", ZONES)
def test_planner_over_a_year_with_restarts_runs_each_night_once(catalog: Catalog, zone: str) -> None:
    """Restarted at random moments, down for hours or days: one backup a day at most, none lost, one cleanup a week."""
    chance = random.Random(zone)
    begin = datetime(2026, 1, 1, 12, tzinfo=UTC)
    with time_machine.travel(begin, tick=False) as clock:
        life = Life(catalog, zone)
        while utc_now() < begin + timedelta(days=365):
            life.tick()
            if chance.random() < 0.05:
                life.start()
            clock.shift(timedelta(minutes=chance.choice([1, 20, 45, 60, 90, 120])))
        life.tick()
    first = begin.astimezone(life.zone).date()
    nights = life.days("daily_backup")
    assert max(Counter(nights).values()) == 1
    assert nights == [first + timedelta(days=number) for number in range(len(nights))]
    assert len(nights) in (365, 366)
    sundays = life.days("weekly_cleanup")
    assert max(Counter(sundays).values()) == 1
    assert sundays[1:] == [sundays[0] + timedelta(days=7 * number) for number in range(1, len(sundays))]
    assert len(sundays) in (52, 53)


@pytest.mark.parametrize("zone", ZONES)
def test_planner_runs_a_slot_within_the_tick_that_reaches_it(catalog: Catalog, zone: str) -> None:
    """On every night of the year, the nights the clock changes included, the backup begins on time."""
    begin = datetime(2026, 1, 1, 12, tzinfo=UTC)
    timetable = Timetable(time(2), ZoneInfo(zone))
    with time_machine.travel(begin, tick=False) as clock:
        life = Life(catalog, zone)
        life.tick()
        slot = timetable.next(begin)
        while slot < begin + timedelta(days=365):
            clock.move_to(slot - timedelta(seconds=1))
            life.tick()
            before = len(life.days("daily_backup"))
            clock.move_to(slot + timedelta(seconds=1))
            life.tick()
            assert len(life.days("daily_backup")) == before + 1, slot
            slot = timetable.next(slot)


@pytest.mark.parametrize("step", [timedelta(days=1), timedelta(days=-1), timedelta(hours=3), timedelta(hours=-3)])
def test_planner_after_a_clock_step_misses_and_doubles_nothing(catalog: Catalog, step: timedelta) -> None:
    """The clock is stepped at noon, both ways: no night's slot runs twice, and the nights after go on."""
    begin = datetime(2026, 6, 1, 12, tzinfo=UTC)
    with time_machine.travel(begin, tick=False) as clock:
        life = Life(catalog, "Europe/Berlin")
        for hour in range(24 * 14):
            life.tick()
            clock.shift(timedelta(hours=1))
            if hour == 24 * 5:
                clock.shift(step)
                life.register()
    nights = life.days("daily_backup")
    assert max(Counter(nights).values()) == 1
    assert nights[-1] - nights[0] == timedelta(days=len(nights) - 1)


def test_planner_with_a_clock_wrong_at_boot_recovers(catalog: Catalog) -> None:
    """Booted in 2030 by a wrong clock, then corrected: the nights of 2026 are not silenced."""
    with time_machine.travel(datetime(2030, 1, 1, 12, tzinfo=UTC), tick=False) as clock:
        life = Life(catalog, "UTC")
        life.tick()
        clock.move_to(datetime(2026, 11, 22, 12, tzinfo=UTC))
        life.register()
        life.tick()
        clock.move_to(datetime(2026, 11, 23, 2, 0, 1, tzinfo=UTC))
        life.tick()
    assert life.days("daily_backup")[1:] == [date(2026, 11, 22), date(2026, 11, 23)]


def test_planner_after_failures_retries_with_growing_pauses(catalog: Catalog) -> None:
    """A night that fails is tried three times more, after 5, 15 and 45 minutes, and then left alone."""
    with time_machine.travel(datetime(2026, 11, 22, 1, 59, tzinfo=UTC), tick=False) as clock:
        life = Life(catalog, "UTC")
        life.tick()
        life.ran.clear()
        life.fails = 99
        begun: list[str] = []
        for _ in range(180):
            clock.shift(timedelta(minutes=1))
            before = len(life.days("daily_backup"))
            life.tick()
            if len(life.days("daily_backup")) > before:
                begun.append(f"{utc_now():%H:%M}")
    assert begun == ["02:00", "02:05", "02:20", "03:05"]


def test_planner_after_a_failure_and_a_restart_does_not_begin_anew(catalog: Catalog) -> None:
    """The attempts are counted in the catalog: a daemon that crashes in its backup does not do so for ever."""
    with time_machine.travel(datetime(2026, 11, 22, 2, 1, tzinfo=UTC), tick=False) as clock:
        life = Life(catalog, "UTC")
        life.fails = 99
        for _ in range(500):
            life.start()
            life.tick()
            clock.shift(timedelta(minutes=1))
    assert len(life.days("daily_backup")) == 4


def test_planner_with_a_busy_worker_keeps_the_slot(catalog: Catalog) -> None:
    """A slot that falls due while a manual backup runs is run after it, as an automatic backup of its own."""
    with time_machine.travel(datetime(2026, 11, 22, 2, 0, 1, tzinfo=UTC), tick=False) as clock:
        life = Life(catalog, "UTC")
        life.busy = True
        life.tick()
        assert life.ran == []
        clock.shift(timedelta(minutes=20))
        life.busy = False
        life.tick()
    assert ("daily_backup", Due(datetime(2026, 11, 22, 2, tzinfo=UTC), 1, Trigger.CATCH_UP)) in life.ran


def test_planner_slot_let_go_is_due_again_at_once(catalog: Catalog) -> None:
    """The daemon was told to stop in the middle: that was no attempt, and needs no pause."""
    with time_machine.travel(datetime(2026, 11, 22, 2, 0, 1, tzinfo=UTC), tick=False):
        life = Life(catalog, "UTC")
        slot = Due(datetime(2026, 11, 22, 2, tzinfo=UTC), 1, Trigger.SCHEDULE)
        life.planner.began("daily_backup", slot)
        life.planner.let_go("daily_backup", slot)
        life.tick()
    assert ("daily_backup", slot) in life.ran


def test_planner_told_not_to_catch_up_waits_for_the_night(catalog: Catalog) -> None:
    """With schedule.catch_up off, what was missed is let go, and the next night runs."""
    with time_machine.travel(datetime(2026, 11, 22, 12, tzinfo=UTC), tick=False) as clock:
        life = Life(catalog, "UTC")
        life.planner.skip_missed()
        life.tick()
        assert life.ran == []
        clock.move_to(datetime(2026, 11, 23, 2, 0, 1, tzinfo=UTC))
        life.tick()
    assert life.days("daily_backup") == [date(2026, 11, 23)]


def broken(catalog: Catalog, start: Callable[[str, Due], bool], lines: StringIO) -> Planner:
    """A planner that has seen its catalog in order, and whose catalog then breaks."""
    planner = Planner(catalog, start, is_free=lambda: True, clock=utc_now, log=make_logger(lines))
    planner.register({"daily_backup": Timetable(time(2), ZoneInfo("UTC"))}, RetryPolicy())
    catalog.close()
    return planner


def test_planner_with_a_broken_catalog_still_begins_the_night(catalog: Catalog) -> None:
    """A catalog that cannot be read silences no night: the run begins, and fails for everybody to see."""
    begun: list[Due] = []

    def start(job: str, slot: Due) -> bool:
        begun.append(slot)
        return True

    with time_machine.travel(datetime(2026, 11, 22, 2, 0, 1, tzinfo=UTC), tick=False):
        planner = broken(catalog, start, StringIO())
        planner.look()
    assert begun == [Due(datetime(2026, 11, 22, 2, tzinfo=UTC), 1, Trigger.SCHEDULE)]


def test_planner_with_a_broken_catalog_tries_again_after_a_pause_only(catalog: Catalog) -> None:
    """What cannot be written is kept in memory: four attempts in an hour, not one at every tick."""
    begun: list[str] = []

    def start(job: str, slot: Due) -> bool:
        begun.append(f"{utc_now():%H:%M}")
        planner.began(job, slot)
        planner.ended(job, slot, success=False)
        return True

    with time_machine.travel(datetime(2026, 11, 22, 2, tzinfo=UTC), tick=False) as clock:
        planner = broken(catalog, start, StringIO())
        for _ in range(180):
            planner.look()
            clock.shift(timedelta(minutes=1))
    assert begun == ["02:00", "02:05", "02:20", "03:05"]


def test_planner_with_a_broken_catalog_says_so_once(catalog: Catalog) -> None:
    """The log is not filled at every tick."""
    lines = StringIO()
    with time_machine.travel(datetime(2026, 11, 22, 2, tzinfo=UTC), tick=False):
        planner = broken(catalog, lambda *_: False, lines)
        for _ in range(5):
            planner.look()
    assert lines.getvalue().count("slot.unread") == 1


def test_planner_saves_later_what_the_catalog_could_not_take(catalog: Catalog, tmp_path: Path) -> None:
    """When there is space again the catalog learns of the night that was run meanwhile."""
    with time_machine.travel(datetime(2026, 11, 22, 2, tzinfo=UTC), tick=False):
        planner = broken(catalog, lambda *_: False, StringIO())
        slot = Due(datetime(2026, 11, 22, 2, tzinfo=UTC), 1, Trigger.SCHEDULE)
        planner.ended("daily_backup", slot, success=True)
        with Catalog.open(tmp_path / "catalog.sqlite") as mended:
            planner.use(mended, make_logger(StringIO()))
            planner.look()
            record = mended.slot("daily_backup")
    assert record is not None
    assert record.settled


def test_planner_says_when_a_failed_night_is_tried_again(catalog: Catalog) -> None:
    """The next run is the retry, not the night after."""
    with time_machine.travel(datetime(2026, 11, 22, 2, 0, 1, tzinfo=UTC), tick=False):
        life = Life(catalog, "UTC")
        life.fails = 1
        life.tick()
        assert life.planner.next_runs()["daily_backup"] == datetime(2026, 11, 22, 2, 5, 1, tzinfo=UTC)


def test_planner_says_during_a_run_when_the_next_night_is(catalog: Catalog) -> None:
    """While an attempt is under way the next run is tomorrow's, not its retry."""
    with time_machine.travel(datetime(2026, 11, 22, 2, 0, 1, tzinfo=UTC), tick=False):
        life = Life(catalog, "UTC")
        life.planner.began("daily_backup", Due(datetime(2026, 11, 22, 2, tzinfo=UTC), 1, Trigger.SCHEDULE))
        assert life.planner.next_runs()["daily_backup"] == datetime(2026, 11, 23, 2, tzinfo=UTC)


def test_planner_told_not_to_catch_up_still_retries(catalog: Catalog) -> None:
    """A night that failed was not missed: schedule.catch_up has no say in it."""
    with time_machine.travel(datetime(2026, 11, 22, 2, 0, 1, tzinfo=UTC), tick=False) as clock:
        life = Life(catalog, "UTC")
        life.fails = 1
        life.tick()
        clock.shift(timedelta(minutes=10))
        life.planner.skip_missed()
        life.tick()
    assert [slot.attempt for job, slot in life.ran if job == "daily_backup"] == [1, 2]
