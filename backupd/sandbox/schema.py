"""What the gateway knows of the database: its tables, columns, keys and functions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SchemaColumn:
    """A column. `sql_type` is what a cast takes; `format` is the base type as people write it."""

    name: str
    sql_type: str
    format: str
    max_length: int | None
    required: bool
    default: str | None
    comment: str | None
    enum: tuple[str, ...]
    foreign_key: tuple[str, str] | None


@dataclass(frozen=True, slots=True)
class SchemaTable:
    """A table or view, and which verbs it can take at all."""

    schema: str
    name: str
    comment: str | None
    columns: Mapping[str, SchemaColumn]
    primary_key: tuple[str, ...]
    insertable: bool
    updatable: bool
    deletable: bool


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument of a function."""

    name: str
    sql_type: str
    format: str
    required: bool


@dataclass(frozen=True, slots=True)
class Function:
    """A function that can be called over HTTP."""

    schema: str
    name: str
    arguments: tuple[Argument, ...]
    returns_set: bool
    returns_rows: bool
    returns_nothing: bool
    read_only: bool

    def accepts(self, names: frozenset[str]) -> bool:
        """Whether a call with these argument names means this function."""
        required = {argument.name for argument in self.arguments if argument.required}
        return required <= names <= {argument.name for argument in self.arguments}


@dataclass(frozen=True, slots=True)
class SchemaCache:
    """The database as it was when this was read."""

    tables: Mapping[tuple[str, str], SchemaTable] = field(default_factory=dict)
    functions: Mapping[tuple[str, str], tuple[Function, ...]] = field(default_factory=dict)


def load_schema(connection: psycopg.Connection, schemas: Sequence[str]) -> SchemaCache:
    """Read the catalogs of PostgreSQL. The connection must be outside a transaction."""
    with connection.transaction():
        # Nothing on the search path: format_type then qualifies every type that is not PostgreSQL's own.
        connection.execute("set local search_path to ''")
        tables, columns, keys, foreign_keys, functions = (
            _rows(connection, query, schemas) for query in (_TABLES, _COLUMNS, _PRIMARY_KEYS, _FOREIGN_KEYS, _FUNCTIONS)
        )
        origins = _rows(connection, _VIEW_ORIGINS, schemas)
    known = _Keys(keys, foreign_keys, origins)
    by_table = _grouped(columns, "oid")
    return SchemaCache(
        tables={(row["schema"], row["name"]): _table(row, by_table[row["oid"]], known) for row in tables},
        functions={
            name: tuple(_function(row) for row in overloads)
            for name, overloads in _grouped(functions, "schema", "name").items()
        },
    )


class _Keys:
    """Primary and foreign keys of tables, and of views through the columns they pass on."""

    def __init__(self, primary: Iterable[Row], foreign: Iterable[Row], origins: Iterable[Row]) -> None:
        self._primary = {row["oid"]: row["columns"] for row in primary}
        self._foreign = {(row["oid"], row["column"]): (row["table"], row["target"]) for row in reversed(list(foreign))}
        self._origins = {(row["oid"], row["column"]): (row["origin"], row["origin_column"]) for row in origins}

    def foreign_key(self, oid: int, column: str) -> tuple[str, str] | None:
        """The table and column that a column refers to."""
        return self._foreign.get(self._origins.get((oid, column), (oid, column)))

    def primary_key(self, oid: int, columns: Sequence[str]) -> tuple[str, ...]:
        """The key columns; of a view, when it passes on every key column of a table."""
        if oid in self._primary:
            return tuple(self._primary[oid])
        passed = {self._origins[oid, column]: column for column in columns if (oid, column) in self._origins}
        keys = [self._view_key(origin, passed) for origin in dict.fromkeys(origin for origin, _ in passed)]
        return tuple(column for key in keys for column in key)

    def _view_key(self, origin: int, passed: Mapping[tuple[int, str], str]) -> list[str]:
        key = [passed.get((origin, column)) for column in self._primary.get(origin, ())]
        return [column for column in key if column is not None] if None not in key else []


def _table(row: Row, columns: Sequence[Row], keys: _Keys) -> SchemaTable:
    return SchemaTable(
        schema=row["schema"],
        name=row["name"],
        comment=row["comment"],
        columns={column["name"]: _column(column, keys) for column in columns},
        primary_key=keys.primary_key(row["oid"], [column["name"] for column in columns]),
        insertable=row["insertable"],
        updatable=row["updatable"],
        deletable=row["deletable"],
    )


def _column(row: Row, keys: _Keys) -> SchemaColumn:
    return SchemaColumn(
        name=row["name"],
        sql_type=row["sql_type"],
        format=row["format"],
        max_length=row["max_length"],
        required=row["required"],
        default=row["default"],
        comment=row["comment"],
        enum=tuple(row["enum"] or ()),
        foreign_key=keys.foreign_key(row["oid"], row["name"]),
    )


def _function(row: Row) -> Function:
    optional_from = len(row["names"]) - row["defaults"]
    arguments = zip(row["names"], row["sql_types"], row["formats"], strict=True)
    return Function(
        schema=row["schema"],
        name=row["name"],
        arguments=tuple(Argument(*argument, required=at < optional_from) for at, argument in enumerate(arguments)),
        returns_set=row["returns_set"],
        returns_rows=row["returns_rows"],
        returns_nothing=row["returns_nothing"],
        read_only=row["read_only"],
    )


