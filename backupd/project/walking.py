"""Walk one table page by page, by the best way it can be walked."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from backupd.errors import TableUnreadable
from backupd.model import Count, Paging, ShouldStop, Table
from backupd.project.answers import PAST_THE_END, STATEMENT_TIMEOUT, ColumnRefused, PageTooLarge, StatementTimeout
from backupd.project.connection import LARGEST_ANSWER_BYTES, Answer, Connection
from backupd.project.paging import KeyCursor, PageSize, PositionCursor, quote_name
from backupd.project.ranges import SCALES, Fetch, KeyRange, read_in_ranges, worth_sharing
from backupd.project.rows import MalformedPage, NotALiteral, Row, key_of, split_rows, take_position

Rows = Sequence[Row]

LARGEST_ROW_BYTES = 512 << 20
"""A single row beyond this is given up. PostgreSQL itself cannot build a text of more than 1 GiB."""

_UNSORTABLE = frozenset({"json", "xml", "point", "line", "lseg", "box", "path", "polygon", "circle"})
_PLAIN_TYPES = frozenset(
    {"int16", "int32", "int64"}
    | {"smallint", "integer", "bigint", "numeric", "real", "double precision", "boolean", "text", "character varying"}
    | {"character", "uuid", "bytea", "date", "time without time zone", "time with time zone", "interval", "jsonb"}
    | {"timestamp without time zone", "timestamp with time zone"}
)
_NOT_WRITABLE = "jsonb"
"""As a key: its JSON text does not tell a string from what PostgreSQL calls a string."""

_PAGES_BEFORE_SHARING = 4
_PAGES_WORTH_SHARING = 4
_ROWS_WORTH_SHARING = 4000
"""Several readers are worth their while from eight pages on, unless the pages are small."""

_SLOW_QUERY_HINT = (
    "In the SQL editor: alter role service_role set statement_timeout = '60s'; then: notify pgrst, 'reload config';"
)


@dataclass(frozen=True, slots=True)
class Readers:
    """How many may read one table at a time, and whether anybody waits for it yet: until then one is enough."""

    at_once: int = 1
    wanted: Callable[[], bool] = lambda: True


ONE_READER = Readers()


@dataclass(frozen=True, slots=True)
class _Way:
    """One way to walk a table, and the errors on its first page that mean: try the next one."""

    paging: Paging
    pages: Callable[[], Iterator[Rows]]
    gives_way_to: tuple[type[Exception], ...] = ()


class Walk:
    """One walk over one table. `paging` says by which way, None before the first page was asked for.

    `without` are heaps (`tableoid` values) to leave out. Where `readers` are several and the key is one whose ranges
    can be cut, what is left after a few pages is read in ranges side by side.
    """

    def __init__(
        self,
        connection: Connection,
        table: Table,
        size: PageSize,
        without: Sequence[str] = (),
        readers: Readers = ONE_READER,
    ) -> None:
        self.paging: Paging | None = None
        self.unusable_key: str | None = None
        """Why the table's key could not be used, None when it was or there is none."""
        self._connection = connection
        self._table = table
        self._without = without
        self._readers = readers
        self._fetcher = _Fetcher(connection, table, size, without)
        self._page = self._fetcher.page
        self._turn = threading.Lock()

    def __iter__(self) -> Iterator[Rows]:
        """Yield non-empty pages until one comes back empty. Raises what `Connection.send` raises."""
        for way in self._ways():
            self.paging = way.paging
            walk = way.pages()
            try:
                first = next(walk, None)
            except way.gives_way_to as error:
                if way.paging is Paging.KEY:
                    self.unusable_key = str(error)
                continue
            if first is not None:
                yield first
                yield from _explained(walk)
            return

    def _ways(self) -> Iterator[_Way]:
        if self._table.primary_key:
            walk = partial(self._by_key, self._table.primary_key)
            yield _Way(Paging.KEY, walk, (NotALiteral, KeyError, ColumnRefused))
        yield _Way(Paging.CTID, self._by_position, (MalformedPage, ColumnRefused))
        yield _Way(Paging.OFFSET, partial(self._by_offset, self._sortable()), (ColumnRefused,))
        yield _Way(Paging.OFFSET, partial(self._by_offset, self._surely_sortable()))

    def _sortable(self) -> list[str]:
        return [column.name for column in self._table.columns if column.type not in _UNSORTABLE]

    def _surely_sortable(self) -> list[str]:
        return [column.name for column in self._table.columns if column.type in _PLAIN_TYPES]

    def _by_key(self, columns: tuple[str, ...]) -> Iterator[Rows]:
        self._require_writable(columns)
        cursor: KeyCursor | None = KeyCursor(columns)
        sharing = self._readers.at_once > 1
        pages = 0
        while cursor is not None:
            rows = self._page("*", cursor.order, cursor.conditions)
            if not rows:
                cursor = cursor.after_empty_page()
                continue
            first, last = key_of(rows[0], columns), key_of(rows[-1], columns)
            _require_progress(cursor.after, last)
            cursor = cursor.advance(first, last, len(rows))
            yield rows
            pages += 1
            if sharing and pages >= _PAGES_BEFORE_SHARING and self._readers.wanted():
                sharing = False
                if left := self._worth_sharing(columns, rows):
                    del rows
                    yield from read_in_ranges(left, self._fetch_for, self._readers.at_once)
                    return

    def _worth_sharing(self, columns: tuple[str, ...], rows: Rows) -> KeyRange | None:
        """What is left of the table behind `rows`, None where one reader does as well."""
        types = {column.name: column.type for column in self._table.columns}
        scale = SCALES.get(types.get(columns[0], "")) if len(columns) == 1 else None
        if scale is None or self._fetcher.is_held_back:
            return None
        seen = KeyRange(columns[0], scale, after=0, until=None, end=0)
        first, last = seen.key(rows[0]), seen.key(rows[-1])
        left = KeyRange(columns[0], scale, last, None, last, len(rows) / max(last - first, 1))
        end = self._last_key(left)
        left = replace(left, end=end)
        is_large = left.expected_rows >= _ROWS_WORTH_SHARING
        return left if is_large and worth_sharing(left, _PAGES_WORTH_SHARING * len(rows)) else None

    def _last_key(self, left: KeyRange) -> int:
        """The last key there is now. A table that will not say is read by one reader."""
        query = start_query(self._connection, self._table, quote_name(left.column), self._without)
        query = query.or_(left.conditions).order(quote_name(left.column), desc=True).limit(1)
        try:
            rows, _ = self._connection.send(query.request, f"the last key of {self._table.name}", _page_and_size)
        except TableUnreadable:
            return left.after
        return left.key(rows[0]) if rows else left.after

    def _fetch_for(self, is_over: ShouldStop) -> Fetch:
        """A reader's own way of fetching: it learns by itself how large its pages may be."""
        fetcher = self._fetcher.stopping_also(is_over, self._turn)

        @contextmanager
        def fetch(part: KeyRange) -> Iterator[Rows]:
            try:
                yield fetcher.page("*", part.order, part.conditions)
            finally:
                fetcher.end_turn()

        return fetch

    def _require_writable(self, columns: tuple[str, ...]) -> None:
        for column in self._table.columns:
            if column.name in columns and column.type == _NOT_WRITABLE:
                raise NotALiteral(f"{column.name} is {column.type}")

    def _by_position(self) -> Iterator[Rows]:
        cursor: PositionCursor | None = PositionCursor()
        while cursor is not None:
            rows = self._page("tableoid,ctid,*", cursor.order, cursor.conditions)
            if not rows:
                cursor = cursor.after_empty_page()
                continue
            taken = [take_position(row) for row in rows]
            first, last = taken[0][1], taken[-1][1]
            if len(rows) > 1 and first == last:  # some foreign tables give all rows the same
                raise MalformedPage("the positions do not tell rows apart")
            _require_progress(cursor.after, last)
            cursor = cursor.advance(first, last, len(rows))
            yield [row for row, _ in taken]

    def _by_offset(self, columns: Sequence[str]) -> Iterator[Rows]:
        order = [quote_name(column) for column in columns]
        received = 0
        while rows := self._page_at(order, received):
            received += len(rows)
            yield rows

    def _page_at(self, order: Sequence[str], offset: int) -> Rows:
        try:
            return self._page("*", order, None, offset=offset)
        except TableUnreadable as error:
            if error.code == PAST_THE_END:
                return []
            raise


