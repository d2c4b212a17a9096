"""One suite for every project: whatever the keys, names and shapes of its tables, each row comes exactly once.

It runs against the gateway with a row cap below, at and above the page size, against @supabase/lite on a real
PostgreSQL, and against any server given by three variables (a URL, a key, and its database, which is written to):
BACKUPD_TEST_PROJECT_URL, BACKUPD_TEST_PROJECT_KEY, BACKUPD_TEST_PROJECT_DB.

Every table has a column `n` that numbers its rows, so that rows can be compared where a server writes values its own
way; what PostgreSQL renders itself is compared to the byte.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from backupd.model import Count, Paging, TableName, TableStatus
from backupd.project import Project
from backupd.sandbox.driver import connect
from backupd.sandbox.gateway import GatewayOptions, start_gateway
from backupd.sandbox.postgres import Postgres
from tests.support.lite import start_lite
from tests.support.projects import TableRead, open_project, read_tables
from tests.support.sandbox import make_database

PAGE_ROWS = 100
VARIABLES = ("BACKUPD_TEST_PROJECT_URL", "BACKUPD_TEST_PROJECT_KEY", "BACKUPD_TEST_PROJECT_DB")
GRANTS = """
grant usage on schema public, extra to service_role;
grant select on all tables in schema public, extra to service_role;
"""
TYPES = """
create schema extra;
create type mood as enum ('sad', 'ok', 'happy');
create type pair as (a int, b text);
create domain positive as int check (value > 0);
"""
AWKWARD = r"""array['', ' ', 'null', 'NULL', '*', '%', '%25', '+', 'a+b', '&x=1', 'a,b', '(p)', 'a.b:c', 'q"u', '"',
 '""', 'b\', '\\', '\"', ',")', 'and(a.eq.1)', 'é', '漢字', '😀', e'\t', e'\n', e'\u0001', '{x}', '[1]', 'it''s',
 ' a ', '#?/']"""


@dataclass(frozen=True)
class Case:
    """A table or view: how it is made, its key, and how it should be walked.

    `settings_key` is put into `project.keys`; `unlike_lite` says why @supabase/lite cannot read it in full.
    """

    name: str
    sql: str
    key: tuple[str, ...] = ()
    paging: Paging = Paging.KEY
    settings_key: tuple[str, ...] = ()
    unlike_lite: str | None = None
    schema: str = "public"

    @property
    def known_as(self) -> str:
        """Its name as people write it."""
        return str(TableName(self.schema, self.name))


def quoted(name: str) -> str:
    """An SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def keyed(name: str, key_type: str, value: str, rows: int = 230, **more: Any) -> Case:
    """A table whose key is one column of that type, with a value for each `g`."""
    sql = f"create table {quoted(name)} (k {key_type} primary key, n int);"
    sql += f"insert into {quoted(name)} select {value}, g from generate_series(1, {rows}) g;"
    return Case(name, sql, ("k",), **more)


def of_values(name: str, key_type: str, values: str, **more: Any) -> Case:
    """A table whose key is one column of that type, with these values and more like them."""
    sql = f"create table {quoted(name)} (k {key_type} primary key, n int);"
    sql += f"insert into {quoted(name)} select v, g from unnest({values}) with ordinality as u (v, g);"
    return Case(name, sql, ("k",), **more)


def columns(name: str, made: str, key: tuple[str, ...], values: str, rows: int = 230, **more: Any) -> Case:
    """A table with these columns and that key."""
    names = ", ".join(map(quoted, key))
    sql = f"create table {quoted(name)} ({made}, n int, primary key ({names}));"
    sql += f"insert into {quoted(name)} select {values}, g from generate_series(1, {rows}) g;"
    return Case(name, sql, key, **more)


def named(name: str) -> Case:
    """A table with an odd name."""
    return keyed(name, "int", "g * 7", unlike_lite="a dot in a table's name" if "." in name else None)


def keyless(name: str, sql: str, paging: Paging = Paging.CTID, **more: Any) -> Case:
    """A table or view without a key; `{}` stands for its name."""
    return Case(name, sql.replace("{}", quoted(name)), (), paging, **more)


