"""A project and its backup, while somebody writes to it, with tables that inherit, and with rows of 50 MB."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from backupd.errors import KeyRefused
from backupd.model import Backup, BackupTable, Paging, Status, TableStatus
from backupd.sandbox.driver import connect
from backupd.sandbox.gateway import Gateway
from tests.support.faults import Answer, Call, Request, answer
from tests.support.projects import archived_rows, back_up, open_project, read_table, read_tables
from tests.support.proxy import FaultProxy, Match, all_of, path, query
from tests.support.sandbox import MakeDatabase, MakeGateway

ITEMS = (
    "create table items (id int primary key, v text); insert into items select g, 'v' from generate_series(1, 1000) g;"
)
KEYLESS = "create table items (id int, v text); insert into items select g, 'v' from generate_series(1, 1000) g;"


def sql(database: str, statement: str) -> None:
    """Change the database."""
    with connect(database) as connection:
        connection.execute(statement.encode())


def is_page(request: Request) -> bool:
    """Whether rows of `items` are asked for, not their number or their heaps."""
    others = {("limit", "0"), ("select", "tableoid")}
    return request.path == "/rest/v1/items" and others.isdisjoint(request.query)


@dataclass
class Bench:
    """A database behind a gateway with pages of 100 rows, and a proxy in front of it that lets the test step in."""

    database: str
    gateway: Gateway
    proxy: FaultProxy
    directory: Path

    def before_page(self, number: int, statement: str) -> None:
        """Change the database before the page of that number, from 1, is asked for."""
        self.proxy.once(when=is_page, after=number - 1, do=Call(lambda _: sql(self.database, statement)))

    def back_up(self) -> tuple[Backup, list[int]]:
        """Take a backup; gives it and the ids of the rows of `items` in its archive."""
        with open_project(self.proxy.url, self.gateway.keys.secret, page_rows=100) as project:
            backup = back_up(project, self.directory)
        rows = archived_rows(self.directory, backup).get("items", [])
        return backup, [json.loads(row)["id"] for row in rows]


@pytest.fixture
def open_bench(
    make_database: MakeDatabase, make_gateway: MakeGateway, tmp_path: Path
) -> Iterator[Callable[[str], Bench]]:
    """`open_bench(sql)` gives a bench over a database with these tables."""
    proxies: list[FaultProxy] = []

    def open_(schema: str) -> Bench:
        database = make_database(schema)
        gateway = make_gateway(database)
        proxies.append(FaultProxy(gateway.project_url).__enter__())
        return Bench(database, gateway, proxies[-1], tmp_path)

    yield open_
    for proxy in proxies:
        proxy.__exit__(None, None, None)


def items_of(backup: Backup) -> BackupTable:
    """How `items` came out."""
    return next(table for table in backup.tables if table.name == "items")


def test_backup_while_rows_are_inserted_behind_and_ahead_has_every_old_row(open_bench: Callable[[str], Bench]) -> None:
    """New rows may be in it or not; the counts before and after allow for both."""
    bench = open_bench(ITEMS)
    bench.before_page(4, "insert into items values (-1, 'behind'), (2001, 'ahead'), (2002, 'ahead')")
    backup, ids = bench.back_up()
    assert backup.status is Status.COMPLETED
    assert ids == [*range(1, 1001), 2001, 2002]


def test_backup_while_rows_are_deleted_behind_and_ahead_has_every_row_that_stays(
    open_bench: Callable[[str], Bench],
) -> None:
    """Offsets would skip rows here; keys do not."""
    bench = open_bench(ITEMS)
    bench.before_page(4, "delete from items where id in (1, 2, 3, 990, 991)")
    backup, ids = bench.back_up()
    assert backup.status is Status.COMPLETED
    assert ids == [one for one in range(1, 1001) if one not in (990, 991)]


def test_backup_while_keys_are_changed_is_never_completed_without_a_row(open_bench: Callable[[str], Bench]) -> None:
    """A row that moves behind the walk is missed: then the count tells."""
    bench = open_bench(ITEMS)
    bench.before_page(4, "update items set id = -id where id > 990")
    backup, ids = bench.back_up()
    assert len(ids) == 990
    assert backup.status is Status.PARTIAL
    assert items_of(backup).message == "990 rows came, but the project counted 1,000 before and 1,000 after"


def test_backup_of_a_table_emptied_meanwhile_holds_what_came_and_says_so(open_bench: Callable[[str], Bench]) -> None:
    """No row was there throughout, so nothing is missing; but a person should know."""
    bench = open_bench(ITEMS)
    bench.before_page(2, "delete from items")
    backup, ids = bench.back_up()
    assert ids == list(range(1, 101))
    assert backup.status is Status.COMPLETED
    assert backup.warnings == ("items: it shrank while it was read: 1,000 rows before, 0 after, 100 came",)


def test_backup_of_a_table_dropped_meanwhile_is_partial(open_bench: Callable[[str], Bench]) -> None:
    """What came is kept, the other tables are backed up."""
    bench = open_bench(ITEMS + "create table others (id int primary key); insert into others values (1);")
    bench.before_page(2, "drop table items")
    backup, ids = bench.back_up()
    assert ids == list(range(1, 101))
    assert backup.status is Status.PARTIAL
    assert str(items_of(backup).message).startswith("no such table in the project (after 100 rows)")
    assert archived_rows(bench.directory, backup)["others"] == [b'{"id":1}']


def test_backup_with_a_grant_revoked_meanwhile_is_partial_and_holds_the_grant(
    open_bench: Callable[[str], Bench],
) -> None:
    """The message can be acted upon."""
    bench = open_bench(ITEMS)
    bench.before_page(2, "revoke all on items from service_role")
    backup, _ = bench.back_up()
    assert items_of(backup).status is TableStatus.INCOMPLETE
    assert items_of(backup).message == (
        "the API key may not read it (after 100 rows). "
        "Run in the SQL editor: GRANT SELECT ON TABLE public.items TO service_role;"
    )


def test_backup_with_a_column_added_meanwhile_has_every_row_as_it_was_when_it_came(
    open_bench: Callable[[str], Bench],
) -> None:
    """Rows that came later have one more column."""
    bench = open_bench(ITEMS)
    bench.before_page(2, "alter table items add column w int default 7")
    backup, ids = bench.back_up()
    rows = archived_rows(bench.directory, backup)["items"]
    assert (backup.status, ids) == (Status.COMPLETED, list(range(1, 1001)))
    assert (rows[0], rows[-1]) == (b'{"id":1,"v":"v"}', b'{"id":1000,"v":"v","w":7}')


def test_backup_without_a_key_while_rows_are_moved_is_never_completed_short(open_bench: Callable[[str], Bench]) -> None:
    """An update moves a row to the end of the heap: it is doubled, and the count tells."""
    bench = open_bench(KEYLESS)
    bench.before_page(3, "update items set v = 'w' where id <= 10")
    backup, ids = bench.back_up()
    assert len(ids) == 1010
    assert set(ids) == set(range(1, 1001))
    assert backup.status is Status.PARTIAL


def test_backup_with_the_key_revoked_meanwhile_stops(open_bench: Callable[[str], Bench]) -> None:
    """No table can be read any more, and nothing is published."""
    bench = open_bench(ITEMS)
    secret = bench.gateway.keys.secret
    bench.proxy.once(when=is_page, after=2, do=Call(lambda _: bench.gateway.revoke(secret)))
    with pytest.raises(KeyRefused, match="refused the API key"):
        bench.back_up()
    assert not list((bench.directory / "archives").glob("*.zip"))


def repeating(*rows: int) -> Answer:
    """A page of these rows, whatever was asked."""
    body = json.dumps([{"id": row, "v": "v"} for row in rows])
    return answer(200, headers={"Content-Range": f"0-{len(rows) - 1}/*"}, body=body)


def test_backup_from_a_server_that_ignores_filters_ends_and_is_not_completed(
    open_bench: Callable[[str], Bench],
) -> None:
    """The same page for ever."""
    bench = open_bench(ITEMS)
    bench.proxy.always(when=is_page, do=repeating(*range(1, 101)))
    backup, _ = bench.back_up()
    assert items_of(backup).status is TableStatus.INCOMPLETE
    assert "does not move past the row with key 100" in str(items_of(backup).message)


def test_backup_from_a_server_that_ignores_order_ends_and_is_not_completed(open_bench: Callable[[str], Bench]) -> None:
    """Two pages in turn, for ever."""
    bench = open_bench(ITEMS)
    for start in range(1, 2000, 100):
        bench.proxy.times(10, when=is_page, do=repeating(*range(start, start + 100)))
        bench.proxy.once(when=is_page, do=repeating(*range(501, 601)))
    bench.proxy.always(when=is_page, do=repeating(7, 3))
    backup, _ = bench.back_up()
    assert items_of(backup).status is TableStatus.INCOMPLETE


def test_backup_by_offset_from_a_server_that_ignores_it_ends_and_is_not_completed(
    open_bench: Callable[[str], Bench],
) -> None:
    """Identical pages are no proof there, but the count is."""
    bench = open_bench(
        "create table t (id int, v text); create view items as select * from t;"
        "insert into t select g, 'v' from generate_series(1, 200) g;"
    )
    offset: Match = all_of(is_page, query("offset"))
    bench.proxy.always(when=offset, do=repeating(*range(1, 1001)))
    backup, _ = bench.back_up()
    assert (items_of(backup).paging, items_of(backup).status) == (Paging.OFFSET, TableStatus.INCOMPLETE)
    assert "it repeats itself" in str(items_of(backup).message)


def test_backup_without_counts_says_what_it_rests_on(open_bench: Callable[[str], Bench]) -> None:
    """A server may leave `Content-Range` out."""
    bench = open_bench(ITEMS)
    bench.proxy.always(when=all_of(path("/rest/v1/items"), query("limit", "0")), do=answer(200, body="[]"))
    backup, ids = bench.back_up()
    assert (backup.status, len(ids)) == (Status.COMPLETED, 1000)
    assert "the project gave no exact count" in backup.warnings[0]


INHERITED = """
create table base (id int primary key, a text);
create table derived (b text) inherits (base);
create table third (c text) inherits (derived);
insert into base values (1, 'base'); insert into derived values (2, 'child', 'b');
insert into third values (3, 'grandchild', 'b', 'c');
"""
BASE, DERIVED, THIRD = (
    b'{"id":1,"a":"base"}',
    b'{"id":2,"a":"child","b":"b"}',
    b'{"id":3,"a":"grandchild","b":"b","c":"c"}',
)


def test_backup_of_tables_that_inherit_has_each_row_in_its_own_file(open_bench: Callable[[str], Bench]) -> None:
    """The parent shows the rows of its children too; a backup of both must not hold them twice."""
    bench = open_bench(INHERITED)
    backup, _ = bench.back_up()
    assert archived_rows(bench.directory, backup) == {"base": [BASE], "derived": [DERIVED], "third": [THIRD]}
    assert backup.status is Status.COMPLETED
    assert "base: it also shows the rows of derived, third, which inherit from it" in " ".join(backup.warnings)


@contextmanager
def reading(bench: Bench, **settings: Any) -> Iterator[dict[str, list[bytes]]]:
    """The rows of each table."""
    with open_project(bench.gateway.project_url, bench.gateway.keys.secret, **settings) as project:
        yield {name: sorted(read.rows) for name, read in read_tables(project).items()}


@pytest.mark.parametrize("revoked", [False, True])
def test_parent_keeps_the_rows_of_a_child_that_is_not_backed_up(
    open_bench: Callable[[str], Bench], revoked: bool
) -> None:
    """Excluded or not granted: then the parent's file is the only one to hold them."""
    bench = open_bench(INHERITED + ("revoke all on third from service_role;" if revoked else ""))
    with reading(bench, exclude=() if revoked else ("third",)) as rows:
        assert rows == {"base": [BASE], "derived": [DERIVED, b'{"id":3,"a":"grandchild","b":"b"}']}


