"""Start a gateway in a process of its own: Supabase's key check and PostgREST's dialect over a database."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from threading import Lock
from typing import IO

from backupd.sandbox.auth import SandboxUser
from backupd.sandbox.driver import SandboxError
from backupd.sandbox.keys import SERVICE, ProjectKeys, make_keys

_STOP_SECONDS = 10.0
# Enough to find this package; no secret of ours travels along.
_INHERITED = ("PATH", "PYTHONPATH", "PYTHONHOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH")


@dataclass(frozen=True, slots=True)
class GatewayOptions:
    """How a gateway treats requests. `max_rows` is the row cap (None: none); `port` 0 takes any free one.

    `bare` leaves out the key check and the prefix: PostgREST alone, where a request without a token has the role
    `anon_role`. `users` can sign in with Auth; without any there is no Auth.
    """

    schemas: tuple[str, ...] = ("public",)
    max_rows: int | None = 1000
    statement_timeout_ms: int = 8000
    anon_role: str = "anon"
    connections: int = 8
    port: int = 0
    bare: bool = False
    users: tuple[SandboxUser, ...] = ()


BARE = GatewayOptions(anon_role=SERVICE, bare=True)
"""PostgREST without Supabase's gateway, where everybody is `service_role`."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """A running gateway. `project_url` is what a Supabase client is given, `rest_url` where PostgREST answers."""

    project_url: str
    rest_url: str
    keys: ProjectKeys
    pid: int
    _control: _Control = field(repr=False)

    def revoke(self, key: str) -> None:
        """From now on `key` is refused, as after deleting it in the dashboard."""
        self._control.command("revoke", key)

    def reinstate(self, key: str) -> None:
        """Accept a revoked key again."""
        self._control.command("reinstate", key)


@contextmanager
def start_gateway(
    database_url: str, options: GatewayOptions | None = None, *, keys: ProjectKeys | None = None
) -> Iterator[Gateway]:
    """A gateway over a database prepared with `supabase.prepare_database`; it stops when the context ends.

    It also stops by itself when this process dies. Raises `SandboxError` when it does not start.
    """
    options = options or GatewayOptions()
    keys = keys or make_keys()
    with tempfile.TemporaryFile() as log, _process(log) as process:
        control = _Control(process, log)
        port = control.exchange(_configuration(database_url, options, keys))["port"]
        project_url = f"http://127.0.0.1:{port}"
        rest_url = project_url if options.bare else f"{project_url}/rest/v1"
        yield Gateway(project_url, rest_url, keys, process.pid, control)


def _configuration(database_url: str, options: GatewayOptions, keys: ProjectKeys) -> Mapping[str, object]:
    settings = asdict(options)
    own = {name: settings.pop(name) for name in ("port", "bare", "users")}
    return {"database_url": database_url, "settings": settings, "keys": asdict(keys), **own}


@contextmanager
def _process(log: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "backupd.sandbox.app"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        env={name: os.environ[name] for name in _INHERITED if name in os.environ},
        start_new_session=True,  # a Ctrl-C at the terminal is ours to handle
    )
    try:
        yield process
    finally:
        _close(process)


def _close(process: subprocess.Popen[bytes]) -> None:
    """Close the pipes, which tells the process to leave."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class _Control:
    """The pipe to the gateway: one line of JSON there, one back."""

    def __init__(self, process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
        self._process = process
        self._log = log
        self._one_at_a_time = Lock()

    def command(self, do: str, key: str) -> None:
        """Have something done, and return when it is."""
        self.exchange({"do": do, "key": key})

    def exchange(self, document: Mapping[str, object]) -> Mapping[str, int]:
        """Send a line and wait for the answer. Raises `SandboxError` with the log when the process is gone."""
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise SandboxError("The gateway has no pipe.")
        with self._one_at_a_time:
            try:
                stdin.write(json.dumps(document).encode() + b"\n")
                stdin.flush()
            except OSError as error:
                raise self._gone() from error
            line = stdout.readline()
        if not line:
            raise self._gone()
        answer: Mapping[str, int] = json.loads(line)
        return answer

    def _gone(self) -> SandboxError:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return SandboxError(f"The gateway stopped: {lines[-1] if lines else 'it said nothing'}")
