"""Whatever is in a table, the archive holds what PostgreSQL's own `row_to_json` says, each row exactly once."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backupd.model import Status
from backupd.sandbox.driver import connect
from backupd.sandbox.gateway import Gateway, GatewayOptions, start_gateway
from backupd.sandbox.postgres import Postgres
from tests.support.projects import archived_rows, back_up, open_project
from tests.support.sandbox import make_database

DERANDOMIZED = settings(max_examples=30, deadline=None, derandomize=True, database=None)
"""The same examples every time: a server is behind them, and CI must end."""

INFINITIES = ["infinity", "-infinity"]
FLOATS = ["NaN", "Infinity", "-Infinity", "0", "-0", "1.17549e-38", "0.1", "1e22"]

texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=12)
awkward_texts = texts | st.text(st.sampled_from("\\\"\n\r\t,(){}[]:;'%*\u2028\x01é😀"), max_size=8)
whole = st.integers
digits = st.text("0123456789", min_size=1, max_size=40)
numerics = st.builds("{}{}.{}".format, st.sampled_from(["", "-"]), digits, digits)
dates = st.dates().map(str)
bc = st.builds("{:04}-{:02}-{:02} BC".format, whole(1, 4713), whole(1, 12), whole(1, 28))
times = st.times().map(str)
moments = st.datetimes().map(str)
zones = st.sampled_from(["+00", "+05:30", "-11", "+14"])
spaces = st.text(" \t\r\n", max_size=3)
escapes = st.sampled_from([r"\ud800", r"\udfff", r"\u0041", r"\/", r"\ud83d\ude00", "é", "a", ", \\n", "]"])
strings = st.lists(escapes, max_size=4).map(lambda parts: f'"{"".join(parts)}"')
numbers = st.sampled_from(["1.0", "-0", "1e400", "12345678901234567890.10", "9" * 400, "1E-2"])
leaves = strings | numbers | st.sampled_from(["null", "true", "{}", "[ ]"])


def members(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """A JSON object with few different keys, so that some are there twice, and white space anywhere."""
    one = st.builds("{}{}{}:{}{}".format, spaces, st.sampled_from(['"a"', '"b"']), spaces, spaces, inner)
    return st.lists(one, max_size=3).map(lambda all_of_them: "{" + ",".join(all_of_them) + "}")


def items(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """A JSON array."""
    return st.lists(st.builds("{}{}{}".format, spaces, inner, spaces), max_size=3).map(
        lambda all_: f"[{','.join(all_)}]"
    )


json_texts = st.recursive(leaves, lambda inner: members(inner) | items(inner), max_leaves=5)
jsonb_texts = st.sampled_from(
    ['{"n": 12345678901234567890.123, "z": null}', "1e400", '"\\u00e9"', "[1.50, {}]", '{"b":1,"a":{"b":[]}}', "null"]
)
arrays = st.lists(st.none() | whole(-(2**31), 2**31 - 1), max_size=4)
text_arrays = st.lists(st.none() | awkward_texts, max_size=4)

VALUES: Mapping[str, st.SearchStrategy[object]] = {
    "smallint": whole(-(2**15), 2**15 - 1),
    "integer": whole(-(2**31), 2**31 - 1),
    "bigint": whole(-(2**63), 2**63 - 1),
    "numeric": numerics | st.sampled_from(["NaN", "Infinity", "-Infinity", "1e500", "1e-300"]),
    "numeric(20,6)": whole(-(10**19), 10**19).map(lambda number: f"{number}e-6"),
    "real": st.sampled_from(FLOATS),
    "double precision": st.floats().map(str) | st.sampled_from(FLOATS),
    "boolean": st.booleans(),
    "text": awkward_texts,
    "varchar(40)": awkward_texts,
    "char(4)": st.text("ab ", max_size=4),
    "bytea": st.binary(max_size=20),
    "uuid": st.uuids().map(str),
    "json": json_texts,
    "jsonb": jsonb_texts,
    "date": dates | bc | st.sampled_from(INFINITIES),
    "time": times | st.just("24:00:00"),
    "timetz": st.builds("{}{}".format, times, zones),
    "timestamp": moments | bc | st.sampled_from(INFINITIES),
    "timestamptz": st.builds("{}{}".format, moments, zones) | bc | st.sampled_from(INFINITIES),
    "interval": st.builds("{} mons {} days {} us".format, whole(-999, 999), whole(-99, 99), whole(-(10**12), 10**12)),
    "inet": st.ip_addresses().map(str) | st.sampled_from(["192.168.0.1/24", "::1/128"]),
    "cidr": st.sampled_from(["10.0.0.0/8", "2001:db8::/32"]),
    "macaddr": st.just("08:00:2b:01:02:03"),
    "bit(3)": st.text("01", min_size=3, max_size=3),
    "bit varying": st.text("01", max_size=9),
    "tsvector": st.lists(st.text("aéx", min_size=1, max_size=3), max_size=3).map(" ".join),
    "money": whole(-(10**10), 10**10).map(lambda cents: f"{cents / 100:.2f}"),
    "integer[]": arrays,
    "text[]": text_arrays,
    "jsonb[]": st.lists(jsonb_texts, max_size=2),
    "json[]": st.lists(json_texts, max_size=2),
    "int4range": st.sampled_from(["empty", "[1,10)", "(,)", "[,5]"]),
    "tstzrange": st.sampled_from(["[2026-01-01,infinity)", "(,2026-01-01 00:00:00.000001+00]"]),
    "int4multirange": st.sampled_from(["{}", "{[1,3),[7,9)}"]),
    "mood": st.sampled_from(["sad", "so, so", 'h"appy']),
    "pair": st.sampled_from(['(1,"x, ""y""")', "(,)", r'(2,"\\")']),
    "pair[]": st.sampled_from(["{}", r'{"(1,p)","(2,)",NULL}']),
    "positive": whole(1, 2**31 - 1),
    "point": st.sampled_from(["(1.5,-2)", "(0,1e300)"]),
}  # and no xml: the embedded PostgreSQL is built without libxml
rows_of_values = st.tuples(*(st.none() | strategy for strategy in VALUES.values()))

