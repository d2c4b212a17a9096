"""What the dashboard shows, gathered from the catalog, the daemon and the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from backupd.catalog import Catalog, HistoryQuery, Statistics
from backupd.health import Reason
from backupd.model import Backup, BackupType
from backupd.slots import Timetable
from backupd.web.activity import Activity
from backupd.web.charts import MOST_POINTS, Chart, charts
from backupd.web.nights import NIGHTS, Night, nights, soon
from backupd.web.view import Standing
from backupd.web.workplace import Workplace
from backupd.words import age

_DAILY_BACKUP = "daily_backup"


@dataclass(frozen=True, slots=True)
class Job:
    """A job: when it is done, in words, and when next."""

    name: str
    words: str
    next_at: datetime


@dataclass(frozen=True, slots=True)
class Board:
    """The dashboard, less its history."""

    platform: str
    project: str
    now: datetime
    started_at: datetime
    state: str
    headline: str
    reasons: tuple[Reason, ...]
    activity: Activity | None
    statistics: Statistics
    nights: Sequence[Night]
    charts: Sequence[Chart]
    jobs: Sequence[Job]
    free_bytes: int | None

    @property
    def by_type(self) -> Mapping[str, int]:
        """How many backups there are of each type."""
        counts = self.statistics.counts
        return {str(kind): sum(number for (of, _), number in counts.items() if of is kind) for kind in BackupType}


def make_board(
    catalog: Catalog, standing: Standing, place: Workplace, activity: Activity | None, free_bytes: int | None
) -> Board:
    """Gather it. Raises CatalogError."""
    statistics = catalog.statistics()
    zone = zone_of(place.timetables)
    now = standing.now
    since = now - timedelta(days=NIGHTS + 1)
    recent = catalog.history(HistoryQuery(limit=NIGHTS * 12, created_from=since, type=BackupType.AUTOMATIC)).backups
    first = min((at for at in statistics.oldest_created_at.values() if at), default=None)
    next_runs = standing.state.next_runs
    return Board(
        platform=place.platform,
        project=place.project,
        now=now,
        started_at=standing.state.started_at,
        state=str(standing.health.state),
        headline=headline(standing.last_success, next_runs, activity, now, zone),
        reasons=standing.health.reasons,
        activity=activity,
        statistics=statistics,
        nights=nights(recent, now, zone, first, due_today=_is_past(place.timetables, now, zone)),
        charts=charts(catalog.backups(limit=MOST_POINTS * 2)),
        jobs=jobs(place.timetables, next_runs),
        free_bytes=free_bytes,
    )


def headline(
    last: Backup | None, next_runs: Mapping[str, datetime], activity: Activity | None, now: datetime, zone: ZoneInfo
) -> str:
    """The one sentence: `Last good backup 6 hours ago. Next tonight at 02:00.`"""
    begin = f"Last good backup {age(last.created_at, now)}." if last else "No good backup yet."
    if activity is not None and activity.operation == "backup":
        return f"{begin} One is running now."
    if _DAILY_BACKUP not in next_runs:
        return begin
    return f"{begin} Next {soon(next_runs[_DAILY_BACKUP], now, zone)}."


def jobs(timetables: Mapping[str, Timetable], next_runs: Mapping[str, datetime]) -> list[Job]:
    """Every job with its schedule in words, the next one first."""
    found = [Job(name, timetables[name].words(), at) for name, at in next_runs.items() if name in timetables]
    return sorted(found, key=lambda job: job.next_at)


def zone_of(timetables: Mapping[str, Timetable]) -> ZoneInfo:
    """The zone that nights are counted in."""
    return next((timetable.timezone for timetable in timetables.values()), ZoneInfo("UTC"))


def _is_past(timetables: Mapping[str, Timetable], now: datetime, zone: ZoneInfo) -> bool:
    """Whether today's slot of the daily backup has passed, and an hour for it to end."""
    daily = timetables.get(_DAILY_BACKUP)
    if daily is None:
        return True
    latest = daily.latest(now).astimezone(zone)
    return latest.date() == now.astimezone(zone).date() and now - latest > timedelta(hours=1)
