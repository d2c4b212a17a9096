"""Which tables there are to back up, which cannot be read and why, and which are gone."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from backupd.config import ProjectSettings
from backupd.errors import ProjectError, TableUnreadable
from backupd.model import Table, TableName
from backupd.project.answers import GONE
from backupd.project.connection import Connection
from backupd.project.openapi import Listing
from backupd.project.reading import readable
from backupd.project.unreadable import Unreadable, explain


@dataclass(frozen=True, slots=True)
class Discovery:
    """What there is to back up: tables to read, tables that cannot be read, tables that are truly gone.

    `documents` are the OpenAPI documents by schema, to the byte.
    """

    tables: tuple[Table, ...]
    unreadable: tuple[Unreadable, ...] = ()
    gone: tuple[TableName, ...] = ()
    read_only: tuple[TableName, ...] = ()
    warnings: tuple[str, ...] = ()
    documents: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class _Plan:
    """What the listings, the settings and the last backup say before the project is asked about single tables.

    `hearsay` are tables nobody lists but somebody speaks of.
    """

    wanted: tuple[Table, ...]
    hearsay: frozenset[TableName]
    expected: frozenset[TableName]
    left_out: tuple[TableName, ...]
    warnings: tuple[str, ...]


def discover(
    connection: Connection, settings: ProjectSettings, listings: Sequence[Listing], last_time: Collection[str]
) -> Discovery:
    """Choose the tables to back up from what the project lists, the settings, and what was there last time.

    A table that is expected but not listed is asked for by name: it is gone, or it has lost its grant, and only the
    answer tells. The same for tables that foreign keys point to: since 2026 a new table comes without a grant, and
    then nothing but the reference to it shows that it exists. Raises ProjectError when there is nothing at all.
    """
    plan = _plan(settings, listings, last_time)
    tables = list(plan.wanted)
    unreadable: list[Unreadable] = []
    gone: list[TableName] = []
    for name in sorted(plan.hearsay):
        error = _why_unreadable(connection, name)
        if error is None:
            tables.append(Table(name))
        elif error.code not in GONE or settings.tables is not None:
            unreadable.append(explain(name, error))
        elif name in plan.expected:
            gone.append(name)
    if not tables and not unreadable:
        raise _nothing_to_back_up(connection.host, settings)
    return Discovery(
        tables=tuple(_with_configured_key(table, settings) for table in sorted(tables, key=lambda table: table.name)),
        unreadable=tuple(unreadable),
        gone=tuple(gone),
        read_only=plan.left_out,
        warnings=(*plan.warnings, *(f"{name} was in the last backup and is gone" for name in gone)),
        documents=tuple((listing.schema, listing.document) for listing in listings),
    )


def _plan(settings: ProjectSettings, listings: Sequence[Listing], last_time: Collection[str]) -> _Plan:
    tables = {table.name: table for listing in listings for table in listing.tables}
    views = {view.name: view for listing in listings for view in listing.views}
    known = tables | views
    expected = frozenset(_in_last_backup(last_time, settings.schemas, tables))
    excluded, warnings = _excluded(settings, known.keys() | expected)
    if settings.tables is None:
        wanted = tables.keys() - excluded
        hearsay = {*expected, *_referenced(listings)} - known.keys() - excluded
        turned = sorted((expected & views.keys()) - excluded)
        warnings += [f"{name} was in the last backup and is a read-only view now: it is left out" for name in turned]
    else:
        named = {resolve(text, settings.schemas, known) for text in settings.tables} - excluded
        wanted, hearsay = named & known.keys(), named - known.keys()
    return _Plan(
        wanted=tuple(known[name] for name in wanted),
        hearsay=frozenset(hearsay),
        expected=expected,
        left_out=tuple(sorted(views.keys() - wanted)),
        warnings=tuple(warnings),
    )


def _why_unreadable(connection: Connection, name: TableName) -> TableUnreadable | None:
    try:
        readable(connection, name)
    except TableUnreadable as error:
        return error
    return None


def _in_last_backup(
    texts: Collection[str], schemas: Sequence[str], listed: Collection[TableName]
) -> Iterator[TableName]:
    """Undo `str(TableName)`: what has no schema was in `public`. Schemas that are no longer wanted are left out."""
    for text in texts:
        schema, _, rest = text.partition(".")
        candidates = [TableName("public", text), TableName(schema, rest)]
        wanted = [name for name in candidates if name.name and name.schema in schemas]
        if wanted:
            yield next((name for name in wanted if name in listed), wanted[-1])


def resolve(text: str, schemas: Sequence[str], known: Collection[TableName]) -> TableName:
    """Turn `users` or `extra.notes` into a table name. A bare name belongs to the first schema that has it."""
    schema, dot, rest = text.partition(".")
    candidates = [TableName(candidate, text) for candidate in schemas]
    if dot and schema in schemas:
        candidates.append(TableName(schema, rest))
    fallback = candidates[-1] if dot and schema in schemas else candidates[0]
    return next((name for name in candidates if name in known), fallback)


def _excluded(settings: ProjectSettings, known: Collection[TableName]) -> tuple[set[TableName], list[str]]:
    excluded = {resolve(text, settings.schemas, known): text for text in settings.exclude}
    warnings = []
    for name, text in excluded.items():
        if name not in known:
            close = difflib.get_close_matches(text, [str(one) for one in known], n=1)
            advice = f"; did you mean {close[0]}?" if close else ""
            warnings.append(f"project.exclude names {text}, which the project does not have{advice}")
    return set(excluded), warnings


def _referenced(listings: Sequence[Listing]) -> frozenset[TableName]:
    return frozenset(name for listing in listings for name in listing.referenced)


def _with_configured_key(table: Table, settings: ProjectSettings) -> Table:
    """Take the key from `project.keys` where the project names none: views, and servers without a document."""
    if table.primary_key:
        return table
    key = settings.keys.get(str(table.name)) or settings.keys.get(f"{table.name.schema}.{table.name.name}")
    return replace(table, primary_key=tuple(key)) if key else table


def _nothing_to_back_up(host: str, settings: ProjectSettings) -> ProjectError:
    where = ", ".join(settings.schemas)
    return ProjectError(
        f"{host} lists no tables in {where}",
        hint="Name them in project.tables, or grant them in the SQL editor: "
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO service_role;",
    )
