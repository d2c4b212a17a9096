"""What a project that rows are to be written into has to say: its tables, how full they are, what is only a view."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from backupd.errors import ProjectError, TableUnreadable
from backupd.model import Count, Table, TableName
from backupd.project.answers import MISSING_GRANT, ColumnRefused
from backupd.project.connection import Connection
from backupd.project.heaps import find_overlaps
from backupd.project.openapi import Listing
from backupd.project.rows import split_rows
from backupd.project.unreadable import Unreadable, explain
from backupd.project.walking import count_rows

_EXPOSE = (
    "In the Supabase dashboard: Project Settings → Data API → Exposed schemas. Then in the SQL editor: "
    "GRANT USAGE ON SCHEMA {schema} TO service_role;"
)


@dataclass(frozen=True, slots=True)
class TargetTable:
    """One table of the project that is to be written into. `table` is None where the project does not describe it.

    `rows` are its own, without those of tables that inherit from it; None where the project does not count. `defaults`
    are columns whose default is a plain value.
    """

    name: TableName
    table: Table | None = None
    rows: Count | None = None
    is_view: bool = False
    defaults: frozenset[str] = frozenset()
    refusal: Unreadable | None = None


def survey(
    connection: Connection,
    names: Sequence[TableName],
    listings: Mapping[str, Listing | ProjectError],
    at_once: int,
) -> dict[TableName, TargetTable]:
    """Ask for each of `names` whether it can be written into. `listings` are by schema, or why there is none.

    Raises KeyRefused, ProjectUnreachable and Interrupted; whatever concerns one table is in its entry.
    """
    described = {table.name: table for listing in _heard(listings) for table in (*listing.tables, *listing.views)}
    defaults = {name: found for listing in _heard(listings) for name, found in _defaults(listing).items()}

    def ask(name: TableName) -> TargetTable:
        listing = listings[name.schema]
        if isinstance(listing, ProjectError):
            hint = _EXPOSE.format(schema=name.schema)
            return TargetTable(name, refusal=Unreadable(name, f"its schema cannot be used: {listing.message}", hint))
        one = TargetTable(name, described.get(name), defaults=defaults.get(name, frozenset()))
        return _asked(connection, one)

    with ThreadPoolExecutor(at_once, thread_name_prefix="survey") as pool:
        asked = dict(zip(names, pool.map(ask, names), strict=True))
    return {**asked, **dict(_own_rows(connection, asked, list(described.values())))}


def _own_rows(
    connection: Connection, asked: Mapping[TableName, TargetTable], described: Sequence[Table]
) -> Iterator[tuple[TableName, TargetTable]]:
    """Count again those tables that also show the rows of others, which inherit from them."""
    if not any(one.rows is not None and one.rows.rows for one in asked.values()):
        return
    overlaps = find_overlaps(connection, described)
    for name, one in asked.items():
        heaps = overlaps[name].heaps if name in overlaps else ()
        if heaps and one.table is not None:
            yield name, replace(one, rows=count_rows(connection, one.table, heaps))


def _asked(connection: Connection, one: TargetTable) -> TargetTable:
    try:
        is_view = _is_view(connection, one.name)
        rows = count_rows(connection, one.table or Table(one.name))
    except TableUnreadable as error:
        refusal = explain(one.name, error)
        if error.code == MISSING_GRANT and refusal.hint:
            refusal = replace(refusal, hint=refusal.hint.replace("GRANT SELECT ON", "GRANT SELECT, INSERT, UPDATE ON"))
        return replace(one, refusal=refusal)
    return replace(one, is_view=is_view, rows=rows)


def _is_view(connection: Connection, name: TableName) -> bool:
    """The project lists views that can be written through like tables. They have no rows of their own: no `ctid`."""
    query = connection.select(name, "ctid").limit(0)
    try:
        connection.send(query.request, str(name), lambda answer: split_rows(answer.body))
    except ColumnRefused:
        return True
    return False


def _heard(listings: Mapping[str, Listing | ProjectError]) -> list[Listing]:
    return [listing for listing in listings.values() if isinstance(listing, Listing)]


def _defaults(listing: Listing) -> dict[TableName, frozenset[str]]:
    """The columns with a default, as far as the document tells: it keeps calls such as `now()` to itself."""
    definitions = json.loads(listing.document).get("definitions") or {}
    found: dict[TableName, frozenset[str]] = {}
    for name, definition in definitions.items():
        properties = definition.get("properties") or {}
        columns = frozenset(column for column, described in properties.items() if "default" in described)
        found[TableName(listing.schema, name)] = columns
    return found
