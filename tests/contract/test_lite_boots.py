"""`tests.support.lite` starts a real @supabase/lite, and that behaves as the module's docstring says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from backupd.sandbox.driver import SandboxMissing, connect
from backupd.sandbox.postgres import start_postgres
from tests.support.lite import Lite, start_lite
from tests.support.skips import require

TABLES = """
create table users (id bigint primary key, name text);
insert into users select n, 'u' || n from generate_series(1, 25) n;
create table words (word text primary key);
create table hidden (id int primary key);
create schema guarded;
create table guarded.secrets (id int primary key);
create table guarded.ungranted (id int primary key);
alter table guarded.secrets enable row level security;
insert into guarded.secrets values (1);
"""
UPSERT = {"Prefer": "resolution=merge-duplicates,return=minimal"}
TRICKY = ["", "a,b", "(p)", "a.b", "é漢字😀", " a ", "null", "{x}", "50%", "it's"]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A database that holds TABLES."""
    try:
        with start_postgres(tmp_path_factory.mktemp("postgres")) as postgres:
            url = postgres.create_database("shop")
            with connect(url) as connection:
                connection.execute(TABLES.encode())
            yield url
    except SandboxMissing as error:
        require(False, "PostgreSQL", str(error.hint))


@pytest.fixture(scope="module")
def lite(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lite]:
    """A server over `database` that gives ten rows at most."""
    directory = tmp_path_factory.mktemp("lite")
    with start_lite(database, directory, max_rows=10, schemas=("public", "guarded")) as server:
        with connect(database) as connection:
            connection.execute("revoke all on hidden from anon, authenticated, service_role")
        yield server


@pytest.fixture
def rest(lite: Lite) -> Iterator[httpx.Client]:
    """An HTTP client with the secret key."""
    with httpx.Client(base_url=f"{lite.url}/rest/v1", headers={"apikey": lite.secret_key}) as client:
        yield client


def test_lite_stopped_leaves_no_process(database: str, tmp_path: Path) -> None:
    """The server answers inside its context and is gone after it."""
    with start_lite(database, tmp_path) as server:
        os.kill(server.pid, 0)
        answer = httpx.get(f"{server.url}/rest/v1/users", headers={"apikey": server.secret_key})
        assert len(answer.json()) == 25
    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)


def test_lite_root_lists_no_tables(rest: httpx.Client) -> None:
    """The OpenAPI root answers, but nothing can be discovered from it."""
    document = rest.get("/").json()
    assert document["swagger"] == "2.0"
    assert "definitions" not in document


def test_lite_row_cap_truncates_silently(rest: httpx.Client) -> None:
    """A limit above the cap gets a full page and a 200."""
    answer = rest.get("/users", params={"order": "id.asc", "limit": 20})
    assert (answer.status_code, answer.headers["Content-Range"]) == (200, "0-9/*")
    assert [row["id"] for row in answer.json()] == list(range(1, 11))


def test_lite_walk_by_key_ends_with_an_empty_page(rest: httpx.Client) -> None:
    """Pages after the last key hold nothing."""
    pages = [rest.get("/users", params={"order": "id.asc", "id": f"gt.{key}"}).json() for key in (0, 10, 20, 25)]
    assert [len(page) for page in pages] == [10, 10, 5, 0]


@pytest.mark.parametrize(
    ("limit", "status", "content_range"), [("1", 206, "0-0/25"), ("100", 206, "0-9/25"), ("0", 206, "*/25")]
)
def test_lite_exact_count_comes_with_the_range(rest: httpx.Client, limit: str, status: int, content_range: str) -> None:
    """HEAD with an exact count gives the number of rows of the whole table."""
    answer = rest.head("/users", params={"limit": limit}, headers={"Prefer": "count=exact"})
    assert (answer.status_code, answer.headers["Content-Range"]) == (status, content_range)


@pytest.mark.parametrize("value", TRICKY)
def test_lite_quoted_cursor_is_taken_whole(rest: httpx.Client, value: str) -> None:
    """Inside `and=(…)` a quoted value may hold anything but a quote or a backslash."""
    assert rest.post("/words", json=[{"word": value}], headers=UPSERT).status_code == 201
    assert rest.get("/words", params={"and": f'(word.eq."{value}")'}).json() == [{"word": value}]


def test_lite_escaped_cursor_keeps_its_backslashes(rest: httpx.Client) -> None:
    """The escape that PostgREST takes back is compared as text here: such keys cannot be walked on lite."""
    assert rest.post("/words", json=[{"word": 'a"b'}], headers=UPSERT).status_code == 201
    assert rest.get("/words", params={"and": r'(word.eq."a\"b")'}).json() == []
    assert rest.get("/words", params={"word": r'in.("a\"b")'}).json() == [{"word": 'a"b'}]


