"""What the daemon does in its worker: each operation with its messages and pings. Errors end here, as outcomes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from backupd.backup import BackupRequest, Witness, run_backup
from backupd.cleanup import run_cleanup
from backupd.daemon.services import Services
from backupd.daemon.worker import Guard
from backupd.errors import BackupdError, Interrupted, RunLocked
from backupd.log import Logger
from backupd.metrics import Metrics
from backupd.model import Backup, BackupType, Clock, Status, Trigger
from backupd.notify import DeliveryFailure, Event, Failure, failed, partial, recovered, stale
from backupd.rescan import run_rescan

Result = TypeVar("Result")


class Outcome(StrEnum):
    """How an operation ended, for whoever planned it."""

    SUCCESS = "success"
    FAILURE = "failure"
    POSTPONED = "postponed"


@dataclass(frozen=True, slots=True)
class _Before:
    """How things stood before a backup: whether the last one went wrong, and when one last went right."""

    trouble: bool
    last_success_at: datetime | None


@dataclass(frozen=True, slots=True)
class Operations:
    """The operations of the daemon, over one set of services. None of them raises for what went wrong in the run."""

    services: Services
    clock: Clock
    log: Logger
    metrics: Metrics

    def back_up(self, request: BackupRequest, guard: Guard) -> Outcome:
        """Take a backup; tell the dead-man switch of automatic ones, and people of what is worth a message."""
        services = self.services
        automatic = request.type is BackupType.AUTOMATIC
        before = self._before()
        if automatic:
            self._delivered(services.notifier.ping_started(request.backup_id))
        started_at = self.clock()
        try:
            backup = self._run("backup", request.trigger, guard, lambda work: self._take(request, guard, work), request)
        except RunLocked as error:
            self.log.warning("backup.postponed", error=error.message)
            return Outcome.POSTPONED
        except Interrupted:
            return Outcome.FAILURE
        except BackupdError as error:
            failure = Failure(request.type, started_at, error, before.last_success_at, request.backup_id)
            self._tell(failed(services.origin, failure, self.clock()))
            if automatic:
                self._delivered(services.notifier.ping_failed(request.backup_id, error.message))
            return Outcome.FAILURE
        self._tell_of(backup, before)
        return Outcome.SUCCESS if backup.status is Status.COMPLETED else Outcome.FAILURE

    def clean_up(self, trigger: Trigger, guard: Guard) -> Outcome:
        """Remove what has expired."""
        services = self.services
        try:
            report = self._run(
                "cleanup",
                trigger,
                guard,
                lambda _: run_cleanup(
                    services.store, services.catalog, services.policy, clock=self.clock, should_stop=guard.should_stop
                ),
            )
        except RunLocked as error:
            self.log.warning("cleanup.postponed", error=error.message)
            return Outcome.POSTPONED
        except BackupdError:
            return Outcome.FAILURE
        self.metrics.retention_deleted.inc(len(report.deleted))
        self.metrics.retention_refused.inc(len(report.refused))
        self.log.info("cleanup.completed", deleted=len(report.deleted), refused=len(report.refused))
        return Outcome.SUCCESS

    def reconcile(self, guard: Guard) -> Outcome:
        """Make the catalog agree with the store, and clear away what a dead process left behind."""
        services = self.services
        try:
            report = self._run(
                "rescan",
                Trigger.SCHEDULE,
                guard,
                lambda _: run_rescan(services.store, services.catalog, clock=self.clock, should_stop=guard.should_stop),
            )
        except RunLocked as error:
            self.log.warning("rescan.postponed", error=error.message)
            return Outcome.POSTPONED
        except BackupdError:
            return Outcome.FAILURE
        self.log.info("rescan.completed", adopted=len(report.adopted), missing=len(report.missing))
        return Outcome.SUCCESS

    def tell_stale(self) -> None:
        """Tell people that no backup has succeeded for too long."""
        last = self.services.catalog.last_completed()
        event = stale(self.services.origin, last.created_at if last else None, self.services.stale_after, self.clock())
        self._tell(event)

    def _take(self, request: BackupRequest, guard: Guard, work_directory: Path) -> Backup:
        services = self.services
        witness = Witness(self.clock, guard.on_progress, guard.should_stop)
        with services.open_project(guard.should_stop) as project:
            return run_backup(project, services.store, services.catalog, request, work_directory, witness)

    def _run(
        self,
        operation: str,
        trigger: Trigger,
        guard: Guard,
        work: Callable[[Path], Result],
        request: BackupRequest | None = None,
    ) -> Result:
        """Run under the lock. A run that the guard ended fails for the guard's reason, not as interrupted."""

        def guarded(work_directory: Path) -> Result:
            try:
                return work(work_directory)
            except Interrupted as error:
                if guard.reason is None:
                    raise
                raise BackupdError(
                    f"the {operation} was stopped: {guard.reason}", hint="`backupd check` looks at the project."
                ) from error

        return self.services.runner.run(operation, trigger, guarded, backup_id=request.backup_id if request else None)

    def _before(self) -> _Before:
        catalog = self.services.catalog
        ended = [backup for backup in catalog.backups(limit=2) if backup.status is not Status.IN_PROGRESS]
        last = catalog.last_completed()
        trouble = bool(ended) and ended[0].status is not Status.COMPLETED
        return _Before(trouble=trouble, last_success_at=last.created_at if last else None)

    def _tell_of(self, backup: Backup, before: _Before) -> None:
        """Tell of a backup that was published: recovered, partial, or simply done."""
        services = self.services
        complete = backup.status is Status.COMPLETED
        if not complete:
            self._tell(partial(services.origin, backup, before.last_success_at, self.clock()))
        elif before.trouble:
            self._tell(recovered(services.origin, backup, before.last_success_at))
        if backup.type is BackupType.AUTOMATIC:
            words = f"{backup.status}: {backup.total_rows:,} rows, {backup.size_bytes:,} bytes"
            ping = services.notifier.ping_succeeded if complete else services.notifier.ping_failed
            self._delivered(ping(backup.backup_id, words))

    def _tell(self, event: Event) -> None:
        self._delivered(self.services.notifier.notify(event))

    def _delivered(self, failures: tuple[DeliveryFailure, ...]) -> None:
        """Count and log what could not be delivered. It never touches the run it tells of."""
        for failure in failures:
            self.log.warning("notification.failed", target=failure.target, reason=failure.reason)
        self.metrics.notification_failures.inc(len(failures))
