"""The process: signals in, jobs out, a sign of life at every tick, and an orderly end."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from datetime import datetime
from zoneinfo import ZoneInfo

from backupd import __version__
from backupd.daemon.agenda import Agenda
from backupd.daemon.heartbeat import Heartbeat, Sign, only_daemon
from backupd.daemon.requests import Joined
from backupd.daemon.services import Parts, Services, Surroundings
from backupd.daemon.signals import STOPPING
from backupd.daemon.staleness import Staleness
from backupd.daemon.worker import Task
from backupd.errors import BackupdError, CatalogError, ExitCode
from backupd.log import Logger
from backupd.model import BackupType, DaemonState, Trigger
from backupd.runner import as_failure

_START_SECONDS = 60.0
_STOP_SECONDS = 6.0
_LAST_WORDS_SECONDS = 0.5
_SETTLE_SECONDS = 1.0
_CLOCK_STEP_SECONDS = 60.0


class Daemon:
    """Runs until it is told to stop."""

    def __init__(self, parts: Parts, surroundings: Surroundings) -> None:
        self._parts = parts
        self._around = surroundings
        self._started_at = self._ticked_at = surroundings.clock()
        self._staleness = Staleness(self._started_at)
        self._agenda = Agenda(parts.build(), surroundings, self._staleness)
        self._complaint: str | None = None
        self._clock_offset = self._offset()

    @property
    def services(self) -> Services:
        """What the daemon works with now; a reload exchanges it."""
        return self._agenda.services

    def state(self) -> DaemonState:
        """How the daemon is now. From any thread."""
        task = self._agenda.worker.task
        return DaemonState(
            started_at=self._started_at,
            ticked_at=self._ticked_at,
            next_runs=self._agenda.planner.next_runs(),
            operation=task.operation if task else None,
            running_since=task.started_at if task else None,
            backup_id=task.backup_id if task else None,
            progress=task.guard.latest if task else None,
            progress_ratio=task.guard.progress_ratio if task else None,
            hung=task is not None and task.guard.is_hung,
            tables=task.guard.tables if task else (),
        )

    def request_backup(self, backup_type: BackupType, trigger: Trigger) -> str | Joined:
        """Begin a backup now and give its id, or say which one it joins. From any thread.

        While something else is under way, a cleanup for instance, the backup waits for it to end.
        """
        return self._agenda.ask(backup_type, trigger)

    def run(self) -> ExitCode:
        """Live. Raises RunLocked when another daemon has the state directory."""
        around = self._around
        around.signals.hold()
        try:
            with only_daemon(around.state_directory) as heartbeat, around.serve(self):
                return self._live(heartbeat)
        finally:
            around.signals.let_go()

    @property
    def _log(self) -> Logger:
        return self.services.log

    def _live(self, heartbeat: Heartbeat) -> ExitCode:
        try:
            self._agenda.begin()
            while True:
                self._tick(heartbeat)
                caught = self._around.signals.next(self._wait_seconds())
                if caught is not None and not self._obey(caught):
                    return self._stop()
        except Exception as error:
            self._log.critical("daemon.failed", error=as_failure(error).message, exc_info=error)
            self._agenda.worker.close(_STOP_SECONDS)
            raise

    def _tick(self, heartbeat: Heartbeat) -> None:
        self._ticked_at = self._around.clock()
        self._notice_clock_step()
        self._notice_replaced_catalog()
        self._agenda.look()
        self._notice_stale()
        heartbeat.beat(self._sign())
        self._tell_manager()

    def _tell_manager(self) -> None:
        """READY once the catalog agrees with the store; then status, and the watchdog while everything moves."""
        manager = self._around.manager
        if self._agenda.is_reconciled and not self._agenda.is_ready and self._agenda.worker.task is None:
            self._say_ready()
        else:
            manager.status(self._doing())
        if not self._agenda.is_ready:
            manager.extend_timeout(_START_SECONDS)
        if not self.state().hung:
            manager.watchdog()

    def _say_ready(self) -> None:
        self._agenda.is_ready = True
        self._around.manager.ready(self._doing())
        state = str(self._around.state_directory)
        self._log.info("daemon.started", version=__version__, state=state, **self._next_runs())
        # What waited for this begins at once.
        self._around.signals.wake()

    def _wait_seconds(self) -> float:
        watchdog = self._around.manager.watchdog_seconds
        longest = self._agenda.wait_seconds()
        return min(longest, watchdog / 3) if watchdog else longest

    def _obey(self, signal_number: int) -> bool:
        """Do what a signal asks for. False when it asks to stop."""
        if signal_number == signal.SIGUSR1:
            self.request_backup(BackupType.MANUAL, Trigger.SIGNAL)
        elif signal_number == signal.SIGHUP:
            self._reload()
        return signal_number not in STOPPING

    def _reload(self) -> None:
        """Read the configuration again. One that cannot be used changes nothing, whatever is the matter with it."""
        manager = self._around.manager
        if self._agenda.is_ready:
            manager.reloading()
        try:
            services = self._parts.build()
        except Exception as error:  # noqa: BLE001 - the running configuration is good: no new one may end the daemon
            failure = as_failure(error)
            self._log.error("config.rejected", error=failure.message, hint=failure.hint)
        else:
            self._agenda.take_over(services)
            self._log.info("config.reloaded", **self._next_runs())
        if self._agenda.is_ready:
            manager.ready(self._doing())

    def _stop(self) -> ExitCode:
        """Stop within one page; what does not stop in time is recorded as interrupted and left behind."""
        around, worker = self._around, self._agenda.worker
        around.manager.stopping("stopping")
        around.manager.extend_timeout(_STOP_SECONDS * 2)
        self._log.info("daemon.stopping")
        around.signals.exit_at_next(ExitCode.INTERRUPTED)
        end = around.monotonic() + _STOP_SECONDS
        task = worker.task
        stopped = worker.close(_STOP_SECONDS)
        self._say_what_is_left(max(end - around.monotonic(), _LAST_WORDS_SECONDS))
        if stopped or task is None:
            self._log.info("daemon.stopped")
            return ExitCode.OK
        self._log.warning("daemon.abandoned", operation=task.operation, what="it did not stop in time")
        self._leave_behind(task)
        around.signals.exit_now(ExitCode.OK)
        return ExitCode.OK

    def _say_what_is_left(self, seconds: float) -> None:
        if (waiting := self._agenda.waiting) is not None:
            self._log.warning("backup.dropped", backup_id=waiting.backup_id, trigger=str(waiting.trigger))
        if left := self._agenda.messenger.flush(seconds):
            self._log.warning("notification.abandoned", count=left)

    def _leave_behind(self, task: Task) -> None:
        """Record for a worker that hangs what it cannot record; in a thread, for it may hang with the catalog held."""

        def settle() -> None:
            try:
                self.services.catalog.interrupt_unfinished(self._around.clock())
                task.let_go()
            except CatalogError as error:
                self._log.error("run.unrecorded", error=error.message)
            shutil.rmtree(self._around.state_directory / "work", ignore_errors=True)

        thread = threading.Thread(target=settle, name="settle", daemon=True)
        thread.start()
        thread.join(_SETTLE_SECONDS)

    def _notice_clock_step(self) -> None:
        """`schedule` keeps wall times: after a step of the clock, or a sleep of the host, they are reckoned anew."""
        before, self._clock_offset = self._clock_offset, self._offset()
        if abs(self._clock_offset - before) > _CLOCK_STEP_SECONDS:
            self._log.warning("clock.stepped", seconds=round(self._clock_offset - before))
            self._agenda.planner.register(self.services.timetables, self.services.retry)

    def _offset(self) -> float:
        return self._around.clock().timestamp() - self._around.monotonic()

    def _notice_replaced_catalog(self) -> None:
        """Go on with the catalog that is there now: what is written to one that was deleted nobody ever sees."""
        if self._agenda.worker.task is not None or not self._parts.catalog_is_replaced():
            return
        try:
            services = self._parts.with_new_catalog()
        except CatalogError as error:
            self._complain("catalog.unusable", error)
            return
        self._log.error("catalog.replaced", what="its file was deleted or exchanged; the store is read anew")
        self._agenda.take_over(services)

    def _notice_stale(self) -> None:
        """Tell people once when the last success has become too old; not while a run may be about to mend that."""
        if not self._agenda.is_free():
            return
        try:
            news = self._staleness.is_news(self.services.catalog, self.services.stale_after, self._ticked_at)
        except CatalogError as error:
            self._complain("catalog.unreadable", error)
            return
        self._complaint = None
        if news:
            last = self._staleness.last_success_at
            self._log.error("backup.stale", last_success_at=last.isoformat() if last else "never")
            self._agenda.operations().tell_stale(last)

    def _complain(self, event: str, error: BackupdError) -> None:
        """Log it once, not at every tick."""
        if self._complaint != error.message:
            self._log.error(event, error=error.message, hint=error.hint)
        self._complaint = error.message

    def _sign(self) -> Sign:
        state = self.state()
        return Sign(
            os.getpid(),
            __version__,
            state.started_at,
            state.ticked_at,
            self._doing(),
            state.next_runs,
            state.hung,
        )

    def _next_runs(self) -> dict[str, str]:
        return {job: at.isoformat() for job, at in self._agenda.planner.next_runs().items()}

    def _doing(self) -> str:
        """One line for `systemctl status` and `backupd status`."""
        task = self._agenda.worker.task
        if task is None:
            return "waiting for the lock of another process" if self._agenda.is_locked_out else self._next_in_words()
        progress = task.guard.latest
        if progress is None or progress.table is None:
            return f"{task.operation} by {task.trigger}"
        return f"{task.operation} by {task.trigger}: {progress.stage} {progress.table}, {progress.rows:,} rows"

    def _next_in_words(self) -> str:
        job, at = min(self._agenda.planner.next_runs().items(), key=lambda item: item[1])
        return f"idle; next {job} {_local(at, self.services.timetables[job].timezone)}"


def _local(at: datetime, zone: ZoneInfo) -> str:
    return f"{at.astimezone(zone):%Y-%m-%d %H:%M} {zone.key}"
