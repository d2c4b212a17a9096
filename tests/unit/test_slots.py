"""When jobs fall due: DST nights, missed slots, retries, clocks that were wrong."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from backupd.model import SlotRecord, Trigger
from backupd.slots import Due, RetryPolicy, Timetable, due

BERLIN = ZoneInfo("Europe/Berlin")
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")
DAILY = Timetable(time(2), ZoneInfo("UTC"))
SUNDAYS = Timetable(time(3), ZoneInfo("UTC"), weekday=6)


def at(text: str) -> datetime:
    """An instant in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def record(slot: str, *, attempts: int = 1, tried: str | None = None, settled: bool = False) -> SlotRecord:
    """What the catalog remembers of a slot."""
    return SlotRecord("daily_backup", at(slot), attempts, at(tried or slot), settled)


def test_latest_just_before_the_time_is_yesterday() -> None:
    """At 01:59 the last slot is yesterday's."""
    assert DAILY.latest(at("2026-11-22T01:59")) == at("2026-11-21T02:00")


def test_latest_at_the_time_is_now() -> None:
    """At 02:00 sharp the slot has come."""
    assert DAILY.latest(at("2026-11-22T02:00")) == at("2026-11-22T02:00")


def test_next_at_the_time_is_tomorrow() -> None:
    """The next slot is always later than now."""
    assert DAILY.next(at("2026-11-22T02:00")) == at("2026-11-23T02:00")


def test_weekly_latest_and_next_are_sundays() -> None:
    """A weekly job's slots are a week apart."""
    monday = at("2026-11-23T12:00")
    assert (SUNDAYS.latest(monday), SUNDAYS.next(monday)) == (at("2026-11-22T03:00"), at("2026-11-29T03:00"))


def test_spring_night_moves_the_skipped_hour_forward() -> None:
    """In Berlin on 2026-03-29 there is no 02:00: the backup runs at 03:00 local time, 01:00 UTC."""
    timetable = Timetable(time(2), BERLIN)
    assert timetable.latest(at("2026-03-29T12:00")) == at("2026-03-29T01:00")


def test_autumn_night_takes_the_first_of_two() -> None:
    """In Berlin on 2026-10-25 it is 02:00 twice: the first one counts, 00:00 UTC."""
    timetable = Timetable(time(2), BERLIN)
    assert timetable.latest(at("2026-10-25T12:00")) == at("2026-10-25T00:00")


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])
def test_slots_of_a_year_are_one_a_local_day(zone: str) -> None:
    """Whatever the clock does in between, a daily job has 365 slots a year, one for each local date."""
    timetable = Timetable(time(2), ZoneInfo(zone))
    now = at("2026-01-01T12:00")
    days = []
    for _ in range(365):
        now = timetable.next(now)
        days.append(now.astimezone(timetable.timezone).date())
    assert len(set(days)) == 365
    assert days == sorted(days)
    assert days[-1] - days[0] == timedelta(days=364)


def test_due_on_time_is_the_schedule() -> None:
    """A slot that has just come is run for the schedule."""
    decided = due(DAILY, record("2026-11-21T02:00", settled=True), at("2026-11-22T02:00:10"), RetryPolicy())
    assert decided == Due(at("2026-11-22T02:00"), 1, Trigger.SCHEDULE)


def test_due_after_days_of_absence_is_caught_up_once() -> None:
    """After three missed nights the last one is run, as a catch-up."""
    decided = due(DAILY, record("2026-11-18T02:00", settled=True), at("2026-11-22T09:00"), RetryPolicy())
    assert decided == Due(at("2026-11-22T02:00"), 1, Trigger.CATCH_UP)


def test_due_without_a_record_is_caught_up() -> None:
    """A new installation does not wait for the night."""
    decided = due(DAILY, None, at("2026-11-22T09:00"), RetryPolicy())
    assert decided == Due(at("2026-11-22T02:00"), 1, Trigger.CATCH_UP)


def test_due_settled_slot_is_not_run_again() -> None:
    """`schedule` may fire as often as it likes: a slot that is done is done."""
    assert due(DAILY, record("2026-11-22T02:00", settled=True), at("2026-11-22T02:00:30"), RetryPolicy()) is None


def test_due_failed_slot_waits_for_its_pause() -> None:
    """After a failure the next attempt comes when the pause is over, not before."""
    failed = record("2026-11-22T02:00", attempts=2, tried="2026-11-22T02:10")
    assert due(DAILY, failed, at("2026-11-22T02:24"), RetryPolicy()) is None
    assert due(DAILY, failed, at("2026-11-22T02:25"), RetryPolicy()) == Due(at("2026-11-22T02:00"), 3, Trigger.SCHEDULE)


def test_due_after_the_last_retry_is_given_up() -> None:
    """Three retries are four attempts; then the next night has its turn."""
    spent = record("2026-11-22T02:00", attempts=4, tried="2026-11-22T03:00")
    assert due(DAILY, spent, at("2026-11-22T23:00"), RetryPolicy()) is None
    assert due(DAILY, spent, at("2026-11-23T02:00"), RetryPolicy()) is not None


def test_due_record_from_the_future_is_a_wrong_clock() -> None:
    """A slot recorded while the clock showed 2030 does not silence four years of nights."""
    wrong = record("2030-01-01T02:00", settled=True)
    assert due(DAILY, wrong, at("2026-11-22T02:00"), RetryPolicy()) is not None


def test_due_clock_stepped_back_behind_an_attempt_does_not_wait_for_ever() -> None:
    """An attempt in the future is no reason to wait for it."""
    failed = record("2026-11-22T02:00", tried="2026-11-23T02:00")
    assert due(DAILY, failed, at("2026-11-22T02:01"), RetryPolicy()) is not None


@pytest.mark.parametrize("now", ["2026-11-22T01:58", "2026-11-21T02:00"])
def test_due_clock_stepped_back_over_a_settled_slot_runs_nothing_twice(now: str) -> None:
    """Back before a slot that is done, by minutes or a day, neither it nor the one before is run again."""
    assert due(DAILY, record("2026-11-22T02:00", settled=True), at(now), RetryPolicy()) is None


def test_words_say_the_time_as_people_do() -> None:
    """The schedule in words, for status and pages."""
    assert (DAILY.words(), SUNDAYS.words()) == ("daily at 02:00", "on Sundays at 03:00")
