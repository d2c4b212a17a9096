"""What is going on right now, as one value that a page, a stream and the API show alike. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from backupd.model import Backup, DaemonState, Progress
from backupd.web.errands import Errand

_READ_PART = 0.9
_PROVEN_PART = 0.99
"""Where the bar stands when everything was read, and when it was read back: reading takes nearly all the time."""


@dataclass(frozen=True, slots=True)
class Activity:
    """Something under way. Figures are None where nobody can tell.

    `rows` and `bytes` are over all tables so far; `table_rows` and `table_expected_rows` are of the one being read.
    """

    operation: str
    since: datetime
    seconds: float
    stage: str
    backup_id: str | None = None
    type: str | None = None
    table: str | None = None
    table_rows: int = 0
    table_expected_rows: int | None = None
    tables: int = 0
    rows: int = 0
    expected_rows: int | None = None
    bytes: int = 0
    ratio: float | None = None
    bytes_per_second: float | None = None
    seconds_left: float | None = None

    @property
    def percent(self) -> int | None:
        """How far it is, in whole percent."""
        return None if self.ratio is None else int(self.ratio * 100)

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "operation": self.operation,
            "backup_id": self.backup_id,
            "type": self.type,
            "started_at": self.since.isoformat(),
            "seconds": round(self.seconds, 1),
            "stage": self.stage,
            "table": self.table,
            "table_rows": self.table_rows,
            "table_expected_rows": self.table_expected_rows,
            "tables": self.tables,
            "rows": self.rows,
            "expected_rows": self.expected_rows,
            "bytes": self.bytes,
            "ratio": None if self.ratio is None else round(self.ratio, 4),
            "bytes_per_second": None if self.bytes_per_second is None else round(self.bytes_per_second),
            "seconds_left": None if self.seconds_left is None else round(self.seconds_left, 1),
        }


def activity_of(
    state: DaemonState, errand: Errand | None, now: datetime, last: Backup | None, backup_type: str | None = None
) -> Activity | None:
    """What is under way, None when nothing is. `last` is the last good backup: it tells how many rows to expect."""
    if state.operation is not None and state.running_since is not None:
        return _of_daemon(state, state.running_since, now, last, backup_type)
    return _of_errand(errand, now) if errand is not None else None


def _of_daemon(
    state: DaemonState, since: datetime, now: datetime, last: Backup | None, backup_type: str | None
) -> Activity:
    operation, latest = str(state.operation), state.progress
    seconds = max((now - since).total_seconds(), 0.0)
    if latest is None:
        return Activity(operation, since, seconds, "starting", state.backup_id, backup_type)
    tables = state.tables or ((latest,) if latest.table else ())
    rows, size = sum(one.rows for one in tables), sum(one.bytes for one in tables)
    expected = _expected_rows(tables, last)
    ratio = _ratio(latest, rows, expected)
    return Activity(
        operation=operation,
        since=since,
        seconds=seconds,
        stage=latest.stage,
        backup_id=state.backup_id,
        type=backup_type,
        table=latest.table,
        table_rows=latest.rows,
        table_expected_rows=latest.expected_rows,
        tables=len(tables),
        rows=rows,
        expected_rows=expected,
        bytes=size,
        ratio=ratio,
        bytes_per_second=size / seconds if seconds > 1 and size else None,
        seconds_left=_seconds_left(latest, rows, expected, seconds),
    )


def _of_errand(errand: Errand, now: datetime) -> Activity:
    latest, seconds = errand.progress, max((now - errand.started_at).total_seconds(), 0.0)
    ratio = latest.rows / latest.expected_rows if latest and latest.expected_rows else None
    return Activity(
        operation=errand.operation,
        since=errand.started_at,
        seconds=seconds,
        stage=latest.stage if latest else "starting",
        backup_id=errand.subject,
        table=latest.table if latest else None,
        table_rows=latest.rows if latest else 0,
        table_expected_rows=latest.expected_rows if latest else None,
        rows=latest.rows if latest else 0,
        bytes=latest.bytes if latest else 0,
        ratio=min(ratio, 1.0) if ratio is not None else None,
    )


def _expected_rows(tables: tuple[Progress, ...], last: Backup | None) -> int | None:
    """What the project said of the tables begun, and what the last good backup held of those that are still to come."""
    begun = {one.table for one in tables}
    known = sum(max(one.expected_rows or 0, one.rows) for one in tables)
    to_come = sum(table.rows for table in last.tables if table.name not in begun) if last else 0
    return known + to_come or None


def _ratio(latest: Progress, rows: int, expected: int | None) -> float | None:
    """How far the bar is; it never runs backwards from one stage to the next."""
    if latest.stage == "reading":
        return min(rows / expected, 1.0) * _READ_PART if expected else None
    if latest.stage == "verifying":
        return _READ_PART + (_PROVEN_PART - _READ_PART) * (
            latest.rows / latest.expected_rows if latest.expected_rows else 0
        )
    return _PROVEN_PART


def _seconds_left(latest: Progress, rows: int, expected: int | None, seconds: float) -> float | None:
    if latest.stage != "reading" or not expected or not rows or seconds < 1:
        return None
    return max(expected - rows, 0) * seconds / rows
