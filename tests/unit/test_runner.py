"""One run at a time, and a record of each."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import pytest

from backupd.catalog import Catalog
from backupd.errors import BackupdError, ExitCode, Interrupted, RunLocked, StoreError
from backupd.log import make_logger
from backupd.model import Backup, BackupType, Status, Trigger
from backupd.runner import Runner, as_failure, hold_lock

NOW = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)
HOLD = """
import sys, time
from pathlib import Path
from backupd.runner import hold_lock
with hold_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    """A new catalog."""
    with Catalog.open(tmp_path / "catalog.sqlite") as opened:
        yield opened


@pytest.fixture
def log() -> io.StringIO:
    """Where the log goes."""
    return io.StringIO()


@pytest.fixture
def runner(tmp_path: Path, catalog: Catalog, log: io.StringIO) -> Runner:
    """A runner over that catalog."""
    return Runner(tmp_path, catalog, clock=lambda: NOW, log=make_logger(log))


def in_progress(backup_id: str = "b1") -> Backup:
    """A backup that has begun."""
    return Backup(backup_id, NOW, BackupType.MANUAL, Status.IN_PROGRESS, Trigger.CLI, "platform", "host")


def test_run_gives_what_the_work_gives_and_records_it(runner: Runner, catalog: Catalog) -> None:
    """Operation, trigger, backup and both instants are on record."""
    assert runner.run("verify", Trigger.CLI, lambda _: 5, backup_id="b1") == 5
    (run,) = catalog.runs()
    assert (run.operation, run.trigger, run.status, run.backup_id) == ("verify", Trigger.CLI, Status.COMPLETED, "b1")
    assert run.started_at == run.finished_at == NOW


def test_run_of_a_partial_backup_is_recorded_as_partial(runner: Runner, catalog: Catalog) -> None:
    """A run that lacks something never looks like a success."""
    partial = Backup("b1", NOW, BackupType.MANUAL, Status.PARTIAL, Trigger.CLI, "platform", "host")
    runner.run("backup", Trigger.CLI, lambda _: partial)
    assert catalog.runs()[0].status is Status.PARTIAL


def test_run_gets_an_empty_private_directory_that_is_gone_afterwards(runner: Runner, tmp_path: Path) -> None:
    """What a killed run left there is not in the way."""
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "leftover").write_text("x")
    seen: list[tuple[list[Path], int]] = []
    runner.run("backup", Trigger.CLI, lambda work: seen.append((list(work.iterdir()), work.stat().st_mode & 0o777)))
    assert seen == [([], 0o700)]
    assert not (tmp_path / "work").exists()


def test_run_that_fails_is_recorded_with_message_and_hint_and_raises_the_same(runner: Runner, catalog: Catalog) -> None:
    """The error goes on as it came, its cause with it; the backup of the run becomes failed."""

    def fail(_: Path) -> NoReturn:
        catalog.save(in_progress())
        raise StoreError("the disk is full", hint="free some") from OSError("ENOSPC")

    with pytest.raises(StoreError, match="the disk is full") as raised:
        runner.run("backup", Trigger.CLI, fail)
    assert isinstance(raised.value.__cause__, OSError)
    run, backup = catalog.runs()[0], catalog.backup("b1")
    assert (run.status, run.error, run.hint) == (Status.FAILED, "the disk is full", "free some")
    assert (backup.status, backup.error, backup.finished_at) == (Status.FAILED, "the disk is full", NOW)


def test_run_with_a_bug_raises_an_error_for_a_person_and_logs_the_traceback(
    runner: Runner, catalog: Catalog, log: io.StringIO
) -> None:
    """A person reads one sentence, whoever mends it reads the traceback."""

    def break_down(_: Path) -> NoReturn:
        raise ZeroDivisionError("division by zero")

    with pytest.raises(BackupdError, match="a bug in backupd: ZeroDivisionError") as raised:
        runner.run("backup", Trigger.CLI, break_down)
    assert isinstance(raised.value.__cause__, ZeroDivisionError)
    assert "break_down" in log.getvalue()
    assert catalog.runs()[0].status is Status.FAILED


def test_run_marks_what_died_before_as_interrupted(runner: Runner, catalog: Catalog) -> None:
    """Whoever holds the lock is alone: what is in progress has no process."""
    catalog.save(in_progress())
    runner.run("verify", Trigger.CLI, lambda _: None)
    assert (catalog.backup("b1").status, catalog.backup("b1").error) == (Status.FAILED, "interrupted")


def test_run_while_another_one_goes_on_is_refused_and_names_it(runner: Runner, catalog: Catalog) -> None:
    """What holds the lock, since when, in which process; nothing of the second run is recorded."""
    said: list[RunLocked] = []

    def second(_: Path) -> None:
        with pytest.raises(RunLocked, match=r"a backup, process \d+, running since \d\d:\d\d:\d\d,") as raised:
            runner.run("verify", Trigger.CLI, lambda _: None)
        said.append(raised.value)

    runner.run("backup", Trigger.CLI, second)
    assert said[0].exit_code is ExitCode.LOCKED
    assert "kill -INT" in str(said[0].hint)
    assert [run.operation for run in catalog.runs()] == ["backup"]


def test_lock_of_another_process_holds_and_goes_with_it(tmp_path: Path) -> None:
    """The kernel lets go of the lock when its process is killed."""
    file = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, file], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(RunLocked, match="another run holds the lock"), hold_lock(file):
            pass
        other.kill()
        other.wait()
        with hold_lock(file):
            assert file.stat().st_mode & 0o777 == 0o600


def test_lock_that_cannot_be_made_is_said_with_its_place(tmp_path: Path) -> None:
    """A state directory that is not there."""
    with pytest.raises(BackupdError, match="nope/lock cannot be opened"), hold_lock(tmp_path / "nope" / "lock"):
        pass


def test_settle_marks_the_dead_and_spares_the_living(runner: Runner, catalog: Catalog) -> None:
    """Looking at the list never ends a run that goes on."""
    catalog.save(in_progress())

    def look(_: Path) -> Status:
        catalog.save(in_progress("b2"))
        runner.settle()
        return catalog.backup("b2").status

    assert runner.run("backup", Trigger.CLI, look) is Status.IN_PROGRESS
    runner.settle()
    assert catalog.backup("b2").status is Status.FAILED


def test_failure_of_each_kind_is_an_error_for_a_person() -> None:
    """Ours stay as they are, Ctrl-C has its exit code, the machine's name the file."""
    ours = StoreError("x")
    assert as_failure(ours) is ours
    assert isinstance(as_failure(KeyboardInterrupt()), Interrupted)
    assert "/x: No such file" in as_failure(FileNotFoundError(2, "No such file", "/x")).message
