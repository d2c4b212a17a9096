"""Fixtures every tier may use: a PostgreSQL for the session, databases and gateways for each test."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from backupd.sandbox.postgres import Postgres
from tests.support import sandbox


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A running PostgreSQL; skips with what to install where there is none."""
    with sandbox.running_postgres(tmp_path_factory.mktemp("postgres")) as running:
        yield running


@pytest.fixture
def make_database(postgres: Postgres) -> sandbox.MakeDatabase:
    """`make_database(sql="", *, grants=True)` gives the address of a fresh database with Supabase's roles."""
    return partial(sandbox.make_database, postgres)


@pytest.fixture
def make_gateway(postgres: Postgres) -> Iterator[sandbox.MakeGateway]:
    """`make_gateway(database_url, **options)` starts a gateway; options as in `GatewayOptions`."""
    with sandbox.gateways() as make:
        yield make
