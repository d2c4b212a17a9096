"""A throwaway PostgreSQL server: no root needed, reachable through one socket, gone when its context ends.

A shell stands between this process and the server. It holds the reading end of a pipe; when the pipe closes,
because the context ended or because this process was killed, it stops the server and removes the data.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import quote

from backupd.sandbox.binaries import copy_binaries, find_binaries, major_version
from backupd.sandbox.driver import SandboxError, SandboxRefused, connect

_START_SECONDS = 30.0
_STOP_SECONDS = 30.0
_PORT = 5432
_LONGEST_SOCKET_DIRECTORY = 107 - len(f"/.s.PGSQL.{_PORT}.lock")

# A context that ended has no use for the data, so the server is stopped at once, without a checkpoint. The signal is
# sent until it is heard: a shell starts what goes to the background with SIGQUIT ignored, and so it stays until
# PostgreSQL has set up its own handlers.
_SUPERVISE = """
base=$1; shift
exec 3<&0
"$@" 3<&- & server=$!
(read -r _ <&3; while kill -QUIT "$server"; do sleep 0.1; done) 2>/dev/null & reader=$!
exec 3<&-
wait "$server"; status=$?
kill "$reader" 2>/dev/null
rm -rf -- "$base"
exit "$status"
"""

_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "4GB",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


@dataclass(frozen=True, slots=True)
class Postgres:
    """A running server. Whoever may enter `socket_directory` is its superuser; nobody else can reach it."""

    socket_directory: Path
    port: int = _PORT

    def url(self, database: str = "postgres") -> str:
        """The address of one of its databases, as the superuser `postgres`."""
        return f"postgresql://postgres@/{quote(database, safe='')}?host={quote(str(self.socket_directory), safe='')}"

    def create_database(self, name: str, *, template: str = "template1") -> str:
        """Make a database, empty or a copy of `template`, and give its address."""
        with connect(self.url()) as connection:
            connection.execute(f"create database {_quoted(name)} template {_quoted(template)}".encode())
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Remove a database, and whoever is connected to it."""
        with connect(self.url()) as connection:
            connection.execute(f"drop database if exists {_quoted(name)} with (force)".encode())


@dataclass(frozen=True, slots=True)
class _Account:
    """The system user the server runs as; PostgreSQL refuses to run as root."""

    uid: int
    gid: int
    drop: bool

    @property
    def groups(self) -> list[int] | None:
        """No other group of ours goes along; None keeps them, where nothing changes."""
        return [] if self.drop else None


@contextmanager
def start_postgres(directory: Path, *, binaries: Path | None = None) -> Iterator[Postgres]:
    """A server with its data under `directory`, stopped and removed when the context ends.

    As root the server runs as `nobody`; what that user cannot reach is put under the system's temporary
    directory instead. Raises `SandboxMissing` without PostgreSQL's programs, `SandboxError` when it does not start.
    """
    programs = find_binaries(binaries)
    account = _server_account()
    with _scratch_directory(directory, account) as base:
        if account.drop and not _open_to_all(programs):
            programs = copy_binaries(programs, base)
            _hand_over(base, account)
        with _socket_directory(base, account) as sockets:
            _initialise(programs, base, account)
            with _supervised(programs, base, sockets, account):
                yield Postgres(sockets)


def _server_account() -> _Account:
    if os.geteuid() != 0:
        return _Account(os.geteuid(), os.getegid(), drop=False)
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError as error:
        raise SandboxError(
            "PostgreSQL does not run as root, and this machine has no user `nobody`.", hint="Run as an ordinary user."
        ) from error
    return _Account(nobody.pw_uid, nobody.pw_gid, drop=True)


@contextmanager
def _scratch_directory(directory: Path, account: _Account) -> Iterator[Path]:
    """A private directory of the server's user, removed at the end."""
    reachable = not account.drop or _open_to_all(directory)
    base = Path(tempfile.mkdtemp(prefix="sandbox-", dir=directory if reachable else None)).resolve()
    try:
        os.chown(base, account.uid, account.gid)
        yield base
    finally:
        shutil.rmtree(base, ignore_errors=True)


@contextmanager
def _socket_directory(base: Path, account: _Account) -> Iterator[Path]:
    """`base`, or a directory with a shorter name: the path of a socket has a hard limit."""
    if len(os.fsencode(base)) <= _LONGEST_SOCKET_DIRECTORY:
        yield base
        return
    with tempfile.TemporaryDirectory(prefix="sandbox-", ignore_cleanup_errors=True) as short:
        os.chown(short, account.uid, account.gid)
        yield Path(short)


def _hand_over(directory: Path, account: _Account) -> None:
    for path in (directory, *directory.rglob("*")):
        os.chown(path, account.uid, account.gid, follow_symlinks=False)


def _open_to_all(path: Path) -> bool:
    """Whether any user may enter `path`."""
    resolved = path.resolve()
    return all(step.stat().st_mode & 0o001 for step in (resolved, *resolved.parents))


def _initialise(programs: Path, base: Path, account: _Account) -> None:
    command: list[str | Path] = [
        programs / "initdb",
        "--pgdata",
        base / "data",
        "--username=postgres",
        "--encoding=UTF8",
    ]
    command += ["--auth-local=trust", "--auth-host=reject", "--no-sync", "--locale=C"]
    if major_version(programs) >= 17:
        command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    done = subprocess.run(  # noqa: S603 - programs found by find_binaries
        command,
        cwd=base,
        env=_environment(),
        capture_output=True,
        text=True,
        check=False,
        user=account.uid if account.drop else None,
        group=account.gid if account.drop else None,
        extra_groups=account.groups,
    )
    if done.returncode != 0:
        raise SandboxError(f"PostgreSQL's data directory could not be made: {_tail(done.stderr)}")


@contextmanager
def _supervised(programs: Path, base: Path, sockets: Path, account: _Account) -> Iterator[None]:
    settings = {**_SETTINGS, "unix_socket_directories": str(sockets)}
    server: list[str | Path] = [programs / "postgres", "-D", base / "data", "-p", str(_PORT)]
    server += [f"--{name}={value}" for name, value in settings.items()]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(  # noqa: S603 - programs found by find_binaries
            ["/bin/sh", "-c", _SUPERVISE, "sandbox", base, *server],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            cwd=base,
            env=_environment(),
            start_new_session=True,  # a Ctrl-C at the terminal is ours to handle, not the server's
            user=account.uid if account.drop else None,
            group=account.gid if account.drop else None,
            extra_groups=account.groups,
        )
        try:
            _wait_until_ready(process, sockets, log)
            yield
        finally:
            _stop(process)


def _wait_until_ready(process: subprocess.Popen[bytes], sockets: Path, log: IO[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not _accepts_connections(sockets):
        if process.poll() is not None or time.monotonic() > deadline:
            log.seek(0)
            raise SandboxError(f"PostgreSQL did not start: {_tail(log.read().decode(errors='replace'))}")
        time.sleep(0.02)


def _accepts_connections(sockets: Path) -> bool:
    try:
        connect(Postgres(sockets).url()).close()
    except SandboxRefused:
        return False
    return True


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise SandboxError("PostgreSQL did not stop.", hint=f"Look at process {process.pid}.") from error


def _environment() -> dict[str, str]:
    """Nothing of ours: no secret, and no PGHOST that would lead elsewhere."""
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


def _tail(text: str) -> str:
    return " ".join(text.strip().splitlines()[-3:]) or "it said nothing"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
