"""One run at a time: the lock, the record of the run, and what becomes of its errors."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

from backupd.catalog import Catalog
from backupd.errors import BackupdError, CatalogError, Interrupted, RunLocked
from backupd.log import Logger
from backupd.model import Clock, Run, Status, Trigger

Result = TypeVar("Result")

_PRIVATE_DIRECTORY = 0o700
_PRIVATE_FILE = 0o600


@runtime_checkable
class Judged(Protocol):
    """A result that says itself how the run ended: a partial backup, a drill that failed."""

    @property
    def status(self) -> Status:
        """Completed, partial or failed."""
        ...


class Runner:
    """Runs operations of one state directory, one at a time over all processes, and records how each ended."""

    def __init__(self, state_directory: Path, catalog: Catalog, *, clock: Clock, log: Logger) -> None:
        self._lock_file = state_directory / "lock"
        self._work_directory = state_directory / "work"
        self._catalog = catalog
        self._clock = clock
        self._log = log

    def run(
        self, operation: str, trigger: Trigger, work: Callable[[Path], Result], *, backup_id: str | None = None
    ) -> Result:
        """Do `work` while holding the lock. It gets an empty directory for work in progress.

        `backup_id` is the backup it is about, for the record.

        Raises RunLocked when another run holds the lock, and whatever `work` raises; a bug comes out as a
        BackupdError like any other failure. In every case the record of the run says how it ended.
        """
        run = Run(
            str(uuid.uuid4()), operation, trigger, Status.IN_PROGRESS, started_at=self._clock(), backup_id=backup_id
        )
        with hold_lock(self._lock_file, run), self._empty_directory() as directory:
            # Whoever holds the lock is alone: what is still marked as in progress died with its process.
            self._catalog.interrupt_unfinished(self._clock())
            self._catalog.start_run(run)
            log = self._log.bind(operation=operation, run_id=run.run_id, trigger=str(trigger))
            log.info("run.started")
            try:
                result = work(directory)
            except BaseException as error:  # every run ends in a record, whatever happens
                failure = as_failure(error)
                trace = {"exc_info": error} if failure is not error else {}
                log.error("run.failed", error=failure.message, hint=failure.hint, **trace)  # noqa: TRY400 - see trace
                self._finish(run, Status.FAILED, failure)
                if failure is error:
                    raise
                raise failure from error
            status = result.status if isinstance(result, Judged) else Status.COMPLETED
            self._finish(run, status)
            log.info("run.finished", status=str(status))
            return result

    def settle(self) -> None:
        """Mark what died with its process as interrupted, unless a run is under way: then nobody can tell.

        For those who only look: the next run would do the same.
        """
        with suppress(RunLocked), hold_lock(self._lock_file):
            self._catalog.interrupt_unfinished(self._clock())

    def _finish(self, run: Run, status: Status, failure: BackupdError | None = None) -> None:
        finished = replace(
            run,
            status=status,
            finished_at=self._clock(),
            error=failure.message if failure else None,
            hint=failure.hint if failure else None,
        )
        try:
            self._catalog.finish_run(finished)
            if failure is not None:
                self._catalog.interrupt_unfinished(self._clock(), failure.message)
        except CatalogError as error:
            # The run's own outcome matters more; the next run finds it unfinished and marks it so.
            self._log.error("run.unrecorded", run_id=run.run_id, error=error.message)
            if failure is None:
                raise

    @contextmanager
    def _empty_directory(self) -> Iterator[Path]:
        try:
            shutil.rmtree(self._work_directory, ignore_errors=True)
            self._work_directory.mkdir(mode=_PRIVATE_DIRECTORY, exist_ok=True)
        except OSError as error:
            raise BackupdError(
                f"{self._work_directory} cannot be made: {error.strerror}",
                hint="Work in progress goes there: see to its space, owner and mode, or set state.directory.",
            ) from error
        try:
            yield self._work_directory
        finally:
            shutil.rmtree(self._work_directory, ignore_errors=True)


def as_failure(error: BaseException) -> BackupdError:
    """Turn whatever a run raised into an error for a person. The one place that takes every exception."""
    if isinstance(error, BackupdError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return Interrupted("interrupted; nothing was published")
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return BackupdError(
            f"the machine refused: {where}{error.strerror or error}", hint="`backupd check` looks closer."
        )
    return BackupdError(
        f"an unexpected error, which is a bug in backupd: {type(error).__name__}: {error}",
        hint="Run again with --debug for the traceback, and please report it.",
    )


@contextmanager
def hold_lock(file: Path, run: Run | None = None) -> Iterator[None]:
    """Hold the lock of a state directory for `run`. The kernel lets go of it when the process ends, however it ends.

    Raises RunLocked that names the holder, and BackupdError when the lock file cannot be opened.
    """
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE_FILE)
    except OSError as error:
        raise BackupdError(
            f"the lock {file} cannot be opened: {error.strerror}", hint="Run backupd as the user who owns it."
        ) from error
    try:
        _lock(descriptor, file)
        _sign(descriptor, run)
        try:
            yield
        finally:
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, file: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise _locked(file) from error
    except OSError as error:
        raise BackupdError(
            f"the lock {file} cannot be taken: {error.strerror}",
            hint="The state directory must be on a file system with locks: a local disk.",
        ) from error


def _sign(descriptor: int, run: Run | None) -> None:
    """Write into the lock who holds it. A disk too full for that is no reason to refuse a run that may free space."""
    os.ftruncate(descriptor, 0)
    if run is None:
        return
    holder = {"operation": run.operation, "run_id": run.run_id, "started_at": run.started_at.isoformat()}
    with suppress(OSError):
        os.pwrite(descriptor, json.dumps({**holder, "pid": os.getpid()}).encode(), 0)


def _locked(file: Path) -> RunLocked:
    try:
        holder = json.loads(file.read_text())
        since = datetime.fromisoformat(holder["started_at"]).astimezone()
        who = f"a {holder['operation']}, process {holder['pid']}, running since {since:%H:%M:%S},"
        hint = f"Wait for it to end, or stop it: kill -INT {holder['pid']}"
    except (OSError, ValueError, KeyError, TypeError):
        who, hint = "another run", "Wait for it to end."
    return RunLocked(f"{who} holds the lock {file}", hint=hint)
