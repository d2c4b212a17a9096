"""PostgREST's SQL for a request: the rows as JSON text that PostgreSQL itself renders."""
# ruff: noqa: S608 - building SQL is what this module is for: names are quoted, values are parameters

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from backupd.sandbox.preferences import Body, Resolution
from backupd.sandbox.query import IS_VALUES, OPERATORS, Condition, Filter, Order, Query, Selected
from backupd.sandbox.schema import Function, SchemaColumn, SchemaTable

_BODIES = {
    Body.NONE: "''",
    Body.ROWS: "coalesce(json_agg(_postgrest_t), '[]')::text",
    Body.ONE_ROW: "coalesce((json_agg(_postgrest_t)->0)::text, 'null')",
    Body.CSV: """(select coalesce(string_agg(a.k, ','), '') from (
  select json_object_keys(r)::text as k from (select row_to_json(hh) as r from pgrst_source as hh limit 1) s) a)
  || '\n' || coalesce(string_agg(substring(_postgrest_t::text, 2, length(_postgrest_t::text) - 2), '\n'), '')""",
}

_UNCOUNTED = "null::bigint"

# Counts the rows a statement inserts: up for every row proposed, down again when it updates an existing one.
_INSERTED = "coalesce(nullif(current_setting('pgrst.inserted', true), '')::int, 0)"
_COUNT_UP = f"set_config('pgrst.inserted', ({_INSERTED} + 1)::text, true) <> '0'"
_COUNT_DOWN = f"set_config('pgrst.inserted', ({_INSERTED} - 1)::text, true) <> '-1'"


@dataclass(slots=True)
class Statement:
    """A statement under construction, with its parameters: `$1`, `$2` and so on."""

    text: str = ""
    parameters: list[str] = field(default_factory=list)

    def bind(self, value: str) -> str:
        """The placeholder of one more parameter, whose type PostgreSQL infers."""
        self.parameters.append(value)
        return f"${len(self.parameters)}"


@dataclass(frozen=True, slots=True)
class Page:
    """How much a read may give, in which form. `limit` is None for all rows; counting stops at `count_limit`."""

    body: Body = Body.ROWS
    limit: int | None = None
    offset: int = 0
    counted: bool = False
    count_limit: int | None = None

    def sql(self) -> str:
        """The clauses, with a leading space each."""
        return _limit(self.limit) + (f" offset {self.offset}" if self.offset else "")


@dataclass(frozen=True, slots=True)
class Insertion:
    """What an insert does with the rows it is given."""

    columns: Sequence[SchemaColumn]
    resolution: Resolution | None
    conflict: Sequence[str]
    defaults: bool


def quoted(name: str) -> str:
    """An identifier."""
    return '"' + name.replace('"', '""') + '"'


def read(table: SchemaTable, query: Query, page: Page) -> Statement:
    """Rows of a table: the total where it is counted, the number of rows in this page, the body."""
    statement = Statement()
    source = f"select {_selection(table, query.select)} from {_name(table)}"
    source += _where(statement, table, query) + _order(table, query.order) + page.sql()
    total, counting = _UNCOUNTED, ""
    if page.counted:
        counting = f", pgrst_source_count as ({_countable(statement, table, query)}{_limit(page.count_limit)})"
        total = "(select pg_catalog.count(*) from pgrst_source_count)"
    statement.text = f"with pgrst_source as ({source}){counting} {_result(total, page.body)}"
    return statement


def explain_count(table: SchemaTable, query: Query) -> Statement:
    """The planner's idea of how many rows the filters let through."""
    statement = Statement()
    statement.text = f"explain (format json) {_countable(statement, table, query)}"
    return statement


def _countable(statement: Statement, table: SchemaTable, query: Query) -> str:
    return f"select 1 from {_name(table)}{_where(statement, table, query)}"


def insert(table: SchemaTable, query: Query, rows: str, how: Insertion, body: Body) -> Statement:
    """Rows into a table. The last column of the result says how many were new."""
    statement = Statement()
    names = ", ".join(quoted(column.name) for column in how.columns)
    if how.columns:
        values = f"select {names} from {_recordset(statement, rows, how)} where {_COUNT_UP}"
        source = f"insert into {_name(table)} ({names}) {values}{_on_conflict(how)}"
    else:
        source = f"insert into {_name(table)} default values"
    source += f" returning {_returning(table, query, body)}"
    inserted = "nullif(current_setting('pgrst.inserted', true), '')::int"
    statement.text = f"with pgrst_source as ({source}) {_result(_UNCOUNTED, body, inserted)}"
    return statement


def update(table: SchemaTable, query: Query, rows: str, columns: Sequence[SchemaColumn], body: Body) -> Statement:
    """New values for the rows that the filters let through: the first of a JSON array."""
    statement = Statement()
    sets = ", ".join(f"{quoted(column.name)} = pgrst_body.{quoted(column.name)}" for column in columns)
    types = ", ".join(f"{quoted(column.name)} {column.sql_type}" for column in columns)
    payload = f"json_to_record({statement.bind(rows)}::json->0) as pgrst_body({types})"
    source = f"update {_name(table)} set {sets} from {payload}{_where(statement, table, query)}"
    source += f" returning {_returning(table, query, body)}"
    statement.text = f"with pgrst_source as ({source}) {_result(_UNCOUNTED, body)}"
    return statement


def delete(table: SchemaTable, query: Query, body: Body) -> Statement:
    """Away with the rows that the filters let through."""
    statement = Statement()
    source = f"delete from {_name(table)}{_where(statement, table, query)}"
    source += f" returning {_returning(table, query, body)}"
    statement.text = f"with pgrst_source as ({source}) {_result(_UNCOUNTED, body)}"
    return statement