def test_parent_without_rows_of_its_own_leaves_all_of_them_to_the_child(open_bench: Callable[[str], Bench]) -> None:
    """More columns tell the child from the parent."""
    bench = open_bench(
        "create table p (x int); create table c (y int) inherits (p); insert into c values (1, 1), (2, 2);"
    )
    with reading(bench) as rows:
        assert rows == {"p": [], "c": [b'{"x":1,"y":1}', b'{"x":2,"y":2}']}


def test_parent_and_child_that_cannot_be_told_apart_are_both_kept_with_a_warning(
    open_bench: Callable[[str], Bench],
) -> None:
    """Twice is better than under the wrong name."""
    bench = open_bench("create table p (x int); create table c () inherits (p); insert into c values (1);")
    with open_project(bench.gateway.project_url, bench.gateway.keys.secret) as project:
        read = read_tables(project)
    assert {name: one.rows for name, one in read.items()} == {"p": [b'{"x":1}'], "c": [b'{"x":1}']}
    assert all("nothing tells whose they are" in str(one.outcome.warning) for one in read.values())


def test_children_with_the_parents_columns_are_told_apart_by_their_heaps(open_bench: Callable[[str], Bench]) -> None:
    """Partitioning as it was done before PostgreSQL 10: an empty parent, many children like it."""
    children = "".join(f"create table m{n} () inherits (m); insert into m{n} values ({n});" for n in range(4))
    bench = open_bench("create table m (n int);" + children)
    with reading(bench) as rows:
        assert rows == {"m": []} | {f"m{n}": [b'{"n":%d}' % n] for n in range(4)}


