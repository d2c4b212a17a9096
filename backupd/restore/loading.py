"""Writes one table: batch by batch, several at a time where a key makes that safe, and from where it was left."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from backupd.errors import Interrupted, ProjectUnreachable
from backupd.model import OnProgress, Progress, ShouldStop, TableName
from backupd.project import Insertion, Project, RowsRefused, TooMuchAtOnce, Unanswered
from backupd.restore.journal import Journal
from backupd.restore.plan import PlannedTable, stuck_remedy
from backupd.restore.refusals import (
    Block,
    Decision,
    Defer,
    ForgetKey,
    LeaveOut,
    Postpone,
    Situation,
    Split,
    decide,
    reason,
)

LARGEST_BATCH_BYTES = 1 << 20
_MOST_BATCH_ROWS = 10_000
_SMALLEST_BATCH_BYTES = 1 << 10
_GOOD_BATCHES_TO_GROW = 16
_MOST_REFUSED = 100
"""A table of which more rows are refused has another fault than its rows."""
_TRIES = 5

NumberedRows = Iterable[tuple[int, bytes]]


class Changed(Exception):
    """What was to be done turned out to be something else; nothing of the request was written."""

    def __init__(self, decision: Decision) -> None:
        super().__init__(str(decision))
        self.decision = decision


class Blocked(Exception):
    """The table cannot be written."""

    def __init__(self, block: Block) -> None:
        super().__init__(block.why)
        self.block = block


class Postponed(Exception):
    """Another table has to be written first."""

    def __init__(self, after: TableName) -> None:
        super().__init__(str(after))
        self.after = after


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one request with their numbers in the archive. With it, `end` rows of the table are dealt with."""

    rows: tuple[tuple[int, bytes], ...]
    end: int

    def halves(self) -> tuple[Batch, Batch]:
        """The same rows in two."""
        middle = len(self.rows) // 2
        return replace(self, rows=self.rows[:middle]), replace(self, rows=self.rows[middle:])


