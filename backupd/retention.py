"""Which backups stay and which go, each with its reason: a pure function."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from backupd.model import Backup, BackupType, Status


class Action(StrEnum):
    """What is to happen to a backup."""

    KEEP = "keep"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Policy:
    """How long backups are kept.

    `automatic_days`, `partial_days` and `failed_days` are ages in days, counted from `created_at`. `keep_minimum`
    proven backups always stay. `keep_daily` and its siblings keep, besides those, one completed automatic backup
    for each of the last N calendar days, ISO weeks, months or years (UTC) that have one. No completed backup
    expires while the newest automatic success is older than `stale_after`.
    """

    automatic_days: int = 30
    keep_minimum: int = 3
    keep_daily: int = 0
    keep_weekly: int = 0
    keep_monthly: int = 0
    keep_yearly: int = 0
    partial_days: int = 30
    failed_days: int = 7
    stale_after: timedelta = timedelta(hours=26)


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to happen to one backup, and a short sentence that tells a person why."""

    backup: Backup
    action: Action
    reason: str


def decide(backups: Sequence[Backup], policy: Policy, now: datetime) -> tuple[Decision, ...]:
    """Decide for each backup whether it stays or goes; newest first, whatever the order given.

    Three things hold whatever the policy: the newest completed and the newest proven backup stay, what is pinned
    stays, and a manual backup with an archive stays. A backup dated after `now` (the clock was stepped) is neither
    deleted nor counted: not as one of `keep_minimum`, and not as the newest success. A backup already marked
    `deleting` is always to be deleted, so that what was begun is finished; only a pin given in the meantime holds it
    back.
    """
    view = _View.of(backups, policy, now)
    return tuple(_decide(backup, view) for backup in _newest_first(backups))


def is_proven(backup: Backup) -> bool:
    """Whether the backup counts: completed, read back and found right, and its archive not missing or going away."""
    return backup.status is Status.COMPLETED and backup.verified_at is not None and _has_archive(backup)


@dataclass(frozen=True, slots=True)
class _View:
    """What has to be known of all the backups together before any one of them is judged."""

    policy: Policy
    now: datetime
    is_fresh: bool
    has_minimum: bool
    protected: Mapping[str, str]
    """Why a backup stays although it is old, by its id."""

    @classmethod
    def of(cls, backups: Sequence[Backup], policy: Policy, now: datetime) -> _View:
        present = [backup for backup in _newest_first(backups) if backup.created_at <= now and _has_archive(backup)]
        proven = [backup for backup in present if is_proven(backup)]
        return cls(
            policy=policy,
            now=now,
            is_fresh=any(_is_recent_success(backup, policy, now) for backup in proven),
            has_minimum=len(proven) >= policy.keep_minimum,
            protected={
                **_only_partials(present, proven, policy),
                **_calendar(present, policy),
                **_minimum(proven, policy),
                **_newest_completed(present),
            },
        )

    def age(self, backup: Backup) -> timedelta:
        return self.now - backup.created_at


_Verdict = tuple[Action, str]


def _decide(backup: Backup, view: _View) -> Decision:
    """The first rule that has something to say decides."""
    verdict = (
        _by_hand(backup)
        or _from_the_future(backup, view)
        or _failed(backup, view)
        or _without_archive(backup)
        or _manual(backup)
        or _still_needed(backup, view)
        or _by_age(backup, view)
    )
    return Decision(backup, *verdict)


def _by_hand(backup: Backup) -> _Verdict | None:
    """What somebody, or a run, is busy with."""
    if backup.pinned:
        return _keep("pinned")
    if backup.status is Status.IN_PROGRESS:
        return _keep("in progress")
    if backup.deleting:
        return _delete("its deletion was begun and has to be finished")
    return None


def _from_the_future(backup: Backup, view: _View) -> _Verdict | None:
    return _keep("dated in the future: the clock was stepped") if backup.created_at > view.now else None


def _failed(backup: Backup, view: _View) -> _Verdict | None:
    """A failed backup has no archive, so there is nothing to lose, whoever asked for it.

    One that names an archive is a contradiction for `rescan` to solve, and that archive may be good.
    """
    if backup.status is not Status.FAILED:
        return None
    if backup.archive is not None:
        return _keep("failed, yet an archive is recorded: run `backupd rescan`")
    return _by_limit(backup, view, "failed", view.policy.failed_days, "failed_days")


def _without_archive(backup: Backup) -> _Verdict | None:
    if backup.archive is None:
        return _keep("no archive is recorded: nothing to delete")
    if backup.missing_since is not None:
        return _keep("its archive is missing from the store: nothing to delete")
    return None


def _manual(backup: Backup) -> _Verdict | None:
    return _keep("manual: kept until someone deletes it") if backup.type is BackupType.MANUAL else None