COMPARES_TEXT = "true and false between quotes"
LOSES_QUOTES = "quotes and backslashes in a key"
SINGLE = [
    keyed("k_integer", "int", "g * 37 - 1000"),
    keyed("k_smallint", "smallint", "g - 100"),
    keyed("k_bigint", "bigint", "9223372036854775807 - g", unlike_lite="bigint beyond 2**53"),
    Case(
        "k_identity",
        "create table k_identity (k bigint primary key generated always as identity, n int);"
        "insert into k_identity (n) select g from generate_series(1, 230) g;",
        ("k",),
    ),
    keyed("k_uuid", "uuid", "md5(g::text)::uuid"),
    keyed("k_text", "text", "md5(g::text)"),
    of_values(
        "k_awkward",
        "text",
        AWKWARD + " || array(select 'k' || x from generate_series(1, 200) x)",
        unlike_lite=LOSES_QUOTES,
    ),
    keyed("k_long_text", "text", "repeat(md5(g::text), 20)"),
    keyed("k_char", "char(6)", "'c' || g"),
    keyed("k_timestamptz", "timestamptz", "'2026-11-22 15:24:29.872639+01'::timestamptz + g * interval '3h 1us'"),
    of_values(
        "k_instants",
        "timestamptz",
        "array['infinity', '-infinity', '0044-03-15 12:00:00.5+00 BC', 'epoch',"
        " '294276-12-31 23:59:59.999999+00', '4713-01-01 00:00:00+00 BC']::timestamptz[]",
    ),
    keyed("k_timestamp", "timestamp", "'1999-12-31 23:59:59.999999'::timestamp + g * interval '1us'"),
    keyed("k_date", "date", "date '2026-01-01' + g"),
    of_values("k_days", "date", "array['infinity', '-infinity', '0044-03-15 BC', '2026-02-28', '9999-12-31']::date[]"),
    keyed("k_time", "time", "time '00:00' + g * interval '1 minute 1us'"),
    keyed("k_interval", "interval", "g * interval '25 hours 1us'"),
    keyed("k_numeric", "numeric", "g * 0.1 + 12345678901234567890.123456789012345678"),
    of_values("k_numbers", "numeric", "array['NaN', 'Infinity', '-Infinity', 0, -1.5, 1e30, 1e-30, 0.10]::numeric[]"),
    keyed("k_double", "double precision", "g * 0.1::float8"),
    of_values("k_floats", "real", "array['NaN', 'Infinity', '-Infinity', 0, 1.17549e-38, 3.4e38, 0.1]::real[]"),
    of_values("k_boolean", "boolean", "array[true, false]", unlike_lite=COMPARES_TEXT),
    of_values("k_enum", "mood", "enum_range(null::mood)"),
    keyed("k_domain", "positive", "g"),
    keyed("k_bytea", "bytea", "decode(md5(g::text), 'hex')"),
    of_values("k_bytes", "bytea", r"array['\x', '\x00', '\xff', '\x5c', '\x22']::bytea[]"),
    keyed("k_inet", "inet", "'10.0.0.0'::inet + g"),
    keyed("k_bit", "bit(12)", "g::bit(12)"),
    keyed("k_money", "money", "g::money / 7"),
    keyed("k_range", "int4range", "int4range(g, g + 2)"),
]
COMPOSITE = [
    columns("c_two", "org int, usr text", ("org", "usr"), "case when g < 150 then 1 else g end, md5(g::text)"),
    columns("c_groups", "org text, usr uuid", ("org", "usr"), "'o,' || g % 2, md5(g::text)::uuid", rows=500),
    columns(
        "c_three",
        "yes boolean, day date, at timestamptz",
        ("yes", "day", "at"),
        "g % 3 = 0, date '2026-01-01' + g % 2, '2026-01-01'::timestamptz + g * interval '1us'",
        rows=500,
        unlike_lite=COMPARES_TEXT,
    ),
    columns(
        "c_awkward",
        "a text, b text",
        ("a", "b"),
        f"({AWKWARD})[1 + g % 8], 'x\"\\,' || g",
        rows=500,
        unlike_lite=LOSES_QUOTES,
    ),
    columns("c_small_groups", "a int, b int", ("a", "b"), "g / 3, g % 3"),
]
NAMES = [
    columns(
        "reserved",
        '"select" int, "order" text, "limit" int, "offset" int, "columns" int, "on_conflict" int',
        ("select", "order", "limit", "offset", "columns", "on_conflict"),
        "g % 2, g::text, g, g, g, g",
    ),
    columns("logic", '"and" int, "or" text, "not" int', ("and", "or", "not"), "g % 2, 'v' || g, g"),
    columns(
        "odd_comma", '"Key, One" text', ("Key, One",), "'a.b' || g", unlike_lite="a comma in the name of a key column"
    ),
    columns(
        "odd_quotes",
        r'"a""b\c" int, "(x).y:z" int',
        ('a"b\\c', "(x).y:z"),
        "g % 2, g",
        unlike_lite="quotes in the name of a key column",
    ),
    columns("unicode", '"größe" int, "名前" text', ("größe", "名前"), "g % 2, 'é' || g"),
    columns(
        "spaced",
        '" a b " int, "2nd" int, "Mixed" int',
        (" a b ", "2nd", "Mixed"),
        "g % 2, g, g",
        unlike_lite="a space at the end of a column's name",
    ),
    *map(named, ["Odd Table", 'q"uote', "100%", "%41", "dot.ted", "ünïcode", "a?b&c=d#e", "it's", "order", "rpc", "-"]),
]
ROWS = "select g, 'x' || g from generate_series(1, 230) g"
SHAPES = [
    keyless("no_key", f"create table {{}} (n int, v text); insert into {{}} {ROWS};"),
    keyless("twins", "create table {} (n int, v text); insert into {} select 1, 'same' from generate_series(1, 230);"),
    keyless(
        "holes",
        f"create table {{}} (n int, v text); insert into {{}} {ROWS.replace('230', '9000')};"
        "delete from {} where n between 500 and 8600; vacuum {};",
    ),
    keyless(
        "no_key_partitioned",
        "create table {} (n int, v text) partition by range (n);"
        "create table part_1 partition of {} for values from (0) to (100);"
        "create table part_2 partition of {} for values from (100) to (101);"
        "create table part_3 partition of {} for values from (101) to (200);"
        f"create table part_4 partition of {{}} default; insert into {{}} {ROWS};",
    ),
    keyless(
        "k_array",
        "create table {} (k int[] primary key, n int);"
        "insert into {} select array[g, 1], g from generate_series(1, 230) g;",
    ),
    keyless(
        "k_jsonb",
        "create table {} (k jsonb primary key, n int);"
        "insert into {} select to_jsonb('s' || g), g from generate_series(1, 230) g;",
    ),
    keyless(
        "k_pair",
        "create table {} (k pair primary key, n int);"
        "insert into {} select row(g, 'x')::pair, g from generate_series(1, 230) g;",
    ),
    keyless(
        "no_order",
        "create table {} (n int, doc json, p point, x xml, ds json[]);"
        """insert into {} select g, '{"b": 1.0,  "b": 2}', point(g, 1), null, array['{"x":1}'::json]"""
        " from generate_series(1, 230) g;",
    ),
    keyless("no_key_view", "create view {} as select * from no_key;", Paging.OFFSET),
    keyless("no_order_view", "create view {} as select * from no_order;", Paging.OFFSET),
    Case("keyed_view", "create view keyed_view as select n, v from no_key;", ("n",), settings_key=("n",)),
    Case(
        "joined_view",
        "create view joined_view as select a.n, b.v from no_key a join no_key b using (n);",
        ("n",),
        settings_key=("n",),
    ),
    keyed("empty", "int", "g", rows=0),
    keyless("empty_keyless", "create table {} (n int);"),
    Case(
        "generated",
        "create table generated (w int primary key, area int generated always as (w * 2) stored, n int);"
        "insert into generated (w, n) select g, g from generate_series(1, 230) g;",
        ("w",),
    ),
    Case(
        "notes",
        "create table extra.notes (id int primary key, n int);"
        "insert into extra.notes select g, g from generate_series(1, 230) g;",
        ("id",),
        schema="extra",
    ),
]
CASES = [*SINGLE, *COMPOSITE, *NAMES, *SHAPES]
BY_NAME = {case.known_as: case for case in CASES}
READ_ONLY_VIEWS = ("joined_view",)
"""Left out unless they are named."""


