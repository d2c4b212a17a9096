"""Where the next page begins: keyset cursors as pure values, and how many rows to ask for.

A cursor is advanced by the rows that came, never by the rows that were asked for, and a walk is over when a page is
empty, never when it is short: the server's own row cap may lie below the page size (PostgREST, `db-max-rows`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_LOGIC_WORDS = frozenset({"and", "or", "not"})
_ROWS_THAT_SHOW_A_GROUP = 64


def quote_name(column: str) -> str:
    """Write a column name as PostgREST wants it in `order` and in logic trees."""
    if _PLAIN_NAME.match(column) and column not in _LOGIC_WORDS:
        return column
    return quote_value(column)


def quote_value(value: str) -> str:
    """Write a value as PostgREST wants it inside a logic tree, where commas and parentheses have a meaning."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


@dataclass(frozen=True, slots=True)
class KeyCursor:
    """A place in a walk over unique `columns`: just after the row whose key begins with `after`.

    The first `fixed` values of `after` are held equal. That makes a long run of rows with the same leading key (all
    members of one organisation) an index range of its own, where a plain row comparison would read it again and
    again from its beginning.
    """

    columns: tuple[str, ...]
    after: tuple[str, ...] = ()
    fixed: int = 0

    @property
    def order(self) -> tuple[str, ...]:
        """The columns to order by, quoted. Those held equal are left out."""
        return tuple(quote_name(column) for column in self.columns[self.fixed :])

    @property
    def conditions(self) -> str | None:
        """What goes inside `or=(…)`, None at the beginning of the table."""
        if not self.after:
            return None
        pairs = list(zip(self.columns, self.after, strict=False))
        equal = [_comparison(column, "eq", value) for column, value in pairs[: self.fixed]]
        parts = [*equal, _later_than(pairs[self.fixed :])]
        return parts[0] if len(parts) == 1 else f"and({','.join(parts)})"

    def advance(self, first: tuple[str, ...], last: tuple[str, ...], rows: int) -> KeyCursor:
        """Move past a page of `rows` rows whose first and last keys are given."""
        fixed = self.fixed
        if rows >= _ROWS_THAT_SHOW_A_GROUP:
            while fixed < len(self.columns) - 1 and first[fixed] == last[fixed]:
                fixed += 1
        return replace(self, after=last, fixed=fixed)

    def after_empty_page(self) -> KeyCursor | None:
        """Return where to go on when a page came back empty, None when the walk is over."""
        if self.fixed == 0:
            return None
        return replace(self, after=self.after[: self.fixed], fixed=self.fixed - 1)


def _comparison(column: str, operator: str, value: str) -> str:
    return f"{quote_name(column)}.{operator}.{quote_value(value)}"


def _later_than(pairs: list[tuple[str, str]]) -> str:
    (column, value), *rest = pairs
    greater = _comparison(column, "gt", value)
    if not rest:
        return greater
    # The leading `gte` says nothing new, but it is what lets PostgreSQL begin at the right place in the index.
    same = f"and({_comparison(column, 'eq', value)},{_later_than(rest)})"
    return f"and({_comparison(column, 'gte', value)},or({greater},{same}))"


@dataclass(slots=True)
class PageSize:
    """How many rows to ask for next.

    Begins small, because the width of a row is not known before one was seen and a server builds a page in memory.
    Grows to `most_rows`, or to as many rows as make `target_bytes`. Shrinks when the server runs out of time, and
    then takes `patience` good pages before it tries a larger page again, twice as many each time that fails.
    """

    most_rows: int
    target_bytes: int = 4 << 20
    rows: int = 100
    patience: int = 8
    _ceiling: int = field(init=False)
    _good_pages: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self._ceiling = self.most_rows
        self.rows = min(self.rows, self.most_rows)

    def received(self, rows: int, size_bytes: int) -> None:
        """Learn from a page that came."""
        self._good_pages += 1
        if self._ceiling < self.most_rows and self._good_pages >= self.patience:
            self._ceiling = min(self.most_rows, self._ceiling + max(1, self._ceiling // 2))
            self._good_pages = 0
        fitting = max(1, self.target_bytes * max(rows, 1) // max(size_bytes, 1))
        self.rows = max(1, min(self._ceiling, self.rows * 4, fitting))

    def timed_out(self) -> bool:
        """Halve the page after a statement timeout. False when it cannot be any smaller."""
        if self.rows == 1:
            return False
        if self._ceiling < self.most_rows:
            self.patience *= 2
        self.rows = self._ceiling = self.rows // 2
        self._good_pages = 0
        return True

    def too_wide(self) -> bool:
        """Shrink the page after a body larger than memory allows. False when it cannot be any smaller."""
        if self.rows == 1:
            return False
        self.rows = max(1, self.rows // 8)
        return True
