"""Walks over a simulated server: each row exactly once, whatever the keys, the page size, the cap, and the writes."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Any
from urllib.parse import quote

from hypothesis import given, settings
from hypothesis import strategies as st

from backupd.project.paging import KeyCursor, PositionCursor
from backupd.sandbox.query import Condition, Filter, Query, parse_query

Row = tuple[str, ...]
COLUMNS = ("org", "and", 'Key, "One"')
AWKWARD = ["", "a,b", "(p)", 'q"', "back\\", "é", "null", "*", "%25", "and(a.eq.1)", " ", "+"]
GROUP_SIZES = [1, 63, 64, 65, 130, 300]

texts = st.sampled_from(AWKWARD) | st.text(max_size=4)
groups = st.dictionaries(st.tuples(texts, texts), st.sampled_from(GROUP_SIZES), min_size=2, max_size=4)
loose = st.sets(st.tuples(texts, texts, texts), max_size=40)
page_sizes = st.sampled_from([7, 64, 65, 100, 1000])
caps = st.sampled_from([10, 64, 99, 1000])


class Server:
    """Rows in memory, filtered and ordered as PostgREST would by what the sandbox's parser reads in a query."""

    def __init__(self, columns: tuple[str, ...], rows: Iterable[Row], key: Callable[[str, str], object], cap: int):
        self.rows = set(rows)
        self._columns = columns
        self._key = key
        self._cap = cap
        self.requests = 0

    def page(self, order: tuple[str, ...], conditions: str | None, limit: int) -> list[Row]:
        """The first rows in that order that the conditions let through."""
        self.requests += 1
        text = f"order={quote(','.join(order))}"
        query = parse_query(text if conditions is None else f"{text}&or={quote(f'({conditions})')}")
        found = [row for row in self.rows if all(self._lets_through(condition, row) for condition in query.where)]
        return sorted(found, key=lambda row: self._rank(query, row))[: min(limit, self._cap)]

    def _rank(self, query: Query, row: Row) -> list[object]:
        return [self._value(term.column, row) for term in query.order]

    def _value(self, column: str, row: Row) -> object:
        return self._key(column, row[self._columns.index(column)])

    def _lets_through(self, condition: Condition, row: Row) -> bool:
        if not isinstance(condition, Filter):
            parts = [self._lets_through(part, row) for part in condition.conditions]
            return all(parts) if condition.operator == "and" else any(parts)
        assert isinstance(condition.value, str)
        here: Any = self._value(condition.column, row)
        there: Any = self._key(condition.column, condition.value)
        compare: Callable[[Any, Any], bool] = getattr(operator, condition.operator.replace("gte", "ge"))
        return compare(here, there)


def walk_by_key(server: Server, width: int, limit: int, between: Callable[[], object]) -> Iterator[Row]:
    """The rows in the order they come, as `Walk` takes them; `between` is called before each page."""
    cursor: KeyCursor | None = KeyCursor(COLUMNS[:width])
    while cursor is not None:
        between()
        rows = server.page(cursor.order, cursor.conditions, limit)
        yield from rows
        cursor = cursor.advance(rows[0], rows[-1], len(rows)) if rows else cursor.after_empty_page()


def as_text(_: str, value: str) -> object:
    """Compare values as text."""
    return value


@settings(max_examples=30, deadline=None)
@given(groups, loose, st.sampled_from([3, 3, 2, 1]), page_sizes, caps)
def test_key_walk_gives_each_row_once(
    sizes: dict[tuple[str, str], int], more: set[Row], width: int, limit: int, cap: int
) -> None:
    """Any unique keys of one to three columns, any page size, any cap: every row, in order, and none twice."""
    keys = {(*group, f"{number:03}") for group, size in sizes.items() for number in range(size)} | more
    rows = {key[-width:] for key in keys}
    server = Server(COLUMNS[:width], rows, as_text, cap)
    assert list(walk_by_key(server, width, limit, lambda: None)) == sorted(rows)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([1, 64, 300]), loose, st.lists(loose), st.lists(loose), page_sizes, caps)
def test_key_walk_while_rows_come_and_go_gives_each_row_that_stays_once(
    size: int, first: set[Row], inserted: list[set[Row]], deleted: list[set[Row]], limit: int, cap: int
) -> None:
    """Rows that were there throughout come exactly once; others once or not at all."""
    group = {("a", "b", f"{number:03}") for number in range(size)}
    server = Server(COLUMNS, first | group, as_text, cap)
    staying = (first | group).difference(*deleted)
    seen_at_all = (first | group).union(*inserted)

    def write() -> None:
        if inserted:
            server.rows |= inserted.pop() - seen_before
        if deleted:
            server.rows -= deleted.pop()

    seen_before = set(first)
    came = list(walk_by_key(server, 3, limit, write))
    assert len(came) == len(set(came))
    assert staying <= set(came) <= seen_at_all


@settings(max_examples=30, deadline=None)
@given(groups, page_sizes, caps)
def test_key_walk_needs_few_requests(sizes: dict[tuple[str, str], int], limit: int, cap: int) -> None:
    """A page for each full page, and at most one more for the end of each group that was held, and the table's."""
    rows = {(*group, f"{number:03}") for group, size in sizes.items() for number in range(size)}
    server = Server(COLUMNS, rows, as_text, cap)
    list(walk_by_key(server, 3, limit, lambda: None))
    full_pages = sum(-(-size // min(limit, cap)) for size in sizes.values())
    assert server.requests <= full_pages + 2 * len(sizes) + 1


def as_position(column: str, value: str) -> object:
    """Compare positions block by block, heaps as numbers."""
    return int(value) if column == "tableoid" else tuple(map(int, value.strip("()").split(",")))


holes = st.sampled_from([0, 0, 0, 1, 40, 5000, 10**6])
heaps = st.lists(st.lists(st.tuples(holes, st.integers(1, 5)), max_size=60), max_size=3)


@settings(max_examples=30, deadline=None)
@given(heaps, st.sampled_from([1, 64, 100, 1000]), caps)
def test_position_walk_gives_each_row_once(contents: list[list[tuple[int, int]]], limit: int, cap: int) -> None:
    """Heaps with holes of any size, one heap or several: every row, in order, and none twice."""
    rows = []
    for heap, blocks in enumerate(contents, 16384):
        block = 0
        for hole, count in blocks:
            block += hole + 1
            rows += [(str(heap), f"({block},{number})") for number in range(1, count + 1)]
    server = Server(("tableoid", "ctid"), rows, as_position, cap)
    assert list(walk_by_position(server, limit)) == rows
    assert all(earlier != later for earlier, later in pairwise(rows))


def walk_by_position(server: Server, limit: int) -> Iterator[Row]:
    """The rows in the order they come."""
    cursor: PositionCursor | None = PositionCursor()
    while cursor is not None:
        rows = server.page(cursor.order, cursor.conditions, limit)
        yield from rows
        cursor = _moved(cursor, rows) if rows else cursor.after_empty_page()


def _moved(cursor: PositionCursor, rows: list[Row]) -> PositionCursor:
    (first_heap, first), (last_heap, last) = rows[0], rows[-1]
    return cursor.advance((first_heap, first), (last_heap, last), len(rows))
