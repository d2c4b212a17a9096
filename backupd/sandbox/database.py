"""The gateway's connections: one transaction a request, in the caller's role, and a fresh schema cache."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from queue import LifoQueue
from threading import Lock

import psycopg

from backupd.sandbox.answers import Refusal, status_of
from backupd.sandbox.keys import Caller
from backupd.sandbox.schema import SchemaCache, load_schema
from backupd.sandbox.sql import Statement, quoted


@dataclass(frozen=True, slots=True)
class Settings:
    """How the gateway treats requests. `max_rows` is None for no row cap."""

    schemas: tuple[str, ...] = ("public",)
    max_rows: int | None = 1000
    statement_timeout_ms: int = 8000
    anon_role: str = "anon"
    connections: int = 8


@dataclass(frozen=True, slots=True)
class Session:
    """One open transaction, and the schema it can rely on."""

    connection: psycopg.Connection
    cache: SchemaCache

    def run(self, statement: Statement) -> list[bytes]:
        """The only row of a statement, as PostgreSQL rendered it; NULL is empty."""
        cursor = psycopg.RawCursor(self.connection)
        result = cursor.execute(statement.text.encode(), statement.parameters).pgresult
        if result is None or not result.ntuples:
            return []
        return [result.get_value(0, column) or b"" for column in range(result.nfields)]

    def names(self, query: bytes, *parameters: str) -> frozenset[str]:
        """The first column of a query's rows."""
        cursor = psycopg.RawCursor(self.connection)
        return frozenset(row[0] for row in cursor.execute(query, parameters))


class Database:
    """A few connections, shared by the requests.

    Every connection listens to the channel `pgrst`, as PostgREST does; after a notification the schema is read anew
    before the next request is looked at.
    """

    def __init__(self, url: str, settings: Settings) -> None:
        self._url = url
        self._settings = settings
        self._free: LifoQueue[_Member | None] = LifoQueue()
        for _ in range(settings.connections - 1):
            self._free.put(None)
        self._reading = Lock()
        self._cache = SchemaCache()
        self._free.put(self._open())

    @contextmanager
    def session(self, caller: Caller, schema: str, *, read_only: bool) -> Iterator[Session]:
        """A transaction that commits at the end. PostgreSQL's errors become `Refusal`s, in PostgREST's words."""
        member = self._free.get()
        try:
            member = member or self._open()
            self._begin(member, caller, schema, read_only=read_only)
            yield Session(member.connection, self._cache)
            member.connection.execute("commit")
        except psycopg.Error as error:
            raise self._refusal(error, caller) from error
        finally:
            self._free.put(_clean(member))

    def _open(self) -> _Member:
        member = _Member(psycopg.connect(self._url, autocommit=True, options="-c TimeZone=UTC"))
        member.connection.execute("listen pgrst")
        self._read_schema(member)
        return member

    def _begin(self, member: _Member, caller: Caller, schema: str, *, read_only: bool) -> None:
        begin = _begin(caller, self._settings, schema, read_only=read_only)
        member.connection.execute(begin)
        if member.notified:
            member.connection.execute("rollback")
            self._read_schema(member)
            member.connection.execute(begin)

    def _read_schema(self, member: _Member) -> None:
        # Cleared first: what is notified from here on may not be in what is read here.
        member.notified = False
        with self._reading:
            self._cache = load_schema(member.connection, self._settings.schemas)

    def _refusal(self, error: psycopg.Error, caller: Caller) -> Refusal:
        if error.sqlstate is None:
            return Refusal(503, "PGRST001", "Database connection error. Retrying the connection.", details=str(error))
        message = error.diag.message_primary or str(error)
        status = status_of(error.sqlstate, message, authenticated=caller.role != self._settings.anon_role)
        refusal = Refusal(
            status, error.sqlstate, message, details=error.diag.message_detail, hint=error.diag.message_hint
        )
        if status == 401:
            refusal.headers["WWW-Authenticate"] = "Bearer"
        return refusal


class _Member:
    """A connection and whether it was told that the schema changed."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self.connection = connection
        self.notified = False
        connection.add_notify_handler(self._note)

    def _note(self, _: psycopg.Notify) -> None:
        self.notified = True


def _clean(member: _Member | None) -> _Member | None:
    """The member ready for the next request, or None when its connection is beyond use."""
    if member is None:
        return None
    if member.connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
        try:
            member.connection.execute("rollback")
        except psycopg.Error:
            member.connection.close()
            return None
    return member


def _begin(caller: Caller, settings: Settings, schema: str, *, read_only: bool) -> bytes:
    """One round trip: the transaction, and everything that holds for this request only."""
    local = {
        "role": quoted(caller.role),
        "statement_timeout": str(settings.statement_timeout_ms),
        "search_path": f"{quoted(schema)}, public, extensions",
        '"request.jwt.claims"': _literal(json.dumps(dict(caller.claims))),
    }
    sets = "; ".join(f"set local {name} to {value}" for name, value in local.items())
    return f"begin {'read only' if read_only else 'read write'}; {sets}".encode()


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
