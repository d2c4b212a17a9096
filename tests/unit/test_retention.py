"""Retention: which backups stay, which go, and what a person is told."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

import pytest

from backupd.model import Backup, BackupType, Status
from backupd.retention import Action, Decision, Policy, decide, is_proven
from tests.support.backup_rows import LAST_NIGHT, NOW, backup_row, nightly

STRICT = Policy(automatic_days=30, keep_minimum=1)


def deleted_nights(backups: Iterable[Backup], policy: Policy) -> list[int]:
    """How many nights ago each deleted backup was made, newest first."""
    decisions = decide(tuple(backups), policy, NOW)
    return [(LAST_NIGHT - d.backup.created_at).days for d in decisions if d.action is Action.DELETE]


def decision_for(backup: Backup, others: Iterable[Backup] = (), policy: Policy = STRICT) -> Decision:
    """The decision on one backup, with a fresh proven backup beside it and whatever others are given."""
    decisions = decide((nightly(0), backup, *others), policy, NOW)
    return next(decision for decision in decisions if decision.backup == backup)


def test_decide_four_hundred_nights_keeps_the_last_thirty() -> None:
    """With one backup a night at 02:00 and cleanup at 03:00, the thirty youngest stay and 370 go."""
    assert deleted_nights([nightly(n) for n in range(400)], Policy()) == list(range(30, 400))


def test_decide_calendar_policy_keeps_the_dates_worked_out_by_hand() -> None:
    """One backup a day, a week, a month and a year stays beyond `automatic_days`, as read off a calendar."""
    policy = Policy(automatic_days=2, keep_minimum=1, keep_daily=4, keep_weekly=3, keep_monthly=4, keep_yearly=2)
    decisions = decide([nightly(n) for n in range(400)], policy, NOW)
    kept = [d.backup.created_at.date() for d in decisions if d.action is Action.KEEP]
    assert kept == [
        date(2026, 11, 22),  # today, Sunday of week 47
        date(2026, 11, 21),  # within two days
        date(2026, 11, 20),  # third day
        date(2026, 11, 19),  # fourth day
        date(2026, 11, 15),  # Sunday of week 46
        date(2026, 11, 8),  # Sunday of week 45
        date(2026, 10, 31),
        date(2026, 9, 30),
        date(2026, 8, 31),
        date(2025, 12, 31),
    ]


def test_decide_periods_are_those_of_utc() -> None:
    """A backup at 00:30 in Berlin belongs to the day before in UTC, whatever offset its instant is written with."""
    berlin_midnight = datetime.fromisoformat("2026-10-02T00:30:00+02:00")
    noon = datetime(2026, 10, 1, 12, tzinfo=UTC)
    policy = Policy(automatic_days=1, keep_minimum=1, keep_daily=3)
    decisions = decide([nightly(0), backup_row(berlin_midnight), backup_row(noon)], policy, NOW)
    assert [d.action for d in decisions] == [Action.KEEP, Action.KEEP, Action.DELETE]


def test_decide_same_day_twice_keeps_the_proven_one_for_the_period() -> None:
    """For a period, a proven backup is chosen before a newer one that nobody has read back."""
    unproven = backup_row(datetime(2026, 9, 1, 22, tzinfo=UTC), verified_at=None)
    proven = backup_row(datetime(2026, 9, 1, 2, tzinfo=UTC))
    policy = Policy(keep_minimum=1, keep_monthly=2)
    assert decision_for(unproven, [proven], policy).action is Action.DELETE
    assert decision_for(proven, [unproven], policy).reason == "the backup of 2026-09 (keep_monthly)"


def test_decide_manual_backup_takes_no_automatic_ones_place_for_the_period() -> None:
    """A manual backup, which someone may delete any day, does not stand for its month."""
    automatic = backup_row(datetime(2026, 9, 1, 2, tzinfo=UTC))
    manual = backup_row(datetime(2026, 9, 1, 22, tzinfo=UTC), type=BackupType.MANUAL)
    decision = decision_for(automatic, [manual], Policy(keep_minimum=1, keep_monthly=2))
    assert decision.reason == "the backup of 2026-09 (keep_monthly)"


def test_decide_rebuilt_catalog_keeps_unproven_backups_of_their_periods() -> None:
    """After a rescan nothing old is proven yet, and the monthly history still stays."""
    backups = [nightly(0), *(nightly(n, verified_at=None) for n in (60, 90))]
    assert deleted_nights(backups, Policy(keep_minimum=1)) == [60, 90]
    assert deleted_nights(backups, Policy(keep_minimum=1, keep_monthly=12)) == []


@pytest.mark.parametrize(
    ("age", "action"),
    [(timedelta(days=30), Action.KEEP), (timedelta(days=30, microseconds=1), Action.DELETE)],
)
def test_decide_age_limit_is_kept_to_the_instant(age: timedelta, action: Action) -> None:
    """A backup goes when it is older than `automatic_days`, not when it is just that old."""
    assert decision_for(backup_row(NOW - age)).action is action


def test_decide_age_comes_from_created_at() -> None:
    """A backup that was verified or finished lately is as old as the moment it was begun."""
    assert decision_for(nightly(31, verified_at=NOW, finished_at=NOW)).action is Action.DELETE


@pytest.mark.parametrize(
    ("backup", "reason"),
    [
        (nightly(5), "automatic, 5 days old: within automatic_days = 30"),
        (nightly(400, pinned=True), "pinned"),
        (nightly(400, pinned=True, deleting=True), "pinned"),
        (nightly(400, type=BackupType.MANUAL), "manual: kept until someone deletes it"),
        (nightly(400, status=Status.IN_PROGRESS, archive=None), "in progress"),
        (nightly(400, missing_since=NOW), "its archive is missing from the store: nothing to delete"),
        (nightly(400, archive=None), "no archive is recorded: nothing to delete"),
        (nightly(-400), "dated in the future: the clock was stepped"),
        (nightly(20, status=Status.PARTIAL), "partial, 20 days old: within partial_days = 30"),
        (nightly(1, status=Status.FAILED), "failed, 25 hours old: within failed_days = 7"),
        (
            nightly(400, status=Status.FAILED, archive="a.zip"),
            "failed, yet an archive is recorded: run `backupd rescan`",
        ),
    ],
)
def test_decide_backup_that_stays_says_why(backup: Backup, reason: str) -> None:
    """Each reason to keep a backup has its own sentence."""
    assert decision_for(backup) == Decision(backup, Action.KEEP, reason)


@pytest.mark.parametrize(
    ("backup", "reason"),
    [
        (nightly(31), "automatic, 31 days old: over automatic_days = 30"),
        (nightly(31, status=Status.PARTIAL), "partial, 31 days old: over partial_days = 30"),
        (nightly(8, status=Status.FAILED), "failed, 8 days old: over failed_days = 7"),
        (nightly(8, status=Status.FAILED, type=BackupType.MANUAL), "failed, 8 days old: over failed_days = 7"),
        (nightly(1, deleting=True), "its deletion was begun and has to be finished"),
        (nightly(1, deleting=True, missing_since=NOW), "its deletion was begun and has to be finished"),
    ],
)
def test_decide_backup_that_goes_says_why(backup: Backup, reason: str) -> None:
    """Each reason to delete a backup has its own sentence."""
    assert decision_for(backup) == Decision(backup, Action.DELETE, reason)


def test_decide_minimum_keeps_the_newest_proven_backups() -> None:
    """With a week between backups and a short limit, three stay."""
    assert deleted_nights([nightly(n) for n in (0, 7, 14, 21)], Policy(automatic_days=3)) == [21]


@pytest.mark.parametrize(
    "imposter",
    [
        nightly(1, status=Status.PARTIAL),
        nightly(1, status=Status.FAILED),
        nightly(1, verified_at=None),
        nightly(1, missing_since=NOW),
        nightly(1, deleting=True),
        nightly(-1),
    ],
)
def test_decide_minimum_does_not_count_what_is_not_proven(imposter: Backup) -> None:
    """A partial, failed, unverified, missing, half-deleted or future-dated backup takes no survivor's place."""
    old = nightly(60)
    assert decision_for(old, [imposter], Policy(keep_minimum=2)).reason == (
        "one of the newest 2 proven backups (keep_minimum)"
    )