SCHEMA = f"""
create type mood as enum ('sad', 'so, so', 'h"appy');
create type pair as (a int, b text);
create domain positive as int check (value > 0);
create table types (id int primary key, {", ".join(f"c{n} {kind}" for n, kind in enumerate(VALUES))},
  "odd ""name"", with (signs)" text default e'\\n');
create table numbered (k bigint primary key);
create table texted (k text primary key, n int);
create table paired (a int, b text, n int, primary key (a, b));
create table tripled (a boolean, b date, c uuid, primary key (a, b, c));
create table bare (n int, v text);
"""
FILL = """
insert into numbered select g * 3 from generate_series(1, {rows}) g;
insert into texted select 'k",\\' || g, g from generate_series(1, {rows}) g;
insert into paired select g / {group}, 'v' || g, g from generate_series(1, {rows}) g;
insert into tripled select g % 2 = 0, date 'epoch' + g / {group}, md5(g::text)::uuid from generate_series(1, {rows}) g;
insert into bare select g / 2, 'x' from generate_series(1, {rows}) g;
"""
KEY_KINDS = ("bare", "numbered", "paired", "texted", "tripled")
CAPS = (3, 70, None)


@dataclass(frozen=True)
class Bench:
    """A database, and a gateway for each row cap."""

    database: str
    gateways: Mapping[int | None, Gateway]

    def run(self, sql: str) -> None:
        """Change the database."""
        with connect(self.database) as connection:
            connection.execute(sql.encode())

    def insert(self, rows: Sequence[tuple[object, ...]]) -> None:
        """Put rows into `types`."""
        names = ", ".join(f"c{number}" for number in range(len(VALUES)))
        casts = ", ".join(f"%s::{kind}" for kind in VALUES)
        with connect(self.database) as connection, connection.cursor() as cursor:
            sql = f"insert into types (id, {names}) values (%s, {casts})"
            cursor.executemany(sql.encode(), [(number, *row) for number, row in enumerate(rows)])

    def true_rows(self, table: str) -> Counter[str]:
        """What PostgreSQL says, with the one change that an archive makes."""
        with connect(self.database) as connection:
            connection.execute(b"set time zone 'UTC'")
            found = connection.execute(f"select row_to_json(r.*)::text from {table} r".encode()).fetchall()
        return Counter(row[0].replace("\n", " ").replace("\r", " ") for row in found)

    def archived(self, tables: tuple[str, ...], cap: int | None, page_rows: int) -> dict[str, Counter[str]]:
        """What a completed backup of these tables holds."""
        gateway = self.gateways[cap]
        with (
            tempfile.TemporaryDirectory() as directory,
            open_project(gateway.project_url, gateway.keys.secret, tables=tables, page_rows=page_rows) as project,
        ):
            backup = back_up(project, Path(directory))
            assert backup.status is Status.COMPLETED, backup.tables
            rows = archived_rows(Path(directory), backup)
        return {table: Counter(row.decode() for row in rows[table]) for table in tables}


@pytest.fixture(scope="module")
def bench(postgres: Postgres) -> Iterator[Bench]:
    """The tables, empty."""
    database = make_database(postgres, SCHEMA)
    options = [GatewayOptions(max_rows=cap) for cap in CAPS]
    with (
        start_gateway(database, options[0]) as low,
        start_gateway(database, options[1]) as middle,
        start_gateway(database, options[2]) as none,
    ):
        yield Bench(database, dict(zip(CAPS, (low, middle, none), strict=True)))


@DERANDOMIZED
@given(st.lists(rows_of_values, max_size=8))
def test_rows_of_every_type_are_archived_as_postgresql_renders_them(
    bench: Bench, rows: list[tuple[object, ...]]
) -> None:
    """No digit, escape, space or double key is lost on the way through the whole backup."""
    bench.run("truncate types")
    bench.insert(rows)
    assert bench.archived(("types",), None, 1000)["types"] == bench.true_rows("types")


@settings(DERANDOMIZED, max_examples=15)
@given(
    st.sampled_from([0, 1, 2, 3, 4, 63, 64, 65, 70, 71, 140, 200]),
    st.sampled_from([1, 2, 70, 1000]),
    st.sampled_from([1, 3, 64, 69, 70, 71, 1000]),
    st.sampled_from(CAPS),
)
def test_rows_are_archived_once_for_any_count_page_cap_and_key(
    bench: Bench, rows: int, group: int, page_rows: int, cap: int | None
) -> None:
    """Row counts around the page size and the cap, keys of every kind and none."""
    few = min(rows, 12 * min(page_rows, cap or page_rows))  # a page of one row is not to be asked for 200 times
    bench.run(f"truncate {', '.join(KEY_KINDS)}")
    bench.run(FILL.format(rows=few, group=group))
    archived = bench.archived(KEY_KINDS, cap, page_rows)
    for table in KEY_KINDS:
        assert archived[table] == bench.true_rows(table), table
