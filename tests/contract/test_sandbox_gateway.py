"""The gateway where the recordings are silent: keys over HTTP, clients, changing schemas, other verbs, large bodies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import supabase
from postgrest import CountMethod

from backupd.sandbox.driver import SandboxError, connect
from backupd.sandbox.gateway import Gateway
from backupd.sandbox.keys import sign
from tests.support.sandbox import MakeDatabase, MakeGateway

_SCHEMA = """
create table runs (
  id bigint primary key, driver text not null, level numeric(20, 6), extra jsonb, tags text[] default '{}'
);
insert into runs (id, driver, level) select g, 'driver ' || g, 100 + g / 1000.0 from generate_series(1, 25) g;
analyze runs;
"""


@pytest.fixture
def database_url(make_database: MakeDatabase) -> str:
    """A database with 25 runs."""
    return make_database(_SCHEMA)


@pytest.fixture
def gateway(database_url: str, make_gateway: MakeGateway) -> Gateway:
    """A gateway with a row cap of ten."""
    return make_gateway(database_url, max_rows=10)


@pytest.fixture
def client(gateway: Gateway) -> Iterator[httpx.Client]:
    """A client with the secret key."""
    with httpx.Client(base_url=gateway.rest_url, headers={"apikey": gateway.keys.secret}) as client:
        yield client


def test_gateway_without_a_key_answers_401(gateway: Gateway) -> None:
    """Nobody gets in without a key, and is told so as by Supabase."""
    answer = httpx.get(f"{gateway.rest_url}/runs")
    assert answer.status_code == 401
    assert answer.json()["message"] == "No API key found in request"


def test_gateway_revoked_key_answers_401_until_reinstated(gateway: Gateway, client: httpx.Client) -> None:
    """A key can be revoked and reinstated while the gateway runs."""
    gateway.revoke(gateway.keys.secret)
    revoked = client.get("/runs").status_code
    gateway.reinstate(gateway.keys.secret)
    assert (revoked, client.get("/runs").status_code) == (401, 200)


def test_gateway_root_with_a_public_key_answers_401(gateway: Gateway) -> None:
    """The OpenAPI root needs a secret key."""
    answers = [httpx.get(f"{gateway.rest_url}/", headers={"apikey": key}) for key in _public_keys(gateway)]
    assert [answer.status_code for answer in answers] == [401, 401]


def test_gateway_root_with_a_secret_key_lists_tables(gateway: Gateway) -> None:
    """Both kinds of secret key read the OpenAPI root."""
    keys = gateway.keys.secret, gateway.keys.service_role
    answers = [httpx.get(f"{gateway.rest_url}/", headers={"apikey": key}) for key in keys]
    assert ["/runs" in answer.json()["paths"] for answer in answers] == [True, True]


def _public_keys(gateway: Gateway) -> tuple[str, str]:
    return gateway.keys.publishable, gateway.keys.anon


def test_gateway_row_level_security_hides_rows_from_public_keys(
    make_database: MakeDatabase, make_gateway: MakeGateway
) -> None:
    """A public key sees an empty table where the secret key sees rows."""
    url = make_database("create table t (id int primary key); insert into t values (1);")
    with connect(url) as connection:
        connection.execute("alter table t enable row level security")
    gateway = make_gateway(url)
    bodies = [
        httpx.get(f"{gateway.rest_url}/t", headers={"apikey": key}).text
        for key in (gateway.keys.publishable, gateway.keys.secret)
    ]
    assert bodies == ["[]", '[{"id":1}]']


def test_gateway_policy_sees_the_claims_of_a_user(make_database: MakeDatabase, make_gateway: MakeGateway) -> None:
    """Row level security can go by the claims of a user's token."""
    url = make_database(
        "create table t (id int primary key, owner text); insert into t values (1, 'me'), (2, 'you');"
        "alter table t enable row level security;"
        "create policy own on t using (owner = current_setting('request.jwt.claims')::json->>'sub');"
    )
    gateway = make_gateway(url)
    token = sign({"role": "authenticated", "sub": "you"}, gateway.keys.jwt_secret)
    headers = {"apikey": gateway.keys.anon, "Authorization": f"Bearer {token}"}
    assert httpx.get(f"{gateway.rest_url}/t?select=id", headers=headers).json() == [{"id": 2}]


def test_gateway_missing_grant_with_the_secret_key_answers_403(
    make_database: MakeDatabase, make_gateway: MakeGateway
) -> None:
    """A table created without grants is neither listed nor readable, and the code says why."""
    gateway = make_gateway(make_database("create table t (id int primary key)", grants=False))
    with httpx.Client(base_url=gateway.rest_url, headers={"apikey": gateway.keys.secret}) as client:
        answer, root = client.get("/t"), client.get("/")
    assert (answer.status_code, answer.json()["code"]) == (403, "42501")
    assert "/t" not in root.json()["paths"]


