"""The history as a page shows it: what was asked for in the address, and the addresses of the pages around it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from backupd.catalog import SORTS, Catalog, HistoryPage, HistoryQuery
from backupd.model import Backup, BackupType, Status

PAGE_ROWS = 25
_MOST_PAGES = 100_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody asked to see. Whatever makes no sense in an address is taken for not asked."""

    type: str = ""
    status: str = ""
    sort: str = "created"
    order: str = "desc"
    page: int = 1
    day: date | None = None

    @classmethod
    def read(cls, query: Mapping[str, str]) -> Wanted:
        """Read the query part of an address."""
        page = query.get("page", "1")
        number = int(page) if page.isascii() and page.isdecimal() and len(page) < 7 else 1
        return cls(
            type=_one_of(query.get("type", ""), list(BackupType), ""),
            status=_one_of(query.get("status", ""), list(Status), ""),
            sort=_one_of(query.get("sort", ""), list(SORTS), "created"),
            order=_one_of(query.get("order", ""), ["asc", "desc"], "desc"),
            page=min(max(number, 1), _MOST_PAGES),
            day=_day(query.get("day", "")),
        )

    def query(self, zone: ZoneInfo) -> HistoryQuery:
        """The same for the catalog; a day is one of the schedule's zone."""
        begin = datetime.combine(self.day, time(), zone) if self.day else None
        end = datetime.combine(self.day + timedelta(days=1), time(), zone) if self.day else None
        return HistoryQuery(
            type=BackupType(self.type) if self.type else None,
            status=Status(self.status) if self.status else None,
            sort=self.sort,
            descending=self.order == "desc",
            limit=PAGE_ROWS,
            offset=(self.page - 1) * PAGE_ROWS,
            created_from=begin,
            created_before=end,
        )

    def path(self, **changes: object) -> str:
        """The address of the same with changes; what is as usual is left out."""
        usual = {"sort": "created", "order": "desc", "page": 1}
        mine = {"type": self.type, "status": self.status, "sort": self.sort, "order": self.order, "page": self.page}
        wanted = {**mine, "day": self.day, **changes}
        asked = {name: value for name, value in wanted.items() if value and value != usual.get(name)}
        return f"/?{urlencode(asked)}#history" if asked else "/#history"


@dataclass(frozen=True, slots=True)
class HistoryView:
    """A page of the history and the ways out of it."""

    asked: Wanted
    found: HistoryPage

    @property
    def backups(self) -> tuple[Backup, ...]:
        """The backups of this page."""
        return self.found.backups

    @property
    def tables(self) -> Mapping[str, int]:
        """How many tables each has."""
        return self.found.tables

    @property
    def total(self) -> int:
        """How many there are on all pages."""
        return self.found.total

    @property
    def sort(self) -> str:
        """What it is sorted by."""
        return self.asked.sort

    @property
    def descending(self) -> bool:
        """Whether the greatest comes first."""
        return self.asked.order == "desc"

    @property
    def day(self) -> date | None:
        """The one day that is shown."""
        return self.asked.day

    @property
    def is_filtered(self) -> bool:
        """Whether some are left out."""
        return bool(self.asked.type or self.asked.status or self.asked.day)

    @property
    def first(self) -> int:
        """The number of the first one shown."""
        return (self.asked.page - 1) * PAGE_ROWS + 1

    @property
    def last(self) -> int:
        """The number of the last one shown."""
        return self.first + len(self.backups) - 1

    @property
    def previous(self) -> str | None:
        """The page before."""
        return self.asked.path(page=self.asked.page - 1) if self.asked.page > 1 else None

    @property
    def next(self) -> str | None:
        """The page after."""
        return self.asked.path(page=self.asked.page + 1) if self.last < self.total else None

    def sorted_by(self, name: str) -> str:
        """The address sorted by this; once more turns it round."""
        order = "asc" if self.sort == name and self.descending else "desc"
        return self.asked.path(sort=name, order=order, page=1)


def read_history_view(catalog: Catalog, asked: Wanted, zone: ZoneInfo) -> HistoryView:
    """Read a page of the history. Raises CatalogError."""
    return HistoryView(asked, catalog.history(asked.query(zone)))


def _one_of(given: str, allowed: list[str], otherwise: str) -> str:
    return given if given in [str(one) for one in allowed] else otherwise


def _day(given: str) -> date | None:
    try:
        found = date.fromisoformat(given)
    except ValueError:
        return None
    return found if 1970 <= found.year < 9000 else None
