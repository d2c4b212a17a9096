"""One SQLite file: opened safely, shared by threads and processes, its errors put into words."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from backupd.catalog.schema import MIGRATIONS, is_current, migrate
from backupd.errors import CatalogError

_REBUILD = "backupd rescan rebuilds it: move the file away first"
_REASONS = {
    sqlite3.SQLITE_NOTADB: ("is not a catalog", _REBUILD),
    sqlite3.SQLITE_CORRUPT: ("is damaged", _REBUILD),
    sqlite3.SQLITE_BUSY: ("is locked by another process", "wait for the other backupd to finish, then try again"),
    sqlite3.SQLITE_LOCKED: ("is locked", "try again"),
    sqlite3.SQLITE_FULL: ("cannot grow: no space left on the disk", "free some space there"),
    sqlite3.SQLITE_READONLY: ("cannot be written", "run backupd as the user who owns it, on a writable file system"),
    sqlite3.SQLITE_CANTOPEN: ("cannot be opened", "run backupd as the user who owns its directory"),
    sqlite3.SQLITE_IOERR: ("met an error of the disk", "check the disk and its free space"),
}


class Database:
    """A connection guarded by a lock, so that threads take turns; processes take turns by SQLite's own locks.

    Write-ahead log, every commit on the disk before it returns, foreign keys enforced. The file is 0600, a directory
    made for it 0700.
    """

    def __init__(self, path: Path, *, busy_timeout_seconds: float, migrations: Sequence[str] = MIGRATIONS) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._migrations = migrations
        _make_private(path)
        with self._in_words():
            self._connection = sqlite3.connect(
                path, timeout=busy_timeout_seconds, isolation_level=None, check_same_thread=False
            )
        try:
            self._prepare(busy_timeout_seconds)
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Close the file. Closing twice is no error."""
        with self._lock, self._in_words():
            self._connection.close()

    def __enter__(self) -> Database:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A connection whose queries all see the catalog as it was at one moment."""
        with self._transaction("BEGIN") as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A connection inside a transaction that is committed, durably, if the block ends well, and undone if not.

        Takes the write lock at once: a transaction that began by reading could not be retried in the middle.
        """
        with self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        with self._lock, self._in_words():
            self._connection.execute(begin)
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def _prepare(self, busy_timeout_seconds: float) -> None:
        self._connection.row_factory = sqlite3.Row
        with self._in_words():
            self._connection.execute("PRAGMA foreign_keys = ON")
            self._connection.execute("PRAGMA synchronous = FULL")
        # In one transaction, so that what another process is making is seen whole or not at all.
        with self.read() as connection:
            current = is_current(connection, self._path, self._migrations)
        with self._in_words():
            self._use_write_ahead_log(time.monotonic() + busy_timeout_seconds)
        if not current:
            with self.write() as connection:
                migrate(connection, self._migrations)

    def _use_write_ahead_log(self, deadline: float) -> None:
        """Turn the write-ahead log on, once for the life of the file.

        Where the file system has no shared memory SQLite keeps its rollback journal: as safe, only slower.
        """
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                # SQLite does not wait here when another process does the same at this moment; a write lock does.
                self._connection.execute("BEGIN IMMEDIATE")
                self._connection.execute("ROLLBACK")
            else:
                return

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            reason, hint = _REASONS.get(_code(error), (f"refused an operation ({error})", None))
            raise CatalogError(f"the catalog {self._path} {reason}", hint=hint) from error
        except (OverflowError, UnicodeError) as error:
            raise CatalogError(f"the catalog {self._path} cannot hold a value: {error}") from error


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 for errors that Python's module raises itself."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _make_private(path: Path) -> None:
    """Make an absent file, or see to it that nobody else can read one that is there.

    An existing file is not opened: closing it again would take away the locks that another connection of this process
    holds on it (https://www.sqlite.org/howtocorrupt.html, 2.2).
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            _create(path)
        if path.is_file() and path.stat().st_mode & 0o077:
            path.chmod(0o600)
    except OSError as error:
        raise _unusable(path, error.strerror or str(error)) from error
    if not path.is_file():
        raise _unusable(path, "it is not a file")
    if not (os.access(path, os.R_OK | os.W_OK) and os.access(path.parent, os.W_OK)):
        raise _unusable(path, "it or its directory cannot be written")


def _unusable(path: Path, reason: str) -> CatalogError:
    return CatalogError(
        f"the catalog {path} cannot be made or opened: {reason}",
        hint="run backupd as the user who owns its directory, on a writable file system",
    )


def _create(path: Path) -> None:
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return  # another process was faster, which is as good