def call(function: Function, arguments: Sequence[str], payload: str, page: Page) -> Statement:
    """A function, its arguments taken by name out of a JSON object."""
    statement = Statement()
    given = [argument for argument in function.arguments if argument.name in arguments]
    types = ", ".join(f"{quoted(argument.name)} {argument.sql_type}" for argument in given)
    values = ", ".join(f"{quoted(argument.name)} := pgrst_args.{quoted(argument.name)}" for argument in given)
    target = f"{quoted(function.schema)}.{quoted(function.name)}({values})"
    arguments_from = f"json_to_record({statement.bind(payload)}::json) as pgrst_args({types})" if given else ""
    if function.returns_rows:
        lateral = f"{arguments_from}, lateral {target} pgrst_call" if given else f"{target} pgrst_call"
        source, row = f"select pgrst_call.* from {lateral}", "_postgrest_t"
    else:
        source = f"select {target} as pgrst_scalar" + (f" from {arguments_from}" if given else "")
        row = "_postgrest_t.pgrst_scalar"
    rows = f"json_agg({row})" if function.returns_set else f"(json_agg({row})->0)"
    body = f"coalesce({rows}::text, '{'[]' if function.returns_set else 'null'}')"
    statement.text = f"with pgrst_source as ({source}{page.sql()}) {_select_from_source(_UNCOUNTED, body)}"
    return statement


def _limit(rows: int | None) -> str:
    return "" if rows is None else f" limit {rows}"


def _where(statement: Statement, table: SchemaTable, query: Query) -> str:
    if not query.where:
        return ""
    return " where " + " and ".join(_condition(statement, table, condition) for condition in query.where)


def _condition(statement: Statement, table: SchemaTable, condition: Condition) -> str:
    negation = "not " if condition.negated else ""
    if isinstance(condition, Filter):
        return negation + _comparison(statement, f"{_name(table)}.{quoted(condition.column)}", condition)
    parts = [_condition(statement, table, part) for part in condition.conditions]
    return f"{negation}({f' {condition.operator} '.join(parts)})"


def _comparison(statement: Statement, column: str, condition: Filter) -> str:
    if isinstance(condition.value, tuple):
        return f"{column} = any ({statement.bind(_array(condition.value))})"
    if condition.operator == "is":
        return f"{column} is {IS_VALUES[condition.value.lower()]}"
    value = condition.value
    if condition.operator in ("like", "ilike"):
        value = value.replace("*", "%")
    return f"{column} {OPERATORS[condition.operator]} {statement.bind(value)}"


def _array(values: Sequence[str]) -> str:
    escaped = (value.replace("\\", "\\\\").replace('"', '\\"') for value in values)
    return "{" + ",".join(f'"{value}"' for value in escaped) + "}"


def _selection(table: SchemaTable, items: Sequence[Selected]) -> str:
    return ", ".join(_selected(table, item) for item in items)


def _selected(table: SchemaTable, item: Selected) -> str:
    if item.column is None:
        return f"{_name(table)}.*"
    column = f"{_name(table)}.{quoted(item.column)}"
    if item.cast:
        column = f"cast({column} as {item.cast})"
    return f"{column} as {quoted(item.alias or item.column)}" if item.alias or item.cast else column


def _order(table: SchemaTable, terms: Sequence[Order]) -> str:
    if not terms:
        return ""
    return " order by " + ", ".join(
        " ".join(filter(None, (f"{_name(table)}.{quoted(term.column)}", term.direction, term.nulls))) for term in terms
    )


def _returning(table: SchemaTable, query: Query, body: Body) -> str:
    """Only what is wanted back: a role may write a table that it must not read."""
    return "1" if body is Body.NONE else _selection(table, query.select)


def _recordset(statement: Statement, rows: str, how: Insertion) -> str:
    types = ", ".join(f"{quoted(column.name)} {column.sql_type}" for column in how.columns)
    payload = f"{statement.bind(rows)}::json"
    defaults = [column for column in how.columns if column.default is not None] if how.defaults else []
    if not defaults:
        return f"json_to_recordset({payload}) as pgrst_body({types})"
    # The default of a column that a row does not name, evaluated once a row, as PostgREST does it: through jsonb.
    pairs = ", ".join(f"{_literal(column.name)}, {column.default}" for column in defaults)
    filled = f"(select jsonb_agg(jsonb_build_object({pairs}) || row) from jsonb_array_elements({payload}::jsonb) row)"
    return f"jsonb_to_recordset({filled}) as pgrst_body({types})"


def _on_conflict(how: Insertion) -> str:
    if how.resolution is None:
        return ""
    target = ", ".join(quoted(name) for name in how.conflict)
    if how.resolution is Resolution.IGNORE:
        return f" on conflict ({target}) do nothing"
    sets = ", ".join(f"{quoted(column.name)} = excluded.{quoted(column.name)}" for column in how.columns)
    return f" on conflict ({target}) do update set {sets} where {_COUNT_DOWN}"


def _result(total: str, body: Body, extra: str | None = None) -> str:
    return _select_from_source(total, _BODIES[body], extra)


def _select_from_source(total: str, body: str, extra: str | None = None) -> str:
    more = f", {extra} as extra" if extra else ""
    return (
        f"select {total} as total_result_set, pg_catalog.count(_postgrest_t) as page_total, {body} as body{more}"
        " from (select * from pgrst_source) _postgrest_t"
    )


def _name(table: SchemaTable) -> str:
    return f"{quoted(table.schema)}.{quoted(table.name)}"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
