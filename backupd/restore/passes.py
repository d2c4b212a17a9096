"""Writes all tables: in order, those that must wait later, and what was left out of them at the end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice

from backupd.archive.reader import ArchiveReader
from backupd.model import Progress, TableName, TableStatus
from backupd.restore.compare import Spelling, multiset
from backupd.restore.loading import Blocked, NumberedRows, Postponed, Surroundings, TableLoad
from backupd.restore.members import NULL, members
from backupd.restore.plan import Mode, Plan, PlannedTable
from backupd.restore.refusals import Block, Situation

ReadBack = Callable[[PlannedTable], Iterable[bytes]]
"""Gives the rows of a table that are in the target now."""


class Loading:
    """All tables of a plan on their way into the target.

    `waiting_for` and `loads` grow as it goes; `blocked` says what could not be written, and why.
    """

    def __init__(self, plan: Plan, reader: ArchiveReader, around: Surroundings, read_back: ReadBack) -> None:
        self.blocked: dict[TableName, Block] = {}
        self.loaded: set[TableName] = set()
        self.now: TableName | None = None
        self._plan = plan
        self._reader = reader
        self._around = around
        self._read_back = read_back
        self._pending = {one.name: one for one in plan.tables}
        self._waiting_for: dict[TableName, set[TableName]] = defaultdict(set)
        self._loads: dict[TableName, TableLoad] = {}

    def run(self) -> None:
        """Write everything. Raises what concerns the target as a whole, and ArchiveError."""
        while self._pending:
            self._load(next(iter(self._pending.values())))
        for load in self._loads.values():
            self._fill_in(load)
        self.now = None

    def _load(self, table: PlannedTable) -> None:
        name = self.now = table.name
        missing = [other for other in self._refers_to(name) if other in self.blocked]
        if missing:
            self._block(name, Block(f"it waits for {', '.join(map(str, missing))}"))
            return
        load = self._loads.setdefault(name, self._new_load(table))
        try:
            if not self._is_loaded_already(table):
                load.load(self._situation())
        except Postponed as postponed:
            self._waiting_for[name].add(postponed.after)
            self._move_behind(name, postponed.after)
        except Blocked as blocked:
            self._block(name, blocked.block)
        else:
            del self._pending[name]
            self.loaded.add(name)
            if not load.deferred:
                self._report_end(table)

    def _fill_in(self, load: TableLoad) -> None:
        name = load.table.name
        if name not in self.loaded or not load.deferred:
            return
        self.now = name
        try:
            if not self._around.journal.of(name).filled_in:
                load.fill_in(self._situation(), self._rows_to_fill_in(load))
        except Blocked as blocked:
            self.loaded.remove(name)
            columns = ", ".join(sorted(load.deferred))
            why = f"its rows are there, but {columns} could not be filled in: {blocked.block.why}"
            self.blocked[name] = Block(why, blocked.block.remedy)
            self._report_end(load.table, why)
        else:
            self._report_end(load.table)

    def _block(self, name: TableName, block: Block) -> None:
        table = self._pending.pop(name)
        self.blocked[name] = block
        if block.always_identity is not None:
            self._around.journal.found_always_identity(name, block.always_identity)
        self._report_end(table, block.why)

    def _new_load(self, table: PlannedTable) -> TableLoad:
        merge = self._plan.mode is Mode.MERGE
        return TableLoad(table, partial(self._numbered, table), self._around, merge=merge)

    def _numbered(self, table: PlannedTable, start: int) -> NumberedRows:
        return enumerate(islice(self._reader.rows(table.archived), start, None), start)

    def _rows_to_fill_in(self, load: TableLoad) -> NumberedRows:
        """The rows of which something was left out, or got a default that it should not have."""
        refused = self._around.journal.of(load.table.name).refused
        has_default = bool(load.deferred & load.table.defaults)
        for number, row in self._numbered(load.table, 0):
            if number in refused:
                continue
            found = members(row)
            if has_default or any(found.get(column, NULL) != NULL for column in load.deferred):
                yield number, row

    def _is_loaded_already(self, table: PlannedTable) -> bool:
        """See how far an earlier run came; a table that has less than it should is begun anew."""
        record = self._around.journal.of(table.name)
        there = table.rows_now or 0
        if not table.is_resumed or there < record.rows - len(record.refused):
            if record.rows:
                self._around.journal.forget(table.name)
            return False
        if record.loaded:
            return True
        if not table.key:
            self._around.journal.dealt_with(table.name, self._written_before(table))
        return False

    def _written_before(self, table: PlannedTable) -> int:
        """Of a table without a key: how many rows, from the first, are there already. Raises Blocked."""
        found = multiset(Spelling(table.columns).found(self._read_back(table)))
        refused = self._around.journal.of(table.name).refused
        rows = ((number, row) for number, row in self._numbered(table, 0) if number not in refused)
        end = 0

        def written() -> Iterator[bytes]:
            nonlocal end
            for number, row in islice(rows, found[0]):
                end = number + 1
                yield row

        if multiset(written()) != found:
            why = f"the target's table has {found[0]:,} rows that are not those which were written to it"
            raise Blocked(Block(why, "It has no primary key: empty it, and restore it again."))
        return end

    def _situation(self) -> Situation:
        return Situation(
            names={one.name for one in self._plan.tables},
            loaded=self.loaded,
            blocked=self.blocked,
            pending=[name for name in self._pending if name != self.now],
            waits=self._waits,
        )

    def _waits(self, name: TableName, for_other: TableName) -> bool:
        seen: set[TableName] = set()
        waiting = [name]
        while waiting:
            one = waiting.pop()
            for other in self._waiting_for[one] | self._refers_to(one):
                if other == for_other:
                    return True
                if other not in seen:
                    seen.add(other)
                    waiting.append(other)
        return False

    def _refers_to(self, name: TableName) -> frozenset[TableName]:
        """What a table refers to by columns that are written in the first pass."""
        return (self._plan.refers_to or {}).get(name, frozenset()) - {name}

    def _move_behind(self, name: TableName, after: TableName) -> None:
        table = self._pending.pop(name)
        order: dict[TableName, PlannedTable] = {}
        for other, one in self._pending.items():
            order[other] = one
            if other == after:
                order[name] = table
        order.setdefault(name, table)
        self._pending = order

    def _report_end(self, table: PlannedTable, why: str | None = None) -> None:
        status = TableStatus.COMPLETED if why is None else TableStatus.FAILED
        rows, size_bytes = table.archived.rows, table.archived.bytes
        self._around.on_progress(Progress("restoring", str(table.name), rows, rows, size_bytes, status, why))
