"""A large table read in key ranges side by side: every row exactly once, and nobody left waiting."""

from __future__ import annotations

import json
import threading
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backupd.errors import TableUnreadable
from backupd.project.ranges import SCALES, Fetch, KeyRange, read_in_ranges, worth_sharing
from backupd.project.rows import NotALiteral, Row
from tests.support.processes import wait_until

INTEGER, UUIDS = SCALES["bigint"], SCALES["uuid"]
HOLES = st.sampled_from([1, 1, 1, 2, 1000, 2**50])


class Server:
    """Keys in memory, given in pages of at most `cap` rows; notes who asked for what."""

    def __init__(self, keys: Iterable[int], cap: int) -> None:
        self.keys = sorted(keys)
        self.asked: list[KeyRange] = []
        self.empty = 0
        self.threads: set[int] = set()
        self._cap = cap

    def fetch(self, part: KeyRange) -> list[Row]:
        """The first page of a range."""
        self.asked.append(part)
        self.threads.add(threading.get_ident())
        first = bisect_right(self.keys, part.after)
        end = len(self.keys) if part.until is None else bisect_right(self.keys, part.until)
        page = [row_of(key) for key in self.keys[first : min(end, first + self._cap)]]
        self.empty += not page
        return page

    def fetch_for(self, _: Callable[[], bool]) -> Fetch:
        """A reader that is never told to give up."""
        return lambda part: nullcontext(self.fetch(part))


def row_of(key: int) -> bytes:
    """A row whose key is a bigint."""
    return json.dumps({"id": key, "n": 1}).encode()


def everything(after: int, end: int, density: float = 1.0) -> KeyRange:
    """All that is above `after`, with the last key known."""
    return KeyRange("id", INTEGER, after, None, end, density)


def keys_of(pages: Iterable[Iterable[Row]]) -> list[int]:
    """The keys in the order they came."""
    return [json.loads(bytes(row))["id"] for page in pages for row in page]


@settings(max_examples=80, deadline=None)
@given(st.integers(-(2**62), 2**61), st.lists(HOLES, max_size=400), st.integers(1, 50), st.integers(1, 5))
def test_ranges_whatever_the_keys_give_each_row_once(start: int, holes: list[int], cap: int, readers: int) -> None:
    """Dense keys, sparse keys, gaps of any size, any cap, any number of readers."""
    keys, key = [], start
    for hole in holes:
        key += hole
        keys.append(key)
    server = Server(keys, cap)
    whole = everything(start, keys[-1] if keys else start)
    assert sorted(keys_of(read_in_ranges(whole, server.fetch_for, readers))) == keys


def test_ranges_of_a_large_table_are_read_by_several_readers() -> None:
    """The work is shared, and nearly all requests bring a whole page."""
    server = Server(range(1, 100_001), 100)
    came = keys_of(read_in_ranges(everything(0, 100_000), server.fetch_for, 3))
    assert Counter(came) == Counter(range(1, 100_001))
    assert len(server.threads) > 1
    assert len(server.asked) < 1.1 * 1000


def test_ranges_with_rows_inserted_behind_the_last_key_give_them_too() -> None:
    """The last range is open: what was written after the end was looked up is not lost."""
    server = Server(range(1, 2001), 100)
    assert sorted(keys_of(read_in_ranges(everything(0, 500), server.fetch_for, 4))) == list(range(1, 2001))


def test_ranges_at_any_moment_are_disjoint_and_whole() -> None:
    """Halves meet without a gap and without a key in both."""
    lower, upper = KeyRange("id", INTEGER, 10, 100, 100, 1.0).halves()
    assert (lower.after, lower.until) == (10, upper.after)
    assert upper.until == 100
    lower, upper = everything(10, 100).halves()
    assert (lower.after, lower.until, upper.until) == (10, upper.after, None)


def test_ranges_raise_what_a_reader_raised_after_the_pages_before_it() -> None:
    """One reader that fails ends them all."""
    server = Server(range(1, 10_001), 100)

    def fetch(part: KeyRange) -> list[Row]:
        if part.after >= 5000:
            raise LookupError("gone")
        return server.fetch(part)

    taken: list[object] = []
    with pytest.raises(LookupError, match="gone"):
        taken.extend(read_in_ranges(everything(0, 10_000), lambda _: lambda part: nullcontext(fetch(part)), 3))
    assert taken
    assert not _readers()


def test_ranges_closed_early_stop_their_readers() -> None:
    """Whoever wants no more pages is not kept waiting, and no thread is left."""
    server = Server(range(1, 100_001), 100)
    pages = read_in_ranges(everything(0, 100_000), server.fetch_for, 4)
    next(pages)
    pages.close()  # type: ignore[attr-defined]
    assert not _readers()
    assert len(server.asked) <= 1 + 3 * 4


def test_ranges_are_never_far_ahead_of_the_one_who_takes() -> None:
    """Memory: a page in the hands of each reader, and one that waits."""
    server = Server(range(1, 10_001), 100)
    pages = read_in_ranges(everything(0, 10_000), server.fetch_for, 3)
    next(pages)
    wait_until(lambda: len(server.asked) == 1 + 1 + 3, "the readers to be as far ahead as they may")
    for taken, _ in enumerate(pages, 2):
        assert len(server.asked) <= taken + 1 + 3 + server.empty


def test_range_given_rows_of_another_refuses_them() -> None:
    """A server that leaves out the upper bound would give rows twice."""
    part = KeyRange("id", INTEGER, 10, 20, 20)
    for first, last in ((10, 12), (9, 12), (12, 21), (15, 12)):
        with pytest.raises(TableUnreadable, match="not asked for"):
            part.beyond([row_of(first), row_of(last)])


def test_range_whose_last_key_came_is_over() -> None:
    """No request for what cannot be there."""
    assert KeyRange("id", INTEGER, 10, 20, 20).beyond([row_of(11), row_of(20)]) is None
    left = KeyRange("id", INTEGER, 10, 20, 20).beyond([row_of(11), row_of(19)])
    assert left is not None
    assert (left.after, left.until) == (19, 20)


def test_range_of_uuids_is_written_as_postgresql_writes_them() -> None:
    """Bounds are text that PostgreSQL reads, ordered as its uuids are."""
    low, high = "00000000-0000-4000-8000-000000000001", "ffffffff-ffff-4fff-bfff-ffffffffffff"
    part = KeyRange("id", UUIDS, UUID(low).int, UUID(high).int, UUID(high).int)
    assert part.conditions == f'and(id.gt."{low}",id.lte."{high}")'
    lower, _ = part.halves()
    assert f'id.lte."{UUID(int=(UUID(low).int + UUID(high).int) // 2)}"' in lower.conditions


def test_range_of_an_odd_column_quotes_its_name() -> None:
    """In the order and in the conditions alike."""
    part = KeyRange('a "b"', INTEGER, -5, None, 7)
    assert part.order == (r'"a \"b\""',)
    assert part.conditions == r'"a \"b\"".gt."-5"'


def test_range_with_a_key_that_is_no_number_says_so() -> None:
    """A server that calls a column bigint and gives words."""
    with pytest.raises(NotALiteral):
        everything(0, 10).key(b'{"id": "twelve"}')


@pytest.mark.parametrize(("end", "density", "expected"), [(100, 1.0, True), (19, 1.0, False), (1, 50.0, False)])
def test_range_is_worth_sharing_when_two_pages_are_left(end: int, density: float, expected: bool) -> None:
    """Going by how densely its rows lie; and a single key cannot be shared."""
    assert worth_sharing(everything(0, end, density), 10) is expected


def _readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("range")]
