"""The daemon in the test's process: notifications, the guard, the service manager, the clock."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backupd.backup import BackupRequest
from backupd.daemon import Joined
from backupd.daemon.agenda import Agenda
from backupd.daemon.messenger import Messenger
from backupd.daemon.operations import Operations
from backupd.daemon.staleness import Staleness
from backupd.daemon.worker import Guard, Task
from backupd.errors import ConfigError, ExitCode, ProjectUnreachable
from backupd.model import Backup, BackupType, Run, ShouldStop, Status, Trigger
from tests.support.backup_rows import backup_row
from tests.support.daemon_room import Room
from tests.support.processes import wait_until

MANUAL = BackupType.MANUAL


@pytest.fixture
def room(tmp_path: Path) -> Room:
    """Everything around a daemon that has nothing to catch up."""
    made = Room(tmp_path)
    made.settle()
    return made


class Ear:
    """Where systemd would listen. Takes every message at once: a full queue would hold the daemon up."""

    def __init__(self, bound: socket.socket) -> None:
        self.address = bound.getsockname()
        self.messages: list[str] = []
        self.closed = threading.Event()
        self._bound = bound
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def wait_for(self, text: str, *, count: int = 1) -> int:
        """Wait until so many messages contain `text`; gives the position of the last of them."""
        wait_until(lambda: sum(text in message for message in self.messages) >= count, f"{count} {text}", seconds=10)
        return [number for number, message in enumerate(self.messages) if text in message][count - 1]

    def close(self) -> None:
        """Listen no more."""
        self.closed.set()
        self._thread.join()

    def _listen(self) -> None:
        while not self.closed.is_set():
            with suppress(TimeoutError):
                self.messages.append(self._bound.recv(4096).decode())


@pytest.fixture
def ear(tmp_path: Path) -> Iterator[Ear]:
    """A service manager's ear on a real socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(str(tmp_path / "notify"))
        bound.settimeout(0.05)
        listening = Ear(bound)
        yield listening
        listening.close()


def under_systemd(directory: Path, ear: Ear) -> Room:
    """A room with a service manager."""
    made = Room(directory, {"NOTIFY_SOCKET": ear.address, "WATCHDOG_USEC": "60000000"})
    made.settle()
    return made


def good(room: Room, age: timedelta) -> Backup:
    """A completed backup of this age whose archive is in the store."""
    archive = room.directory / "archives" / f"{age.total_seconds():.0f}.zip"
    archive.parent.mkdir(exist_ok=True)
    archive.write_bytes(b"x" * 1000)
    archive.with_name(f"{archive.name}.manifest.json").write_bytes(b"{}")
    return backup_row(room.time.now - age, archive=archive.name)


def failing(words: str = "the project did not answer") -> ProjectUnreachable:
    """A project that is down."""
    return ProjectUnreachable(words, hint="Is it paused?")


def test_loop_with_a_project_down_retries_with_pauses_and_tells_of_the_recovery(tmp_path: Path) -> None:
    """Failed, failed, completed: two messages of failure, one of recovery, and the slot is settled."""
    room = Room(tmp_path)
    room.settle("weekly_cleanup")
    room.project.trouble = failing()
    with room.living():
        room.wait_for("slot.failed", attempt=1, retry_seconds=300.0)
        room.time.go_on(timedelta(minutes=5))
        room.wait_for("slot.failed", attempt=2, retry_seconds=900.0)
        room.project.trouble = None
        room.time.go_on(timedelta(minutes=15))
        room.wait_for("run.finished", operation="backup", status="completed")
        wait_until(lambda: len(room.ears.events) == 3, "three messages")
        record = room.catalog.slot("daily_backup")
    assert room.ears.kinds == ["failed", "failed", "recovered"]
    assert record is not None
    assert (record.attempts, record.settled) == (3, True)