@pytest.mark.parametrize(
    ("change", "path", "status"),
    [
        ("create table fresh (id int primary key)", "/fresh", 200),
        ("drop table runs", "/runs", 404),
        ("alter table runs rename to laps", "/laps", 200),
    ],
)
def test_gateway_schema_change_shows_at_once(
    change: str, path: str, status: int, database_url: str, client: httpx.Client
) -> None:
    """What changes in the schema is seen by the next request."""
    assert client.get("/runs").status_code == 200
    with connect(database_url) as connection:
        connection.execute(change.encode())
    assert client.get(path).status_code == status


def test_gateway_new_column_can_be_written_at_once(database_url: str, client: httpx.Client) -> None:
    """Column types for writes are read anew after a change."""
    client.post("/runs", json=[{"id": 100, "driver": "x"}]).raise_for_status()
    with connect(database_url) as connection:
        connection.execute("alter table runs add column city text")
    client.post("/runs", json=[{"id": 101, "driver": "y", "city": "Graz"}]).raise_for_status()
    assert client.get("/runs?select=city&id=eq.101").json() == [{"city": "Graz"}]


def test_gateway_supabase_client_reads_and_upserts(gateway: Gateway) -> None:
    """The Supabase client works with the secret key, which it sends as apikey and as bearer token."""
    with httpx.Client() as transport:
        options = supabase.ClientOptions(httpx_client=transport, auto_refresh_token=False, persist_session=False)
        client = supabase.create_client(gateway.project_url, gateway.keys.secret, options)
        upserted = client.table("runs").upsert({"id": 1, "driver": "new", "tags": ["a,b"]}).execute()
        read = client.table("runs").select("driver", count=CountMethod.exact).lte("id", 2).order("id").execute()
    assert upserted.data == [{"id": 1, "driver": "new", "level": 100.001, "extra": None, "tags": ["a,b"]}]
    assert (read.count, read.data) == (2, [{"driver": "new"}, {"driver": "driver 2"}])


def test_gateway_insert_with_representation_gives_the_rows(client: httpx.Client) -> None:
    """`return=representation` gives back what was selected, defaults filled in."""
    answer = client.post(
        "/runs?select=id,tags", json={"id": 50, "driver": "z"}, headers={"Prefer": "return=representation"}
    )
    assert (answer.status_code, answer.text) == (201, '[{"id":50,"tags":[]}]')


def test_gateway_insert_keeps_numbers_exactly(client: httpx.Client) -> None:
    """No digit of a number is lost on the way in."""
    row = '{"id":9007199254740993,"driver":"é","level":12345678901234.123456,"extra":{"n":1.000000000000000000001}}'
    client.post("/runs", content=row.encode(), headers={"Prefer": "return=minimal"}).raise_for_status()
    stored = client.get("/runs?select=id,driver,level,extra&id=eq.9007199254740993").text
    assert stored == f"[{row}]".replace('{"n":', '{"n": ')


def test_gateway_patch_changes_the_rows_it_filters(client: httpx.Client) -> None:
    """PATCH writes what the filters let through, and nothing else."""
    answer = client.patch(
        "/runs?id=lte.2&select=id,driver", json={"driver": "p"}, headers={"Prefer": "return=representation,count=exact"}
    )
    assert (answer.status_code, answer.headers["content-range"]) == (200, "0-1/2")
    assert client.get("/runs?driver=eq.p&select=id").json() == [{"id": 1}, {"id": 2}]


def test_gateway_delete_removes_the_rows_it_filters(client: httpx.Client) -> None:
    """DELETE removes what the filters let through, and nothing else."""
    answer = client.delete("/runs?id=gt.20")
    count = client.head("/runs", headers={"Prefer": "count=exact"}).headers["content-range"]
    assert (answer.status_code, count) == (204, "0-9/20")


def test_gateway_on_conflict_takes_another_unique_key(database_url: str, client: httpx.Client) -> None:
    """`on_conflict` names the columns that decide whether a row exists."""
    with connect(database_url) as connection:
        connection.execute("create unique index on runs (driver)")
    answer = client.post(
        "/runs?on_conflict=driver&columns=driver,level,id",
        json=[{"id": 77, "driver": "driver 3", "level": 1}],
        headers={"Prefer": "resolution=merge-duplicates"},
    )
    assert answer.status_code == 200
    assert client.get("/runs?driver=eq.driver%203&select=id").json() == [{"id": 77}]


def test_gateway_upsert_into_a_table_without_a_key_inserts(database_url: str, client: httpx.Client) -> None:
    """Without a key there is nothing to merge on: every row is new."""
    with connect(database_url) as connection:
        connection.execute("create table log (line text)")
    for _ in range(2):
        client.post("/log", json=[{"line": "a"}], headers={"Prefer": "resolution=merge-duplicates"}).raise_for_status()
    assert client.get("/log").json() == [{"line": "a"}, {"line": "a"}]


