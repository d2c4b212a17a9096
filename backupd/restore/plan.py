"""What a restore will do, decided before anything is written: tables in order, and what stands in the way."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from backupd.errors import BackupdError, ExitCode
from backupd.model import ArchivedTable, Manifest, Table, TableName, TableStatus
from backupd.project import TargetTable
from backupd.restore.references import Arrangement, arrange
from backupd.restore.sql import identifier, qualified
from backupd.words import plural

LARGEST_WHOLE_BYTES = 8 << 20
"""A table that can only be written in one request must not be larger than this."""

_TWICE_IN_ARCHIVE = ("which are in the backup twice then", "both have them")
"""What a warning of a backup says where a table also shows the rows of another and nothing told them apart."""


class Mode(StrEnum):
    """`empty` writes into empty tables alone; `merge` overwrites rows of the same key and leaves all others."""

    EMPTY = "empty"
    MERGE = "merge"


class WrongTable(BackupdError):
    """A table was named that the archive does not have."""

    exit_code = ExitCode.CONFIGURATION


@dataclass(frozen=True, slots=True)
class PlannedTable:
    """One table that will be written. `columns` are those of its rows; `table` is as the target has it.

    `deferred` columns are left out at first and filled in by a second pass. `whole` means in one request, because
    its rows refer to each other. `rows_now` is what the target holds, None where it does not say.
    """

    archived: ArchivedTable
    table: Table
    columns: tuple[str, ...]
    key: tuple[str, ...] = ()
    deferred: tuple[str, ...] = ()
    whole: bool = False
    rows_now: int | None = None
    defaults: frozenset[str] = frozenset()
    is_resumed: bool = False

    @property
    def name(self) -> TableName:
        """The table's name."""
        return self.archived.table.name


@dataclass(frozen=True, slots=True)
class Obstacle:
    """A table that cannot be written as things are, why, and what mends it: a sentence or the SQL to run.

    `is_full` is whether rows that are in the target are all there is to it.
    """

    name: TableName
    why: str
    remedy: str | None = None
    is_full: bool = False

    def __str__(self) -> str:
        return f"{self.name}: {self.why}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a restore will do. `source` and `target` are hosts.

    `tables` are in the order in which they are written. `obstacles` have to be mended first; `left_out` is what is
    not written and needs not be. `dependents` are tables of the archive that refer to chosen ones and were not
    chosen, `needed` those that chosen ones refer to; `all_tables` are those of the whole archive.
    """

    backup_id: str
    source: str
    target: str
    mode: Mode
    tables: tuple[PlannedTable, ...]
    obstacles: tuple[Obstacle, ...] = ()
    left_out: tuple[Obstacle, ...] = ()
    dependents: tuple[TableName, ...] = ()
    needed: tuple[TableName, ...] = ()
    cautions: tuple[str, ...] = ()
    all_tables: tuple[Table, ...] = ()
    refers_to: Mapping[TableName, frozenset[TableName]] | None = None

    @property
    def rows(self) -> int:
        """Rows that will be written."""
        return sum(planned.archived.rows for planned in self.tables)


def choose_tables(manifest: Manifest, wanted: Sequence[str], unwanted: Sequence[str]) -> tuple[ArchivedTable, ...]:
    """The archive's tables of these names, all without any; `unwanted` are taken away. Raises WrongTable."""
    named = {_resolved(text, manifest) for text in wanted}
    taken_away = {_resolved(text, manifest) for text in unwanted}
    return tuple(
        archived
        for archived in manifest.tables
        if (not named or archived.table.name in named) and archived.table.name not in taken_away
    )


