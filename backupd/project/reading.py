"""Read one table, page by page, and judge whether everything came."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from backupd.errors import TableUnreadable
from backupd.model import Count, OnProgress, Paging, Progress, Table, TableName, TableStatus, ignore_progress
from backupd.project.answers import ColumnRefused, PageTooLarge, StatementTimeout
from backupd.project.connection import Answer, Connection
from backupd.project.paging import KeyCursor, PageSize, quote_name
from backupd.project.rows import MalformedPage, NotALiteral, Row, key_of, split_rows, take_position

Rows = Sequence[Row]

LARGEST_PAGE_BYTES = 16 << 20
"""A page that grows beyond this is cut off and asked for again with fewer rows, so that memory stays bounded."""

LARGEST_ROW_BYTES = 512 << 20
"""A single row beyond this is given up. PostgreSQL itself cannot build a text of more than 1 GiB."""

_UNSORTABLE = frozenset({"json", "xml", "point", "line", "lseg", "box", "path", "polygon", "circle"})
_SLOW_QUERY_HINT = (
    "In the SQL editor: alter role service_role set statement_timeout = '60s'; then: notify pgrst, 'reload config';"
)


@dataclass(frozen=True, slots=True)
class TableOutcome:
    """How reading a table ended. `message` says what is missing, `warning` what else a person should know."""

    status: TableStatus
    paging: Paging | None = None
    count_before: Count | None = None
    count_after: Count | None = None
    message: str | None = None
    warning: str | None = None


def read_table(
    connection: Connection,
    table: Table,
    *,
    page_rows: int,
    without: Sequence[str] = (),
    on_count: OnProgress = ignore_progress,
) -> Generator[Rows, None, TableOutcome]:
    """Yield the rows of `table` page by page; the generator's value is the outcome.

    `without` are heaps (`tableoid` values) to leave out: tables that inherit from this one and are read by
    themselves. Raises KeyRefused, ProjectUnreachable and Interrupted; whatever concerns this table alone is in the
    outcome.
    """
    reader = _TableReader(connection, table, PageSize(most_rows=page_rows), tuple(without))
    received = 0
    before: Count | None = None
    try:
        before = reader.count()
        on_count(Progress("reading", str(table.name), expected_rows=before.rows if before else None))
        for rows in reader.walk():
            received += len(rows)
            yield rows
        after = reader.count()
    except TableUnreadable as error:
        status = TableStatus.INCOMPLETE if received else TableStatus.FAILED
        words = f"{error.message} (after {received:,} rows)" if received else error.message
        return TableOutcome(status, reader.paging, before, None, words)
    return judge(received, before, after, reader.paging)


def judge(received: int, before: Count | None, after: Count | None, paging: Paging) -> TableOutcome:
    """Decide whether `received` rows can be the whole table, by the counts before and after.

    Without writes both counts are equal and so is what came. With writes the truth lies between them.
    """
    if before is None or after is None or not (before.exact and after.exact):
        warning = "the project gave no exact count: that nothing is missing rests on the empty last page alone"
        return TableOutcome(TableStatus.COMPLETED, paging, before, after, warning=warning)
    fewest, most = sorted((before.rows, after.rows))
    if not fewest <= received <= most:
        message = f"{received:,} rows came, but the project counted {before.rows:,} before and {after.rows:,} after"
        return TableOutcome(TableStatus.INCOMPLETE, paging, before, after, message)
    return TableOutcome(TableStatus.COMPLETED, paging, before, after, warning=_doubt(received, before, after, paging))


def _doubt(received: int, before: Count, after: Count, paging: Paging) -> str | None:
    if paging is not Paging.KEY and max(before.rows, after.rows):
        return "it has no primary key: rows written while it was read may be missing or doubled"
    if after.rows < before.rows // 2:
        return f"it shrank while it was read: {before.rows:,} rows before, {after.rows:,} after, {received:,} came"
    return None


def readable(connection: Connection, name: TableName, *, attempts: int | None = None) -> None:
    """Ask for no rows of a table. Raises TableUnreadable when it is gone or not granted."""
    query = connection.client.schema(name.schema).table(name.name).select("*").limit(0)
    connection.send(query.request, str(name), _page_of, most_bytes=LARGEST_PAGE_BYTES, attempts=attempts)


def _page_of(answer: Answer) -> Rows:
    return split_rows(answer.body)


class _TableReader:
    """The state of one walk over one table."""

    def __init__(self, connection: Connection, table: Table, size: PageSize, without: tuple[str, ...]) -> None:
        self.paging = Paging.KEY
        self._connection = connection
        self._table = table
        self._size = size
        self._without = without

    def count(self) -> Count | None:
        """Ask how many rows there are."""
        return count_rows(self._connection, self._table, self._without)

    def walk(self) -> Iterator[Rows]:
        """Yield non-empty pages until one comes back empty, by the best way this table can be walked."""
        ways = self._ways()
        for paging, pages, gives_way_to in ways:
            self.paging = paging
            walk = pages()
            try:
                first = next(walk, None)
            except gives_way_to:
                continue
            if first is not None:
                yield first
                try:
                    yield from walk
                except NotALiteral as error:
                    raise TableUnreadable(f"a key cannot be written as a filter: {error}") from error
            return

    def _ways(self) -> list[tuple[Paging, Callable[[], Iterator[Rows]], tuple[type[Exception], ...]]]:
        ways: list[tuple[Paging, Callable[[], Iterator[Rows]], tuple[type[Exception], ...]]] = []
        if self._table.primary_key:
            ways.append((Paging.KEY, partial(self._walk_by_key, self._table.primary_key), (NotALiteral,)))
        ways.append((Paging.CTID, self._walk_by_position, (ColumnRefused, MalformedPage)))
        ways.append((Paging.OFFSET, self._walk_by_offset, ()))
        return ways

    def _walk_by_key(self, columns: tuple[str, ...]) -> Iterator[Rows]:
        cursor: KeyCursor | None = KeyCursor(columns)
        while cursor is not None:
            rows = self._page("*", cursor.order, cursor.conditions)
            if not rows:
                cursor = cursor.after_empty_page()
                continue
            first, last = key_of(rows[0], columns), key_of(rows[-1], columns)
            cursor = self._advance(cursor, first, last, len(rows))
            yield rows

    def _walk_by_position(self) -> Iterator[Rows]:
        """Walk by heap and physical position. A partitioned table has several heaps, each with its own positions."""
        cursor: KeyCursor | None = KeyCursor(("tableoid", "ctid"))
        while cursor is not None:
            rows = self._page("tableoid,ctid,*", cursor.order, cursor.conditions)
            if not rows:
                cursor = cursor.after_empty_page()
                continue
            taken = [take_position(row) for row in rows]
            cursor = self._advance(cursor, taken[0][1], taken[-1][1], len(rows))
            yield [row for row, _ in taken]

    def _walk_by_offset(self) -> Iterator[Rows]:
        order = tuple(quote_name(column.name) for column in self._table.columns if column.type not in _UNSORTABLE)
        received = 0
        while True:
            try:
                rows = self._page("*", order, None, offset=received)
            except TableUnreadable as error:
                if error.code == "PGRST103":  # just past the end
                    return
                raise
            if not rows:
                return
            received += len(rows)
            yield rows

    def _advance(self, cursor: KeyCursor, first: tuple[str, ...], last: tuple[str, ...], rows: int) -> KeyCursor:
        if last == cursor.after:
            raise TableUnreadable(f"the server does not move past the row with key {', '.join(last)}")
        return cursor.advance(first, last, rows)

    def _page(self, columns: str, order: Sequence[str], conditions: str | None, *, offset: int | None = None) -> Rows:
        while True:
            query = _query(self._connection, self._table, columns, self._without)
            for column in order:
                query = query.order(column)
            if conditions is not None:
                query = query.or_(conditions)
            if offset is not None:
                query = query.offset(offset)
            query = query.limit(self._size.rows)
            try:
                rows, size_bytes = self._fetch(query)
            except StatementTimeout as error:
                if not self._size.timed_out():
                    raise TableUnreadable(
                        f"a single row takes longer than the statement timeout: {error}", hint=_SLOW_QUERY_HINT
                    ) from error
            except PageTooLarge as error:
                if not self._size.too_wide():
                    raise TableUnreadable(f"a single row is larger than {LARGEST_ROW_BYTES >> 20} MiB") from error
            else:
                self._size.received(len(rows), size_bytes)
                return rows

    def _fetch(self, query: Any) -> tuple[Rows, int]:
        most_bytes = LARGEST_PAGE_BYTES if self._size.rows > 1 else LARGEST_ROW_BYTES
        return self._connection.send(
            query.request,
            f"a page of {self._table.name}",
            lambda answer: (split_rows(answer.body), len(answer.body)),
            most_bytes=most_bytes,
        )


def count_rows(connection: Connection, table: Table, without: Sequence[str] = ()) -> Count | None:
    """Ask how many rows a table has: exactly, or by the planner's estimate when that takes too long.

    None when the server does not say. Raises TableUnreadable.
    """
    for method in ("exact", "planned"):
        query = _query(connection, table, "*", without, count=method).limit(0)
        try:
            rows = connection.send(query.request, f"the number of rows in {table.name}", _total)
        except StatementTimeout:
            continue
        return None if rows is None else Count(rows, exact=method == "exact")
    return None


def _query(connection: Connection, table: Table, columns: str, without: Sequence[str], count: Any = None) -> Any:
    """Begin a query with the Supabase client; its builders change type from call to call, hence Any."""
    query = connection.client.schema(table.name.schema).table(table.name.name).select(columns, count=count)
    if without:
        query = query.filter("tableoid", "not.in", f"({','.join(without)})")
    return query


def _total(answer: Answer) -> int | None:
    return answer.counted_rows
