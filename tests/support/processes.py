"""The installed `backupd` as a real process, and what it said."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import shutil
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from backupd.sandbox.driver import connect
from backupd.sandbox.gateway import Gateway, GatewayOptions, start_gateway
from backupd.sandbox.postgres import Postgres
from tests.support.sandbox import make_database

_INHERITED = ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH")
_LONGEST_SECONDS = 120.0


@dataclass(frozen=True)
class Done:
    """How a process ended. `err` is without the log, whose lines are in `log`."""

    code: int
    out: str
    err: str
    log: tuple[dict[str, Any], ...] = ()

    @property
    def document(self) -> Any:
        """The one JSON document that standard output is."""
        return json.loads(self.out)

    @property
    def said(self) -> str:
        """Everything that could be seen, for the message of a failing test and the search for secrets."""
        return f"exit code {self.code}\n{self.out}\n{self.err}\n{self.log}"


@dataclass(frozen=True)
class Backupd:
    """`python -m backupd` with an environment of its own: nothing of this machine's configuration gets in."""

    home: Path
    environ: Mapping[str, str] = field(default_factory=dict)
    under: Sequence[str] = ()

    @property
    def state(self) -> Path:
        """Where catalog and archives are, unless a test says otherwise."""
        return self.home / ".local" / "share" / "backupd"

    @property
    def archives(self) -> list[str]:
        """The names of the archives in the store."""
        return sorted(path.name for path in (self.state / "archives").glob("*.zip"))

    def having(self, **environ: str | None) -> Backupd:
        """The same with other variables; None takes one away."""
        merged = {**self.environ, **environ}
        return replace(self, environ={name: value for name, value in merged.items() if value is not None})

    def run_under(self, *command: str) -> Backupd:
        """The same, started by another command such as `strace`."""
        return replace(self, under=command)

    def copied_to(self, home: Path) -> Backupd:
        """The same with a copy of the state: tests share one backup without sharing what becomes of it."""
        other = replace(self, home=home)
        shutil.copytree(self.state, other.state)
        return other

    @property
    def _whole_environ(self) -> dict[str, str]:
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        return {**inherited, "HOME": str(self.home), **self.environ}

    def start(self, *arguments: str | Path, into: IO[str] | int = subprocess.PIPE) -> subprocess.Popen[str]:
        """Start it and return at once; what it prints can go to a file. The caller waits for it or ends it."""
        return subprocess.Popen(
            [*self.under, sys.executable, "-m", "backupd", *map(str, arguments)],
            env=self._whole_environ,
            stdin=subprocess.DEVNULL,
            stdout=into,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *arguments: str | Path) -> Done:
        """Run it to its end."""
        with self.start(*arguments) as process:
            return finish(process)

    def on_a_terminal(self, *arguments: str | Path, columns: int, typed: bytes = b"") -> tuple[int, str]:
        """Run it on a terminal so many columns wide; gives the exit code and all it wrote there.

        `typed` is typed as soon as the terminal shows something.
        """
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        with subprocess.Popen(
            [*self.under, sys.executable, "-m", "backupd", *map(str, arguments)],
            env={"TERM": "xterm-256color", **self._whole_environ},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        ) as process:
            os.close(theirs)
            shown = bytearray()
            while piece := _read_terminal(ours):
                shown += piece
                if typed:
                    os.write(ours, typed)
                    typed = b""
            os.close(ours)
            return process.wait(_LONGEST_SECONDS), shown.decode(errors="replace")


def finish(process: subprocess.Popen[str]) -> Done:
    """Wait for a process; one that does not end is killed and fails the test with what it said."""
    try:
        out, err = process.communicate(timeout=_LONGEST_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"did not end within {_LONGEST_SECONDS} s; it said:\n{out}\n{err}") from None
    lines = err.splitlines()
    log = tuple(json.loads(line) for line in lines if line.startswith("{"))
    return Done(process.returncode, out or "", "\n".join(line for line in lines if not line.startswith("{")), log)


def wait_until(condition: Callable[[], object], what: str, *, seconds: float = 30.0) -> None:
    """Poll until `condition` holds. Raises AssertionError that names `what` did not come about."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.01)


SAMPLE = """
create table organizations (id bigint primary key, name text not null);
create table users (
  id uuid primary key default gen_random_uuid(), organization bigint references organizations, balance numeric(20, 6)
);
create table entries (organization bigint, position integer, note jsonb, primary key (organization, position));
insert into organizations select n, 'club ' || n from generate_series(1, 20) n;
insert into users (organization, balance) select 1 + n % 20, 12345678901234.123456 + n from generate_series(1, 300) n;
insert into entries select 1 + n % 20, n, '{"n": 1.10}' from generate_series(1, 150) n;
"""
SAMPLE_ROWS = {"entries": 150, "organizations": 20, "users": 300}
"""The sample's tables in the order in which they are listed, with their rows."""


@dataclass(frozen=True)
class SampleProject:
    """A small throwaway project."""

    database_url: str
    gateway: Gateway

    @property
    def environ(self) -> dict[str, str]:
        """The two variables that are enough."""
        return {"SUPABASE_URL": self.gateway.project_url, "SUPABASE_SECRET_KEY": self.gateway.keys.secret}

    def execute(self, sql: str) -> None:
        """Change the database as its owner."""
        with connect(self.database_url) as connection:
            connection.execute(sql.encode())


@contextmanager
def sample_project(postgres: Postgres, sql: str = SAMPLE, **options: Any) -> Iterator[SampleProject]:
    """A project with these tables, behind a gateway of its own; `options` as in `GatewayOptions`."""
    database_url = make_database(postgres, sql)
    with start_gateway(database_url, GatewayOptions(**options)) as gateway:
        yield SampleProject(database_url, gateway)


def _read_terminal(descriptor: int) -> bytes:
    """What the terminal shows next; nothing once its last process has gone."""
    try:
        return os.read(descriptor, 1 << 16)
    except OSError:
        return b""
