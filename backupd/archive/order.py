"""In which order tables can be loaded, so that a row comes after the rows it refers to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from backupd.model import Table, TableName


@dataclass(frozen=True, slots=True)
class LoadOrder:
    """Tables, referred ones first. `cycles` refer to each other in a ring, where no order is right."""

    tables: tuple[TableName, ...]
    cycles: tuple[tuple[TableName, ...], ...] = ()
    self_references: tuple[TableName, ...] = ()


def load_order(tables: Iterable[Table]) -> LoadOrder:
    """The order for these tables by their foreign keys; those to tables that are not among them do not count."""
    by_name = {table.name: table for table in tables}
    refers_to = {name: _referred(by_name[name], by_name) for name in sorted(by_name)}
    self_references = tuple(name for name, referred in refers_to.items() if name in referred)
    for name in self_references:
        refers_to[name].remove(name)
    order, cycles = _sorted(refers_to)
    return LoadOrder(order, cycles, self_references)


def _sorted(
    refers_to: dict[TableName, set[TableName]],
) -> tuple[tuple[TableName, ...], tuple[tuple[TableName, ...], ...]]:
    """Cut every ring at one reference, until none is left."""
    cycles: list[tuple[TableName, ...]] = []
    while True:
        sorter = TopologicalSorter({name: sorted(referred) for name, referred in refers_to.items()})
        try:
            return tuple(sorter.static_order()), tuple(cycles)
        except CycleError as error:
            ring: list[TableName] = error.args[
                1
            ]  # starts and ends with the same table; each is referred to by the next
            cycles.append(tuple(ring[:-1]))
            refers_to[ring[1]].remove(ring[0])


def _referred(table: Table, tables: Mapping[TableName, Table]) -> set[TableName]:
    """The OpenAPI document names a referred table without its schema: the same schema is meant, or the only other."""
    by_bare_name: dict[str, list[TableName]] = defaultdict(list)
    for name in tables:
        by_bare_name[name.name].append(name)
    referred = set()
    for key in table.foreign_keys:
        candidates = by_bare_name[key.table]
        same_schema = TableName(table.name.schema, key.table)
        if same_schema in tables:
            referred.add(same_schema)
        elif len(candidates) == 1:
            referred.add(candidates[0])
    return referred
