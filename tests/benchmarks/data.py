"""The project that is measured: one table of about 300 bytes a row, or several that hold as many rows together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from backupd.sandbox.driver import connect
from backupd.sandbox.gateway import GatewayOptions, start_gateway
from backupd.sandbox.postgres import Postgres
from backupd.sandbox.supabase import grant_api, prepare_database

PAGE_ROWS = 1000
"""The row cap of a Supabase project that nobody has changed."""

_TABLE = """
create table {name} (
  id bigint primary key,
  member uuid not null,
  amount numeric(20, 6) not null,
  created_at timestamptz not null,
  details jsonb not null,
  note text
);
insert into {name}
select n,
       md5('member ' || n)::uuid,
       12345678901234.123456 + n * 0.000917,
       timestamptz '2026-01-01 00:00:00.123456Z' + n * interval '7.013 seconds',
       jsonb_build_object(
         'class', 'SQ ' || n % 7, 'score', round((n % 9973) / 13.0, 4), 'judges', array[n % 31, n % 37]
       ),
       'Lane ' || n % 60 || ', measured twice, ' || left(md5('note ' || n), 16) || ': "front stage a little low"'
from generate_series(1, {rows}) n;
"""


@dataclass(frozen=True, slots=True)
class Layout:
    """How many tables of how many rows."""

    tables: int
    rows_each: int

    @property
    def rows(self) -> int:
        """All rows together."""
        return self.tables * self.rows_each

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the tables."""
        return tuple(f"results_{number}" for number in range(1, self.tables + 1))

    def __str__(self) -> str:
        """`1,000,000` or `4 × 250,000`."""
        return f"{self.rows_each:,}" if self.tables == 1 else f"{self.tables} × {self.rows_each:,}"


@dataclass(frozen=True, slots=True)
class BenchProject:
    """A running project with these tables. `database_url` is its database, as superuser."""

    layout: Layout
    url: str
    key: str
    database_url: str


@contextmanager
def bench_project(postgres: Postgres, layout: Layout) -> Iterator[BenchProject]:
    """A project with the tables of `layout` behind a gateway of its own; the database goes when the context ends."""
    name = f"bench_{layout.tables}_{layout.rows_each}"
    database_url = postgres.create_database(name)
    try:
        with connect(database_url) as connection:
            prepare_database(connection)
            grant_api(connection)
            for table in layout.names:
                connection.execute(_TABLE.format(name=table, rows=layout.rows_each).encode())
            connection.execute(b"vacuum analyze")
        with start_gateway(database_url, GatewayOptions(max_rows=PAGE_ROWS)) as gateway:
            yield BenchProject(layout, gateway.project_url, gateway.keys.secret, database_url)
    finally:
        postgres.drop_database(name)
