"""What people are told, and when: one event, one short title, one body that says what, where and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from backupd.errors import BackupdError
from backupd.model import Backup, BackupTable, BackupType, TableStatus

_TABLES_SHOWN = 10


class EventKind(StrEnum):
    """What happened. `test` is sent whatever the settings, the others where `on` names them."""

    FAILED = "failed"
    PARTIAL = "partial"
    STALE = "stale"
    RECOVERED = "recovered"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Event:
    """A message to a person."""

    kind: EventKind
    title: str
    body: str
    backup_id: str | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a message comes from: the platform's name, the project's host, the machine that runs backupd."""

    platform: str
    project: str
    machine: str

    def __str__(self) -> str:
        return self.platform if self.platform == self.project else f"{self.platform} ({self.project})"


@dataclass(frozen=True, slots=True)
class Failure:
    """A backup that came to nothing: which one, when it was begun, why, and what still stands."""

    type: BackupType
    started_at: datetime
    error: BackupdError
    last_success_at: datetime | None
    backup_id: str | None = None


def failed(origin: Origin, failure: Failure, now: datetime) -> Event:
    """A backup failed: no archive was published."""
    return Event(
        EventKind.FAILED,
        f"Backup failed: {origin.platform}",
        _text(
            f"The {failure.type} backup of {origin}, begun {_instant(failure.started_at)}, failed. "
            "No archive was published; the earlier ones are untouched.",
            f"Why: {failure.error.message}",
            f"What to do: {failure.error.hint or 'read the log (journalctl -u backupd), then run: backupd backup'}",
            _last_good(failure.last_success_at, now),
            _signature(origin),
        ),
        failure.backup_id,
    )


def partial(origin: Origin, backup: Backup, last_success_at: datetime | None, now: datetime) -> Event:
    """A backup was published that lacks something. `backup` comes with its tables."""
    short_id = _short(backup.backup_id)
    return Event(
        EventKind.PARTIAL,
        f"Backup partial: {origin.platform}",
        _text(
            f"The {backup.type} backup {short_id} of {origin}, begun {_instant(backup.created_at)}, lacks something. "
            "Its archive is kept and holds the rest, but it does not count as a success.",
            _lacking(backup.tables) or f"What is lacking: {backup.error or f'see backupd show {short_id}'}",
            f"What to do: mend that, then run: backupd backup. All of it: backupd show {short_id}",
            _last_good(last_success_at, now),
            _signature(origin),
        ),
        backup.backup_id,
    )


def stale(origin: Origin, last_success_at: datetime | None, stale_after: timedelta, now: datetime) -> Event:
    """No backup has succeeded for longer than `stale_after`."""
    since = "yet" if last_success_at is None else f"for {_span(now - last_success_at)}"
    return Event(
        EventKind.STALE,
        f"No good backup {since}: {origin.platform}",
        _text(
            f"{_last_good(last_success_at, now)} {origin} should have one at least every {_span(stale_after)}.",
            "What to do: backupd status and journalctl -u backupd tell why; backupd backup makes one now.",
            _signature(origin),
        ),
    )


def recovered(origin: Origin, backup: Backup, previous_success_at: datetime | None) -> Event:
    """The first completed backup after a failed, partial or stale stretch."""
    before = (
        "It is the first good one."
        if previous_success_at is None
        else (f"The good one before it was begun {_instant(previous_success_at)}.")
    )
    return Event(
        EventKind.RECOVERED,
        f"Backups work again: {origin.platform}",
        _text(
            f"The {backup.type} backup {_short(backup.backup_id)} of {origin}, begun {_instant(backup.created_at)}, "
            f"completed and was proven: {backup.total_rows:,} rows, {_size(backup.size_bytes)}. {before}",
            "Nothing to do.",
            _signature(origin),
        ),
        backup.backup_id,
    )


def drill_failed(origin: Origin, backup: Backup, problems: Iterable[str]) -> Event:
    """A rehearsed restore showed that a backup could not be restored as it should."""
    short_id = _short(backup.backup_id)
    found = [f"- {problem}" for problem in problems]
    more = len(found) - _TABLES_SHOWN
    shown = [*found[:_TABLES_SHOWN], *([f"- and {more} more"] if more > 0 else [])]
    return Event(
        EventKind.FAILED,
        f"Restore drill failed: {origin.platform}",
        _text(
            f"A rehearsed restore of backup {short_id} of {origin}, begun {_instant(backup.created_at)}, went wrong. "
            "The archive is kept; nothing was changed.",
            "What was found:\n" + "\n".join(shown),
            f"What to do: backupd drill {short_id} shows it in full; backupd backup takes a new one.",
            _signature(origin),
        ),
        backup.backup_id,
    )


def trial(origin: Origin) -> Event:
    """A message that shows that messages arrive."""
    return Event(
        EventKind.TEST,
        f"Test message: {origin.platform}",
        _text(
            f"backupd can reach you here about {origin}. Nothing is wrong and there is nothing to do.",
            _signature(origin),
        ),
    )


def _text(*paragraphs: str) -> str:
    return "\n\n".join(paragraphs)


def _lacking(tables: Iterable[BackupTable]) -> str:
    """One line for each table that did not come out whole; empty when there is none."""
    lines = [
        f"- {table.name} ({table.status}): {table.message or 'no reason recorded'}"
        for table in tables
        if table.status is not TableStatus.COMPLETED
    ]
    more = [f"- and {len(lines) - _TABLES_SHOWN} more"] if len(lines) > _TABLES_SHOWN else []
    return "\n".join(["What is lacking:", *lines[:_TABLES_SHOWN], *more]) if lines else ""


def _last_good(at: datetime | None, now: datetime) -> str:
    if at is None:
        return "There is no good backup yet."
    return f"The last good backup was begun {_instant(at)}, {_span(now - at)} ago."


def _signature(origin: Origin) -> str:
    return f"backupd on {origin.machine}"


def _short(backup_id: str) -> str:
    return backup_id[:8]


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _span(span: timedelta) -> str:
    """A span for a person: whole hours up to two days, whole days from then on."""
    hours = max(int(span / timedelta(hours=1)), 0)
    if hours == 1:
        return "1 hour"
    return f"{hours} hours" if hours < 48 else f"{hours // 24} days"


def _size(size_bytes: int) -> str:
    """Bytes for a person, in powers of a thousand."""
    if size_bytes < 1000:
        return f"{size_bytes} B"
    size = float(size_bytes)
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 999.95:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} TB"
