"""Figures over time as lines in an SVG: geometry only, worked out here so that a page needs no script. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from backupd.model import Backup, Status
from backupd.words import duration, number, size

WIDTH, HEIGHT = 320, 96
_TOP, _BOTTOM = 8, 88
MOST_POINTS = 30


@dataclass(frozen=True, slots=True)
class Point:
    """One backup in a chart: where, what it was, and what is said of it."""

    x: float
    y: float
    backup: Backup
    words: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A line over the last backups. `latest` and `top` are in words; `summary` is for whoever cannot see it."""

    title: str
    points: tuple[Point, ...]
    latest: str
    top: str
    summary: str

    @property
    def step(self) -> float:
        """How far it is from one point to the next."""
        return WIDTH / (len(self.points) - 1)

    @property
    def line(self) -> str:
        """The points of the line, as SVG's `polyline` takes them."""
        return " ".join(f"{point.x:.1f},{point.y:.1f}" for point in self.points)

    @property
    def area(self) -> str:
        """The same, closed along the bottom."""
        first, last = self.points[0], self.points[-1]
        return f"{first.x:.1f},{_BOTTOM} {self.line} {last.x:.1f},{_BOTTOM}"


def seconds_of(backup: Backup) -> float:
    """How long a backup took; 0 for one that has not ended."""
    return (backup.finished_at - backup.created_at).total_seconds() if backup.finished_at else 0.0


def charts(backups: Sequence[Backup]) -> list[Chart]:
    """Size, duration and rows of the last backups that were published; none with fewer than two."""
    published = [one for one in backups if one.status in (Status.COMPLETED, Status.PARTIAL)][:MOST_POINTS][::-1]
    if len(published) < 2:
        return []
    return [
        _chart("Size", published, lambda one: float(one.size_bytes), lambda value: size(round(value))),
        _chart("Duration", published, seconds_of, duration),
        _chart("Rows", published, lambda one: float(one.total_rows), lambda value: number(round(value))),
    ]


def _chart(
    title: str, backups: Sequence[Backup], measure: Callable[[Backup], float], words: Callable[[float], str]
) -> Chart:
    values = [measure(one) for one in backups]
    top = _round_up(max(values))
    step = WIDTH / (len(values) - 1)
    points = tuple(
        Point(index * step, _BOTTOM - (value / top) * (_BOTTOM - _TOP), backup, words(value))
        for index, (value, backup) in enumerate(zip(values, backups, strict=True))
    )
    summary = f"{title} of the last {len(values)} backups: from {words(values[0])} to {words(values[-1])}, "
    return Chart(
        title=title,
        points=points,
        latest=words(values[-1]),
        top=words(top),
        summary=summary + f"least {words(min(values))}, most {words(max(values))}.",
    )


def _round_up(value: float) -> float:
    """The next number that is easy to read above a value: 1, 2, 2.5 or 5 and zeros."""
    if value <= 0:
        return 1.0
    magnitude: float = 10.0 ** math.floor(math.log10(value))
    return next(step * magnitude for step in (1, 2, 2.5, 5, 10) if step * magnitude >= value)
