"""`backupd run` as a real process: signals in, its log out, polled with deadlines."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from backupd.catalog import Catalog
from backupd.model import Backup, Run, SlotRecord, utc_now
from tests.support.processes import Backupd

QUIET = {
    "BACKUPD_WEB__LISTEN": "off",
    "BACKUPD_SCHEDULE__CATCH_UP": "false",
    "BACKUPD_SCHEDULE__WEEKLY_DRILL": "off",
    "BACKUPD_PROJECT__PLATFORM": "Test",
}
"""A daemon that begins nothing by itself, so that a test says what happens when."""


class DaemonProcess:
    """A running daemon. What it logs is read from a file; every wait has a deadline and fails with that log."""

    def __init__(self, cli: Backupd, log: IO[str], process: subprocess.Popen[str]) -> None:
        self.cli = cli
        self.process = process
        self._log = log
        self._read_bytes = 0
        self._lines: list[dict[str, Any]] = []

    @property
    def text(self) -> str:
        """Everything it wrote to standard error."""
        return Path(self._log.name).read_text()

    @property
    def log(self) -> list[dict[str, Any]]:
        """Its log lines so far."""
        with Path(self._log.name).open("rb") as file:
            file.seek(self._read_bytes)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._read_bytes += len(whole)
        self._lines += [json.loads(line) for line in whole.splitlines() if line.startswith(b"{")]
        return self._lines

    def events(self, name: str, **fields: object) -> list[dict[str, Any]]:
        """The log lines of an event whose fields have these values."""
        return [line for line in self.log if line["event"] == name and fields.items() <= line.items()]

    def wait_for(self, name: str, *, count: int = 1, seconds: float = 30.0, **fields: object) -> dict[str, Any]:
        """Wait until the event was logged so often; gives the last of them."""
        deadline = time.monotonic() + seconds
        while len(found := self.events(name, **fields)) < count:
            if time.monotonic() > deadline:
                raise AssertionError(f"fewer than {count} {name} {fields} within {seconds} s; the log:\n{self.text}")
            if self.process.poll() is not None and len(self.events(name, **fields)) < count:
                raise AssertionError(f"ended with {self.process.returncode} before {name}; the log:\n{self.text}")
            time.sleep(0.02)
        return found[-1]

    def send(self, number: int) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def wait_for_end(self, seconds: float = 20.0) -> int:
        """Wait for its end; gives the exit code."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"did not end within {seconds} s; the log:\n{self.text}") from error

    def stop(self) -> int:
        """Stop it in order; gives the exit code."""
        self.send(signal.SIGTERM)
        return self.wait_for_end()

    def back_up(self) -> dict[str, Any]:
        """Ask for a backup and wait until it is published; gives that line of the log."""
        done = len(self.events("backup.published"))
        self.send(signal.SIGUSR1)
        return self.wait_for("backup.published", count=done + 1)


@contextmanager
def daemon(cli: Backupd, *, started: bool = True, quiet: bool = True, **quick: float) -> Iterator[DaemonProcess]:
    """`python -m backupd run` while the block lasts; killed at its end if it is still there.

    With `started` the block begins when the daemon is ready and has cleaned up; not `quiet`, it catches up what was
    missed. `quick` makes it short of patience, see `tests.support.quick_daemon`.
    """
    chosen = {**QUIET, **cli.environ} if quiet else {**QUIET, "BACKUPD_SCHEDULE__CATCH_UP": "true", **cli.environ}
    module = ["tests.support.quick_daemon", json.dumps(quick)] if quick else ["backupd", "run"]
    with tempfile.NamedTemporaryFile("w+", suffix=".log") as log:
        process = subprocess.Popen(
            [*cli.under, sys.executable, "-m", *module],
            env={**inherited(), "HOME": str(cli.home), **chosen},
            cwd=Path(__file__).parents[2],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            text=True,
        )
        running = DaemonProcess(cli.having(**chosen), log, process)
        try:
            if started:
                running.wait_for("daemon.started")
                running.wait_for("run.finished", operation="cleanup")
            yield running
        finally:
            process.kill()
            process.wait()


def inherited() -> dict[str, str]:
    """The few variables of this process that every other needs."""
    names = ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH")
    return {name: os.environ[name] for name in names if name in os.environ}


def backups(cli: Backupd) -> tuple[Backup, ...]:
    """What the catalog lists, newest first."""
    with Catalog.open(cli.state / "catalog.sqlite") as catalog:
        return catalog.backups()


def runs(cli: Backupd, operation: str = "backup") -> tuple[Run, ...]:
    """The runs on record, newest first."""
    with Catalog.open(cli.state / "catalog.sqlite") as catalog:
        return catalog.runs(operation=operation)


def slot(cli: Backupd, job: str = "daily_backup") -> SlotRecord | None:
    """What is remembered of a job."""
    with Catalog.open(cli.state / "catalog.sqlite") as catalog:
        return catalog.slot(job)


def settle(cli: Backupd, *jobs: str) -> None:
    """Let nothing be missed: the last slot of these jobs counts as run now."""
    cli.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with Catalog.open(cli.state / "catalog.sqlite") as catalog:
        for job in jobs:
            catalog.save_slot(SlotRecord(job, utc_now(), 1, utc_now(), settled=True))


def leftovers(cli: Backupd) -> list[str]:
    """What an orderly end must not leave: work in progress and temporaries of the store."""
    work = [str(path) for path in (cli.state / "work").glob("*")]
    return work + [str(path) for path in (cli.state / "archives").glob(".put-*")]


def threads(pid: int) -> int:
    """How many threads a process has."""
    return len(list(Path(f"/proc/{pid}/task").iterdir()))
