"""The verdict: which facts make it healthy, degraded or unhealthy, and in which words."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from backupd.health import HealthFacts, HealthState, assess
from backupd.model import Backup, BackupType, Status, Trigger

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def backup(hours_ago: float, status: Status = Status.COMPLETED) -> Backup:
    """A backup of so many hours ago."""
    at = NOW - timedelta(hours=hours_ago)
    return Backup("b7f3c2a1-0000", at, BackupType.AUTOMATIC, status, Trigger.SCHEDULE, "Car Audio", "xyz.supabase.co")


def facts(**changes: object) -> HealthFacts:
    """A daemon that is well, except for `changes`."""
    good = HealthFacts(
        stale_after=timedelta(hours=26),
        last_success=backup(10),
        last_ended=backup(10),
        started_at=NOW - timedelta(days=3),
        ticked_at=NOW - timedelta(seconds=5),
    )
    return replace(good, **changes)  # type: ignore[arg-type]


def test_assess_fresh_success_is_healthy() -> None:
    """A good backup of last night and a loop that turns: nothing to say."""
    health = assess(facts(), NOW)
    assert (health.state, health.reasons) == (HealthState.HEALTHY, ())


@pytest.mark.parametrize(("hours", "state"), [(26, HealthState.HEALTHY), (26.1, HealthState.UNHEALTHY)])
def test_assess_age_of_the_last_success_decides(hours: float, state: HealthState) -> None:
    """Up to `stale_after` it is fresh, beyond it is not."""
    old = backup(hours)
    assert assess(facts(last_success=old, last_ended=old), NOW).state is state


def test_assess_stale_success_says_how_old() -> None:
    """The reason is a sentence a person understands at three in the morning."""
    old = backup(50)
    reason = assess(facts(last_success=old, last_ended=old), NOW).reasons[0]
    assert reason.text == "The last good backup is 50 hours old; there should be one every 26 hours."


def test_assess_without_any_success_is_unhealthy() -> None:
    """A daemon that has run for days and never succeeded is not well."""
    assert assess(facts(last_success=None, last_ended=None), NOW).state is HealthState.UNHEALTHY


def test_assess_new_daemon_without_a_success_is_only_degraded() -> None:
    """In its first hour the first backup may still be on its way."""
    young = facts(last_success=None, last_ended=None, started_at=NOW - timedelta(minutes=10))
    assert assess(young, NOW).state is HealthState.DEGRADED


@pytest.mark.parametrize(
    ("status", "words"),
    [(Status.PARTIAL, "The last backup lacks something."), (Status.FAILED, "The last backup failed.")],
)
def test_assess_bad_attempt_after_a_fresh_success_is_degraded(status: Status, words: str) -> None:
    """A failure tonight matters, but last night's backup is still fresh."""
    health = assess(facts(last_ended=backup(1, status)), NOW)
    assert (health.state, health.reasons[0].text) == (HealthState.DEGRADED, words)


def test_assess_partial_backups_alone_do_not_count_as_success() -> None:
    """Nights of partial backups are nights without a good one."""
    health = assess(facts(last_success=backup(60), last_ended=backup(1, Status.PARTIAL)), NOW)
    assert health.state is HealthState.UNHEALTHY


def test_assess_loop_that_does_not_turn_is_unhealthy() -> None:
    """A daemon that hangs takes no backups, whatever the last one was."""
    assert assess(facts(ticked_at=NOW - timedelta(minutes=6)), NOW).state is HealthState.UNHEALTHY


def test_assess_without_a_daemon_asks_no_tick() -> None:
    """`backupd status` from outside may not know the loop."""
    assert assess(facts(ticked_at=None), NOW).state is HealthState.HEALTHY


def test_assess_worker_that_does_not_move_is_unhealthy() -> None:
    """A run that hangs blocks every other."""
    assert assess(facts(hung=True), NOW).state is HealthState.UNHEALTHY


def test_assess_missing_archives_are_degraded() -> None:
    """Somebody took archives away: said, counted, and not silently dropped."""
    health = assess(facts(missing=2), NOW)
    assert (health.state, health.reasons[0].text) == (
        HealthState.DEGRADED,
        "2 archives are missing from the store.",
    )


def test_assess_unreadable_catalog_is_unhealthy_and_claims_nothing_else() -> None:
    """Without the catalog nobody knows when the last success was: that is the one thing to say."""
    health = assess(facts(catalog_error="is damaged", last_success=None, last_ended=None), NOW)
    assert [reason.text for reason in health.reasons] == ["The catalog cannot be read."]
    assert health.state is HealthState.UNHEALTHY


def test_assess_puts_the_worst_reason_first() -> None:
    """What hurts most is read first."""
    health = assess(facts(missing=1, ticked_at=NOW - timedelta(hours=1)), NOW)
    assert [reason.state for reason in health.reasons] == [HealthState.UNHEALTHY, HealthState.DEGRADED]


def test_assess_failed_drill_is_degraded() -> None:
    """A backup that could not be restored in rehearsal is a reason to look, fresh as it is."""
    health = assess(facts(drill_failed=True), NOW)
    assert (health.state, health.reasons[0].text) == (HealthState.DEGRADED, "The last restore drill failed.")
