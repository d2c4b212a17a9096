"""PostgREST's answers: which statement a request means, and what its result becomes on the wire."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from backupd.sandbox import sql
from backupd.sandbox.answers import JSON, Answer, KeyRejected, Refusal
from backupd.sandbox.database import Database, Session, Settings
from backupd.sandbox.keys import Caller
from backupd.sandbox.openapi import describe
from backupd.sandbox.payload import Payload, named_arguments, read_payload
from backupd.sandbox.preferences import (
    Body,
    Counting,
    Preferences,
    Resolution,
    read_preferences,
    wanted_body,
    wanted_range,
    wanted_schema,
)
from backupd.sandbox.query import Query, parse_query
from backupd.sandbox.schema import Function, SchemaColumn, SchemaTable

_READS = ("GET", "HEAD")
_OPENAPI = "application/openapi+json; charset=utf-8"
_CSV = "text/csv; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Call:
    """One request. Header names are lower case; `path` is decoded and starts behind the gateway's prefix."""

    method: str
    path: str
    query_string: str
    headers: Mapping[str, str]
    body: bytes = b""


class Rest:
    """Everything behind the key check."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings

    def answer(self, call: Call, caller: Caller) -> Answer:
        """Carry a request out. Raises `Refusal` as PostgREST does and `KeyRejected` as Supabase's gateway does."""
        schema = wanted_schema(call.headers, self._settings.schemas, reading=call.method in _READS)
        match call.path.strip("/").split("/"):
            case [""] if call.method in _READS:
                answer = self._root(caller, schema, call.headers.get("host", ""))
            case ["rpc", name]:
                answer = self._call(call, caller, schema, name)
            case [name] if name:
                answer = self._table(call, caller, schema, name)
            case _:
                raise Refusal(404, "PGRST125", "Invalid path specified in request URL")
        if answer.body or call.method in _READS:
            return replace(answer, headers={**answer.headers, "Content-Profile": schema})
        return answer

    def _root(self, caller: Caller, schema: str, host: str) -> Answer:
        if not caller.privileged:
            raise KeyRejected(
                "Access to schema is forbidden",
                hint="Accessing the schema via the Data API is only allowed using a secret API key.",
            )
        with self._database.session(caller, schema, read_only=True) as session:
            tables = session.names(_READABLE_TABLES, schema)
            functions = session.names(_CALLABLE_FUNCTIONS, schema)
            comment = next(iter(session.names(_SCHEMA_COMMENT, schema)), None)
            document = describe(session.cache, schema, tables, functions, comment=comment)
        document["host"] = host
        return Answer(200, json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode(), _OPENAPI)

    def _table(self, call: Call, caller: Caller, schema: str, name: str) -> Answer:
        verbs = {"GET": _read, "HEAD": _read, "POST": _insert, "PATCH": _update, "DELETE": _delete}
        if call.method == "PUT":
            message = "Filters must include all and only primary key columns with 'eq' operators"
            raise Refusal(405, "PGRST105", message)
        if call.method not in verbs:
            raise Refusal(405, "PGRST117", f"Unsupported HTTP method: {call.method}")
        with self._database.session(caller, schema, read_only=call.method in _READS) as session:
            table = session.cache.tables.get((schema, name))
            if table is None:
                raise Refusal(404, "PGRST205", f"Could not find the table '{schema}.{name}' in the schema cache")
            preferences = read_preferences(call.headers)
            request = _Request(call, self._settings, table, parse_query(call.query_string), preferences)
            return verbs[call.method](session, request)

    def _call(self, call: Call, caller: Caller, schema: str, name: str) -> Answer:
        arguments, payload = named_arguments(call.method, call.query_string, call.body)
        with self._database.session(caller, schema, read_only=True) as session:
            overloads = session.cache.functions.get((schema, name), ())
        function = _matching(overloads, frozenset(arguments), f"{schema}.{name}({', '.join(arguments)})")
        with self._database.session(caller, schema, read_only=function.read_only) as session:
            page = sql.Page(limit=self._settings.max_rows if function.returns_set else None)
            _, rows, body = session.run(sql.call(function, arguments, payload, page))
        if function.returns_nothing:
            return Answer(204, content_type="")
        return Answer(200, body, headers={"Content-Range": _content_range(0, int(rows), None)})


@dataclass(frozen=True, slots=True)
class _Request:
    call: Call
    settings: Settings
    table: SchemaTable
    query: Query
    preferences: Preferences

    def written_body(self) -> Body:
        """The form in which a write gives its rows back."""
        return wanted_body(self.call.headers) if self.preferences.wants_rows else Body.NONE

    def written(self, status: int, body: bytes, content_range: str, *applied: str) -> Answer:
        """The answer to a write."""
        headers = {"Content-Range": content_range, **self.preferences.applied("return", "count", *applied)}
        if not self.preferences.wants_rows:
            return Answer(status, content_type="", headers=headers)
        return Answer(status, body, _content_type(self.written_body()), headers)

    def counted(self, rows: int) -> int | None:
        """The total of a write, where it was asked for."""
        return rows if self.preferences.count is Counting.EXACT else None

    def columns(self, names: tuple[str, ...]) -> list[SchemaColumn]:
        """The columns of these names. Raises `Refusal` with `PGRST204` for one that the table lacks."""
        for name in names:
            if name not in self.table.columns:
                message = f"Could not find the '{name}' column of '{self.table.name}' in the schema cache"
                raise Refusal(400, "PGRST204", message)
        return [self.table.columns[name] for name in names]


