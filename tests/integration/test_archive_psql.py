"""The psql script in RECOVERY.md, run by a real psql against a real PostgreSQL."""

from __future__ import annotations

import io
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from backupd.model import Column, ForeignKey, Table, TableName
from backupd.sandbox.binaries import find_binaries
from backupd.sandbox.driver import connect
from backupd.sandbox.postgres import Postgres
from tests.support.archives import make_table, write_archive
from tests.support.skips import require

DDL = """
create schema "Odd Schema";
create table public.users (
  id bigint generated always as identity primary key,
  boss bigint references public.users (id),
  balance numeric(30, 12), ratio double precision, avatar bytea, settings jsonb, raw json,
  tags text[], grid int[][], born date, seen timestamptz, name text, key uuid, span interval, flag boolean
);
create table public.payments (id serial primary key, payer bigint not null references public.users (id));
create table "Odd Schema"."Weird ""Table"" `$" ("Weird Column's" text, "x,y" int);
create table public.chicken (id int primary key, egg int);
create table public.egg (id int primary key, chicken int references public.chicken (id));
alter table public.chicken add foreign key (egg) references public.egg (id);
"""

DATA = r"""
insert into public.users (boss, balance, ratio, avatar, settings, raw, tags, grid, born, seen, name, key, span, flag)
values
  (2, 123456789012345678.123456789012, 0.1, '\xdeadbeef00', '{"n": 12345678901234567890.123, "a": [1, null]}',
   E'{"b":1,\n "a" : 1.50, "a":2}', '{"a,b","c\"d",null}', '{{1,2},{3,4}}', '0044-03-15 BC',
   '2026-11-22 15:24:29.123456+02', E'tab\t"quote" back\\slash\nline', gen_random_uuid(), '1 mon 2 days', true),
  (null, 'NaN', 'Infinity', '', 'null', '{}', '{}', null, 'infinity', null, 'ünïcödé 日本 ,', null, null, false);
insert into public.payments (payer) values (1), (2), (1);
insert into "Odd Schema"."Weird ""Table"" `$" values ('it''s', 1), (null, null);
insert into public.egg (id) values (1);
insert into public.chicken values (1, 1);
update public.egg set chicken = 1;
"""

USERS_COLUMNS = "id boss balance ratio avatar settings raw tags grid born seen name key span flag"
USERS = make_table(
    "users",
    columns=tuple(Column(name, "") for name in USERS_COLUMNS.split()),
    foreign_keys=(ForeignKey("boss", "users", "id"),),
)
PAYMENTS = make_table("payments", columns=(), foreign_keys=(ForeignKey("payer", "users", "id"),))
WEIRD = Table(TableName("Odd Schema", 'Weird "Table" `$'), (Column("Weird Column's", "text"), Column("x,y", "integer")))
CHICKEN = make_table(
    "chicken", columns=(Column("id", ""), Column("egg", "")), foreign_keys=(ForeignKey("egg", "egg", "id"),)
)
EGG = make_table(
    "egg", columns=(Column("id", ""), Column("chicken", "")), foreign_keys=(ForeignKey("chicken", "chicken", "id"),)
)


def rows_of(url: str, table: Table, expression: str) -> list[bytes]:
    """Every row of a table as the expression over `t` gives it."""
    quoted = ".".join('"' + part.replace('"', '""') + '"' for part in (table.name.schema, table.name.name))
    with connect(url) as connection:
        found = connection.execute(f"select ({expression})::text from {quoted} t order by 1".encode()).fetchall()
    return [row[0].encode() for row in found]


def unpack(postgres: Postgres, tables: list[Table], directory: Path, name: str) -> str:
    """Make a database with data, archive these tables and unpack the archive; gives the database's address."""
    url = postgres.create_database(name)
    with connect(url) as connection:
        connection.execute(DDL.encode())
        connection.execute(DATA.encode())
    data, _ = write_archive({table: rows_of(url, table, "row_to_json(t.*)") for table in tables})
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        archive.extractall(directory)
    return url