def make_plan(
    manifest: Manifest,
    chosen: Sequence[ArchivedTable],
    target: str,
    mode: Mode,
    survey: Mapping[TableName, TargetTable],
    columns_of: Callable[[ArchivedTable], tuple[str, ...]],
    begun: Collection[TableName] = (),
) -> Plan:
    """Decide what to do with each of the `chosen` tables.

    `survey` is what the target said of them, `columns_of` gives the names of a table's columns in the archive;
    `begun` are tables that an earlier, interrupted run of the same restore has written to.
    """
    asked = {one.table.name: survey[one.table.name] for one in chosen}
    arrangement = arrange([_as_in_target(one, asked[one.table.name]) for one in chosen if one.file is not None])
    by_name = {one.table.name: one for one in chosen}
    planned: list[PlannedTable] = []
    obstacles: list[Obstacle] = []
    left_out = [Obstacle(one.table.name, f"not in the archive: {one.message}") for one in chosen if one.file is None]
    for name in arrangement.order:
        one = _planned(by_name[name], asked[name], arrangement, columns_of(by_name[name]), is_begun=name in begun)
        reason = _reason_to_leave_out(one, asked[name])
        if reason is not None:
            left_out.append(Obstacle(name, reason))
            continue
        found = [*_obstacles(one, asked[name], arrangement, mode), *_twice(name, manifest, by_name)]
        obstacles += found
        if not found:
            planned.append(one)
    names = set(by_name)
    return Plan(
        backup_id=manifest.backup_id,
        source=manifest.project,
        target=target,
        mode=mode,
        tables=tuple(planned),
        obstacles=tuple(_with_room(obstacles, mode)),
        left_out=tuple(left_out),
        dependents=tuple(_neighbours(manifest, lambda name, others: name not in names and bool(others & names))),
        needed=tuple(_needed(manifest, names)),
        cautions=tuple(_cautions(planned)),
        all_tables=(
            *(one.table for one in planned),
            *(one.table for one in manifest.tables if one.table.name not in names and one.file is not None),
        ),
        refers_to=arrangement.refers_to,
    )


def _resolved(text: str, manifest: Manifest) -> TableName:
    names = {archived.table.name for archived in manifest.tables}
    schema, _, rest = text.partition(".")
    candidates = [TableName("public", text), TableName(schema, rest), *(name for name in names if name.name == text)]
    found = next((name for name in candidates if name in names), None)
    if found is None:
        close = difflib.get_close_matches(text, [str(name) for name in names], n=1)
        advice = f"; did you mean {close[0]}?" if close else ""
        raise WrongTable(f"the archive has no table {text}{advice}", hint="`backupd show ID` lists its tables.")
    return found


def _as_in_target(archived: ArchivedTable, asked: TargetTable) -> Table:
    """The table as the target describes it; where it says nothing, as the archive does."""
    if asked.table is None or not asked.table.columns:
        return archived.table
    return asked.table if asked.table.primary_key else replace(asked.table, primary_key=archived.table.primary_key)


def _planned(
    archived: ArchivedTable, asked: TargetTable, arrangement: Arrangement, columns: tuple[str, ...], *, is_begun: bool
) -> PlannedTable:
    table = _as_in_target(archived, asked)
    name = table.name
    key = table.primary_key if set(table.primary_key) <= set(columns) else ()
    return PlannedTable(
        archived=archived,
        table=table,
        columns=columns,
        key=key,
        deferred=arrangement.deferred[name] if key else (),
        whole=bool(arrangement.stuck[name] or (arrangement.deferred[name] and not key)),
        rows_now=asked.rows.rows if asked.rows is not None else None,
        defaults=asked.defaults,
        is_resumed=is_begun and bool(asked.rows and asked.rows.rows),
    )


def _reason_to_leave_out(one: PlannedTable, asked: TargetTable) -> str | None:
    if asked.is_view:
        return "it is a view in the target: its rows are those of its tables"
    if asked.refusal is not None and not one.archived.rows:
        return f"it has no rows in the archive, and in the target {asked.refusal.message}"
    return None


def _obstacles(one: PlannedTable, asked: TargetTable, arrangement: Arrangement, mode: Mode) -> Iterator[Obstacle]:
    name = one.name
    if asked.refusal is not None:
        yield Obstacle(name, f"in the target {asked.refusal.message}", asked.refusal.hint)
        return
    lacking = set(one.columns) - {column.name for column in one.table.columns}
    if asked.table is not None and one.table.columns and lacking:
        types = {column.name: column.type for column in one.archived.table.columns}
        shown = ", ".join(f"{column} ({types.get(column) or 'of unknown type'})" for column in sorted(lacking))
        yield Obstacle(name, f"the target's table lacks {shown}", f"Add it with ALTER TABLE {qualified(name)} ADD …")
    if one.whole and one.archived.rows:
        yield from _not_in_one_request(one, arrangement)
    if one.is_resumed or one.rows_now == 0:
        return
    if one.rows_now is None:
        yield Obstacle(name, "the target does not say how many rows it has")
    elif mode is Mode.EMPTY:
        yield Obstacle(name, f"the target's table has {plural(one.rows_now, 'row')}", is_full=True)
    elif not one.key and one.archived.rows:
        yield Obstacle(name, "it has no primary key to merge by, and the target's table has rows", is_full=True)