def _read(session: Session, request: _Request) -> Answer:
    page = _page(request)
    columns = session.run(sql.read(request.table, request.query, page))
    rows, body = int(columns[1]), columns[2]
    _check_single(page.body, rows)
    total = _total(session, request, int(columns[0]) if columns[0] else None)
    headers = {"Content-Range": _content_range(page.offset, rows, total), **request.preferences.applied("count")}
    if total is not None and page.offset > total:
        refusal = Refusal(
            416,
            "PGRST103",
            "Requested range not satisfiable",
            details=f"An offset of {page.offset} was requested, but there are only {total} rows.",
        )
        return replace(refusal.answer(), headers=headers)
    status = 206 if total is not None and rows < total else 200
    return Answer(status, body, _content_type(page.body), headers)


def _page(request: _Request) -> sql.Page:
    limit, offset = request.query.limit, request.query.offset
    if limit is None and not offset:
        limit, offset = wanted_range(request.call.headers)
    if (limit is not None and limit < 0) or offset < 0:
        details = "Limit should be greater than or equal to zero."
        raise Refusal(416, "PGRST103", "Requested range not satisfiable", details=details)
    cap = request.settings.max_rows
    count = request.preferences.count
    return sql.Page(
        body=wanted_body(request.call.headers),
        limit=limit if cap is None else min(cap, cap if limit is None else limit),
        offset=offset,
        counted=count in (Counting.EXACT, Counting.ESTIMATED),
        count_limit=cap + 1 if cap is not None and count is Counting.ESTIMATED else None,
    )


def _total(session: Session, request: _Request, counted: int | None) -> int | None:
    """The count as it was asked for. An estimate is exact up to the row cap and the planner's beyond it."""
    cap = request.settings.max_rows
    match request.preferences.count:
        case Counting.PLANNED:
            return _planned(session, request)
        case Counting.ESTIMATED if cap is not None and counted is not None and counted > cap:
            return max(counted, _planned(session, request))
    return counted


def _planned(session: Session, request: _Request) -> int:
    (plan,) = session.run(sql.explain_count(request.table, request.query))
    return int(json.loads(plan)[0]["Plan"]["Plan Rows"])


def _insert(session: Session, request: _Request) -> Answer:
    payload = read_payload(request.call.body, request.query.columns)
    conflict = request.query.on_conflict or request.table.primary_key
    resolution = request.preferences.resolution if conflict else None
    applied = ("resolution", "missing") if resolution else ("missing",)
    how = sql.Insertion(
        columns=request.columns(payload.columns),
        resolution=resolution,
        conflict=conflict,
        defaults=bool(request.preferences.missing_default),
    )
    rows, body, inserted = _insert_rows(session, request, payload, how)
    status = 200 if resolution is Resolution.MERGE and not inserted else 201
    total = request.counted(rows)
    return request.written(status, body, _content_range(0, 0, total), *applied)


def _insert_rows(session: Session, request: _Request, payload: Payload, how: sql.Insertion) -> tuple[int, bytes, int]:
    """How many rows came out, the body, how many of them are new."""
    if not payload.rows:
        return 0, b"[]", 0
    body = request.written_body()
    _, rows, text, inserted = session.run(sql.insert(request.table, request.query, payload.text, how, body))
    _check_single(body, int(rows))
    return int(rows), text, int(inserted or b"0")


def _update(session: Session, request: _Request) -> Answer:
    payload = read_payload(request.call.body, request.query.columns)
    columns, body = request.columns(payload.columns), request.written_body()
    if not columns:
        return request.written(200 if request.preferences.wants_rows else 204, b"[]", "*/*")
    statement = sql.update(request.table, request.query, payload.text, columns, body)
    _, counted, text = session.run(statement)
    rows = int(counted)
    _check_single(body, rows)
    content_range = _content_range(0, rows, request.counted(rows))
    return request.written(200 if request.preferences.wants_rows else 204, text, content_range)


def _delete(session: Session, request: _Request) -> Answer:
    body = request.written_body()
    _, counted, text = session.run(sql.delete(request.table, request.query, body))
    rows = int(counted)
    _check_single(body, rows)
    content_range = _content_range(0, 0, request.counted(rows))
    return request.written(200 if request.preferences.wants_rows else 204, text, content_range)


def _check_single(body: Body, rows: int) -> None:
    if body is Body.ONE_ROW and rows != 1:
        message = "Cannot coerce the result to a single JSON object"
        raise Refusal(406, "PGRST116", message, details=f"The result contains {rows} rows")


def _matching(overloads: tuple[Function, ...], names: frozenset[str], shown: str) -> Function:
    for function in overloads:
        if function.accepts(names):
            return function
    raise Refusal(404, "PGRST202", f"Could not find the function {shown} in the schema cache")


def _content_type(body: Body) -> str:
    if body is Body.ONE_ROW:
        return "application/vnd.pgrst.object+json; charset=utf-8"
    return _CSV if body is Body.CSV else JSON


def _content_range(offset: int, rows: int, total: int | None) -> str:
    span = f"{offset}-{offset + rows - 1}" if rows else "*"
    return f"{span}/{'*' if total is None else total}"


_READABLE_TABLES = b"""
select c.relname::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = $1 and c.relkind in ('r', 'v', 'm', 'f', 'p') and not c.relispartition
  and (has_table_privilege(c.oid, 'select, insert, update, delete')
       or has_any_column_privilege(c.oid, 'select, insert, update'))
"""

_CALLABLE_FUNCTIONS = b"""
select distinct p.proname::text from pg_proc p join pg_namespace n on n.oid = p.pronamespace
where n.nspname = $1 and has_function_privilege(p.oid, 'execute')
"""

_SCHEMA_COMMENT = b"""
select obj_description(oid, 'pg_namespace') from pg_namespace where nspname = $1
  and obj_description(oid, 'pg_namespace') is not null
"""
