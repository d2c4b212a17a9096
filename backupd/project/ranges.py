"""Read what is left of a large table in key ranges side by side.

The ranges are cut where there is work for more readers, out of what a reader has still before it, and between two of
its pages: at any time they are disjoint, and together they are everything behind the key at which it all began. A
range is over when a page comes back empty or ends on its last key, so what holds for a walk from key to key holds
for each of them.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from uuid import UUID

from backupd.errors import TableUnreadable
from backupd.project.paging import quote_name, quote_value
from backupd.project.rows import NotALiteral, Row, key_of

_PAGES_WORTH_SHARING = 2
_PAGES_AHEAD = 1
"""Each reader has one in its hands besides: more would only hold more."""
_LOOK_UP_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Scale:
    """How keys of one type become numbers in the same order, and back."""

    number: Callable[[str], int]
    text: Callable[[int], str]


_INTEGER = Scale(int, str)
_UUID = Scale(lambda text: UUID(text).int, lambda number: str(UUID(int=number)))
SCALES = {
    **dict.fromkeys(("int16", "int32", "int64", "smallint", "integer", "bigint"), _INTEGER),
    "uuid": _UUID,
}
"""The types of key whose ranges can be cut by arithmetic. PostgREST calls a bigint `int64`, and did not always."""


@dataclass(frozen=True, slots=True)
class KeyRange:
    """The rows whose key lies above `after` and not above `until`; None: all that are above.

    `end` is where it probably ends; `density` is how many rows there are to a step of the key, as far as is known.
    """

    column: str
    scale: Scale
    after: int
    until: int | None
    end: int
    density: float = 0.0

    @property
    def order(self) -> tuple[str, ...]:
        """The column to order by, quoted."""
        return (quote_name(self.column),)

    @property
    def conditions(self) -> str:
        """What goes inside `or=(…)`."""
        above = self._comparison("gt", self.after)
        return above if self.until is None else f"and({above},{self._comparison('lte', self.until)})"

    @property
    def expected_rows(self) -> float:
        """How many rows there are still to come, if they lie as densely as those that came."""
        return (self.end - self.after) * self.density

    def beyond(self, rows: Sequence[Row]) -> KeyRange | None:
        """What is left after a page; None when its last row is the last there can be.

        Raises TableUnreadable when the rows are not from this range.
        """
        first, last = (self.key(row) for row in (rows[0], rows[-1]))
        if not self.after < first <= last or (self.until is not None and last > self.until):
            raise TableUnreadable(f"the server gives rows that were not asked for: {self.column} {first} to {last}")
        if last == self.until:
            return None
        return replace(self, after=last, end=max(self.end, last), density=len(rows) / (last - self.after))

    def halves(self) -> tuple[KeyRange, KeyRange]:
        """The same in two parts that have a key each at least."""
        middle = (self.after + self.end) // 2
        return replace(self, until=middle, end=middle), replace(self, after=middle)

    def key(self, row: Row) -> int:
        """The key of a row as a number. Raises NotALiteral when it is none."""
        (text,) = key_of(row, (self.column,))
        try:
            return self.scale.number(text)
        except ValueError as error:
            raise NotALiteral(text[:40]) from error

    def _comparison(self, operator: str, number: int) -> str:
        return f"{quote_name(self.column)}.{operator}.{quote_value(self.scale.text(number))}"


Fetch = Callable[[KeyRange], AbstractContextManager[Sequence[Row]]]
"""Fetches the first page of a range; the block lasts until the page has been handed on."""

MakeFetch = Callable[[Callable[[], bool]], Fetch]
"""Makes what fetches, one for each reader. Its argument says when to give up."""


def worth_sharing(left: KeyRange, page_rows: int) -> bool:
    """Whether so much is left of a range, going by its density, that another reader would help."""
    return left.end - left.after >= 2 and left.expected_rows >= _PAGES_WORTH_SHARING * page_rows


def read_in_ranges(whole: KeyRange, make_fetch: MakeFetch, at_once: int) -> Iterator[Sequence[Row]]:
    """Yield the non-empty pages of `whole`, in no particular order, read by `at_once` readers.

    Raises what fetching raises; pages that came before it have been yielded. Closing the iterator stops the readers.
    """
    pages: queue.Queue[Sequence[Row] | BaseException | None] = queue.Queue(_PAGES_AHEAD)
    work = _Work(whole)
    with ThreadPoolExecutor(at_once, thread_name_prefix="range") as pool:
        try:
            for _ in range(at_once):
                pool.submit(_Reader(work, make_fetch(work.is_over), pages).read)
            yield from _until_all_ended(pages, at_once)
        finally:
            work.stop()


def _until_all_ended(pages: queue.Queue[Sequence[Row] | BaseException | None], readers: int) -> Iterator[Sequence[Row]]:
    while readers:
        item = pages.get()
        if isinstance(item, BaseException):
            raise item
        if item is None:
            readers -= 1
        else:
            yield item
        del item  # a page may be large: none is kept while the next is on its way


class _Reader:
    """Reads one range after another, and gives half of what it has away when somebody has nothing to do."""

    def __init__(self, work: _Work, fetch: Fetch, pages: queue.Queue[Sequence[Row] | BaseException | None]) -> None:
        self._work = work
        self._fetch = fetch
        self._pages = pages

    def read(self) -> None:
        """Read until there is no more work for anybody."""
        try:
            while (taken := self._work.take()) is not None:
                self._read_range(taken)
                self._work.done()
            self._put(None)
        except BaseException as error:  # noqa: BLE001 - carried to the other thread, which raises it
            self._put(error)

    def _read_range(self, taken: KeyRange) -> None:
        left: KeyRange | None = taken
        while left is not None and not self._work.is_over():
            with self._fetch(left) as rows:
                left = self._shared(left.beyond(rows), len(rows)) if rows else None
                if rows:
                    self._put(rows)
                del rows  # it may be large: not kept while the next is on its way

    def _shared(self, left: KeyRange | None, page_rows: int) -> KeyRange | None:
        """What is left for this reader, once another one that has nothing to do has been given half of it."""
        if left is None or not self._work.is_wanted() or not worth_sharing(left, page_rows):
            return left
        left, other = left.halves()
        self._work.give(other)
        return left

    def _put(self, item: Sequence[Row] | BaseException | None) -> None:
        while not self._work.is_over():
            try:
                self._pages.put(item, timeout=_LOOK_UP_SECONDS)
            except queue.Full:
                continue
            return


class _Work:
    """The ranges nobody reads yet, and how many readers are busy: as long as one is, there may be more to do."""

    def __init__(self, whole: KeyRange) -> None:
        self._waiting = [whole]
        self._idle = self._busy = 0
        self._over = False
        self._changed = threading.Condition()

    def take(self) -> KeyRange | None:
        """A range to read, waiting for one if need be; None when all have been read. Followed by `done`."""
        with self._changed:
            self._idle += 1
            while not self._waiting and self._busy and not self._over:
                self._changed.wait()
            self._idle -= 1
            if not self._waiting or self._over:
                return None
            self._busy += 1
            return self._waiting.pop()

    def done(self) -> None:
        """The range taken last is read to its end."""
        with self._changed:
            self._busy -= 1
            self._changed.notify_all()

    def is_wanted(self) -> bool:
        """Whether a reader has nothing to do."""
        with self._changed:
            return self._idle > len(self._waiting)

    def give(self, part: KeyRange) -> None:
        """Leave a part of what one has to somebody else."""
        with self._changed:
            self._waiting.append(part)
            self._changed.notify()

    def stop(self) -> None:
        """Nobody wants any more pages."""
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def is_over(self) -> bool:
        """Whether nobody wants any more pages."""
        return self._over
