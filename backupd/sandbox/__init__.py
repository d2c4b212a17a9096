"""A throwaway project on this machine: embedded PostgreSQL, PostgREST-dialect gateway, sample data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from backupd.sandbox.driver import connect
from backupd.sandbox.gateway import Gateway, GatewayOptions, start_gateway
from backupd.sandbox.postgres import start_postgres
from backupd.sandbox.sample import load_sample
from backupd.sandbox.supabase import grant_api, prepare_database


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A running throwaway project. `database_url` is its database, as superuser."""

    gateway: Gateway
    database_url: str

    @property
    def project_url(self) -> str:
        """What a Supabase client is given as the project's URL."""
        return self.gateway.project_url

    @property
    def secret_key(self) -> str:
        """The `sb_secret_…` key: sees every row."""
        return self.gateway.keys.secret

    @property
    def publishable_key(self) -> str:
        """The `sb_publishable_…` key, for browsers."""
        return self.gateway.keys.publishable

    @property
    def service_role_key(self) -> str:
        """The legacy token that sees every row."""
        return self.gateway.keys.service_role

    @property
    def anon_key(self) -> str:
        """The legacy token for browsers."""
        return self.gateway.keys.anon


@contextmanager
def start_sandbox(
    directory: Path,
    *,
    rows: int = 4000,
    max_rows: int | None = 1000,
    statement_timeout_ms: int = 8000,
    port: int = 0,
    binaries: Path | None = None,
) -> Iterator[Sandbox]:
    """A throwaway project with about `rows` rows of sample data, its files under `directory`.

    `max_rows` is the row cap (None: none); `port` 0 takes any free one; `binaries` names PostgreSQL's programs.
    Everything stops and goes when the context ends, or by itself when this process dies. Raises `SandboxMissing`
    without the `sandbox` extra, `SandboxError` when something does not start.
    """
    with start_postgres(directory, binaries=binaries) as postgres:
        database_url = postgres.create_database("sandbox")
        with connect(database_url) as connection:
            prepare_database(connection)
            grant_api(connection)
            load_sample(connection, rows=rows)
        options = GatewayOptions(max_rows=max_rows, statement_timeout_ms=statement_timeout_ms, port=port)
        with start_gateway(database_url, options) as gateway:
            yield Sandbox(gateway, database_url)