@pytest.mark.parametrize(("cursor", "got"), [(r"z\\b", ["z\\b"]), (r"z\"b", ["z\\b"])], ids=["again", "skipped"])
def test_lite_escaped_cursor_repeats_or_skips_rows(rest: httpx.Client, cursor: str, got: list[str]) -> None:
    """After a backslash the cursor's own row comes again, for ever; after a quote some rows are left out."""
    words = ['z"b', "zZ", "z\\b"]
    assert rest.post("/words", json=[{"word": word} for word in words], headers=UPSERT).is_success
    rows = rest.get("/words", params={"and": f'(word.lt."z~",word.gt."{cursor}")', "order": "word.asc"}).json()
    assert [row["word"] for row in rows] == got


def test_lite_composite_cursor_is_accepted(rest: httpx.Client) -> None:
    """Nested `or` and `and` with quoted values select what comes after a composite key."""
    after = '(and(name.gte."u24",or(name.gt."u24",and(name.eq."u24",id.gt."24"))))'
    rows = rest.get("/users", params={"order": "name.asc,id.asc", "or": after, "limit": 2}).json()
    assert [row["name"] for row in rows] == ["u25", "u3"]


def test_lite_ctid_walks_a_table(rest: httpx.Client) -> None:
    """Rows can be ordered by, filtered by and shown with their physical position."""
    rows = rest.get("/users", params={"select": "ctid,*", "order": "ctid.asc", "ctid": "gt.(0,5)", "limit": 1}).json()
    assert rows == [{"ctid": "(0,6)", "id": 6, "name": "u6"}]


def test_lite_unknown_table_answers_404(rest: httpx.Client) -> None:
    """A table that is not there has PostgREST's code."""
    answer = rest.get("/nosuch")
    assert (answer.status_code, answer.json()["code"]) == (404, "PGRST205")


def test_lite_table_made_after_the_start_is_unknown(rest: httpx.Client, database: str) -> None:
    """The tables are read once."""
    with connect(database) as connection:
        connection.execute("create table late (id int primary key)")
    assert rest.get("/late").json()["code"] == "PGRST205"


@pytest.mark.parametrize(("kind", "status"), [("secret_key", 403), ("publishable_key", 401)])
def test_lite_table_without_a_grant_answers_42501(rest: httpx.Client, lite: Lite, kind: str, status: int) -> None:
    """A missing grant is told by its code; the status depends on the key."""
    answer = rest.get("/hidden", headers={"apikey": getattr(lite, kind)})
    assert (answer.status_code, answer.json()["code"]) == (status, "42501")


@pytest.mark.usefixtures("lite")
def test_lite_ready_has_granted_the_schemas_with_row_level_security(database: str, tmp_path: Path) -> None:
    """What lite grants by itself is granted when `start_lite` yields, so a later revoke stays."""
    with connect(database) as connection:
        connection.execute("revoke all on guarded.ungranted from anon")
        with start_lite(database, tmp_path, schemas=("guarded",)):
            row = connection.execute("select has_table_privilege('anon', 'guarded.ungranted', 'select')").fetchone()
    assert row == (True,)


def test_lite_row_level_security_hides_rows_from_the_publishable_key(rest: httpx.Client, lite: Lite) -> None:
    """The same request shows the row to one key and an empty table to the other."""
    profile = {"Accept-Profile": "guarded"}
    assert rest.get("/secrets", headers=profile).json() == [{"id": 1}]
    assert rest.get("/secrets", headers=profile | {"apikey": lite.publishable_key}).json() == []


@pytest.mark.parametrize("headers", [{}, {"apikey": "sb_secret_0000000000000000000000_00000000"}])
def test_lite_without_a_valid_key_answers_401(lite: Lite, headers: dict[str, str]) -> None:
    """No key and a wrong key are refused, without a PostgREST code."""
    answer = httpx.get(f"{lite.url}/rest/v1/users", headers=headers)
    assert (answer.status_code, "code" in answer.json()) == (401, False)


def test_lite_upsert_is_not_capped(rest: httpx.Client) -> None:
    """One POST may write more rows than a page may hold."""
    rows = [{"word": f"upsert {number:03}"} for number in range(100)]
    answer = rest.post("/words", json=rows, headers=UPSERT)
    assert (answer.status_code, answer.content) == (201, b"")
    counted = rest.head("/words", params={"word": "like.upsert *"}, headers={"Prefer": "count=exact"})
    assert counted.headers["Content-Range"] == "0-9/100"
