"""Read one table and judge whether everything came."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from backupd.errors import TableUnreadable
from backupd.model import Count, OnProgress, Paging, Progress, Table, TableName, TableStatus, ignore_progress
from backupd.project.connection import Connection
from backupd.project.paging import PageSize
from backupd.project.rows import split_rows
from backupd.project.unreadable import explain
from backupd.project.walking import ONE_READER, Readers, Rows, Walk, count_rows

_ROWS_BEFORE_DOUBT = 10_000


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
    readers: Readers = ONE_READER,
) -> Generator[Rows, None, TableOutcome]:
    """Yield the rows of `table` page by page; the generator's value is the outcome.

    `without` are heaps (`tableoid` values) to leave out: tables that inherit from this one and are read by
    themselves. `readers` may share a large table. Raises KeyRefused, ProjectUnreachable and Interrupted; whatever
    concerns this table alone is in the outcome.
    """
    size = PageSize(most_rows=page_rows, target_bytes=connection.page_bytes)
    walk = Walk(connection, table, size, without, readers)
    reader = _TableReader(connection, table, walk, tuple(without))
    try:
        yield from reader.pages(on_count)
    except TableUnreadable as error:
        return reader.cut_short(error)
    return reader.outcome()


class _TableReader:
    """One table while it is read: the walk, what came of it, and the counts."""

    def __init__(self, connection: Connection, table: Table, walk: Walk, without: tuple[str, ...]) -> None:
        self._connection = connection
        self._table = table
        self._without = without
        self._walk = walk
        self._received = 0
        self._before: Count | None = None
        self._after: Count | None = None

    def pages(self, on_count: OnProgress) -> Iterator[Rows]:
        """Count, yield the pages, count again."""
        self._before = self._count()
        expected = self._before.rows if self._before else None
        on_count(Progress("reading", str(self._table.name), expected_rows=expected))
        yield from self._guarded(self._walk, self._before)
        self._after = self._count()

    def cut_short(self, error: TableUnreadable) -> TableOutcome:
        """The outcome when the table could not be read to its end."""
        explained = explain(self._table.name, error)
        words = explained.message
        if self._received:
            words += f" (after {self._received:,} rows)"
        if explained.hint:
            words += f". {explained.hint}"
        status = TableStatus.INCOMPLETE if self._received else TableStatus.FAILED
        return TableOutcome(status, self._walk.paging, self._before, self._after, words)

    def outcome(self) -> TableOutcome:
        """The outcome when the walk came to its end."""
        judged = judge(self._received, self._before, self._after, self._walk.paging)
        if self._walk.unusable_key is None:
            return judged
        reason = f"its key could not be used: {self._walk.unusable_key}"
        return replace(judged, warning=f"{reason}; {judged.warning}" if judged.warning else reason)

    def _count(self) -> Count | None:
        return count_rows(self._connection, self._table, self._without)

    def _guarded(self, pages: Iterable[Rows], counted: Count | None) -> Iterator[Rows]:
        """Count the rows, and stop a server that gives the same ones again and again."""
        limit = _limit(counted)
        for rows in pages:
            self._received += len(rows)
            yield rows
            if limit is not None and self._received > limit:
                limit = _limit(self._count())
                if limit is not None and self._received > limit:
                    raise TableUnreadable("the server gives more rows than it counts: it repeats itself")


def _limit(count: Count | None) -> int | None:
    """More rows than this would be strange. An estimate limits nothing: it may be years old."""
    return 2 * count.rows + _ROWS_BEFORE_DOUBT if count is not None and count.exact else None


def judge(received: int, before: Count | None, after: Count | None, paging: Paging | None) -> TableOutcome:
    """Decide whether `received` rows can be the whole table, by the counts before and after.

    Without writes both counts are equal and so is what came. With writes the truth lies between them. Where only one
    count is exact, fewer rows than that are too few.
    """
    exact = [count.rows for count in (before, after) if count is not None and count.exact]
    if len(exact) < 2:
        return _judge_by_one(received, before, after, paging)
    fewest, most = sorted(exact)
    if not fewest <= received <= most:
        message = f"{received:,} rows came, but the project counted {exact[0]:,} before and {exact[1]:,} after"
        return TableOutcome(TableStatus.INCOMPLETE, paging, before, after, message)
    warning = _doubt(received, exact[0], exact[1], paging)
    return TableOutcome(TableStatus.COMPLETED, paging, before, after, warning=warning)


def _judge_by_one(received: int, before: Count | None, after: Count | None, paging: Paging | None) -> TableOutcome:
    for count, when in ((before, "before"), (after, "after")):
        if count is not None and count.exact and received < count.rows:
            message = f"{received:,} rows came, but the project counted {count.rows:,} {when}"
            return TableOutcome(TableStatus.INCOMPLETE, paging, before, after, message)
    warning = "the project gave no exact count: that nothing is missing rests on the empty last page alone"
    return TableOutcome(TableStatus.COMPLETED, paging, before, after, warning=warning)


def _doubt(received: int, before: int, after: int, paging: Paging | None) -> str | None:
    if paging is not Paging.KEY and max(before, after):
        return "it has no primary key: rows written while it was read may be missing or doubled"
    if after < before // 2:
        return f"it shrank while it was read: {before:,} rows before, {after:,} after, {received:,} came"
    return None


def readable(connection: Connection, name: TableName, *, attempts: int | None = None) -> None:
    """Ask for no rows of a table. Raises TableUnreadable when it is gone or not granted."""
    query = connection.select(name).limit(0)
    connection.send(query.request, str(name), lambda answer: split_rows(answer.body), attempts=attempts)