class BatchSize:
    """How many bytes to send at a time: less when it was too much, slowly more again."""

    def __init__(self, most: int = LARGEST_BATCH_BYTES) -> None:
        self._most = most
        self._good = 0
        self.bytes = most

    def too_much(self) -> None:
        """Halve it."""
        self.bytes, self._good = max(_SMALLEST_BATCH_BYTES, self.bytes // 2), 0

    def was_right(self) -> None:
        """Grow after a while."""
        self._good += 1
        if self._good >= _GOOD_BATCHES_TO_GROW:
            self.bytes, self._good = min(self._most, self.bytes * 2), 0


def batches(rows: NumberedRows, size: BatchSize, *, whole: bool = False) -> Iterator[Batch]:
    """Rows in batches of about `size.bytes`, as it is when a batch begins; all in one with `whole`."""
    held: list[tuple[int, bytes]] = []
    held_bytes = 0
    for number, row in rows:
        is_full = held and (held_bytes + len(row) > size.bytes or len(held) >= _MOST_BATCH_ROWS)
        if is_full and not whole:
            yield Batch(tuple(held), held[-1][0] + 1)
            held, held_bytes = [], 0
        held.append((number, row))
        held_bytes += len(row)
    if held:
        yield Batch(tuple(held), held[-1][0] + 1)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every table is written with. `set_aside` is given a row that the target refuses for good."""

    project: Project
    journal: Journal
    set_aside: Callable[[TableName, int, bytes, str], None]
    at_once: int
    on_progress: OnProgress
    should_stop: ShouldStop


class TableLoad:
    """One table on its way into the target. `rows` gives the archive's rows with their numbers, from a number on."""

    def __init__(
        self, table: PlannedTable, rows: Callable[[int], NumberedRows], around: Surroundings, *, merge: bool
    ) -> None:
        self.table = table
        self.deferred = set(table.deferred)
        self._rows = rows
        self._around = around
        self._merge = merge
        self._made_by_database: set[str] = set()
        self._key = table.key
        self._size = BatchSize()
        self._there = 0
        self._lock = threading.Lock()

    def load(self, situation: Situation) -> None:
        """Write all rows, the deferred columns left out. Raises Blocked, Postponed, and what concerns the target."""
        while True:
            start = self._around.journal.of(self.table.name).rows
            self._around.journal.dealt_with(self.table.name, start)  # from here on there may be rows of it
            if not self._key:
                self._there = self._count()
            try:
                self._pass(self._rows(start), self._insertion(), situation)
            except Changed as change:
                self._adapt(change)
                continue
            self._around.journal.loaded(self.table.name)
            return

    def fill_in(self, situation: Situation, rows: NumberedRows) -> None:
        """Write `rows` again with the columns that were left out. Raises as `load` does."""
        whole = replace(self._insertion(deferred=()), merge=True)
        try:
            self._pass(rows, whole, situation, note=False)
        except Changed as change:
            block = change.decision
            raise Blocked(block if isinstance(block, Block) else Block(str(change))) from change
        self._around.journal.filled_in(self.table.name)

    def _insertion(self, deferred: Collection[str] | None = None) -> Insertion:
        without = self._made_by_database | (self.deferred if deferred is None else set(deferred))
        columns = tuple(column for column in self.table.columns if column not in without)
        return Insertion(self.table.name, columns, self._key, self._merge)

    def _adapt(self, change: Changed) -> None:
        """Go on otherwise, or not at all."""
        decision = change.decision
        match decision:
            case LeaveOut(column) if column in self.table.columns and column not in self._made_by_database:
                self._made_by_database.add(column)
            case Defer(columns) if self._key:
                self.deferred.update(columns)
            case Postpone(after):
                raise Postponed(after) from change
            case ForgetKey() if self._key and not self.deferred:
                self._key = ()
            case Block():
                raise Blocked(decision) from change
            case _:
                raise Blocked(Block(f"the target refuses it: {change.__cause__}")) from change

    def _pass(self, rows: NumberedRows, insertion: Insertion, situation: Situation, *, note: bool = True) -> None:
        """Send batch after batch. A key lets several be on their way; without one the next waits for the last."""
        at_once = self._around.at_once if self._key and not self.table.whole else 1
        flying: deque[tuple[Batch, Future[None]]] = deque()
        with ThreadPoolExecutor(at_once, thread_name_prefix="writer") as pool:
            try:
                for batch in batches(rows, self._size, whole=self.table.whole and note):
                    if self._around.should_stop():
                        raise Interrupted("interrupted")
                    flying.append((batch, pool.submit(self._send, batch, insertion, situation)))
                    if len(flying) >= at_once:
                        self._land(*flying.popleft(), note=note)
                while flying:
                    self._land(*flying.popleft(), note=note)
            finally:
                for _, future in flying:
                    future.cancel()

    def _land(self, batch: Batch, future: Future[None], *, note: bool) -> None:
        """Take note of a batch that is through; all before it are."""
        future.result()
        self._size.was_right()
        if note:
            self._around.journal.dealt_with(self.table.name, batch.end)
        total = self.table.archived.rows
        share = self.table.archived.bytes * batch.end // max(total, 1)
        self._around.on_progress(Progress("restoring", str(self.table.name), batch.end, total, share))

    def _send(self, batch: Batch, insertion: Insertion, situation: Situation) -> None:
        """Send a batch; in halves when some of its rows are refused, or when it is too much at once."""
        try:
            self._insert(batch, insertion)
        except TooMuchAtOnce as error:
            self._size.too_much()
            self._divide(batch, insertion, situation, error.message)
        except RowsRefused as error:
            decision = decide(error, self.table, self.deferred, situation)
            if not isinstance(decision, Split):
                raise Changed(decision) from error
            self._divide(batch, insertion, situation, reason(error))

    def _divide(self, batch: Batch, insertion: Insertion, situation: Situation, why: str) -> None:
        if self.table.whole and len(batch.rows) == self.table.archived.rows > 1:
            name = self.table.name
            remedy = stuck_remedy(name, self._referring(), self.table.key)
            raise Changed(Block(f"its rows can only be written in one request, which is refused: {why}", remedy))
        if len(batch.rows) == 1:
            self._refuse(*batch.rows[0], why)
            return
        for half in batch.halves():
            self._send(half, insertion, situation)

    def _referring(self) -> list[str]:
        keys = self.table.table.foreign_keys
        return [key.column for key in keys if key.table == self.table.name.name]

    def _refuse(self, number: int, row: bytes, why: str) -> None:
        with self._lock:
            name, journal = self.table.name, self._around.journal
            refused = journal.of(name).refused
            if number not in refused:
                if len(refused) >= _MOST_REFUSED:
                    raise Changed(Block(f"the target refuses row after row, {len(refused)} so far: {why}"))
                self._around.set_aside(name, number, row, why)
                journal.refused(name, number, why)

    def _insert(self, batch: Batch, insertion: Insertion) -> None:
        rows = [row for _, row in batch.rows]
        if insertion.key:
            self._around.project.insert(insertion, rows)
        else:
            self._insert_once(insertion, rows)

    def _insert_once(self, insertion: Insertion, rows: list[bytes]) -> None:
        """Write rows without a key. When no answer comes, the number of rows in the target tells what was done."""
        for left in reversed(range(_TRIES)):
            try:
                self._around.project.insert(insertion, rows)
            except Unanswered as error:
                now = self._count()
                if now != self._there:
                    self._require(now == self._there + len(rows), now)
                    break
                if not left:
                    raise ProjectUnreachable(f"{error.message}, in {_TRIES} tries", hint=error.hint) from error
            else:
                break
        self._there += len(rows)

    def _count(self) -> int:
        counted = self._around.project.count(self.table.table)
        if counted is None or not counted.exact:
            name = self.table.name
            raise Blocked(Block(f"the target does not count the rows of {name}, and without a key nothing else tells"))
        return counted.rows

    def _require(self, is_as_expected: bool, now: int) -> None:
        if not is_as_expected:
            why = f"the target has {now:,} rows of it and {self._there:,} were written: somebody else writes to it"
            raise Changed(Block(why, "It has no primary key. Let nobody write to it, empty it, and restore it again."))