@dataclass(frozen=True)
class ProjectUnderTest:
    """A server with all the tables, and what came when they were read."""

    database: str
    exact: bool
    """PostgreSQL renders the rows itself."""
    read: Mapping[str, TableRead] = field(repr=False)


def run(database: str, *statements: str) -> None:
    """Each statement on its own: some cannot be in a transaction."""
    with connect(database) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def make_tables(database: str) -> None:
    """All types, tables and views."""
    statements = [one for case in CASES for one in case.sql.split(";") if one.strip()]
    run(database, TYPES, *statements, GRANTS)


def wanted_tables() -> dict[str, Any]:
    """Settings that name every table, and give keys where a server tells none."""
    keys = {case.known_as: case.settings_key for case in CASES if case.settings_key}
    return {"tables": tuple(BY_NAME), "keys": keys, "schemas": ("public", "extra"), "page_rows": PAGE_ROWS}


@contextmanager
def gateway_project(postgres: Postgres, directory: Path, max_rows: int | None) -> Iterator[ProjectUnderTest]:
    """The sandbox's gateway."""
    database = make_database(postgres)
    make_tables(database)
    options = GatewayOptions(schemas=("public", "extra"), max_rows=max_rows)
    with (
        start_gateway(database, options) as gateway,
        open_project(gateway.project_url, gateway.keys.secret, **wanted_tables()) as project,
    ):
        yield ProjectUnderTest(database, True, read_tables(project))