def test_loop_after_the_last_attempt_leaves_the_night_alone(tmp_path: Path) -> None:
    """Four attempts, and the log says that it gives up until the next night."""
    room = Room(tmp_path)
    room.settle("weekly_cleanup")
    room.project.trouble = failing()
    with room.living():
        for pause in (5, 15, 45):
            room.wait_for("slot.failed", retry_seconds=pause * 60.0)
            room.time.go_on(timedelta(minutes=pause))
        room.wait_for("slot.given_up", attempt=4)


def test_loop_pings_start_and_success_of_an_automatic_backup_with_one_id(tmp_path: Path) -> None:
    """The dead-man switch pairs start and end by the id of the backup."""
    room = Room(tmp_path)
    room.settle("weekly_cleanup")
    with room.living():
        wait_until(lambda: len(room.ears.pings) == 2, "two pings")
        (taken,) = room.catalog.backups()
    assert room.ears.pings == [("start", taken.backup_id), ("success", taken.backup_id)]
    assert room.ears.events == []


def test_loop_pings_failure_of_an_automatic_backup_with_the_same_id(tmp_path: Path) -> None:
    """A failed night is told to the dead-man switch as such."""
    room = Room(tmp_path)
    room.settle("weekly_cleanup")
    room.project.trouble = failing()
    with room.living():
        wait_until(lambda: len(room.ears.pings) == 2, "two pings")
    (start, start_id), (end, end_id) = room.ears.pings
    assert (start, end, start_id == end_id) == ("start", "fail", True)


def test_loop_with_a_partial_backup_tells_people_and_pings_failure(tmp_path: Path) -> None:
    """Partial never counts as a success: a message, a failed ping, a retry; the run is on record as partial."""
    room = Room(tmp_path)
    room.settle("weekly_cleanup")
    room.project.lacking = "1 row is missing"
    with room.living():
        room.wait_for("slot.failed", attempt=1)
        wait_until(lambda: len(room.ears.pings) == 2, "two pings")
        (run,) = room.catalog.runs(operation="backup")
    assert room.ears.kinds == ["partial"]
    assert [word for word, _ in room.ears.pings] == ["start", "fail"]
    assert run.status is Status.PARTIAL


def test_loop_manual_backup_is_not_pinged(room: Room) -> None:
    """The dead-man switch watches the nights; a backup by hand must not calm it."""
    with room.living() as daemon:
        room.back_up(daemon)
    assert room.ears.pings == []


def test_loop_after_an_interrupted_backup_speaks_of_no_recovery(room: Room) -> None:
    """Nobody was told of the interruption, so there is nothing to recover from."""
    room.catalog.start_run(Run("r1", "backup", Trigger.CLI, Status.IN_PROGRESS, room.time.now - timedelta(hours=1)))
    with room.living() as daemon:
        room.back_up(daemon)
    assert room.ears.events == []


def test_loop_tells_once_that_the_last_success_is_too_old(room: Room) -> None:
    """One message when the limit is passed, none at the next ticks, and one of the recovery."""
    room.catalog.save(good(room, timedelta(hours=25)))
    with room.living() as daemon:
        room.time.go_on(timedelta(hours=2))
        wait_until(lambda: room.ears.kinds == ["stale"], "the message")
        room.time.go_on(timedelta(hours=1))
        room.turn()
        assert room.ears.kinds == ["stale"]
        room.back_up(daemon)
        wait_until(lambda: room.ears.kinds == ["stale", "recovered"], "the recovery")


def test_loop_does_not_take_a_partial_backup_for_a_success(room: Room) -> None:
    """A partial backup an hour ago does not keep the last good one, 27 hours ago, from being too old."""
    room.catalog.save(good(room, timedelta(hours=27)))
    partial = good(room, timedelta(hours=1))
    room.catalog.save(replace(partial, status=Status.PARTIAL))
    with room.living():
        wait_until(lambda: room.ears.kinds == ["stale"], "the message")


