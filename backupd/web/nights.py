"""The last thirty nights, one cell each, and the words for what comes next. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from backupd.model import Backup, BackupType, Status

NIGHTS = 30

_BEST_FIRST = (Status.COMPLETED, Status.PARTIAL, Status.IN_PROGRESS, Status.FAILED)
_WORDS = {
    "completed": "completed",
    "partial": "partial: something is lacking",
    "in_progress": "in progress",
    "failed": "failed",
    "missed": "no backup was taken",
    "before": "before the first backup",
    "ahead": "not yet",
}
_EVENING_HOUR = 18
_MORNING_HOUR = 5


@dataclass(frozen=True, slots=True)
class Night:
    """One night. `outcome` is a status, `missed`, `before` for nights before there was a backup, or `ahead`."""

    day: date
    outcome: str
    backup: Backup | None = None
    attempts: int = 0

    @property
    def words(self) -> str:
        """What happened, for whoever cannot see the colour."""
        return _WORDS[self.outcome]


def nights(
    backups: Iterable[Backup], now: datetime, zone: ZoneInfo, first_at: datetime | None, *, due_today: bool = True
) -> list[Night]:
    """The last thirty nights, oldest first: of several automatic backups of one day the best counts.

    `first_at` is when the first backup ever was taken: no night before it was missed. `due_today` is whether tonight's
    slot has passed.
    """
    by_day: dict[date, list[Backup]] = {}
    for backup in backups:
        if backup.type is BackupType.AUTOMATIC:
            by_day.setdefault(backup.created_at.astimezone(zone).date(), []).append(backup)
    today = now.astimezone(zone).date()
    first = first_at.astimezone(zone).date() if first_at else None
    days = [today - timedelta(days=back) for back in reversed(range(NIGHTS))]
    return [_night(day, by_day.get(day, []), first, waits=day == today and not due_today) for day in days]


def _night(day: date, attempts: Sequence[Backup], first: date | None, *, waits: bool) -> Night:
    if attempts:
        best = min(attempts, key=lambda backup: (_BEST_FIRST.index(backup.status), -backup.created_at.timestamp()))
        return Night(day, str(best.status), best, len(attempts))
    if first is None or day < first:
        return Night(day, "before")
    return Night(day, "ahead" if waits else "missed")


def soon(at: datetime, now: datetime, zone: ZoneInfo) -> str:
    """When something comes next: `tonight at 02:00`, `tomorrow at 14:00`, `on Sunday at 03:00`."""
    then, here = at.astimezone(zone), now.astimezone(zone)
    if at <= now:
        return "now"
    clock, days = f"{then:%H:%M}", (then.date() - here.date()).days
    if days == 0:
        return f"tonight at {clock}" if then.hour >= _EVENING_HOUR or then.hour < _MORNING_HOUR else f"today at {clock}"
    if days == 1:
        return (
            f"tonight at {clock}"
            if then.hour < _MORNING_HOUR and here.hour >= _MORNING_HOUR
            else f"tomorrow at {clock}"
        )
    return f"on {then:%A} at {clock}" if days < 7 else f"on {then:%d %B} at {clock}"
