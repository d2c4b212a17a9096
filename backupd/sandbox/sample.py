"""The sample project: a car-audio competition platform, as small or as large as wanted."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psycopg

TABLES = (
    "organizations",
    "users",
    "profiles",
    "cms_pages",
    "events",
    "event_entries",
    "payments",
    "sound_checks",
)
"""Referred-to tables before those that refer to them. `sound_checks` has no key, `event_entries` one of two columns."""


def load_sample(connection: psycopg.Connection, *, rows: int = 4000, seed: int = 1) -> None:
    """Make the sample's tables in `public` and fill them with about `rows` rows altogether.

    The same `rows` and `seed` give the same data. The connection must be in autocommit mode.
    """
    script = (files("backupd.sandbox") / "sample.sql").read_bytes()
    with connection.transaction():
        connection.execute(f"set local sandbox.rows to '{int(rows)}'".encode())
        connection.execute(f"set local sandbox.seed to '{int(seed)}'".encode())
        connection.execute(script)
    connection.execute(b"analyze")
