"""The catalog's tables, as the list of scripts that brought them about."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

from backupd.errors import CatalogError

APPLICATION_ID = 0x62636174
"""Written into the file's header (`bcat`), so that another program's database is never taken for a catalog."""

MIGRATIONS: tuple[str, ...] = (
    # 1: backups, their tables, runs. A new version is one more script at the end; a published one never changes.
    """
    CREATE TABLE backups (
        backup_id     TEXT PRIMARY KEY,
        created_at    TEXT NOT NULL,
        finished_at   TEXT,
        type          TEXT NOT NULL CHECK (type IN ('manual', 'automatic')),
        status        TEXT NOT NULL CHECK (status IN ('in_progress', 'completed', 'partial', 'failed')),
        trigger       TEXT NOT NULL,
        platform      TEXT NOT NULL,
        project       TEXT NOT NULL,
        archive       TEXT UNIQUE,  -- two rows for one archive would let the deletion of one take the other's
        size_bytes    INTEGER NOT NULL DEFAULT 0,
        sha256        TEXT,
        total_rows    INTEGER NOT NULL DEFAULT 0,
        warnings      TEXT NOT NULL DEFAULT '[]',
        error         TEXT,
        pinned        INTEGER NOT NULL DEFAULT 0 CHECK (pinned IN (0, 1)),
        verified_at   TEXT,
        missing_since TEXT,
        deleting      INTEGER NOT NULL DEFAULT 0 CHECK (deleting IN (0, 1))
    );
    CREATE INDEX backups_by_created_at ON backups (created_at);
    CREATE INDEX backups_for_statistics
        ON backups (type, status, created_at, finished_at, size_bytes, archive, missing_since, deleting);
    CREATE TABLE backup_tables (
        backup_id TEXT NOT NULL REFERENCES backups ON DELETE CASCADE,
        position  INTEGER NOT NULL,
        name      TEXT NOT NULL,
        status    TEXT NOT NULL CHECK (status IN ('completed', 'incomplete', 'failed')),
        rows      INTEGER NOT NULL,
        bytes     INTEGER NOT NULL,
        sha256    TEXT,
        paging    TEXT,
        message   TEXT,
        PRIMARY KEY (backup_id, position)
    ) WITHOUT ROWID;
    CREATE TABLE runs (
        run_id      TEXT PRIMARY KEY,
        operation   TEXT NOT NULL,
        trigger     TEXT NOT NULL,
        status      TEXT NOT NULL CHECK (status IN ('in_progress', 'completed', 'partial', 'failed')),
        started_at  TEXT NOT NULL,
        finished_at TEXT,
        backup_id   TEXT,  -- refers to nothing on purpose: a run stays on record when its backup is deleted
        error       TEXT,
        hint        TEXT
    );
    CREATE INDEX runs_by_started_at ON runs (started_at);
    CREATE INDEX runs_by_operation ON runs (operation, started_at);
    """,
    # 2: the last slot of each job of the daemon.
    """
    CREATE TABLE slots (
        job      TEXT PRIMARY KEY,
        slot_at  TEXT NOT NULL,
        attempts INTEGER NOT NULL,
        tried_at TEXT NOT NULL,
        settled  INTEGER NOT NULL CHECK (settled IN (0, 1))
    ) WITHOUT ROWID;
    """,
    # 3: who is signed in, links that sign somebody in once, and who did what.
    """
    CREATE TABLE sessions (
        session_id TEXT PRIMARY KEY,  -- a hash: the token itself is only in the admin's browser
        who        TEXT NOT NULL,
        way        TEXT NOT NULL CHECK (way IN ('token', 'link', 'supabase')),
        proof      TEXT NOT NULL,
        address    TEXT NOT NULL,
        created_at TEXT NOT NULL,
        seen_at    TEXT NOT NULL,
        checked_at TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE login_links (
        token_hash TEXT PRIMARY KEY,
        expires_at TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE audit (
        entry_id  INTEGER PRIMARY KEY AUTOINCREMENT,
        at        TEXT NOT NULL,
        who       TEXT NOT NULL,
        what      TEXT NOT NULL,
        address   TEXT NOT NULL,
        outcome   TEXT NOT NULL CHECK (outcome IN ('done', 'refused')),
        backup_id TEXT,
        detail    TEXT
    );
    """,
)


def is_current(connection: sqlite3.Connection, path: object, migrations: Sequence[str] = MIGRATIONS) -> bool:
    """Whether every migration has been applied.

    Raises `CatalogError` for a catalog from a newer backupd, and for a database that is not a catalog at all.
    """
    version = _pragma(connection, "user_version")
    if _pragma(connection, "application_id") != APPLICATION_ID and not _is_empty(connection):
        raise CatalogError(f"{path} is a database, but not a catalog of backupd", hint="give the catalog another path")
    if version > len(migrations):
        raise CatalogError(
            f"the catalog {path} has version {version}; this backupd knows versions up to {len(migrations)}",
            hint="run the newer backupd that wrote it, or move the file away and run backupd rescan",
        )
    return version == len(migrations)


def migrate(connection: sqlite3.Connection, migrations: Sequence[str] = MIGRATIONS) -> None:
    """Apply what is missing. Runs inside the caller's transaction: all of it or none.

    What is missing is looked up again in there: another process may have migrated since `is_current`.
    """
    version = _pragma(connection, "user_version")
    for script in migrations[version:]:
        for statement in _statements(script):
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {max(version, len(migrations))}")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _is_empty(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None


def _statements(script: str) -> Iterator[str]:
    """The statements of a script one by one: `executescript` would commit the transaction around it first."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
