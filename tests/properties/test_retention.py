"""Retention: what holds for every catalog and every policy."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from backupd.model import Backup, BackupType, Status
from backupd.retention import Action, Policy, decide, is_proven
from tests.support.backup_rows import NOW, backup_row, nightly


@st.composite
def backups_at_random(draw: st.DrawFn, index: int) -> Backup:
    """A backup of any standing, up to two years old or a few days ahead, often at the same hour as another."""
    status = draw(st.sampled_from([Status.COMPLETED, Status.COMPLETED, Status.COMPLETED, *Status]))
    created_at = NOW - timedelta(hours=draw(st.one_of(st.integers(-80, 100), st.integers(100, 17_000))))
    rarely = st.sampled_from([False, False, False, False, True])
    return backup_row(
        created_at,
        backup_id=f"{index:04d}",
        status=status,
        type=draw(st.sampled_from(BackupType)),
        pinned=draw(rarely),
        deleting=draw(rarely),
        verified_at=None if draw(rarely) else created_at,
        missing_since=NOW if draw(rarely) else None,
    )


@st.composite
def catalogs(draw: st.DrawFn) -> list[Backup]:
    """A catalog of up to twenty-five backups."""
    return [draw(backups_at_random(index)) for index in range(draw(st.integers(0, 25)))]


policies = st.builds(
    Policy,
    automatic_days=st.integers(0, 60),
    keep_minimum=st.integers(0, 6),
    keep_daily=st.integers(0, 10),
    keep_weekly=st.integers(0, 8),
    keep_monthly=st.integers(0, 14),
    keep_yearly=st.integers(0, 3),
    partial_days=st.integers(0, 60),
    failed_days=st.integers(0, 60),
    stale_after=st.integers(1, 96).map(lambda hours: timedelta(hours=hours)),
)


@st.composite
def policy_and_longer(draw: st.DrawFn) -> tuple[Policy, Policy]:
    """A policy, and one that keeps longer or as long in every respect."""
    short = draw(policies)
    more = st.integers(0, 20)
    longer = Policy(
        automatic_days=short.automatic_days + draw(more),
        keep_minimum=short.keep_minimum + draw(more),
        keep_daily=short.keep_daily + draw(more),
        keep_weekly=short.keep_weekly + draw(more),
        keep_monthly=short.keep_monthly + draw(more),
        keep_yearly=short.keep_yearly + draw(more),
        partial_days=short.partial_days + draw(more),
        failed_days=short.failed_days + draw(more),
        stale_after=short.stale_after / draw(st.integers(1, 4)),
    )
    return short, longer


def outcome(backups: list[Backup], policy: Policy) -> dict[str, Action]:
    """The action for each backup, by id."""
    return {d.backup.backup_id: d.action for d in decide(backups, policy, NOW)}


def survivors(backups: list[Backup], policy: Policy) -> list[Backup]:
    """The backups that stay, in the order given."""
    actions = outcome(backups, policy)
    return [backup for backup in backups if actions[backup.backup_id] is Action.KEEP]


@given(catalogs(), policies)
def test_decide_every_backup_gets_one_decision_with_a_reason(backups: list[Backup], policy: Policy) -> None:
    """No backup is forgotten, none is decided twice, each has its reason."""
    decisions = decide(backups, policy, NOW)
    assert sorted(d.backup.backup_id for d in decisions) == sorted(b.backup_id for b in backups)
    assert all(d.reason for d in decisions)


@given(catalogs(), policies)
def test_decide_newest_completed_always_stays(backups: list[Backup], policy: Policy) -> None:
    """Of the completed backups that are there, the newest stays."""
    completed = [b for b in backups if b.status is Status.COMPLETED and not b.deleting and b.missing_since is None]
    newest_at = max((b.created_at for b in completed), default=NOW)
    if completed:
        assert newest_at in {b.created_at for b in survivors(backups, policy) if b in completed}


@given(catalogs(), policies)
def test_decide_never_goes_below_the_minimum(backups: list[Backup], policy: Policy) -> None:
    """At least `keep_minimum` proven backups stay, or all there are."""
    proven = [b for b in backups if is_proven(b)]
    kept = [b for b in survivors(backups, policy) if is_proven(b)]
    assert len(kept) >= min(len(proven), policy.keep_minimum)


@given(catalogs(), policies)
def test_decide_manual_and_pinned_never_go(backups: list[Backup], policy: Policy) -> None:
    """What is pinned stays; a manual backup with an archive stays, unless somebody began to delete it."""
    kept = survivors(backups, policy)
    assert all(b in kept for b in backups if b.pinned)
    assert all(b in kept for b in backups if b.type is BackupType.MANUAL and b.archive is not None and not b.deleting)


@given(catalogs(), policies)
def test_decide_partial_and_failed_never_count(backups: list[Backup], policy: Policy) -> None:
    """Completed backups fare the same when there is no partial or failed one beside them."""
    completed = [b for b in backups if b.status is Status.COMPLETED]
    without = outcome(completed, policy)
    assert {b.backup_id: outcome(backups, policy)[b.backup_id] for b in completed} == without


@given(catalogs(), policies)
def test_decide_again_after_deleting_deletes_nothing(backups: list[Backup], policy: Policy) -> None:
    """A second cleanup at the same instant finds nothing to do."""
    kept = survivors(backups, policy)
    assert survivors(kept, policy) == kept


@given(catalogs(), policy_and_longer())
def test_decide_longer_policy_never_removes_more(backups: list[Backup], pair: tuple[Policy, Policy]) -> None:
    """What a shorter policy keeps, a longer one keeps too."""
    short, longer = pair
    assert {b.backup_id for b in survivors(backups, short)} <= {b.backup_id for b in survivors(backups, longer)}


@given(st.lists(st.integers(90, 700), unique=True, max_size=40), policies)
def test_decide_job_broken_for_ninety_days_removes_nothing_good(nights: list[int], policy: Policy) -> None:
    """When every night of the last ninety failed, what was good before is untouched."""
    good = [nightly(n) for n in nights]
    failed = [nightly(n, status=Status.FAILED) for n in range(90)]
    assert set(good) <= set(survivors(good + failed, policy))


@given(catalogs(), policies, st.randoms(use_true_random=False))
def test_decide_order_of_input_does_not_matter(backups: list[Backup], policy: Policy, random: Random) -> None:
    """The same catalog in another order gets the same decisions."""
    shuffled = list(backups)
    random.shuffle(shuffled)
    assert decide(shuffled, policy, NOW) == decide(backups, policy, NOW)


@given(catalogs(), policies, st.integers(1, 10_000))
def test_decide_clock_stepped_back_deletes_nothing_new(backups: list[Backup], policy: Policy, hours: int) -> None:
    """With the clock ahead of which all backups lie, nothing with an archive goes but what was already going."""
    before_all = min((b.created_at for b in backups), default=NOW) - timedelta(hours=hours)
    settled = [replace(b, deleting=False) for b in backups]
    assert all(d.action is Action.KEEP for d in decide(settled, policy, before_all))
