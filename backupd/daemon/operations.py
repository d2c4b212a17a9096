"""What the daemon does in its worker: each operation with its messages and pings. Errors end here, as outcomes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TypeVar

from backupd.backup import BackupRequest, Witness, run_backup
from backupd.cleanup import CleanupReport, run_cleanup
from backupd.daemon.messenger import Messenger
from backupd.daemon.services import Services
from backupd.daemon.worker import Guard, nothing
from backupd.drill import DrillReport, Rehearsal, run_drill
from backupd.drill.report import keep
from backupd.errors import BackupdError, Interrupted, RunLocked
from backupd.metrics import Metrics
from backupd.model import Backup, BackupType, Clock, Run, Status, Trigger
from backupd.notify import DeliveryFailure, Event, Failure, drill_failed, failed, recovered, stale
from backupd.notify import partial as lacking
from backupd.rescan import RescanReport, run_rescan

Result = TypeVar("Result")

_RECENT_RUNS = 20


class Outcome(StrEnum):
    """How an operation ended, for whoever planned it. `interrupted`: because the daemon stops."""

    SUCCESS = "success"
    FAILURE = "failure"
    INTERRUPTED = "interrupted"


@dataclass(slots=True)
class _Before:
    """How things stood before a backup: whether people know of trouble, and when one last went right."""

    trouble: bool
    last_success_at: datetime | None


@dataclass(frozen=True, slots=True)
class Operations:
    """The operations of the daemon, over one set of services.

    Each raises RunLocked while another process holds the lock, with nothing done; none raises for what went wrong in
    the run. `begun` is called when the lock is held and the run begins. `last_success_at` is what is said of the last
    success when the catalog cannot be asked, `stale_told` whether people were told that there has been none for long.
    """

    services: Services
    clock: Clock
    messenger: Messenger
    metrics: Metrics
    last_success_at: datetime | None = None
    stale_told: bool = False

    def back_up(self, request: BackupRequest, guard: Guard, begun: Callable[[], None] = nothing) -> Outcome:
        """Take a backup; tell the dead-man switch of automatic ones, and people of what is worth a message."""
        started_at = self.clock()
        before = _Before(self.stale_told, self.last_success_at)
        work = partial(self._take, request, guard, before, begun)
        try:
            backup = self._run("backup", request.trigger, guard, work, request.backup_id)
        except RunLocked:
            raise
        except Interrupted:
            return Outcome.INTERRUPTED
        except BackupdError as error:
            failure = Failure(request.type, started_at, error, before.last_success_at, request.backup_id)
            self._tell_of_failure(failure, request)
            return Outcome.FAILURE
        self._tell_of(backup, before)
        return Outcome.SUCCESS if backup.status is Status.COMPLETED else Outcome.FAILURE

    def clean_up(self, trigger: Trigger, guard: Guard, begun: Callable[[], None] = nothing) -> Outcome:
        """Remove what has expired."""

        def work(_: Path) -> CleanupReport:
            begun()
            return self._clean_up(guard)

        return self._ended("cleanup", trigger, guard, work)

    def drill(self, trigger: Trigger, guard: Guard, begun: Callable[[], None] = nothing) -> Outcome:
        """Rehearse a restore of the last good backup. Without one there is nothing to rehearse, and nothing failed.

        A drill that fails is told of and on record; trying it again before next week would find the same.
        """
        services = self.services
        last = services.catalog.last_completed()
        if last is None:
            begun()
            services.log.info("drill.skipped", reason="no backup has completed yet")
            return Outcome.SUCCESS

        def work(directory: Path) -> DrillReport:
            begun()
            rehearsal = Rehearsal(self.clock, guard.on_progress, guard.should_stop)
            try:
                report = run_drill(services.store, services.catalog, last, services.drill, directory, rehearsal)
            except Interrupted:
                raise
            except BackupdError as error:
                self._tell(drill_failed(services.origin, last, (error.message,)))
                raise
            keep(report, services.drill_reports)
            if not report.ok:
                self._tell(drill_failed(services.origin, last, report.problems))
            services.log.info("drill.ended", backup_id=last.backup_id, ok=report.ok, problems=list(report.problems))
            return report

        outcome = self._ended("drill", trigger, guard, work)
        return Outcome.SUCCESS if outcome is Outcome.FAILURE else outcome

    def reconcile(self, guard: Guard) -> Outcome:
        """Make the catalog agree with the store, and clear away what a dead process left behind."""
        return self._ended("rescan", Trigger.SCHEDULE, guard, lambda _: self._rescan(guard))

    def tell_stale(self, last_success_at: datetime | None) -> None:
        """Tell people that no backup has succeeded for too long."""
        services = self.services
        self._tell(stale(services.origin, last_success_at, services.stale_after, self.clock()))

    def _take(
        self, request: BackupRequest, guard: Guard, before: _Before, begun: Callable[[], None], work_directory: Path
    ) -> Backup:
        services = self.services
        begun()
        if request.type is BackupType.AUTOMATIC:
            self._deliver(partial(services.notifier.ping_started, request.backup_id))
        self._look_back(request, before)
        self._rescan(guard)
        witness = Witness(self.clock, guard.on_progress, guard.should_stop)
        with services.open_project(guard.should_stop) as project:
            return run_backup(project, services.store, services.catalog, request, work_directory, witness)

    def _look_back(self, request: BackupRequest, before: _Before) -> None:
        """See how the backup before this one ended; one that was interrupted was no trouble, and nobody was told."""
        catalog = self.services.catalog
        last = catalog.last_completed()
        before.last_success_at = last.created_at if last else None
        ended = (run for run in catalog.runs(operation="backup", limit=_RECENT_RUNS) if _tells(run, request))
        newest = next(ended, None)
        before.trouble = before.trouble or (newest is not None and newest.status is not Status.COMPLETED)

    def _rescan(self, guard: Guard) -> RescanReport:
        services = self.services
        stop = guard.should_stop_between_steps
        report = run_rescan(services.store, services.catalog, clock=self.clock, should_stop=stop)
        if report.adopted or report.found:
            services.log.info("rescan.adopted", adopted=len(report.adopted), found=len(report.found))
        if report.mismatches:
            problems = [str(problem) for problem in report.problems]
            services.log.warning("rescan.mismatched", missing=list(report.missing), problems=problems)
        return report

    def _clean_up(self, guard: Guard) -> CleanupReport:
        services = self.services
        stop = guard.should_stop_between_steps
        report = run_cleanup(services.store, services.catalog, services.policy, clock=self.clock, should_stop=stop)
        self.metrics.retention_deleted.inc(len(report.deleted))
        self.metrics.retention_refused.inc(len(report.refused))
        for refusal in report.refused:
            services.log.warning("cleanup.refused", backup_id=refusal.backup.backup_id, reason=refusal.reason)
        if report.stopped:
            raise Interrupted(f"interrupted after {len(report.deleted)} deletions; the next cleanup goes on")
        services.log.info("cleanup.completed", deleted=len(report.deleted), freed_bytes=report.freed_bytes)
        return report

    def _ended(self, operation: str, trigger: Trigger, guard: Guard, work: Callable[[Path], object]) -> Outcome:
        try:
            self._run(operation, trigger, guard, work)
        except RunLocked:
            raise
        except Interrupted:
            return Outcome.INTERRUPTED
        except BackupdError:
            return Outcome.FAILURE
        return Outcome.SUCCESS

    def _run(
        self,
        operation: str,
        trigger: Trigger,
        guard: Guard,
        work: Callable[[Path], Result],
        backup_id: str | None = None,
    ) -> Result:
        """Run under the lock. A run that the guard ended fails for the guard's reason, not as interrupted."""
        began, log = threading.Event(), self.services.log

        def guarded(work_directory: Path) -> Result:
            began.set()
            try:
                return work(work_directory)
            except Interrupted as error:
                if guard.reason is None:
                    raise
                raise BackupdError(
                    f"the {operation} was stopped: {guard.reason}", hint="`backupd check` looks at the project."
                ) from error

        try:
            return self.services.runner.run(operation, trigger, guarded, backup_id=backup_id)
        except BackupdError as error:
            if not began.is_set() and not isinstance(error, RunLocked):
                # The runner logs and records what goes wrong in a run; this one never came to be.
                log.error("run.refused", operation=operation, error=error.message, hint=error.hint)  # noqa: TRY400 - no bug
            raise
        finally:
            guard.end()

    def _tell_of_failure(self, failure: Failure, request: BackupRequest) -> None:
        notifier = self.services.notifier
        self._tell(failed(self.services.origin, failure, self.clock()))
        if request.type is BackupType.AUTOMATIC:
            self._deliver(partial(notifier.ping_failed, request.backup_id, failure.error.message))

    def _tell_of(self, backup: Backup, before: _Before) -> None:
        """Tell of a backup that was published: recovered, partial, or simply done."""
        services = self.services
        complete = backup.status is Status.COMPLETED
        facts = {"rows": backup.total_rows, "size_bytes": backup.size_bytes, "archive": backup.archive}
        services.log.info("backup.published", backup_id=backup.backup_id, status=str(backup.status), **facts)
        if not complete:
            self._tell(lacking(services.origin, backup, before.last_success_at, self.clock()))
        elif before.trouble:
            self._tell(recovered(services.origin, backup, before.last_success_at))
        if backup.type is BackupType.AUTOMATIC:
            words = f"{backup.status}: {backup.total_rows:,} rows, {backup.size_bytes:,} bytes"
            ping = services.notifier.ping_succeeded if complete else services.notifier.ping_failed
            self._deliver(partial(ping, backup.backup_id, words))

    def _tell(self, event: Event) -> None:
        self._deliver(partial(self.services.notifier.notify, event))

    def _deliver(self, delivery: Callable[[], tuple[DeliveryFailure, ...]]) -> None:
        """Have it delivered beside the runs: it never touches the one it tells of."""
        self.messenger.send(delivery, self.services.log)


def _tells(run: Run, request: BackupRequest) -> bool:
    """Whether the run says how backups stand: it has ended by itself, and is not the one that just begins."""
    interrupted = run.status is Status.FAILED and (run.error or "").startswith("interrupted")
    return run.backup_id != request.backup_id and run.status is not Status.IN_PROGRESS and not interrupted
