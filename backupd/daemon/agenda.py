"""What the worker does next: what is owed, what somebody asked for, what is due; and what becomes of it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from functools import partial

from backupd.backup import BackupRequest
from backupd.daemon.messenger import Messenger
from backupd.daemon.operations import Operations, Outcome
from backupd.daemon.planner import Planner
from backupd.daemon.requests import Joined, Requests
from backupd.daemon.services import WEEKLY_CLEANUP, WEEKLY_DRILL, Services, Surroundings
from backupd.daemon.staleness import Staleness
from backupd.daemon.worker import Guard, Task, Worker, nothing
from backupd.errors import RunLocked
from backupd.log import Logger
from backupd.model import BackupType, Trigger
from backupd.runner import as_failure
from backupd.slots import Due

_LONGEST_WAIT_SECONDS = 20.0
_BUSY_WAIT_SECONDS = 1.0


class Agenda:
    """Hands the worker one thing after the other. Its methods are for the loop's thread, unless they say otherwise.

    Nothing but a reconciliation begins before the daemon `is_ready`, which the loop sets.
    """

    def __init__(self, services: Services, surroundings: Surroundings, staleness: Staleness) -> None:
        self._services = services
        self._around = surroundings
        self._staleness = staleness
        self._requests = Requests()
        self._owed: list[Callable[[], bool]] = [self._begin_reconciliation, self._begin_cleanup]
        self._free_at = self._first_look_at = 0.0
        self.worker = Worker(surroundings.signals.wake)
        self.messenger = Messenger(surroundings.metrics.notification_failures.inc)
        self.planner = Planner(
            services.catalog, self._begin_slot, is_free=self.is_free, clock=surroundings.clock, log=services.log
        )
        self.is_ready = False
        self.is_reconciled = False
        self.is_locked_out = False

    @property
    def services(self) -> Services:
        """What the next run works with."""
        return self._services

    @property
    def waiting(self) -> BackupRequest | None:
        """The backup somebody asked for that has not begun."""
        return self._requests.waiting

    @property
    def _log(self) -> Logger:
        return self._services.log

    def begin(self) -> None:
        """Register the jobs; the first slot begins after a little jitter."""
        self._register()
        self._first_look_at = self._around.monotonic() + self._around.jitter()

    def take_over(self, services: Services) -> None:
        """Work with these from the next run on; one under way ends with those it began with."""
        before, self._services = self._services, services
        self._register()
        if services.store.url != before.store.url or services.catalog is not before.catalog:
            self._owed.append(self._begin_reconciliation)

    def _register(self) -> None:
        services = self._services
        self.planner.use(services.catalog, services.log)
        self.planner.register(services.timetables, services.retry)
        if not services.catch_up:
            self.planner.skip_missed()

    def ask(self, backup_type: BackupType, trigger: Trigger) -> str | Joined:
        """Have a backup begun, give its id, or say which one it joins. From any thread."""
        request = self._request(backup_type, trigger)
        joined = self._requests.ask(request, self._backup_under_way)
        if joined is not None:
            self._log.info("backup.joined", trigger=str(trigger), backup_id=joined.backup_id)
            return joined
        self._log.info("backup.requested", trigger=str(trigger), backup_id=request.backup_id)
        self._around.signals.wake()
        return request.backup_id

    def _backup_under_way(self) -> str | None:
        task = self.worker.task
        return task.backup_id if task is not None and task.guard.may_be_joined else None

    def look(self) -> None:
        """Begin what comes next, if the worker is idle."""
        self._begin_waiting()
        self.planner.run_pending()
        self.planner.look()

    def wait_seconds(self) -> float:
        """How long nothing can become due, unless a signal or the end of a run says otherwise."""
        soon = self.worker.task or self._owed or self.waiting or self.is_locked_out
        longest = _BUSY_WAIT_SECONDS if soon else _LONGEST_WAIT_SECONDS
        until_first_look = self._first_look_at - self._around.monotonic()
        waits = [longest, self.planner.idle_seconds, *([until_first_look] if until_first_look > 0 else [])]
        return max(0.0, min(waits))

    def is_free(self) -> bool:
        """Whether the run of a slot could begin now."""
        now = self._around.monotonic()
        idle = self.worker.task is None and not self._owed and self._requests.waiting is None
        return self.is_ready and idle and now >= max(self._free_at, self._first_look_at)

    def _begin_waiting(self) -> None:
        """Begin what is not on the timetable: first the reconciliation, then what somebody asked for, then the rest."""
        if self.worker.task is not None or self._around.monotonic() < self._free_at:
            return
        if self.is_reconciled and self._requests.begin(self._begin_request):
            return
        if self._owed and (self.is_ready or not self.is_reconciled):
            begin = self._owed.pop(0)
            begin()

    def _begin_request(self, request: BackupRequest) -> bool:
        work = partial(self.operations().back_up, request)
        again = partial(self._requests.put_back, request)
        return self._start("backup", request.trigger, work, again, backup_id=request.backup_id)

    def _begin_reconciliation(self) -> bool:
        operations = self.operations()

        def reconcile(guard: Guard) -> Outcome:
            try:
                return operations.reconcile(guard)
            finally:
                self.is_reconciled = True

        again = partial(self._owed.insert, 0, self._begin_reconciliation)
        return self._start("rescan", Trigger.SCHEDULE, reconcile, again)

    def _begin_cleanup(self) -> bool:
        """The cleanup of every start; it is also that of a Sunday that was missed."""
        slot = self.planner.due(WEEKLY_CLEANUP)
        if slot is not None:
            return self._begin_slot(WEEKLY_CLEANUP, slot)
        work = partial(self.operations().clean_up, Trigger.SCHEDULE)
        return self._start("cleanup", Trigger.SCHEDULE, work, partial(self._owed.append, self._begin_cleanup))

    def _begin_slot(self, job: str, slot: Due) -> bool:
        """Begin the run of a slot. While another process holds the lock it stays due, and that counts for nothing."""
        begun = partial(self.planner.began, job, slot)
        let_go = partial(self.planner.let_go, job, slot)
        operations = self.operations()
        if job == WEEKLY_CLEANUP:
            work = partial(operations.clean_up, slot.trigger, begun=begun)
            return self._start("cleanup", slot.trigger, self._noted(job, slot, work), let_go=let_go)
        if job == WEEKLY_DRILL:
            work = partial(operations.drill, slot.trigger, begun=begun)
            return self._start("drill", slot.trigger, self._noted(job, slot, work), let_go=let_go)
        request = self._request(BackupType.AUTOMATIC, slot.trigger)
        work = partial(operations.back_up, request, begun=begun)
        noted = self._noted(job, slot, work)
        return self._start("backup", slot.trigger, noted, let_go=let_go, backup_id=request.backup_id)

    def _noted(self, job: str, slot: Due, work: Callable[[Guard], Outcome]) -> Callable[[Guard], Outcome]:
        """Remember how the run of a slot ended."""

        def noted(guard: Guard) -> Outcome:
            outcome = work(guard)
            if outcome is Outcome.INTERRUPTED:
                self.planner.let_go(job, slot)
                return outcome
            pause = self.planner.ended(job, slot, success=outcome is Outcome.SUCCESS)
            if pause is not None:
                self._log.warning(
                    "slot.failed", job_name=job, attempt=slot.attempt, retry_seconds=pause.total_seconds()
                )
            elif outcome is not Outcome.SUCCESS:
                self._log.error("slot.given_up", job_name=job, attempt=slot.attempt)
            return outcome

        return noted

    def _start(
        self,
        operation: str,
        trigger: Trigger,
        work: Callable[[Guard], Outcome],
        again: Callable[[], None] = nothing,
        *,
        let_go: Callable[[], None] = nothing,
        backup_id: str | None = None,
    ) -> bool:
        """Have the worker do it; `again` has it done later when another process holds the lock."""
        guard = self._guard()

        def contained() -> None:
            try:
                work(guard)
            except RunLocked as error:
                self._wait_for_lock(operation, error)
                again()
            except Exception as error:  # noqa: BLE001 - the end of this thread's line: the loop goes on
                self._log.critical("task.failed", operation=operation, error=as_failure(error).message, exc_info=error)
            else:
                self.is_locked_out = False

        return self.worker.start(Task(operation, trigger, self._around.clock(), guard, contained, backup_id, let_go))

    def _wait_for_lock(self, operation: str, error: RunLocked) -> None:
        """Come back in a moment, and say so once however long it takes."""
        self._free_at = self._around.monotonic() + self._around.lock_pause_seconds
        if not self.is_locked_out:
            self._log.warning("run.postponed", operation=operation, error=error.message)
        self.is_locked_out = True

    def _guard(self) -> Guard:
        return Guard(
            deadline_seconds=self._services.deadline_seconds,
            stall_seconds=self._services.stall_seconds,
            monotonic=self._around.monotonic,
        )

    def _request(self, backup_type: BackupType, trigger: Trigger) -> BackupRequest:
        return BackupRequest(str(uuid.uuid4()), backup_type, trigger, self._services.platform)

    def operations(self) -> Operations:
        """The operations over the services of now."""
        return Operations(
            self._services,
            self._around.clock,
            self.messenger,
            self._around.metrics,
            self._staleness.last_success_at,
            self._staleness.is_told,
        )
