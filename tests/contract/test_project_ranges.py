"""Large tables of a real project, read in key ranges side by side: each row exactly once, to the byte."""

from __future__ import annotations

import pytest

from backupd.model import Paging, TableStatus
from backupd.project import Traffic
from backupd.sandbox.driver import connect
from tests.support.projects import open_project, read_table
from tests.support.sandbox import MakeDatabase, MakeGateway

ROWS = 12_000
KEYS = {
    "integers": ("integer", "g"),
    "negative": ("bigint", "g - 6000"),
    "the whole width": ("bigint", "case when g < 6000 then g - 9223372036854775808 else 9223372036854775807 - g end"),
    "uuids": ("uuid", "md5(g::text)::uuid"),
    "clustered uuids": ("uuid", "('0190' || substr(md5((g / 100)::text), 1, 8) || lpad(to_hex(g), 20, '0'))::uuid"),
    "texts": ("text", "'key ' || g"),
}


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("concurrency", [1, 4])
def test_large_table_whatever_its_key_gives_each_row_once(
    name: str, concurrency: int, make_database: MakeDatabase, make_gateway: MakeGateway
) -> None:
    """Keys that can be cut by arithmetic, and one that cannot; the bytes are PostgreSQL's own."""
    key_type, value = KEYS[name]
    database = make_database(
        f'create table big ("id, one" {key_type} primary key, n int);'
        f"insert into big select {value}, g from generate_series(1, {ROWS}) g; analyze big"
    )
    gateway = make_gateway(database, max_rows=500)
    traffic = Traffic()
    with open_project(gateway.project_url, gateway.keys.secret, concurrency=concurrency, traffic=traffic) as project:
        read = read_table(project, "big")
    with connect(database) as connection:
        in_order = connection.execute('select row_to_json(b)::text from big b order by "id, one"')
        expected = [str(row[0]).encode() for row in in_order]
    assert sorted(read.rows) == sorted(expected)
    by_one_reader = concurrency == 1 or key_type == "text"
    assert (read.rows == expected) is by_one_reader
    assert (read.outcome.status, read.outcome.paging) == (TableStatus.COMPLETED, Paging.KEY)
    assert sum(traffic.requests.values()) < 80


def test_large_table_with_wide_rows_among_narrow_ones_gives_each_row_once(
    make_database: MakeDatabase, make_gateway: MakeGateway
) -> None:
    """Several readers come down to single rows, take turns, and go on."""
    database = make_database(
        "create table big (id integer primary key, filling text);"
        "insert into big select g, case when g % 4000 = 0 then repeat('x', 17000000) else 'narrow' end"
        f" from generate_series(1, {ROWS}) g; analyze big"
    )
    gateway = make_gateway(database)
    with open_project(gateway.project_url, gateway.keys.secret) as project:
        read = read_table(project, "big")
    assert read.outcome.status is TableStatus.COMPLETED
    assert sorted(int(row[6 : row.index(b",")]) for row in read.rows) == list(range(1, ROWS + 1))
    assert sum(len(row) > 17_000_000 for row in read.rows) == ROWS / 4000


def test_large_table_that_grows_and_shrinks_while_it_is_read_keeps_every_row_that_stays(
    make_database: MakeDatabase, make_gateway: MakeGateway
) -> None:
    """Rows that were there throughout come exactly once."""
    database = make_database(
        "create table big (id bigint primary key, n int);"
        f"insert into big select 2 * g, g from generate_series(1, {ROWS}) g; analyze big"
    )
    gateway = make_gateway(database, max_rows=200)
    with open_project(gateway.project_url, gateway.keys.secret) as project, connect(database) as connection:
        tables = project.discover().tables
        rows: list[bytes] = []
        with project.read(tables) as (lane,):
            for number, page in enumerate(lane):
                rows += [bytes(row) for row in page]
                connection.execute(b"insert into big values (%b, 0)" % str(2 * number * 97 + 1).encode())
                connection.execute(b"delete from big where id = %b" % str(2 * number * 89 + 10).encode())
        kept = {
            str(row[0]).encode() for row in connection.execute("select row_to_json(b)::text from big b where n > 0")
        }
    assert len(rows) == len(set(rows))
    assert kept <= set(rows)