class _Fetcher:
    """Fetches pages of one table, and learns how large they may be.

    Among several, those that have come down to single rows take turns: such a row may be very large.
    """

    def __init__(
        self,
        connection: Connection,
        table: Table,
        size: PageSize,
        without: Sequence[str],
        turn: threading.Lock | None = None,
    ) -> None:
        self._connection = connection
        self._table = table
        self._size = size
        self._without = without
        self._turn = turn
        self._has_turn = False

    def stopping_also(self, condition: ShouldStop, turn: threading.Lock) -> _Fetcher:
        """Another one that knows as much as this one, for a reader that must stop in one more case."""
        connection = self._connection.stopping_also(condition)
        return _Fetcher(connection, self._table, copy.copy(self._size), self._without, turn)

    @property
    def is_held_back(self) -> bool:
        """Whether the server has trouble with one reader already."""
        return self._size.is_held_back

    def end_turn(self) -> None:
        """The page fetched last has been handed on."""
        if self._turn is not None and self._has_turn:
            self._has_turn = False
            self._turn.release()

    def _wait_for_turn(self) -> None:
        if self._turn is not None and not self._has_turn:
            self._turn.acquire()
            self._has_turn = True

    def page(self, columns: str, order: Sequence[str], conditions: str | None, *, offset: int | None = None) -> Rows:
        """The rows after `conditions`, as many as the server can give in one go."""
        while True:
            query = start_query(self._connection, self._table, columns, self._without)
            for column in order:
                query = query.order(column)
            if conditions is not None:
                query = query.or_(conditions)
            if offset is not None:
                query = query.offset(offset)
            if self._size.rows == 1:
                self._wait_for_turn()
            try:
                return self._fetch(query.limit(self._size.rows))
            except StatementTimeout as error:
                if not self._size.timed_out():
                    raise _too_much(error) from error
            except PageTooLarge as error:
                if not self._size.too_wide():
                    raise TableUnreadable(f"a single row is larger than {LARGEST_ROW_BYTES >> 20} MiB") from error

    def _fetch(self, query: Any) -> Rows:
        most_bytes = LARGEST_ANSWER_BYTES if self._size.rows > 1 else LARGEST_ROW_BYTES
        rows, size_bytes = self._connection.send(
            query.request, f"a page of {self._table.name}", _page_and_size, most_bytes=most_bytes
        )
        self._size.received(len(rows), size_bytes)
        return rows