def psql() -> str:
    """The program; PostgreSQL's own where the sandbox has it."""
    beside = find_binaries() / "psql"
    found = str(beside) if beside.exists() else shutil.which("psql")
    require(found is not None, "psql", "apt-get install postgresql-client")
    return str(found)


def restore(url: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Follow RECOVERY.md: take the script out, run it."""
    take_out = r"sed -n '/^```sql$/,/^```$/p' RECOVERY.md | sed '/^```/d' > restore.sql"
    assert take_out in (directory / "RECOVERY.md").read_text()
    subprocess.run(["/bin/sh", "-c", take_out], cwd=directory, check=True)
    return subprocess.run(
        [psql(), "-X", url, "-f", "restore.sql"], cwd=directory, check=False, capture_output=True, text=True
    )


def test_recovery_script_in_an_empty_database_brings_every_value_back(postgres: Postgres, tmp_path: Path) -> None:
    """Numbers to the last digit, bytes, arrays, JSON, odd names, rings and self references: all come back."""
    tables = [PAYMENTS, USERS, WEIRD, EGG, CHICKEN]
    source = unpack(postgres, tables, tmp_path, "psql_source")
    target = postgres.create_database("psql_target")
    with connect(target) as connection:
        connection.execute(DDL.encode())
    done = restore(target, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for table in tables:
        expression = "t.*" if table is not USERS else "(to_jsonb(t.*) - 'raw')::text || t.balance || t.avatar"
        assert rows_of(target, table, expression) == rows_of(source, table, expression)
    expected = [raw.replace(b"\n", b" ") for raw in rows_of(source, USERS, "t.raw")]
    assert rows_of(target, USERS, "t.raw") == expected


def test_recovery_script_lets_identity_and_serial_columns_go_on(postgres: Postgres, tmp_path: Path) -> None:
    """The first insert after a restore does not hit a number that is in use."""
    unpack(postgres, [PAYMENTS, USERS], tmp_path, "psql_sequences_source")
    target = postgres.create_database("psql_sequences")
    with connect(target) as connection:
        connection.execute(DDL.encode())
    assert restore(target, tmp_path).returncode == 0
    with connect(target) as connection:
        user = connection.execute(b"insert into users (name) values ('new') returning id").fetchall()
        payment = connection.execute(b"insert into payments (payer) values (1) returning id").fetchall()
    assert (user, payment) == ([(3,)], [(4,)])


def test_recovery_script_that_fails_leaves_nothing_behind(postgres: Postgres, tmp_path: Path) -> None:
    """All of it happens, or nothing: a table that is not empty stops the whole restore."""
    unpack(postgres, [PAYMENTS, USERS], tmp_path, "psql_failing_source")
    target = postgres.create_database("psql_failing")
    with connect(target) as connection:
        connection.execute(DDL.encode())
        connection.execute(b"insert into users default values; insert into payments (payer) values (1)")
    done = restore(target, tmp_path)
    assert done.returncode == 3
    assert "duplicate key" in done.stderr
    assert rows_of(target, USERS, "t.id") == [b"1"]


@pytest.mark.parametrize("value", [r'{"a":"\u0000"}', r'{"a":"\ud800"}'])
def test_recovery_script_on_json_that_postgresql_cannot_take_apart_says_which(
    postgres: Postgres, tmp_path: Path, value: str
) -> None:
    """The limit RECOVERY.md speaks of is a real one, and it is loud."""
    name = f"psql_{'null' if 'u0000' in value else 'half'}"
    url = postgres.create_database(name)
    table = make_table("j", columns=(Column("raw", "json"),))
    with connect(url) as connection:
        connection.execute(b"create table j (raw json)")
        connection.execute(f"insert into j values ('{value}')".encode())
    data, _ = write_archive({table: rows_of(url, table, "row_to_json(t.*)")})
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        archive.extractall(tmp_path)
    done = restore(url, tmp_path)
    assert done.returncode == 3
    assert 'CONTEXT:  JSON data, line 1: {"raw":' + value[:12] in done.stderr