def test_loop_lets_the_backup_that_is_due_come_before_the_alarm(tmp_path: Path) -> None:
    """After a weekend without power the missed night is made up for first; nobody is alarmed for nothing."""
    room = Room(tmp_path)
    room.settle("weekly_cleanup")
    room.catalog.save(good(room, timedelta(hours=60)))
    with room.living():
        room.wait_for("run.finished", operation="backup", status="completed")
        room.turn()
        room.turn()
    assert room.ears.events == []


def test_loop_with_a_service_down_counts_and_logs_it_and_the_run_stands(tmp_path: Path) -> None:
    """What cannot be delivered is a number and a line of log, and never touches the backup."""
    room = Room(tmp_path)
    room.settle("weekly_cleanup")
    room.ears.deaf = True
    with room.living():
        room.wait_for("notification.failed", count=2, target="notify.ping_url", reason="not reached")
        (taken,) = room.catalog.backups()
    assert taken.status is Status.COMPLETED
    assert room.metrics.registry.get_sample_value("backupd_notification_failures_total") == 2


def test_loop_with_a_message_that_hangs_goes_on_backing_up(tmp_path: Path) -> None:
    """Messages go out beside the runs: one that takes minutes holds up no backup."""
    room = Room(tmp_path)
    room.settle("weekly_cleanup")
    held = threading.Event()
    room.ears.hold = held
    with room.living() as daemon:
        room.wait_for("run.finished", operation="backup")
        wait_until(lambda: daemon.state().operation is None, "the worker is free")
        room.back_up(daemon, count=2)
        assert room.ears.pings == []
        held.set()
        wait_until(lambda: len(room.ears.pings) == 2, "the pings")


def test_loop_with_a_full_disk_tells_people_and_tries_again_after_a_pause(room: Room) -> None:
    """A catalog that cannot be written: the night fails for everybody to see, four times, and not at every tick."""
    with room.living():
        room.catalog.close()
        room.time.go_on(timedelta(hours=14, minutes=1))
        room.wait_for("slot.failed", attempt=1)
        for _ in range(5):
            room.turn()
        wait_until(lambda: room.ears.kinds == ["failed"], "one message")
        assert len(room.events("run.refused", operation="backup")) == 1
        room.time.go_on(timedelta(minutes=5))
        room.wait_for("slot.failed", attempt=2)


def test_guard_deadline_stops_a_run_and_the_record_says_why(room: Room) -> None:
    """A run that takes longer than schedule.deadline_hours fails with that as its reason."""
    room.project.before_page = lambda _: room.time.go_on(timedelta(minutes=61))
    with room.living() as daemon:
        room.back_up(daemon)
        (taken,) = room.catalog.backups()
    assert taken.error == "the backup was stopped: it took longer than 1 hours (schedule.deadline_hours)"
    assert room.ears.kinds == ["failed"]


def test_guard_stall_stops_a_run_and_the_record_says_why(room: Room) -> None:
    """A run without progress for schedule.stall_minutes fails with that as its reason, on record and in the message."""
    room.project.before_page = lambda _: room.time.go_on(timedelta(minutes=11))
    with room.living() as daemon:
        room.back_up(daemon)
        (taken,) = room.catalog.backups()
    assert taken.error == "the backup was stopped: it made no progress for 10 minutes (schedule.stall_minutes)"
    assert "no progress" in room.ears.events[0].body


