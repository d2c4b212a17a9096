"""The process: signals in, jobs out, a sign of life at every tick, and an orderly end."""

from __future__ import annotations

import os
import random
import shutil
import signal
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from backupd import __version__
from backupd.backup import BackupRequest
from backupd.daemon.heartbeat import Heartbeat, Sign, only_daemon
from backupd.daemon.operations import Operations, Outcome
from backupd.daemon.planner import Planner
from backupd.daemon.services import Services
from backupd.daemon.worker import Guard, Task, Worker
from backupd.errors import BackupdError, ExitCode
from backupd.log import Logger
from backupd.metrics import Metrics
from backupd.model import BackupType, Clock, DaemonState, Trigger
from backupd.sdnotify import ServiceManager
from backupd.slots import Due

DAILY_BACKUP = "daily_backup"
WEEKLY_CLEANUP = "weekly_cleanup"

_WAKE = signal.SIGUSR2
_SIGNALS = frozenset({signal.SIGUSR1, signal.SIGHUP, signal.SIGTERM, signal.SIGINT, _WAKE})
_LONGEST_WAIT_SECONDS = 20.0
_BUSY_WAIT_SECONDS = 1.0
_STOP_SECONDS = 7.0
_CLOCK_STEP_SECONDS = 60.0
_CATCH_UP_JITTER_SECONDS = 10.0
_HUNG_AFTER_STALL_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the daemon is given of the world."""

    state_directory: Path
    clock: Clock
    log: Logger
    manager: ServiceManager
    metrics: Metrics
    serve: Callable[[Daemon], AbstractContextManager[object]] = nullcontext
    monotonic: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = lambda: random.uniform(0, _CATCH_UP_JITTER_SECONDS)  # noqa: S311 - not a secret


@dataclass(frozen=True, slots=True)
class Joined:
    """A request that came while a backup was under way or about to begin: it is answered by that one."""

    backup_id: str


class Daemon:
    """Runs until it is told to stop. `build` reads the configuration and builds the services of it; it may raise."""

    def __init__(self, build: Callable[[], Services], surroundings: Surroundings) -> None:
        self._build = build
        self._around = surroundings
        self._log = surroundings.log
        self._services = build()
        self._worker = Worker(self.wake)
        self._requests = threading.Lock()
        self._waiting: BackupRequest | None = None
        self._planner = self._plan()
        self._main_thread = threading.get_ident()
        self._started_at = surroundings.clock()
        self._stale_told: str | None = None
        self._first_look_at = surroundings.monotonic() + surroundings.jitter()
        self._clock_offset = self._offset()
        self.ticked_at = surroundings.clock()

    def run(self) -> ExitCode:
        """Live. Raises RunLocked when another daemon has the state directory.

        Signals are blocked and taken one by one in this thread: nothing ever runs inside a signal handler.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        with only_daemon(self._around.state_directory) as heartbeat, self._around.serve(self):
            self._start()
            while True:
                self._tick(heartbeat)
                caught = signal.sigtimedwait(_SIGNALS, self._wait_seconds())
                if caught is not None and not self._obey(caught.si_signo):
                    return self._stop()

    def wake(self) -> None:
        """Make the loop tick now. From any thread."""
        signal.pthread_kill(self._main_thread, _WAKE)

    @property
    def services(self) -> Services:
        """The parts of the present configuration."""
        return self._services

    def state(self) -> DaemonState:
        """What the daemon is doing. From any thread."""
        task = self._worker.task
        return DaemonState(
            started_at=self._started_at,
            ticked_at=self.ticked_at,
            next_runs=self._planner.next_runs(),
            operation=task.operation if task else None,
            running_since=task.started_at if task else None,
            backup_id=task.backup_id if task else None,
            progress=task.guard.latest if task else None,
            progress_ratio=task.guard.progress_ratio if task else None,
            hung=self._is_hung(),
        )

    def request_backup(self, backup_type: BackupType, trigger: Trigger) -> str | Joined:
        """Begin a backup now and give its id, or say which one it joins. From any thread.

        While something else is under way, a cleanup for instance, the backup waits for it to end.
        """
        with self._requests:
            under_way = self._worker.task
            joined = self._waiting or (under_way.backup_id if under_way else None)
            if isinstance(joined, BackupRequest):
                joined = joined.backup_id
            if joined is not None:
                self._log.info("backup.joined", trigger=str(trigger), backup_id=joined)
                return Joined(joined)
            self._waiting = self._request(backup_type, trigger)
            backup_id = self._waiting.backup_id
        self.wake()
        return backup_id

    def _begin_waiting(self) -> None:
        """Begin the backup somebody asked for, unless something is under way."""
        with self._requests:
            request = self._waiting
            if request is None or self._worker.task is not None:
                return
            work = partial(self._operations().back_up, request)
            if self._worker.start(self._task("backup", request.trigger, request.backup_id, work)) is None:
                self._waiting = None

    def _start(self) -> None:
        """Bring the catalog up to date, then say that we are ready, then clean up and look for what was missed."""
        guard = self._guard()
        self._operations().reconcile(guard)
        if not self._services.catch_up:
            self._planner.skip_missed()
        self._around.manager.ready(self._doing())
        self._log.info(
            "daemon.started",
            version=__version__,
            state=str(self._around.state_directory),
            **{job: at.isoformat() for job, at in self._planner.next_runs().items()},
        )
        self._worker.start(
            self._task("cleanup", Trigger.SCHEDULE, None, partial(self._operations().clean_up, Trigger.SCHEDULE))
        )

    def _tick(self, heartbeat: Heartbeat) -> None:
        self.ticked_at = self._around.clock()
        self._notice_clock_step()
        self._begin_waiting()
        self._planner.run_pending()
        self._planner.look()
        self._notice_stale()
        heartbeat.beat(self._sign())
        self._around.manager.status(self._doing())
        if not self._is_hung():
            self._around.manager.watchdog()

    def _wait_seconds(self) -> float:
        longest = _BUSY_WAIT_SECONDS if self._worker.task else _LONGEST_WAIT_SECONDS
        watchdog = self._around.manager.watchdog_seconds
        return max(0.0, min(longest, self._planner.idle_seconds, watchdog / 3 if watchdog else longest))

    def _obey(self, signal_number: int) -> bool:
        """Do what a signal asks for. False when it asks to stop."""
        if signal_number == signal.SIGUSR1:
            self.request_backup(BackupType.MANUAL, Trigger.SIGNAL)
        elif signal_number == signal.SIGHUP:
            self._reload()
        return signal_number not in (signal.SIGTERM, signal.SIGINT)

    def _reload(self) -> None:
        """Read the configuration again. One that cannot be used changes nothing."""
        self._around.manager.reloading()
        try:
            services = self._build()
        except BackupdError as error:
            self._log.error("config.rejected", error=error.message, hint=error.hint)
        else:
            self._services = services
            self._planner = self._plan()
            next_runs = {job: at.isoformat() for job, at in self._planner.next_runs().items()}
            self._log.info("config.reloaded", **next_runs)
        self._around.manager.ready(self._doing())

    def _stop(self) -> ExitCode:
        """Stop within one page; what does not stop in time is recorded as interrupted and left behind."""
        self._around.manager.stopping("stopping")
        self._around.manager.extend_timeout(_STOP_SECONDS * 2)
        self._log.info("daemon.stopping")
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: os._exit(ExitCode.INTERRUPTED))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})
        if self._worker.close(_STOP_SECONDS):
            self._log.info("daemon.stopped")
            return ExitCode.OK
        self._log.warning("daemon.abandoned", what="a run that did not stop in time")
        self._services.catalog.interrupt_unfinished(self._around.clock())
        shutil.rmtree(self._around.state_directory / "work", ignore_errors=True)
        os._exit(ExitCode.OK)

    def _plan(self) -> Planner:
        services = self._services
        planner = Planner(services.catalog, self._begin_slot, clock=self._around.clock, log=self._log)
        planner.register(services.timetables, services.retry)
        return planner

    def _begin_slot(self, job: str, slot: Due) -> bool:
        """Begin the run of a slot. False when the worker is busy: then the slot waits, it is not joined."""
        if self._worker.task is not None or self._around.monotonic() < self._first_look_at:
            return False
        work, backup_id = self._work_of(job, slot.trigger)
        operation = "cleanup" if backup_id is None else "backup"
        task = self._task(operation, slot.trigger, backup_id, self._remembered(job, slot, work))
        return self._worker.start(task) is None

    def _work_of(self, job: str, trigger: Trigger) -> tuple[Callable[[Guard], Outcome], str | None]:
        operations = self._operations()
        if job == WEEKLY_CLEANUP:
            return partial(operations.clean_up, trigger), None
        request = self._request(BackupType.AUTOMATIC, trigger)
        return partial(operations.back_up, request), request.backup_id

    def _remembered(self, job: str, slot: Due, work: Callable[[Guard], Outcome]) -> Callable[[Guard], Outcome]:
        planner = self._planner

        def remember(guard: Guard) -> Outcome:
            planner.began(job, slot)
            outcome = work(guard)
            if outcome is Outcome.POSTPONED:
                planner.postponed(job, slot)
                return outcome
            pause = planner.ended(job, slot, success=outcome is Outcome.SUCCESS)
            if pause is not None:
                self._log.info("slot.retried", job_name=job, attempt=slot.attempt, pause_seconds=pause.total_seconds())
            return outcome

        return remember

    def _task(self, operation: str, trigger: Trigger, backup_id: str | None, work: Callable[[Guard], Outcome]) -> Task:
        guard = self._guard()

        def contained() -> None:
            """The end of the line for errors: the run has recorded them, and the daemon goes on."""
            try:
                work(guard)
            except BackupdError as error:
                self._log.error("task.failed", operation=operation, error=error.message)

        return Task(operation, trigger, self._around.clock(), guard, contained, backup_id)

    def _guard(self) -> Guard:
        return Guard(
            deadline_seconds=self._services.deadline_seconds,
            stall_seconds=self._services.stall_seconds,
            monotonic=self._around.monotonic,
        )

    def _request(self, backup_type: BackupType, trigger: Trigger) -> BackupRequest:
        return BackupRequest(str(uuid.uuid4()), backup_type, trigger, self._services.platform)

    def _operations(self) -> Operations:
        return Operations(self._services, self._around.clock, self._log, self._around.metrics)

    def _notice_clock_step(self) -> None:
        """`schedule` keeps wall times: after a step of the clock they are reckoned anew."""
        offset = self._offset()
        if abs(offset - self._clock_offset) > _CLOCK_STEP_SECONDS:
            self._log.warning("clock.stepped", seconds=round(offset - self._clock_offset))
            self._clock_offset = offset
            self._planner.register(self._services.timetables, self._services.retry)

    def _offset(self) -> float:
        return self._around.clock().timestamp() - self._around.monotonic()

    def _notice_stale(self) -> None:
        """Tell people once when the last success has become too old; again only after another one has."""
        try:
            last = self._services.catalog.last_completed()
        except BackupdError as error:
            self._log.error("catalog.unreadable", error=error.message)
            return
        since = last.created_at if last else self._started_at
        identity = last.backup_id if last else "never"
        if self.ticked_at - since > self._services.stale_after and self._stale_told != identity:
            self._stale_told = identity
            threading.Thread(target=self._operations().tell_stale, name="tell-stale", daemon=True).start()

    def _is_hung(self) -> bool:
        """Whether the worker has not moved for so long that only a restart can help: then the watchdog starves."""
        task = self._worker.task
        limit = self._services.stall_seconds + _HUNG_AFTER_STALL_SECONDS
        return task is not None and task.guard.still_seconds > limit

    def _sign(self) -> Sign:
        return Sign(
            os.getpid(), __version__, self._started_at, self.ticked_at, self._doing(), self._planner.next_runs()
        )

    def _doing(self) -> str:
        """One line for `systemctl status` and `backupd status`."""
        task = self._worker.task
        if task is None:
            job, at = min(self._planner.next_runs().items(), key=lambda item: item[1])
            return f"idle; next {job} {_local(at)}"
        progress = task.guard.latest
        if progress is None or progress.table is None:
            return f"{task.operation} by {task.trigger}"
        return f"{task.operation} by {task.trigger}: {progress.stage} {progress.table}, {progress.rows:,} rows"


def _local(at: datetime) -> str:
    return at.astimezone().isoformat(sep=" ", timespec="minutes")
