"""Read several tables at a time, and hand them on one after the other."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

Page = TypeVar("Page")
Outcome = TypeVar("Outcome")

_PAGES_AHEAD = 1
"""One waits while the next is on its way: more would only hold more, and a page may be a row of 50 MB."""
_LOOK_UP_SECONDS = 0.1


class _Abandoned(Exception):
    """Nobody reads this lane any more."""


@dataclass(frozen=True, slots=True)
class _End(Generic[Outcome]):
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class _Failure:
    error: BaseException


class Lane(Generic[Page, Outcome]):
    """The pages of one table on their way from the thread that reads to the one that writes.

    Iterate over it once for the pages; `outcome` holds the value of the generator afterwards. What the reading side
    raised is raised by the iteration. A lane holds a few pages at most: the reader waits for the writer.
    """

    def __init__(
        self,
        read: Callable[[], Generator[Page, None, Outcome]],
        abandoned: threading.Event,
        taken: threading.Event,
    ) -> None:
        self._read = read
        self._abandoned = abandoned
        self._taken = taken
        self._ahead: queue.Queue[Page | _End[Outcome] | _Failure] = queue.Queue(_PAGES_AHEAD)
        self._outcome: _End[Outcome] | None = None

    @property
    def outcome(self) -> Outcome:
        """How reading ended. Only there once the pages are through."""
        if self._outcome is None:
            message = "the lane has not been read to its end"
            raise RuntimeError(message)
        return self._outcome.outcome

    def __iter__(self) -> Iterator[Page]:
        self._taken.set()
        while True:
            item = self._ahead.get()
            if isinstance(item, _Failure):
                raise item.error
            if isinstance(item, _End):
                self._outcome = item
                return
            yield item

    def fill(self) -> None:
        """Read everything into the lane: what the reading thread does."""
        try:
            self._put(_End(yield_from(self._read(), self._put)))
        except _Abandoned:
            return
        except BaseException as error:  # noqa: BLE001 - carried to the other thread, which raises it
            self._put_last(error)

    def _put(self, item: Page | _End[Outcome] | _Failure) -> None:
        while True:
            if self._abandoned.is_set():
                raise _Abandoned
            try:
                self._ahead.put(item, timeout=_LOOK_UP_SECONDS)
            except queue.Full:
                continue
            return

    def _put_last(self, error: BaseException) -> None:
        try:
            self._put(_Failure(error))
        except _Abandoned:
            return


def yield_from(pages: Generator[Page, None, Outcome], put: Callable[[Page], None]) -> Outcome:
    """Give each page to `put` and return the generator's value."""
    try:
        while True:
            try:
                page = next(pages)
            except StopIteration as end:
                outcome: Outcome = end.value
                return outcome
            put(page)
    finally:
        pages.close()


@contextmanager
def side_by_side(
    reads: Sequence[Callable[[], Generator[Page, None, Outcome]]],
    at_once: int,
    abandoned: threading.Event,
    taken: Sequence[threading.Event] | None = None,
) -> Iterator[list[Lane[Page, Outcome]]]:
    """Start reading; give one lane for each of `reads`, to be taken in order.

    At most `at_once` lanes are being read at any time, the first ones first, so the lane that is taken is always
    among them. Leaving the block sets `abandoned` and waits for the readers to notice: those that wait for a server
    had better watch it too. An event of `taken`, one for each of `reads`, is set when somebody begins to take the lane.
    """
    events = taken if taken is not None else [threading.Event() for _ in reads]
    lanes = [Lane(read, abandoned, event) for read, event in zip(reads, events, strict=True)]
    with ThreadPoolExecutor(at_once, thread_name_prefix="reader") as pool:
        for lane in lanes:
            pool.submit(lane.fill)
        try:
            yield lanes
        finally:
            abandoned.set()
            pool.shutdown(cancel_futures=True)
