"""In which order tables are written, and which references have to wait for a second pass."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from backupd.archive.order import load_order
from backupd.model import ForeignKey, Table, TableName


@dataclass(frozen=True, slots=True)
class Arrangement:
    """Tables, referred ones first.

    `deferred` are the columns, by table, that point to rows which are not there yet when the table is written: they
    are left out at first and filled in when everything is there. `stuck` are such columns that must not be null.
    `refers_to` is what each table refers to among the others.
    """

    order: tuple[TableName, ...]
    deferred: Mapping[TableName, tuple[str, ...]]
    stuck: Mapping[TableName, tuple[str, ...]]
    refers_to: Mapping[TableName, frozenset[TableName]]


def arrange(tables: Collection[Table]) -> Arrangement:
    """Arrange `tables` by their foreign keys; those to tables that are not among them do not count.

    A ring is cut at a column that may be null wherever it has one.
    """
    by_bare_name: dict[str, list[TableName]] = defaultdict(list)
    for table in tables:
        by_bare_name[table.name.name].append(table.name)
    references = {table.name: tuple(_references(table, by_bare_name)) for table in tables}
    reachable = {name: _reachable(name, references) for name in references}
    in_ring = {name: {other for other in found if name in reachable[other]} for name, found in reachable.items()}
    lighter = [_without_soft(table, references[table.name], in_ring[table.name]) for table in tables]
    order = load_order(lighter).tables
    place = {name: number for number, name in enumerate(order)}
    deferred: dict[TableName, tuple[str, ...]] = {}
    stuck: dict[TableName, tuple[str, ...]] = {}
    for table in tables:
        late = [key.column for key, other in references[table.name] if place[other] >= place[table.name]]
        required = {column.name for column in table.columns if column.required} | set(table.primary_key)
        deferred[table.name] = tuple(dict.fromkeys(column for column in late if column not in required))
        stuck[table.name] = tuple(dict.fromkeys(column for column in late if column in required))
    refers_to = {name: frozenset(other for _, other in found) for name, found in references.items()}
    return Arrangement(order, deferred, stuck, refers_to)


def _references(
    table: Table, by_bare_name: Mapping[str, Sequence[TableName]]
) -> Iterable[tuple[ForeignKey, TableName]]:
    """The project names a referred table without its schema: the same schema is meant, or the only other one."""
    for key in table.foreign_keys:
        candidates = by_bare_name.get(key.table, ())
        same_schema = TableName(table.name.schema, key.table)
        if same_schema in candidates:
            yield key, same_schema
        elif len(candidates) == 1:
            yield key, candidates[0]


def _reachable(
    start: TableName, references: Mapping[TableName, Iterable[tuple[ForeignKey, TableName]]]
) -> set[TableName]:
    """Everything `start` refers to, however many steps away; itself only when it does."""
    seen: set[TableName] = set()
    waiting = [start]
    while waiting:
        for _, other in references[waiting.pop()]:
            if other not in seen:
                seen.add(other)
                waiting.append(other)
    return seen


def _without_soft(
    table: Table, references: Iterable[tuple[ForeignKey, TableName]], ring: Collection[TableName]
) -> Table:
    """The table without those references within a ring that can wait."""
    required = {column.name for column in table.columns if column.required} | set(table.primary_key)
    kept = [key for key, other in references if other not in ring or key.column in required]
    return replace(table, foreign_keys=tuple(kept))