def _with_room(obstacles: Sequence[Obstacle], mode: Mode) -> Iterator[Obstacle]:
    """Say once for all how to make room: tables that refer to each other can only be emptied together."""
    full = [one.name for one in obstacles if one.is_full]
    statement = f"TRUNCATE TABLE {', '.join(map(qualified, full))};"
    merge = "--mode merge, or, " if mode is Mode.EMPTY else ""
    remedy = f"Restore into a project whose tables are empty, or {merge}if those rows may go: {statement}"
    for one in obstacles:
        yield replace(one, remedy=remedy) if one.is_full and one.name == full[0] else one


def _not_in_one_request(one: PlannedTable, arrangement: Arrangement) -> Iterator[Obstacle]:
    """Rows that refer to each other through columns that cannot wait go in one request, or not at all."""
    name = one.name
    is_alone = arrangement.refers_to[name] & set(arrangement.order) <= {name} | _earlier(name, arrangement)
    if is_alone and one.archived.bytes <= LARGEST_WHOLE_BYTES:
        return
    if not arrangement.stuck[name]:
        why = "its rows refer to rows that come later, and it has no primary key to fill that in by"
        yield Obstacle(name, why, "Give it a primary key, or load it with the script in RECOVERY.md")
        return
    columns = ", ".join(arrangement.stuck[name])
    yield Obstacle(
        name,
        f"its rows refer to rows that come later through {columns}, which must not be null",
        stuck_remedy(name, arrangement.stuck[name], one.table.primary_key),
    )


def stuck_remedy(name: TableName, columns: Iterable[str], key: Collection[str]) -> str:
    """What to do about columns that would have to be null for a while."""
    if set(columns) & set(key):
        return "It is part of the primary key: load the table with the script in RECOVERY.md"
    return " ".join(f"ALTER TABLE {qualified(name)} ALTER COLUMN {identifier(one)} DROP NOT NULL;" for one in columns)


def _earlier(name: TableName, arrangement: Arrangement) -> set[TableName]:
    return set(arrangement.order[: arrangement.order.index(name)])


def _twice(name: TableName, manifest: Manifest, chosen: Collection[TableName]) -> Iterator[Obstacle]:
    """A parent table and one that inherits from it may hold the same rows, which must not be written twice."""
    for warning in manifest.warnings:
        about, _, words = warning.partition(": ")
        if about == str(name) and any(phrase in words for phrase in _TWICE_IN_ARCHIVE):
            others = [other for other in chosen if other != name and _names(words, other)]
            if others:
                why = f"the archive may hold rows of {', '.join(map(str, others))} in it a second time ({words})"
                yield Obstacle(name, why, f"Choose between them: --exclude {name}")


def _names(words: str, name: TableName) -> bool:
    return str(name) in words.replace(",", " ").split()


def _neighbours(manifest: Manifest, wanted: Callable[[TableName, frozenset[TableName]], bool]) -> Iterator[TableName]:
    arrangement = arrange([archived.table for archived in manifest.tables])
    return (name for name in arrangement.order if wanted(name, arrangement.refers_to[name]))


def _needed(manifest: Manifest, chosen: Collection[TableName]) -> Iterator[TableName]:
    refers_to = arrange([archived.table for archived in manifest.tables]).refers_to
    needed = {other for name in chosen for other in refers_to[name]}
    return iter(sorted(needed - set(chosen)))


def _cautions(planned: Sequence[PlannedTable]) -> Iterator[str]:
    for one in planned:
        if one.archived.status is TableStatus.INCOMPLETE:
            yield f"{one.name} is incomplete in the archive: {one.archived.message}"
        if one.is_resumed:
            yield f"{one.name} was begun by an earlier run, which goes on here"