def _rows(connection: psycopg.Connection, query: bytes, schemas: Sequence[str]) -> list[dict[str, Any]]:
    cursor = connection.execute(query, {"schemas": list(schemas)})
    names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def _grouped(rows: Iterable[Row], *keys: str) -> dict[Any, list[Row]]:
    groups: dict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row[keys[0]] if len(keys) == 1 else tuple(row[key] for key in keys)].append(row)
    return groups


# Partitions cannot be named, as in PostgREST. The bits of pg_relation_is_updatable: 4 update, 8 insert, 16 delete.
_TABLES = b"""
select c.oid::bigint as oid, n.nspname as schema, c.relname as name, obj_description(c.oid, 'pg_class') as comment,
       c.relkind in ('r', 'p') or pg_relation_is_updatable(c.oid, true) & 8 = 8 as insertable,
       c.relkind in ('r', 'p') or pg_relation_is_updatable(c.oid, true) & 4 = 4 as updatable,
       c.relkind in ('r', 'p') or pg_relation_is_updatable(c.oid, true) & 16 = 16 as deletable
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = any(%(schemas)s::text[]) and c.relkind in ('r', 'v', 'm', 'f', 'p') and not c.relispartition
order by n.nspname, c.relname
"""

_COLUMNS = b"""
select c.oid::bigint as oid, a.attname as name, format_type(a.atttypid, -1) as sql_type,
       format_type(b.base, null) as format,
       information_schema._pg_char_max_length(b.base, b.typmod) as max_length,
       a.attnotnull as required, col_description(c.oid, a.attnum) as comment,
       case when a.attgenerated = '' then pg_get_expr(d.adbin, d.adrelid) end as default,
       (select array_agg(e.enumlabel::text order by e.enumsortorder) from pg_enum e where e.enumtypid = b.base) as enum
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
cross join lateral (
  with recursive unwrapped(base, typmod, level) as (
    select a.atttypid, a.atttypmod, 0
    union all
    select t.typbasetype, t.typtypmod, u.level + 1
    from unwrapped u join pg_type t on t.oid = u.base and t.typtype = 'd'
  )
  select base, typmod from unwrapped order by level desc limit 1
) b
where n.nspname = any(%(schemas)s::text[]) and c.relkind in ('r', 'v', 'm', 'f', 'p') and not c.relispartition
order by c.oid, a.attnum
"""

_PRIMARY_KEYS = b"""
select k.conrelid::bigint as oid, array_agg(a.attname::text order by position) as columns
from pg_constraint k
cross join lateral unnest(k.conkey) with ordinality as part(attnum, position)
join pg_attribute a on a.attrelid = k.conrelid and a.attnum = part.attnum
where k.contype = 'p' and %(schemas)s::text[] is not null
group by k.conrelid
"""

# PostgREST's notes tell of single-column keys only. The copies that partitions carry are left out.
_FOREIGN_KEYS = b"""
select k.conrelid::bigint as oid, a.attname as column, t.relname as table, f.attname as target
from pg_constraint k
join pg_class t on t.oid = k.confrelid
join pg_attribute a on a.attrelid = k.conrelid and a.attnum = k.conkey[1]
join pg_attribute f on f.attrelid = k.confrelid and f.attnum = k.confkey[1]
where k.contype = 'f' and cardinality(k.conkey) = 1 and k.conparentid = 0 and %(schemas)s::text[] is not null
order by k.conname
"""

# The stored rule of a view says of each of its columns which table's column it passes on.
_VIEW_ORIGINS = rb"""
select c.oid::bigint as oid, a.attname as column, o.attrelid::bigint as origin, o.attname as origin_column
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
join pg_rewrite r on r.ev_class = c.oid and r.rulename = '_RETURN'
cross join lateral regexp_matches(
  r.ev_action::text, ':resno (\d+) :resname \S+ :ressortgroupref \d+ :resorigtbl (\d+) :resorigcol (\d+)', 'g') as m
join pg_attribute a on a.attrelid = c.oid and a.attnum = m[1]::int
join pg_attribute o on o.attrelid = m[2]::oid and o.attnum = m[3]::int
where n.nspname = any(%(schemas)s::text[]) and c.relkind in ('v', 'm')
"""

_FUNCTIONS = b"""
select n.nspname as schema, p.proname as name, p.pronargdefaults as defaults, p.proretset as returns_set,
       coalesce(a.names, '{}') as names, coalesce(a.sql_types, '{}') as sql_types, coalesce(a.formats, '{}') as formats,
       t.typtype = 'c' or p.prorettype = 'record'::regtype
         or coalesce(cardinality(p.proallargtypes), 0) > p.pronargs as returns_rows,
       p.prorettype = 'void'::regtype as returns_nothing, p.provolatile <> 'v' as read_only
from pg_proc p
join pg_namespace n on n.oid = p.pronamespace
join pg_type t on t.oid = p.prorettype
left join lateral (
  select array_agg(coalesce(p.proargnames[i], '') order by i) as names,
         array_agg(format_type(p.proargtypes[i - 1], -1) order by i) as sql_types,
         array_agg(format_type(p.proargtypes[i - 1], null) order by i) as formats
  from generate_series(1, p.pronargs) i
) a on true
where n.nspname = any(%(schemas)s::text[]) and p.prokind = 'f'
  and p.prorettype not in ('trigger'::regtype, 'event_trigger'::regtype)
order by n.nspname, p.proname
"""