def test_loop_with_a_worker_that_hangs_starves_the_watchdog(tmp_path: Path, ear: Ear) -> None:
    """While the worker moves WATCHDOG=1 comes; when it has hung for too long, it does not."""
    room = under_systemd(tmp_path, ear)
    room.hold_backups()
    with room.living() as daemon:
        room.signals.send(signal.SIGUSR1)
        assert room.reached.wait(10)
        ear.wait_for("WATCHDOG=1", count=len(ear.messages) // 2)
        assert daemon.state().hung is False
        room.time.go_on(timedelta(seconds=600 + 121))
        room.turn()
        assert daemon.state().hung is True
        fed, status = (sum(word in message for message in ear.messages) for word in ("WATCHDOG", "STATUS"))
        ear.wait_for("STATUS", count=status + 3)
        assert sum("WATCHDOG" in message for message in ear.messages) == fed


def test_loop_tells_the_service_manager_ready_only_after_the_reconciliation(tmp_path: Path, ear: Ear) -> None:
    """Before READY there is only status and patience; with it comes the line with the next run."""
    room = under_systemd(tmp_path, ear)
    with room.living():
        ready = ear.wait_for("READY=1")
        started = next(number for number, line in enumerate(room.log) if line["event"] == "daemon.started")
        events = [(line["event"], line.get("operation")) for line in room.log[:started]]
    assert ("run.finished", "rescan") in events
    assert ear.messages[ready] == "READY=1\nSTATUS=idle; next daily_backup 2026-11-23 02:00 UTC"
    assert [message for message in ear.messages[:ready] if "EXTEND_TIMEOUT_USEC" in message]


def test_loop_tells_the_service_manager_of_a_reload(tmp_path: Path, ear: Ear) -> None:
    """RELOADING with the time, then READY again, also when the new configuration is refused."""
    room = under_systemd(tmp_path, ear)
    with room.living():
        ear.wait_for("READY=1")
        room.trouble = ConfigError("schedule.daily_backup is '25:00'; it must be a time")
        room.signals.send(signal.SIGHUP)
        begun = ear.wait_for("RELOADING=1")
        assert ear.wait_for("READY=1", count=2) > begun
        assert "MONOTONIC_USEC=" in ear.messages[begun]
        room.wait_for("config.rejected", error="schedule.daily_backup is '25:00'; it must be a time")


def test_loop_tells_the_service_manager_that_it_stops(tmp_path: Path, ear: Ear) -> None:
    """STOPPING comes, with a request for the time it takes, and the end is in order."""
    room = under_systemd(tmp_path, ear)
    with room.living():
        ear.wait_for("READY=1")
    stopping = ear.wait_for("STOPPING=1")
    wait_until(lambda: "EXTEND_TIMEOUT_USEC" in "".join(ear.messages[stopping + 1 :]), "more time is asked for")
    assert room.code == ExitCode.OK


def test_loop_notices_a_step_of_the_clock(room: Room) -> None:
    """The wall clock jumps by a day while hardly any time passes: the night in between is made up for, once."""
    with room.living() as daemon:
        room.time.now += timedelta(days=1)
        room.wait_for("clock.stepped", seconds=86400)
        room.wait_for("run.finished", operation="backup", status="completed")
        room.turn()
        assert daemon.state().next_runs["daily_backup"] == datetime(2026, 11, 24, 2, tzinfo=UTC)
        assert len(room.catalog.backups()) == 1


def test_loop_does_not_take_slow_drift_for_a_step(room: Room) -> None:
    """A clock that NTP slews by a second a tick is no step, however long it goes on."""
    with room.living():
        for _ in range(70):
            room.time.now += timedelta(seconds=1)
            room.turn()
    assert not room.events("clock.stepped")


def test_loop_survives_a_bug_in_a_run(room: Room) -> None:
    """An exception nobody foresaw ends the run with a record, and not the daemon."""
    room.project.trouble = ZeroDivisionError("a bug")
    with room.living() as daemon:
        room.back_up(daemon)
        room.project.trouble = None
        room.time.go_on(timedelta(minutes=1))
        room.back_up(daemon, count=2)
        newer, older = room.catalog.backups()
    assert (newer.status, older.status) == (Status.COMPLETED, Status.FAILED)
    assert "bug in backupd" in (older.error or "")


def test_loop_survives_a_bug_in_a_reload(room: Room) -> None:
    """Whatever the new configuration does to the program, the old one goes on."""
    with room.living() as daemon:
        room.changes["no_such_field"] = 1
        room.signals.send(signal.SIGHUP)
        room.wait_for("config.rejected")
        room.back_up(daemon)


def test_loop_request_from_a_thread_is_answered_with_its_id(room: Room) -> None:
    """A page or an API asks from another thread; the backup has the id it was told."""
    with room.living() as daemon:
        backup_id = daemon.request_backup(MANUAL, Trigger.WEB)
        room.wait_for("run.finished", operation="backup")
        (taken,) = room.catalog.backups()
    assert (taken.backup_id, taken.trigger) == (backup_id, Trigger.WEB)


def test_loop_request_during_a_backup_joins_it(room: Room) -> None:
    """The answer names the backup under way."""
    room.hold_backups()
    with room.living() as daemon:
        first = daemon.request_backup(MANUAL, Trigger.WEB)
        assert room.reached.wait(10)
        assert daemon.request_backup(MANUAL, Trigger.API) == Joined(str(first))


def test_loop_request_after_the_end_of_a_run_is_a_backup_of_its_own(room: Room) -> None:
    """Who asks when the archive is published already, and only the worker is not yet free, does not join it."""
    services = room.build()
    agenda = Agenda(services, room.surroundings, Staleness(room.time.now))
    guard = Guard(deadline_seconds=60, stall_seconds=60)
    operations = Operations(services, room.time.clock, Messenger(lambda: None), room.metrics)
    held = threading.Event()

    def work() -> None:
        operations.back_up(BackupRequest("first", MANUAL, Trigger.SIGNAL, "Test"), guard)
        room.reached.set()
        held.wait(20)

    agenda.worker.start(Task("backup", Trigger.SIGNAL, room.time.now, guard, work, "first"))
    assert room.reached.wait(10)
    answer = agenda.ask(MANUAL, Trigger.WEB)
    held.set()
    assert agenda.worker.close(10)
    assert agenda.waiting is not None
    assert agenda.waiting.backup_id == answer


def test_loop_stopped_during_a_backup_records_it_as_interrupted(room: Room) -> None:
    """The run ends at the next page; no message goes out about it."""

    def stop_then_wait(should_stop: ShouldStop) -> None:
        room.signals.send(signal.SIGTERM)
        wait_until(should_stop, "the run is asked to stop")

    room.project.before_page = stop_then_wait
    errors: list[str | None] = []
    with room.living():
        room.signals.send(signal.SIGUSR1)
        room.wait_for("daemon.stopped")
        errors = [backup.error for backup in room.catalog.backups()]
    assert errors == ["interrupted while reading the project; nothing was published"]
    assert room.ears.events == []


def test_loop_stopped_during_a_slot_counts_no_attempt(tmp_path: Path) -> None:
    """A restart in the night is nobody's failure: the slot is due again at the next start, as its first attempt."""
    room = Room(tmp_path)
    room.settle("weekly_cleanup")

    def stop_then_wait(should_stop: ShouldStop) -> None:
        room.signals.send(signal.SIGTERM)
        wait_until(should_stop, "the run is asked to stop")

    room.project.before_page = stop_then_wait
    with room.living():
        room.wait_for("daemon.stopped")
        record = room.catalog.slot("daily_backup")
    assert record is not None
    assert (record.attempts, record.settled) == (0, False)


def test_loop_progress_is_a_part_of_the_rows_that_are_known_to_come(room: Room) -> None:
    """Half of the rows read is 0.5."""
    held, reached = threading.Event(), threading.Event()
    pages = iter(range(100))

    def hold_second(_: ShouldStop) -> None:
        if next(pages) == 1:
            reached.set()
            held.wait(20)

    room.project.before_page = hold_second
    with room.living() as daemon:
        room.signals.send(signal.SIGUSR1)
        assert reached.wait(10)
        assert daemon.state().progress_ratio == 0.5
        held.set()
