"""Notices that the last success has become too old, and says so once for each such stretch."""

from __future__ import annotations

from datetime import datetime, timedelta

from backupd.catalog import Catalog


class Staleness:
    """Remembers what was told. Only a completed backup is a success; without one the daemon's start counts."""

    def __init__(self, started_at: datetime) -> None:
        self._started_at = started_at
        self._told_of: str | None = None
        self.last_success_at: datetime | None = None

    @property
    def is_told(self) -> bool:
        """Whether people were told of the stretch that now lasts."""
        return self._told_of is not None

    def is_news(self, catalog: Catalog, stale_after: timedelta, now: datetime) -> bool:
        """Whether people have to be told now that there is no recent success. Raises CatalogError."""
        last = catalog.last_completed()
        self.last_success_at = last.created_at if last else None
        if now - (self.last_success_at or self._started_at) <= stale_after:
            self._told_of = None
            return False
        stretch = last.backup_id if last else "never"
        is_news = self._told_of != stretch
        self._told_of = stretch
        return is_news
