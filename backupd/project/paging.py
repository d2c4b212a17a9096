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
_FEWEST_BLOCKS = 16
_PAGES_AHEAD = 4
_WIDER = 16
_LAST_BLOCK = 2**32 - 2


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


@dataclass(frozen=True, slots=True)
class PositionCursor:
    """A place in a walk by physical position: in the heap `after[0]`, just after the row at `after[1]`.

    A partitioned table has several heaps, walked one after the other. An empty `after[1]` is the end of a heap.
    PostgreSQL reads a range of positions without touching the rest of the heap, but sorts what it finds: only
    `blocks` ahead are asked for, because otherwise each page would cost all that is left. None: to the heap's end.
    """

    after: tuple[str, str] | None = None
    blocks: int | None = None
    widened: bool = False

    @property
    def order(self) -> tuple[str, ...]:
        """The columns to order by."""
        return ("ctid",) if self.after and self.after[1] else ("tableoid", "ctid")

    @property
    def conditions(self) -> str | None:
        """What goes inside `or=(…)`, None at the beginning of the table."""
        if self.after is None:
            return None
        heap, position = self.after
        if not position:
            return _comparison("tableoid", "gt", heap)
        parts = [_comparison("tableoid", "eq", heap), _comparison("ctid", "gt", position)]
        if self.blocks is not None:
            end = min(_block(position) + self.blocks, _LAST_BLOCK)
            parts.append(_comparison("ctid", "lt", f"({end},0)"))
        return f"and({','.join(parts)})"

    def advance(self, first: tuple[str, str], last: tuple[str, str], rows: int) -> PositionCursor:
        """Move past a page of `rows` rows whose first and last heaps and positions are given."""
        if rows < _ROWS_THAT_SHOW_A_GROUP or first[0] != last[0]:
            return PositionCursor(last)
        spanned = abs(_block(last[1]) - _block(first[1])) + 1
        return PositionCursor(last, max(_FEWEST_BLOCKS, _PAGES_AHEAD * spanned))

    def after_empty_page(self) -> PositionCursor | None:
        """Return where to go on when a page came back empty: farther ahead, the next heap, None at the end."""
        if self.after is None or not self.after[1]:
            return None
        if self.blocks is None:
            return PositionCursor((self.after[0], ""))
        blocks = None if self.widened else self.blocks * _WIDER
        return replace(self, blocks=blocks, widened=True)


def _block(position: str) -> int:
    """The number of the block in a position such as `(17,4)`."""
    return int(position[1:].partition(",")[0])


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

    @property
    def is_held_back(self) -> bool:
        """Whether the server ran out of time, and has not been seen to manage whole pages since."""
        return self._ceiling < self.most_rows

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