@contextmanager
def lite_project(postgres: Postgres, directory: Path) -> Iterator[ProjectUnderTest]:
    """@supabase/lite, which lists no tables: the settings give all keys."""
    database = make_database(postgres)
    make_tables(database)
    settings = wanted_tables() | {"keys": {case.known_as: case.key for case in CASES if case.key}}
    with (
        start_lite(database, directory, schemas=("public", "extra")) as lite,
        open_project(lite.url, lite.secret_key, **settings) as project,
    ):
        yield ProjectUnderTest(database, False, read_tables(project))


@contextmanager
def given_project(postgres: Postgres, directory: Path) -> Iterator[ProjectUnderTest]:
    """The server that the three variables give. Its database gets the tables, and loses them afterwards."""
    url, key, database = (os.environ[name] for name in VARIABLES)
    clean_up = [f"drop view if exists {quoted(case.name)} cascade" for case in CASES if " view " in case.sql]
    clean_up += [
        f"drop table if exists public.{quoted(case.name)} cascade" for case in CASES if " view " not in case.sql
    ]
    clean_up += [
        "drop schema if exists extra cascade",
        "drop type if exists mood, pair",
        "drop domain if exists positive",
    ]
    run(database, *clean_up)
    try:
        make_tables(database)
        run(database, "notify pgrst, 'reload schema'")
        with open_project(url, key, **wanted_tables()) as project:
            wait_until_listed(project)
            yield ProjectUnderTest(database, True, read_tables(project))
    finally:
        run(database, *clean_up)


def wait_until_listed(project: Project) -> None:
    """A server reads its schema anew when it is told to, but not at once."""
    deadline = time.monotonic() + 30
    while (unreadable := project.discover().unreadable) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not unreadable, unreadable


Open = Callable[[Postgres, Path], AbstractContextManager[ProjectUnderTest]]
SERVERS: dict[str, Open] = {
    "gateway_cap_below_page": lambda postgres, directory: gateway_project(postgres, directory, 70),
    "gateway_cap_at_page": lambda postgres, directory: gateway_project(postgres, directory, PAGE_ROWS),
    "gateway_cap_above_page": lambda postgres, directory: gateway_project(postgres, directory, None),
    "lite": lite_project,
}
if all(os.environ.get(name) for name in VARIABLES):
    SERVERS["given"] = given_project


@pytest.fixture(scope="module", params=SERVERS)
def under_test(
    request: pytest.FixtureRequest, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ProjectUnderTest]:
    """Each server in turn."""
    with SERVERS[request.param](postgres, tmp_path_factory.mktemp("project")) as opened:
        yield opened


def true_rows(database: str, case: Case) -> list[str]:
    """What PostgreSQL says the table holds."""
    with connect(database) as connection:
        connection.execute(b"set time zone 'UTC'")
        sql = f"select row_to_json(r.*)::text from {quoted(case.schema)}.{quoted(case.name)} r"
        return [row[0] for row in connection.execute(sql.encode()).fetchall()]


def numbers(rows: list[Any]) -> Counter[int]:
    """How often each `n` is there."""
    return Counter(json.loads(row)["n"] for row in rows)


@pytest.mark.parametrize("name", BY_NAME)
def test_project_gives_each_row_exactly_once(under_test: ProjectUnderTest, name: str) -> None:
    """And to the byte what PostgreSQL renders."""
    case, read = BY_NAME[name], under_test.read.get(name)
    expected = true_rows(under_test.database, case)
    if case.unlike_lite and not under_test.exact:
        is_whole = read is not None and numbers(read.rows) == numbers(expected)
        assert is_whole or read is None or read.outcome.status is not TableStatus.COMPLETED
        return
    assert read is not None
    assert (read.outcome.status, read.outcome.message) == (TableStatus.COMPLETED, None)
    assert numbers(read.rows) == numbers(expected)
    if under_test.exact:
        assert Counter(row.decode() for row in read.rows) == Counter(expected)


@pytest.mark.parametrize("name", BY_NAME)
def test_project_is_walked_by_key_where_there_is_one(under_test: ProjectUnderTest, name: str) -> None:
    """Otherwise by position, and only views by offset; without a key a warning says what that means."""
    case, read = BY_NAME[name], under_test.read.get(name)
    if read is None or (case.paging is Paging.KEY and not under_test.exact):
        assert not under_test.exact  # lite writes values its own way, so that some keys cannot be used
        return
    assert read.outcome.paging is case.paging
    is_doubtful = case.paging is not Paging.KEY and "empty" not in case.name
    assert ("it has no primary key" in (read.outcome.warning or "")) == is_doubtful


def test_project_counts_are_those_of_the_database(under_test: ProjectUnderTest) -> None:
    """Exact, before and after."""
    for name, read in under_test.read.items():
        count = Count(len(true_rows(under_test.database, BY_NAME[name])), exact=True)
        assert read.outcome.count_before == count, name
        if read.outcome.status is TableStatus.COMPLETED:
            assert read.outcome.count_after == count, name
