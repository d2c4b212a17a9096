"""Numbers, sizes and times as people read them."""

from __future__ import annotations

from datetime import datetime, timedelta

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def size(count: int) -> str:
    """Bytes in decimal units: `61.2 MB`."""
    amount = float(count)
    for unit in _UNITS:
        if amount < 1000 or unit == _UNITS[-1]:
            return f"{count} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    raise AssertionError


def number(count: int) -> str:
    """`12,034`."""
    return f"{count:,}"


def plural(count: int, noun: str) -> str:
    """`1 table`, `5 tables`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def duration(seconds: float) -> str:
    """`0.4 s`, `3 min 4 s`, `2 h 5 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def clock_time(seconds: float) -> str:
    """`0:05`, `12:30`, `1:02:03`, for the time left."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def age(then: datetime, now: datetime) -> str:
    """`6 hours ago`."""
    passed = now - then
    if passed < timedelta(minutes=1):
        return "just now"
    for unit, length in (("day", timedelta(days=1)), ("hour", timedelta(hours=1)), ("minute", timedelta(minutes=1))):
        if passed >= length:
            return f"{plural(passed // length, unit)} ago"
    raise AssertionError


def instant(at: datetime) -> str:
    """Local time with its offset, to the second: `2026-11-22 15:24:29 +01:00`."""
    local = at.astimezone().isoformat(sep=" ", timespec="seconds")
    return f"{local[:-6]} {local[-6:]}"


def moment(at: datetime) -> str:
    """Local time with its offset, to the minute: `2026-11-22 15:24 +01:00`."""
    local = instant(at)
    return f"{local[:16]} {local[-6:]}"
