"""What a restore needs of a project, held against `@supabase/lite` on a real PostgreSQL and against the sandbox."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from backupd.model import TableName
from backupd.project import Insertion, Project, RowsRefused
from backupd.restore import Outcome
from backupd.sandbox.gateway import start_gateway
from tests.support.lite import start_lite
from tests.support.projects import back_up, open_project
from tests.support.restores import dump, only_tables, restore
from tests.support.sandbox import MakeDatabase

DDL = """
create table clubs (id int primary key, name text not null, parent int references clubs);
create table members (club int references clubs, number int, joined date, primary key (club, number));
create table log (at int, line text);
create table made (id int primary key, w int, area int generated always as (w * w) stored);
create table counted (id int generated always as identity primary key, v int);
create view clubs_in_words as select id, name from clubs;
"""
DATA = """
insert into clubs select n, 'clüb "' || n, nullif(51 - n, n) from generate_series(1, 50) n;
insert into members select 1 + n % 50, n, date '2020-01-01' + n from generate_series(1, 1500) n;
insert into log select n % 7, 'line' from generate_series(1, 1200) n;
insert into made (id, w) select n, n from generate_series(1, 20) n;
"""
TABLES = ("clubs", "members", "log", "made")
KEYS = {"clubs": ("id",), "members": ("club", "number"), "made": ("id",), "counted": ("id",)}

Open = Callable[[str], Project]


@pytest.fixture(params=["gateway", "lite"])
def open_on(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """`open_on(database_url)` gives a project of that kind over a database."""
    with ExitStack() as running:

        def start(database_url: str) -> Project:
            if request.param == "lite":
                lite = running.enter_context(start_lite(database_url, tmp_path))
                url, key = lite.url, lite.secret_key
            else:
                gateway = running.enter_context(start_gateway(database_url))
                url, key = gateway.project_url, gateway.keys.secret
            return running.enter_context(open_project(url, key, tables=TABLES, keys=KEYS))

        yield start


def test_restore_of_a_small_project_brings_every_row_back(
    open_on: Open, make_database: MakeDatabase, tmp_path: Path
) -> None:
    """Keys of two columns, none at all, a self reference, a generated column: pg_dump says the same of both."""
    source, target = make_database(DDL + DATA), make_database(DDL)
    backup = back_up(open_on(source), tmp_path)
    report = restore(open_on(target), tmp_path, backup)
    assert [one for one in report.tables if one.outcome is not Outcome.RESTORED] == []
    assert only_tables(dump(target)) == only_tables(dump(source))


def test_survey_tells_tables_from_views_and_counts_rows(open_on: Open, make_database: MakeDatabase) -> None:
    """A view has no rows of its own, and nothing is written into it."""
    found = open_on(make_database(DDL + DATA)).survey([TableName("public", name) for name in (*TABLES, "nope")])
    rows = {str(name): one.rows.rows if one.rows else None for name, one in found.items()}
    assert rows == {"clubs": 50, "members": 1500, "log": 1200, "made": 20, "nope": None}
    assert [str(name) for name, one in found.items() if one.refusal is not None] == ["nope"]
    assert not any(one.is_view for one in found.values())


@pytest.mark.parametrize(
    ("insertion", "row", "code"),
    [
        (Insertion(TableName("public", "made"), ("id", "w", "area"), ("id",)), b'{"id":1,"w":2,"area":4}', "428C9"),
        (Insertion(TableName("public", "counted"), ("id", "v"), ("id",)), b'{"id":1,"v":2}', "428C9"),
        (Insertion(TableName("public", "members"), ("club", "number"), ("club", "number")), b'{"club":9,"number":1}',
         "23503"),
        (Insertion(TableName("public", "clubs"), ("id", "name"), ("id",)), b'{"id":9,"name":null}', "23502"),
        (Insertion(TableName("public", "nope"), ("id",), ("id",)), b'{"id":9}', "PGRST205"),
        (Insertion(TableName("public", "clubs"), ("id", "nope"), ("id",)), b'{"id":9,"nope":1}', "PGRST204"),
    ],
)  # fmt: skip
def test_insert_that_is_refused_says_why_by_its_code(
    open_on: Open, make_database: MakeDatabase, insertion: Insertion, row: bytes, code: str
) -> None:
    """Everything that is decided afterwards goes by the code."""
    project = open_on(make_database(DDL))
    with pytest.raises(RowsRefused) as caught:
        project.insert(insertion, [row])
    assert caught.value.code == code


def test_insert_of_a_key_that_is_there_leaves_it_or_overwrites_it(open_on: Open, make_database: MakeDatabase) -> None:
    """Sending twice does no harm; merging is another thing."""
    url = make_database(DDL + "insert into clubs values (1, 'old');")
    project = open_on(url)
    keep = Insertion(TableName("public", "clubs"), ("id", "name"), ("id",))
    project.insert(keep, [b'{"id":1,"name":"new"}', b'{"id":2,"name":"two"}'])
    assert dump(url)["public.clubs"] == ["1\told\t\\N", "2\ttwo\t\\N"]
    project.insert(Insertion(keep.table, keep.columns, keep.key, merge=True), [b'{"id":1,"name":"new"}'])
    assert dump(url)["public.clubs"] == ["1\tnew\t\\N", "2\ttwo\t\\N"]
