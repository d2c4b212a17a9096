"""Several tables read at a time and handed on one after the other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from functools import partial

import pytest

from backupd.project.side_by_side import side_by_side

Read = Callable[[], Generator[int, None, str]]


def numbers(first: int, count: int, name: str = "done") -> Generator[int, None, str]:
    """Pages that are numbers, and a word at the end."""
    yield from range(first, first + count)
    return name


def reader_threads() -> list[threading.Thread]:
    """The reading threads that are alive."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("reader")]


@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_lanes_taken_in_order_give_every_page_and_the_outcome(at_once: int) -> None:
    """Whatever the number of threads, also with more tables than threads."""
    reads: list[Read] = [partial(numbers, 100 * lane, lane * 7, f"outcome {lane}") for lane in range(6)]
    with side_by_side(reads, at_once, threading.Event()) as lanes:
        for number, lane in enumerate(lanes):
            assert list(lane) == list(range(100 * number, 100 * number + number * 7))
            assert lane.outcome == f"outcome {number}"


def test_lane_not_read_to_its_end_has_no_outcome() -> None:
    """Asking too early is a mistake of the caller."""
    with side_by_side([partial(numbers, 0, 3)], 1, threading.Event()) as (lane,), pytest.raises(RuntimeError):
        _ = lane.outcome


def test_lane_raises_what_its_reader_raised_after_the_pages_before_it() -> None:
    """Nothing that came is lost, and no other lane is touched."""

    def breaking() -> Generator[int, None, str]:
        yield 1
        raise LookupError("gone")

    taken: list[int] = []
    reads: list[Read] = [breaking, partial(numbers, 5, 2)]
    with side_by_side(reads, 2, threading.Event()) as (first, second):
        with pytest.raises(LookupError, match="gone"):
            taken.extend(first)
        assert taken == [1]
        assert list(second) == [5, 6]


def test_lane_is_never_far_ahead_of_the_one_who_takes() -> None:
    """Memory: a reader waits until its pages are taken."""
    yielded = []

    def counting() -> Generator[int, None, str]:
        for number in range(1000):
            yielded.append(number)
            yield number
        return "done"

    with side_by_side([counting], 1, threading.Event()) as (lane,):
        for taken in lane:
            assert len(yielded) <= taken + 4


def test_leaving_early_stops_the_readers_and_closes_their_generators() -> None:
    """No thread is left behind, and each generator's own cleaning up is done."""
    closed = []

    def endless(name: str) -> Generator[int, None, str]:
        try:
            while True:
                yield 1
        finally:
            closed.append(name)

    abandoned = threading.Event()
    reads: list[Read] = [partial(endless, "a"), partial(endless, "b")]
    with side_by_side(reads, 2, abandoned) as (first, _):
        assert next(iter(first)) == 1
    assert abandoned.is_set()
    assert sorted(closed) == ["a", "b"]
    assert reader_threads() == []


def test_leaving_early_does_not_begin_what_waits() -> None:
    """A table that no thread has begun is not begun any more."""
    begun = []

    def noting(name: str) -> Generator[int, None, str]:
        begun.append(name)
        while True:
            yield 1

    reads: list[Read] = [partial(noting, "a"), partial(noting, "b")]
    with side_by_side(reads, 1, threading.Event()) as (first, _):
        next(iter(first))
    assert begun == ["a"]


def test_reader_that_waits_for_its_server_sees_that_it_was_abandoned() -> None:
    """The event is set before the readers are waited for."""
    abandoned = threading.Event()

    def waiting() -> Generator[int, None, str]:
        yield 1
        assert abandoned.wait(30)
        return "never taken"

    with side_by_side([waiting], 1, abandoned) as (lane,):
        next(iter(lane))
    assert reader_threads() == []