def count_rows(connection: Connection, table: Table, without: Sequence[str] = ()) -> Count | None:
    """Ask how many rows a table has: exactly, or by the planner's estimate when that takes too long.

    None when the server does not say. Raises TableUnreadable.
    """
    for method in ("exact", "planned"):
        query = start_query(connection, table, "*", without, count=method).limit(0)
        try:
            rows = connection.send(query.request, f"the number of rows in {table.name}", _total)
        except StatementTimeout:
            continue
        return None if rows is None else Count(rows, exact=method == "exact")
    return None


def start_query(
    connection: Connection, table: Table, columns: str, without: Sequence[str] = (), *, count: Any = None
) -> Any:
    """Begin a query that leaves out the heaps `without`."""
    query = connection.select(table.name, columns, count=count)
    if without:
        query = query.filter("tableoid", "not.in", f"({','.join(without)})")
    return query


def _explained(walk: Iterator[Rows]) -> Iterator[Rows]:
    """Put what stops a walk half-way into words: then there is no other way to try."""
    try:
        yield from walk
    except NotALiteral as error:
        raise TableUnreadable(f"a key cannot be written as a filter: {error}") from error
    except KeyError as error:
        raise TableUnreadable(f"the rows come without the key column {error}") from error
    except MalformedPage as error:
        raise TableUnreadable(str(error)) from error


def _require_progress(after: tuple[str, ...] | None, last: tuple[str, ...]) -> None:
    if last == after:
        raise TableUnreadable(f"the server does not move past the row with key {', '.join(last)}")


def _too_much(error: StatementTimeout) -> TableUnreadable:
    if error.code == STATEMENT_TIMEOUT:
        words = f"a single row takes longer than the statement timeout: {error}"
        return TableUnreadable(words, code=error.code, hint=_SLOW_QUERY_HINT)
    return TableUnreadable(f"a single row is too much for the database: {error}", code=error.code)


def _page_and_size(answer: Answer) -> tuple[Rows, int]:
    return split_rows(answer.body), len(answer.body)


def _total(answer: Answer) -> int | None:
    return answer.counted_rows
