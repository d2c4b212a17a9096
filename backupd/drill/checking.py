"""The owner's own test of a restored database: a command with the database's address in its environment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass

from backupd.errors import Interrupted
from backupd.model import ShouldStop

_TAIL_BYTES = 4000
_LOOK_SECONDS = 0.1
_START = (
    "import os, signal, sys; signal.pthread_sigmask(signal.SIG_SETMASK, ()); "
    "os.execvp('/bin/sh', ['/bin/sh', '-c', sys.argv[1]])"
)
"""Runs the command with no signal blocked: the daemon holds its own back, and a child would inherit that."""


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How the command ended: its exit code, None when it took too long, and the end of what it printed."""

    command: str
    exit_code: int | None
    output: str

    @property
    def ok(self) -> bool:
        """Whether it found nothing wrong."""
        return self.exit_code == 0


def run_check_command(command: str, database_url: str, seconds: float, should_stop: ShouldStop) -> CommandResult:
    """Run `command` by the shell, with DATABASE_URL set. Ends it, and all it started, when it takes too long.

    Raises Interrupted when it was to stop meanwhile.
    """
    environment = {**os.environ, "DATABASE_URL": database_url}
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(  # noqa: S603 - the owner's own command, from the configuration
            [sys.executable, "-I", "-c", _START, command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        deadline = time.monotonic() + seconds
        try:
            while process.poll() is None and time.monotonic() < deadline:
                if should_stop():
                    raise Interrupted("interrupted while the drill's check command ran")
                _wait(process)
        finally:
            exit_code = _end(process)
        output.seek(max(0, output.seek(0, os.SEEK_END) - _TAIL_BYTES))
        return CommandResult(command, exit_code, output.read().decode(errors="replace").strip())


def _wait(process: subprocess.Popen[bytes]) -> None:
    with suppress(subprocess.TimeoutExpired):
        process.wait(_LOOK_SECONDS)


def _end(process: subprocess.Popen[bytes]) -> int | None:
    """The exit code of a command that has ended; one that has not is killed with its whole group, and gives None."""
    if process.poll() is not None:
        return process.returncode
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return None
