"""How things stand, in one word with reasons: the last success, the last attempt, the daemon itself. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum

from backupd.model import Backup, Status

_TICK_LIMIT = timedelta(minutes=5)
_FIRST_BACKUP_GRACE = timedelta(hours=1)


class HealthState(IntEnum):
    """From good to bad."""

    HEALTHY = 0
    DEGRADED = 1
    UNHEALTHY = 2

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Reason:
    """What is wrong, in plain words, and what to do about it. Names no table, key or path."""

    state: HealthState
    text: str
    remedy: str


@dataclass(frozen=True, slots=True)
class HealthFacts:
    """What is known. `last_success` is the newest completed backup, `last_ended` the newest that has ended at all.

    `drill_failed` is whether the last rehearsed restore found something wrong. `ticked_at` is when the daemon's loop
    last turned, `hung` whether its worker has not moved for too long; both are None where no daemon is asked.
    `catalog_error` is set when the catalog could not be read; then it knows nothing.
    """

    stale_after: timedelta
    last_success: Backup | None = None
    last_ended: Backup | None = None
    running_since: datetime | None = None
    started_at: datetime | None = None
    ticked_at: datetime | None = None
    hung: bool = False
    missing: int = 0
    drill_failed: bool = False
    catalog_error: str | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """The verdict: the worst of its reasons, healthy without any."""

    reasons: tuple[Reason, ...]

    @property
    def state(self) -> HealthState:
        """How things stand."""
        return max((reason.state for reason in self.reasons), default=HealthState.HEALTHY)


def assess(facts: HealthFacts, now: datetime) -> Health:
    """Judge how things stand at `now`; the worst reason comes first."""
    reasons = [
        reason
        for reason in (
            _catalog(facts),
            _loop(facts, now),
            _worker(facts),
            _freshness(facts, now),
            _last_attempt(facts),
            _missing(facts),
            _drill(facts),
        )
        if reason is not None
    ]
    return Health(tuple(sorted(reasons, key=lambda reason: -reason.state)))


def _catalog(facts: HealthFacts) -> Reason | None:
    if facts.catalog_error is None:
        return None
    return Reason(HealthState.UNHEALTHY, "The catalog cannot be read.", "Look at the log, then run: backupd rescan")


def _loop(facts: HealthFacts, now: datetime) -> Reason | None:
    if facts.ticked_at is None or now - facts.ticked_at <= _TICK_LIMIT:
        return None
    return Reason(HealthState.UNHEALTHY, "The daemon's loop does not turn.", "Restart it: systemctl restart backupd")


def _worker(facts: HealthFacts) -> Reason | None:
    if not facts.hung:
        return None
    return Reason(HealthState.UNHEALTHY, "The run under way does not move.", "Restart it: systemctl restart backupd")


def _freshness(facts: HealthFacts, now: datetime) -> Reason | None:
    if facts.catalog_error is not None:
        return None
    limit = f"{facts.stale_after / timedelta(hours=1):g} hours"
    if facts.last_success is None:
        young = facts.started_at is not None and now - facts.started_at < _FIRST_BACKUP_GRACE
        state = HealthState.DEGRADED if young else HealthState.UNHEALTHY
        return Reason(state, "No backup has ever completed.", "Take one: backupd backup")
    age = now - facts.last_success.created_at
    if age <= facts.stale_after:
        return None
    hours = int(age / timedelta(hours=1))
    return Reason(
        HealthState.UNHEALTHY,
        f"The last good backup is {hours} hours old; there should be one every {limit}.",
        "Find out why: backupd check, and the log",
    )


def _last_attempt(facts: HealthFacts) -> Reason | None:
    last = facts.last_ended
    if last is None or last.status is Status.COMPLETED:
        return None
    words = "lacks something" if last.status is Status.PARTIAL else "failed"
    return Reason(HealthState.DEGRADED, f"The last backup {words}.", f"See why: backupd show {last.backup_id[:8]}")


def _missing(facts: HealthFacts) -> Reason | None:
    if not facts.missing:
        return None
    some = "An archive is" if facts.missing == 1 else f"{facts.missing} archives are"
    return Reason(HealthState.DEGRADED, f"{some} missing from the store.", "See which: backupd list")


def _drill(facts: HealthFacts) -> Reason | None:
    if not facts.drill_failed:
        return None
    return Reason(HealthState.DEGRADED, "The last restore drill failed.", "See why: backupd drill")
