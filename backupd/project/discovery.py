"""Which tables there are to back up, which cannot be read and why, and which are gone."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from backupd.config import ProjectSettings
from backupd.errors import ProjectError, TableUnreadable
from backupd.model import Table, TableName
from backupd.project.answers import GONE, MISSING_GRANT
from backupd.project.connection import Connection
from backupd.project.openapi import Listing
from backupd.project.reading import readable

_PLAIN_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]*\Z")


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A table that should be in the backup and cannot be read, with the reason and the remedy."""

    name: TableName
    message: str
    hint: str | None = None


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


def discover(
    connection: Connection, settings: ProjectSettings, listings: Sequence[Listing], last_time: Collection[str]
) -> Discovery:
    """Choose the tables to back up from what the project lists, the settings, and what was there last time.

    A table that is expected but not listed is asked for by name: it is gone, or it has lost its grant, and only the
    answer tells. The same for tables that foreign keys point to: since 2026 a new table comes without a grant, and
    then nothing but the reference to it shows that it exists. Raises ProjectError when there is nothing at all.
    """
    listed = {table.name: table for listing in listings for table in listing.tables}
    read_only = {name for listing in listings for name in listing.read_only}
    expected = {resolve(text, settings.schemas, listed) for text in last_time}
    excluded, warnings = _excluded(settings, listed.keys() | read_only | expected)
    if settings.tables is None:
        wanted = [name for name in listed if name not in excluded]
        hearsay = _unlisted(expected, listings, settings) - listed.keys() - read_only - excluded
    else:
        named = [resolve(text, settings.schemas, listed) for text in settings.tables]
        wanted = [name for name in named if name in listed and name not in excluded]
        hearsay = {name for name in named if name not in listed and name not in excluded}
    tables = [_with_configured_key(listed[name], settings) for name in wanted]
    unreadable: list[Unreadable] = []
    gone: list[TableName] = []
    for name in sorted(hearsay):
        try:
            readable(connection, name)
        except TableUnreadable as error:
            if error.code not in GONE or settings.tables is not None:
                unreadable.append(explain(name, error))
            elif name in expected:
                gone.append(name)
        else:
            tables.append(_with_configured_key(Table(name), settings))
    if not tables and not unreadable:
        raise _nothing_to_back_up(connection.host, settings)
    return Discovery(
        tables=tuple(sorted(tables, key=lambda table: table.name)),
        unreadable=tuple(unreadable),
        gone=tuple(gone),
        read_only=tuple(sorted(read_only)),
        warnings=(*warnings, *(f"{name} was in the last backup and is gone" for name in gone)),
        documents=tuple((listing.schema, listing.document) for listing in listings),
    )


def resolve(text: str, schemas: Sequence[str], known: Iterable[TableName]) -> TableName:
    """Turn `users` or `extra.notes` into a table name. A bare name belongs to the first schema that has it."""
    schema, dot, rest = text.partition(".")
    known = set(known)
    candidates = [TableName(candidate, text) for candidate in schemas]
    if dot and schema in schemas:
        candidates.append(TableName(schema, rest))
    fallback = candidates[-1] if dot and schema in schemas else candidates[0]
    return next((name for name in candidates if name in known), fallback)


def explain(name: TableName, error: TableUnreadable) -> Unreadable:
    """Say what is wrong with a table and how to mend it; for a missing grant, the very statement to run."""
    if error.code == MISSING_GRANT:
        statement = f"GRANT SELECT ON TABLE {sql_name(name)} TO service_role;"
        return Unreadable(name, "the API key may not read it", f"Run in the SQL editor: {statement}")
    if error.code in GONE:
        hint = "Is the name right? A table made a moment ago appears after: notify pgrst, 'reload schema';"
        return Unreadable(name, "no such table in the project", hint)
    return Unreadable(name, error.message, error.hint)


def sql_name(name: TableName) -> str:
    """Write a table's name as SQL wants it, quoted where it must be."""
    parts = (name.schema, name.name)
    return ".".join(part if _PLAIN_IDENTIFIER.match(part) else '"' + part.replace('"', '""') + '"' for part in parts)


def _excluded(settings: ProjectSettings, known: Collection[TableName]) -> tuple[set[TableName], list[str]]:
    excluded = {resolve(text, settings.schemas, known): text for text in settings.exclude}
    warnings = []
    for name, text in excluded.items():
        if name not in known:
            close = difflib.get_close_matches(text, [str(one) for one in known], n=1)
            advice = f"; did you mean {close[0]}?" if close else ""
            warnings.append(f"project.exclude names {text}, which the project does not have{advice}")
    return set(excluded), warnings


def _unlisted(
    expected: Collection[TableName], listings: Sequence[Listing], settings: ProjectSettings
) -> set[TableName]:
    referenced = {name for listing in listings for name in listing.referenced}
    return {name for name in expected if name.schema in settings.schemas} | referenced


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
