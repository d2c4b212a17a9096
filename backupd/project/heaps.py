"""Tables that also show the rows of another (`create table … inherits`), found out so that each row is read once.

The project lists parent and child alike, and says nothing of the bond between them. What tells is `tableoid`, the
heap that a row lies in: a parent shows rows out of its child's heap.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from backupd.errors import ProjectUnreachable, TableUnreadable
from backupd.model import Table, TableName
from backupd.project.answers import ColumnRefused
from backupd.project.connection import Answer, Connection
from backupd.project.rows import key_of, split_rows

_NOT_TOLD = (TableUnreadable, ProjectUnreachable)
"""One table's silence here is no reason to give up the others: reading it will show whether it can be read."""

_TRIES = 3


@dataclass(frozen=True, slots=True)
class Overlap:
    """The heaps to leave out when a table is read because they are in others' files, and words for a person."""

    heaps: tuple[str, ...]
    warning: str


def find_overlaps(connection: Connection, tables: Sequence[Table]) -> Mapping[TableName, Overlap]:
    """Find the tables among `tables` that also show rows of others among them.

    Only a table that has all columns of another can be its child; where there is none, nothing is asked. Raises
    KeyRefused and Interrupted.
    """
    heaps = [_Heaps(connection, table) for table in tables if table.columns]
    found: dict[TableName, Overlap] = {}
    for parent in heaps:
        overlap = _overlap(parent, [one for one in heaps if one is not parent and parent.columns <= one.columns])
        if overlap is not None:
            found[parent.name] = overlap
    return found


class _Heaps:
    """The heaps that the rows of one table lie in, asked for once."""

    def __init__(self, connection: Connection, table: Table) -> None:
        self.name = table.name
        self.columns = frozenset((column.name, column.type) for column in table.columns)
        self._connection = connection
        self._any: Sequence[str] | None = None
        self._all: frozenset[str] | None = None

    def any(self) -> Sequence[str]:
        """The heap of some row; nothing when the table is empty, or a view, or gives no answer."""
        if self._any is None:
            try:
                self._any = self._ask()
            except _NOT_TOLD:
                self._any = ()
        return self._any

    def all(self) -> frozenset[str]:
        """The heaps of all its rows. Raises TableUnreadable."""
        if self._all is None:
            heaps: set[str] = set()
            while one := self._ask("not.in", heaps):
                heaps.update(one)
            self._all = frozenset(heaps)
        return self._all

    def shows(self, heaps: Collection[str]) -> bool:
        """Whether a row of it lies in one of `heaps`. Raises TableUnreadable."""
        return bool(self._ask("in", heaps))

    def _ask(self, operator: str = "", heaps: Collection[str] = ()) -> Sequence[str]:
        query = self._connection.select(self.name, "tableoid")
        if heaps:
            query = query.filter("tableoid", operator, f"({','.join(sorted(heaps))})")
        return self._connection.send(query.limit(1).request, f"the heaps of {self.name}", _heap_of_row, attempts=_TRIES)


def _heap_of_row(answer: Answer) -> Sequence[str]:
    rows = split_rows(answer.body)
    try:
        return key_of(rows[0], ("tableoid",)) if rows else ()
    except KeyError as error:
        raise ColumnRefused("the server leaves out tableoid") from error


def _overlap(parent: _Heaps, candidates: Sequence[_Heaps]) -> Overlap | None:
    children = [child for child in candidates if child.any()]
    if not children:
        return None
    try:
        if not parent.shows({heap for child in children for heap in child.any()}):
            return None
        return _inherited(parent, [child for child in children if child.all() <= parent.all()])
    except _NOT_TOLD as error:
        names = _names(children)
        words = f"it may also show rows of {names}, which are in the backup twice then; the project does not tell"
        return Overlap((), f"{words} ({error})")


def _inherited(parent: _Heaps, children: Sequence[_Heaps]) -> Overlap | None:
    """Which heaps to leave out of `parent`, all of whose `children` show nothing that it does not show as well.

    One that shows exactly the same and has the same columns may be the child or the parent: then nothing is left out.
    """
    twins = [child for child in children if child.all() == parent.all() and child.columns == parent.columns]
    if twins:
        return Overlap(
            (), f"it shows the same rows as {_names(twins)}, and nothing tells whose they are: both have them"
        )
    heaps = sorted({heap for child in children for heap in child.all()})
    if not heaps:
        return None
    words = f"it also shows the rows of {_names(children)}, which inherit from it: they are in their own files only"
    return Overlap(tuple(heaps), words)


def _names(tables: Sequence[_Heaps]) -> str:
    return ", ".join(str(one.name) for one in tables)