def test_gateway_single_object_for_two_rows_answers_406(client: httpx.Client) -> None:
    """A client that wants one object is not given the first of several."""
    accept = {"Accept": "application/vnd.pgrst.object+json"}
    two, one = client.get("/runs?id=lte.2", headers=accept), client.get("/runs?id=eq.2&select=id", headers=accept)
    assert (two.status_code, two.json()["code"], one.text) == (406, "PGRST116", '{"id":2}')


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        ("id=in.(1,3)", [1, 3]),
        ("driver=like.*2", [2, 12, 22]),
        ("driver=ilike.DRIVER%20_", list(range(1, 10))),
        ("id=lt.3&level=not.is.null", [1, 2]),
        ("not.or=(id.gt.2,id.lt.2)", [2]),
        ("id=neq.1&id=lte.2", [2]),
    ],
)
def test_gateway_filter_lets_the_right_rows_through(filters: str, ids: list[int], client: httpx.Client) -> None:
    """Filters mean what PostgREST means by them."""
    assert [row["id"] for row in client.get(f"/runs?select=id&order=id&{filters}").json()] == ids


def test_gateway_estimated_count_beyond_the_cap_is_the_planners(client: httpx.Client) -> None:
    """Past the row cap an estimate is not counted any more."""
    answer = client.get("/runs", headers={"Prefer": "count=estimated"})
    assert answer.headers["content-range"] == "0-9/25"


def test_gateway_function_of_rows_is_capped(database_url: str, client: httpx.Client) -> None:
    """A function that returns rows gives them as an array, up to the row cap."""
    with connect(database_url) as connection:
        connection.execute("create function fastest(from_id int) returns setof runs language sql stable as "
                           "'select * from runs where id >= from_id order by id'")  # fmt: skip
    rows = client.post("/rpc/fastest", json={"from_id": 3}).json()
    assert [row["id"] for row in rows] == list(range(3, 13))


def test_gateway_unknown_function_answers_404(client: httpx.Client) -> None:
    """A function that is not there, or takes other arguments, is named by PostgREST's code."""
    answer = client.post("/rpc/nope", json={"a": 1})
    assert (answer.status_code, answer.json()["code"]) == (404, "PGRST202")


def test_gateway_read_cannot_write(database_url: str, client: httpx.Client) -> None:
    """Reads run in read-only transactions."""
    with connect(database_url) as connection:
        connection.execute("create function touch() returns int language sql as "
                           "'update runs set level = 0 returning 1'")  # fmt: skip
        connection.execute("create view sly as select touch() as n")
    answer = client.get("/sly")
    assert (answer.status_code, answer.json()["code"]) == (405, "25006")


def test_gateway_outside_its_prefix_answers_404(gateway: Gateway) -> None:
    """Supabase's other services are not here, and say so."""
    assert httpx.get(f"{gateway.project_url}/auth/v1/health").status_code == 404


def test_gateway_deeply_nested_row_is_stored(client: httpx.Client) -> None:
    """A value nested two thousand levels deep goes in and comes out."""
    value = "[" * 2000 + "]" * 2000
    body = f'{{"id":60,"driver":"deep","extra":{value}}}'
    client.post("/runs", content=body.encode()).raise_for_status()
    assert client.get("/runs?select=extra&id=eq.60").text == f'[{{"extra":{value}}}]'


def test_gateway_many_requests_at_once_are_all_answered(client: httpx.Client) -> None:
    """More requests than connections wait their turn, and each gets its own rows."""
    with ThreadPoolExecutor(20) as pool:
        rows = pool.map(lambda at: client.get(f"/runs?select=id&id=eq.{1 + at % 25}").json(), range(100))
    assert [row[0]["id"] for row in rows] == [1 + at % 25 for at in range(100)]


def test_gateway_connection_lost_is_an_error_and_then_repaired(database_url: str, client: httpx.Client) -> None:
    """A connection that PostgreSQL ended costs one request at most."""
    client.get("/runs").raise_for_status()
    with connect(database_url) as connection:
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and pid <> pg_backend_pid()"
        )
    first, second = client.get("/runs"), client.get("/runs")
    assert first.status_code in (500, 503)
    assert second.status_code == 200


def test_gateway_that_cannot_reach_its_database_does_not_start(make_gateway: MakeGateway) -> None:
    """A wrong address is an error with PostgreSQL's reason, not a gateway that answers nothing."""
    with pytest.raises(SandboxError, match="gateway stopped"):
        make_gateway("postgresql://postgres@/nowhere?host=/nonexistent")


def test_gateway_error_body_is_postgrests(client: httpx.Client) -> None:
    """An error has the four keys that clients look for."""
    assert list(json.loads(client.get("/nowhere").text)) == ["code", "details", "hint", "message"]