def test_view_that_may_show_a_tables_rows_is_named_in_a_warning(open_bench: Callable[[str], Bench]) -> None:
    """It has no heap, so that nothing tells; its rows are kept."""
    bench = open_bench(ITEMS + "create view short as select id from items where id < 3;")
    with open_project(bench.gateway.project_url, bench.gateway.keys.secret) as project:
        read = read_table(project, "short")
        assert len(read.rows) == 2
        (found,) = [one for one in read_tables(project).items() if one[0] == "short"]
    assert "it may also show rows of items" in str(found[1].outcome.warning)


def test_tables_that_cannot_inherit_cost_no_request(open_bench: Callable[[str], Bench]) -> None:
    """Fifty ordinary tables: a count, a page and a count each, and the list."""
    bench = open_bench("".join(f"create table t{n} (id int primary key, c{n} text);" for n in range(50)))
    with open_project(bench.proxy.url, bench.gateway.keys.secret) as project:
        read_tables(project)
    assert bench.proxy.count() == 1 + 50 * 3


PEAK = """
import sys
from pathlib import Path
from tests.support.projects import back_up, open_project

url, key, directory, table = sys.argv[1:]
with open_project(url, key, tables=(table,)) as project:
    backup = back_up(project, Path(directory))
(peak,) = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
print(backup.status, backup.total_rows, int(peak) // 1024)
"""
WIDE = """
create table wide (id int primary key, t text);
insert into wide select g, repeat(md5(g::text), 50 * 32768) from generate_series(1, 2) g;
create table broad (id int primary key, t text);
insert into broad select g, repeat(md5(g::text), 32768) from generate_series(1, 200) g;
create table few (id int primary key, t text);
insert into few select g, repeat('x', 250) from generate_series(1, 20000) g;
create table many (id int primary key, t text);
insert into many select g, repeat('x', 250) from generate_series(1, 200000) g;
"""


def test_memory_depends_neither_on_the_length_of_a_table_nor_much_on_the_width_of_a_row(
    open_bench: Callable[[str], Bench],
) -> None:
    """Peak of a whole backup: as much for 200,000 rows as for 20,000, and a few copies of one row of 50 MB."""
    bench = open_bench(WIDE)
    peaks_mb = {}
    for table, rows in {"few": 20_000, "many": 200_000, "broad": 200, "wide": 2}.items():
        directory = bench.directory / table
        directory.mkdir()
        command = [
            sys.executable,
            "-c",
            PEAK,
            bench.gateway.project_url,
            bench.gateway.keys.secret,
            str(directory),
            table,
        ]
        printed = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2])
        status, came, peak_mb = printed.stdout.split()
        assert (status, int(came)) == ("completed", rows), printed.stderr
        peaks_mb[table] = int(peak_mb)
    assert peaks_mb["many"] <= peaks_mb["few"] + 15, peaks_mb
    assert peaks_mb["broad"] <= peaks_mb["few"] + 80, peaks_mb
    assert peaks_mb["wide"] <= peaks_mb["few"] + 7 * 50, peaks_mb