def _still_needed(backup: Backup, view: _View) -> _Verdict | None:
    """Why a backup stays although its time is up: chiefly, a broken backup job must not eat its own history."""
    if _by_age(backup, view)[0] is Action.KEEP:
        return None
    if (reason := view.protected.get(backup.backup_id)) is not None:
        return _keep(reason)
    if backup.status is Status.PARTIAL:
        return None
    if not view.is_fresh:
        return _keep(f"no automatic backup succeeded in the last {_duration(view.policy.stale_after)}: nothing expires")
    if not view.has_minimum:
        return _keep(f"fewer than {view.policy.keep_minimum} proven backups exist: nothing expires")
    return None


def _by_age(backup: Backup, view: _View) -> _Verdict:
    """Of what is left: automatic backups with an archive, completed or partial."""
    if backup.status is Status.PARTIAL:
        return _by_limit(backup, view, "partial", view.policy.partial_days, "partial_days")
    return _by_limit(backup, view, "automatic", view.policy.automatic_days, "automatic_days")


def _by_limit(backup: Backup, view: _View, what: str, days: int, option: str) -> _Verdict:
    age = view.age(backup)
    text = f"{what}, {_duration(age)} old"
    if age > timedelta(days=days):
        return _delete(f"{text}: over {option} = {days}")
    return _keep(f"{text}: within {option} = {days}")


def _keep(reason: str) -> _Verdict:
    return Action.KEEP, reason


def _delete(reason: str) -> _Verdict:
    return Action.DELETE, reason


def _has_archive(backup: Backup) -> bool:
    return backup.archive is not None and backup.missing_since is None and not backup.deleting


def _is_recent_success(backup: Backup, policy: Policy, now: datetime) -> bool:
    """Only automatic ones tell that the job works: a backup made by hand says nothing about tonight's."""
    return backup.type is BackupType.AUTOMATIC and now - backup.created_at <= policy.stale_after


def _newest_first(backups: Iterable[Backup]) -> list[Backup]:
    return sorted(backups, key=lambda backup: (backup.created_at, backup.backup_id), reverse=True)


def _newest_completed(present: Sequence[Backup]) -> dict[str, str]:
    newest = next((backup for backup in present if backup.status is Status.COMPLETED), None)
    return {} if newest is None else {newest.backup_id: "the newest completed backup"}


def _minimum(proven: Sequence[Backup], policy: Policy) -> dict[str, str]:
    """A `keep_minimum` of 0 is taken for 1: no policy removes the last good backup."""
    count = max(policy.keep_minimum, 1)
    reason = f"one of the newest {count} proven backups (keep_minimum)"
    return {backup.backup_id: reason for backup in proven[:count]}


def _only_partials(present: Sequence[Backup], proven: Sequence[Backup], policy: Policy) -> dict[str, str]:
    """Partial backups newer than every proven one hold data that nothing else holds."""
    newest_proven_at = proven[0].created_at if proven else None
    ahead = [
        backup
        for backup in present
        if backup.status is Status.PARTIAL and (newest_proven_at is None or backup.created_at > newest_proven_at)
    ]
    reason = "partial, but newer than every proven backup"
    return {backup.backup_id: reason for backup in ahead[: max(policy.keep_minimum, 1)]}


@dataclass(frozen=True, slots=True)
class _Period:
    """A stretch of the UTC calendar, the option that asks for it, and how many of them."""

    option: str
    format: str
    count: int


def _calendar(present: Sequence[Backup], policy: Policy) -> dict[str, str]:
    candidates = [b for b in present if b.status is Status.COMPLETED and b.type is BackupType.AUTOMATIC]
    protected: dict[str, str] = {}
    for period in (
        _Period("keep_yearly", "%Y", policy.keep_yearly),
        _Period("keep_monthly", "%Y-%m", policy.keep_monthly),
        _Period("keep_weekly", "%G-W%V", policy.keep_weekly),
        _Period("keep_daily", "%Y-%m-%d", policy.keep_daily),
    ):
        protected |= _one_per_period(candidates, period)
    return protected


def _one_per_period(newest_first: Sequence[Backup], period: _Period) -> dict[str, str]:
    """The newest proven backup of each period; where none is proven (a catalog just rebuilt), the newest."""
    chosen: dict[str, Backup] = {}
    for backup in newest_first:
        label = backup.created_at.astimezone(UTC).strftime(period.format)
        if label not in chosen or (is_proven(backup) and not is_proven(chosen[label])):
            chosen[label] = backup
    # The labels stand in the order of the newest backup of each period.
    labels = list(chosen)[: period.count]
    return {chosen[label].backup_id: f"the backup of {label} ({period.option})" for label in labels}


def _duration(span: timedelta) -> str:
    """A span for a person: hours up to two days, whole days from then on."""
    hours = int(span / timedelta(hours=1))
    if hours < 48:
        return f"{hours} hour" if hours == 1 else f"{hours} hours"
    return f"{hours // 24} days"
