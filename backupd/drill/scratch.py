"""The throwaway database of a drill: tables built from the manifest, rows in, rows out as PostgREST would give them."""

# ruff: noqa: S608 what is put into SQL text here are names, always quoted; every value is bound or copied

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from backupd.model import Column, ForeignKey, Table, TableName
from backupd.restore.sql import identifier, qualified
from backupd.sandbox.driver import SandboxError, connect

if TYPE_CHECKING:
    import psycopg

_STAGING = "pg_temp.backupd_lines"
_COPY = f"copy {_STAGING} from stdin with (format csv, delimiter E'\\x02', quote E'\\x01', encoding 'UTF8')"
_SETTINGS = "set timezone = 'UTC'; set datestyle = 'ISO, MDY'; set intervalstyle = 'postgres'; set bytea_output = 'hex'"
_STAND_IN = "json"
_WITHOUT_LENGTH = {"character": "bpchar", "bit": "varbit", "int16": "smallint", "int32": "integer", "int64": "bigint"}
"""Types whose name alone means another one in SQL: `character` is one character long, `bit` one bit."""

_BLOCK_BYTES = 1 << 20
_FETCHED_ROWS = 1000


@dataclass(frozen=True, slots=True)
class StandIn:
    """A column whose type the scratch server lacks. It is kept as the JSON text it came as, so nothing is lost."""

    column: str
    type: str

    def __str__(self) -> str:
        return f"{self.column} ({self.type})"


@dataclass(frozen=True, slots=True)
class ScratchTable:
    """A table as it was built. `key` are the columns that tell its rows apart, none where it has no key."""

    table: Table
    key: tuple[str, ...]
    stand_ins: tuple[StandIn, ...]


@dataclass(frozen=True, slots=True)
class Dangling:
    """Rows that refer to a row that is not there: the two were read in different requests."""

    table: str
    key: ForeignKey
    rows: int

    def __str__(self) -> str:
        target = f"{self.key.table}.{self.key.foreign_column}"
        return f"{self.rows:,} rows of {self.table} refer by {self.key.column} to a {target} that is not there"


class Scratch:
    """One database, and what has been built in it. Every method raises SandboxError for what PostgreSQL refuses."""

    def __init__(self, connection: psycopg.Connection, url: str) -> None:
        self.url = url
        self._connection = connection
        self._built: dict[TableName, ScratchTable] = {}
        with _refusals("the scratch database"):
            connection.execute(_SETTINGS)
            connection.execute("create temporary table backupd_lines (line text)")

    @classmethod
    @contextmanager
    def on(cls, url: str) -> Iterator[Scratch]:
        """A new database on the server at `url`, dropped afterwards."""
        name = f"backupd_drill_{uuid.uuid4().hex[:12]}"
        own = urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
        with connect(url) as server, _refusals(f"the database {name}"):
            server.execute(f"create database {identifier(name)}".encode())
            try:
                with connect(own) as connection:
                    yield cls(connection, own)
            finally:
                server.execute(f"drop database {identifier(name)} with (force)".encode())

    def build(self, table: Table) -> ScratchTable:
        """Make the table, with its primary key, from what the manifest says of it."""
        kinds = {column.name: self._kind(column) for column in table.columns}
        stand_ins = tuple(
            StandIn(column.name, column.type)
            for column in table.columns
            if kinds[column.name] == _STAND_IN != column.type
        )
        lost = {stand_in.column for stand_in in stand_ins}
        key = tuple(column for column in table.primary_key if column in kinds)
        lines = [f"{identifier(name)} {kind}" for name, kind in kinds.items()]
        if key and not lost & set(key):
            lines.append(f"primary key ({', '.join(map(identifier, key))})")
        with _refusals(str(table.name)):
            self._execute(f"create schema if not exists {identifier(table.name.schema)}")
            self._execute(f"create table {qualified(table.name)} ({', '.join(lines)})")
        built = ScratchTable(table, key, stand_ins)
        self._built[table.name] = built
        return built

    def load(self, table: ScratchTable, rows: Iterable[bytes]) -> None:
        """Load rows as they came: PostgreSQL reads the JSON itself, a number goes from its text to `numeric`."""
        target = qualified(table.table.name)
        source = f"{_STAGING}, json_populate_record(null::{target}, line::json) as r"
        with _refusals(str(table.table.name)), self._connection.transaction(), self._connection.cursor() as cursor:
            with cursor.copy(_COPY.encode()) as copy:
                for block in _blocks(rows):
                    copy.write(block)
            cursor.execute(f"insert into {target} select r.* from {source}".encode())
            cursor.execute(f"truncate {_STAGING}".encode())

    def rows(self, table: ScratchTable) -> Iterator[bytes]:
        """Every row as PostgREST would give it."""
        query = f"select row_to_json(x.*)::text from {qualified(table.table.name)} as x"
        with (
            _refusals(str(table.table.name)),
            self._connection.transaction(),
            self._connection.cursor(name="backupd_rows") as cursor,
        ):
            cursor.itersize = _FETCHED_ROWS
            cursor.execute(query.encode())
            for (text,) in cursor:
                yield text.encode()

    def dangling_references(self) -> Iterator[Dangling]:
        """Follow each foreign key between tables that were built, and count the rows that lead nowhere."""
        for built in self._built.values():
            for key in built.table.foreign_keys:
                target = TableName(built.table.name.schema, key.table)
                if target in self._built:
                    rows = self._lost(built.table.name, key, target)
                    if rows:
                        yield Dangling(str(built.table.name), key, rows)

    def _lost(self, child: TableName, key: ForeignKey, target: TableName) -> int:
        own, foreign = identifier(key.column), identifier(key.foreign_column)
        query = (
            f"select count(*) from {qualified(child)} as c where c.{own} is not null and not exists "
            f"(select from {qualified(target)} as p where p.{foreign}::text = c.{own}::text)"
        )
        with _refusals(str(child)):
            return int(self._value(query))

    def _kind(self, column: Column) -> str:
        """The type to build a column with: its own, or the stand-in where this server does not know or take it."""
        base, array, _ = column.type.partition("[]")
        kind = _WITHOUT_LENGTH.get(base, base) + array
        with _refusals(column.name):
            known = self._connection.execute("select to_regtype(%s)::text", [kind]).fetchone()
        if known is None or known[0] is None or base == "xml":
            return _STAND_IN
        return kind

    def _execute(self, statement: str) -> None:
        self._connection.execute(statement.encode())

    def _value(self, query: str) -> Any:
        row = self._connection.execute(query.encode()).fetchone()
        return row[0] if row else None


def _blocks(rows: Iterable[bytes]) -> Iterator[bytes]:
    """Rows as lines, joined into pieces worth sending."""
    lines: list[bytes] = []
    size = 0
    for row in rows:
        lines.append(row)
        size += len(row)
        if size >= _BLOCK_BYTES:
            yield b"\n".join(lines) + b"\n"
            lines, size = [], 0
    if lines:
        yield b"\n".join(lines) + b"\n"


@contextmanager
def _refusals(subject: str) -> Iterator[None]:
    """Put what PostgreSQL refuses into words."""
    import psycopg

    try:
        yield
    except psycopg.Error as error:
        words = " ".join(str(error).split())[:300]
        raise SandboxError(f"{subject}: the scratch database refused it: {words}") from error