def test_decide_minimum_not_reached_keeps_unproven_backups_too() -> None:
    """As long as too few backups are proven, an old one that nobody has read back may be all there is."""
    decision = decision_for(nightly(60, verified_at=None), [], Policy(keep_minimum=2))
    assert decision.reason == "fewer than 2 proven backups exist: nothing expires"


def test_decide_keep_minimum_zero_still_keeps_the_newest_completed() -> None:
    """No policy removes the last backup."""
    policy = Policy(automatic_days=0, keep_minimum=0)
    decisions = decide([nightly(0), nightly(1)], policy, NOW)
    assert [(d.action, d.reason) for d in decisions] == [
        (Action.KEEP, "the newest completed backup"),
        (Action.DELETE, "automatic, 25 hours old: over automatic_days = 0"),
    ]


def test_decide_keep_minimum_zero_still_keeps_the_newest_proven() -> None:
    """A newer backup that nobody has read back does not take its place."""
    policy = Policy(automatic_days=0, keep_minimum=0)
    decisions = decide([nightly(0, verified_at=None), backup_row(NOW - timedelta(hours=20))], policy, NOW)
    assert decisions[1].reason == "one of the newest 1 proven backups (keep_minimum)"


def test_decide_broken_job_expires_nothing() -> None:
    """When no automatic backup succeeded for ninety days, all thirty that were there still are."""
    backups = [nightly(n) for n in range(90, 120)]
    assert deleted_nights(backups, Policy()) == []


@pytest.mark.parametrize(
    "recent",
    [
        nightly(0, type=BackupType.MANUAL),
        nightly(0, status=Status.PARTIAL),
        nightly(0, verified_at=None),
        nightly(-1),
        nightly(2),
    ],
)
def test_decide_no_recent_automatic_success_expires_nothing(recent: Backup) -> None:
    """A manual, partial, unproven or future-dated backup does not show that the nightly job works."""
    decisions = decide([recent, *(nightly(n) for n in (60, 61, 62, 63))], STRICT, NOW)
    assert decisions[-1].reason == "no automatic backup succeeded in the last 26 hours: nothing expires"


def test_decide_partial_with_nothing_proven_stays() -> None:
    """A partial backup is not much, but it is not thrown away while it is all there is."""
    (decision,) = decide([nightly(90, status=Status.PARTIAL)], Policy(keep_minimum=0), NOW)
    assert decision.reason == "partial, but newer than every proven backup"


def test_decide_partials_newer_than_every_proven_backup_stay_up_to_the_minimum() -> None:
    """A job that is partial every night keeps a bounded number of old partial backups."""
    backups = [nightly(n, status=Status.PARTIAL) for n in range(40, 50)] + [nightly(50)]
    assert deleted_nights(backups, Policy(keep_minimum=3)) == [43, 44, 45, 46, 47, 48, 49]


def test_decide_any_order_gives_newest_first() -> None:
    """The decisions come newest first, whatever the order of the catalog."""
    decisions = decide([nightly(3), nightly(1), nightly(2)], STRICT, NOW)
    assert [d.backup for d in decisions] == [nightly(1), nightly(2), nightly(3)]


def test_is_proven_completed_and_read_back_counts() -> None:
    """A completed backup that was read back counts, one that was not does not."""
    assert is_proven(nightly(0))
    assert not is_proven(nightly(0, verified_at=None))
