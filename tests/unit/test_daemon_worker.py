"""The worker, its guard, the requests and the messenger: the daemon's threads, one by one."""

from __future__ import annotations

import io
import threading
from datetime import UTC, datetime
from functools import partial

import pytest

from backupd.backup import BackupRequest
from backupd.daemon.messenger import Messenger
from backupd.daemon.requests import Joined, Requests
from backupd.daemon.worker import Guard, Task, Worker
from backupd.log import make_logger
from backupd.model import BackupType, Progress, Trigger
from backupd.notify import DeliveryFailure
from tests.support.daemon_room import Time

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
FIRST = BackupRequest("first", BackupType.MANUAL, Trigger.SIGNAL, "Test")
SECOND = BackupRequest("second", BackupType.MANUAL, Trigger.WEB, "Test")


def guard(time: Time) -> Guard:
    """A guard of an hour at most, ten minutes without progress at most."""
    return Guard(deadline_seconds=3600, stall_seconds=600, monotonic=time.monotonic)


def task(work: threading.Event | None = None) -> Task:
    """A task that ends at once, or when the event is set."""

    def until_set() -> None:
        if work is not None:
            work.wait(20)

    return Task("backup", Trigger.SIGNAL, NOON, guard(Time()), until_set)


def test_guard_lets_a_run_that_moves_go_on() -> None:
    """Progress every nine minutes is progress."""
    time = Time()
    watch = guard(time)
    for _ in range(6):
        time.seconds += 540
        watch.on_progress(Progress("reading", "users"))
        assert not watch.should_stop()


def test_guard_stops_a_run_at_its_deadline() -> None:
    """Progress or not, after an hour it is over."""
    time = Time()
    watch = guard(time)
    time.seconds += 3601
    watch.on_progress(Progress("reading", "users"))
    assert watch.should_stop()
    assert watch.reason == "it took longer than 1 hours (schedule.deadline_hours)"


def test_guard_of_a_run_asked_to_stop_has_no_reason() -> None:
    """The run was interrupted, it did not fail."""
    watch = guard(Time())
    watch.ask_to_stop()
    assert watch.should_stop()
    assert watch.reason is None


def test_guard_lets_a_large_archive_reach_the_store() -> None:
    """Putting sends no progress: only the deadline counts."""
    time = Time()
    watch = guard(time)
    watch.on_progress(Progress("storing"))
    time.seconds += 3000
    assert not watch.should_stop()
    assert not watch.is_hung


def test_guard_takes_being_asked_between_steps_for_progress() -> None:
    """A rescan or cleanup reports nothing; that it asks shows that it moves."""
    time = Time()
    watch = guard(time)
    for _ in range(5):
        time.seconds += 599
        assert not watch.should_stop_between_steps()


def test_guard_of_a_run_that_is_being_stopped_lets_nobody_join() -> None:
    """A run that made no progress will fail: whoever asks meanwhile wants another."""
    time = Time()
    watch = guard(time)
    assert watch.may_be_joined
    time.seconds += 601
    assert watch.should_stop()
    assert not watch.may_be_joined


@pytest.mark.parametrize(("seconds", "hung"), [(719, False), (721, True)])
def test_guard_calls_a_run_hung_that_did_not_stop_two_minutes_after_it_should(seconds: float, hung: bool) -> None:
    """Ten minutes without progress, two more to end."""
    time = Time()
    watch = guard(time)
    time.seconds += seconds
    assert watch.is_hung is hung


def test_worker_does_one_task_at_a_time() -> None:
    """The second is refused while the first is under way."""
    held = threading.Event()
    worker = Worker(lambda: None)
    assert worker.start(task(held))
    assert not worker.start(task())
    held.set()
    assert worker.close(10)


def test_worker_says_when_it_is_free_again() -> None:
    """When it says so, it is."""
    free: list[bool] = []
    said = threading.Event()

    def when_done() -> None:
        free.append(worker.task is None)
        said.set()

    worker = Worker(when_done)
    worker.start(task())
    assert said.wait(10)
    assert free == [True]


def test_worker_that_is_closed_takes_no_more() -> None:
    """Nothing begins while the daemon stops."""
    worker = Worker(lambda: None)
    assert worker.close(1)
    assert not worker.start(task())


def test_worker_with_a_task_that_hangs_says_so_when_closed() -> None:
    """It was asked to stop, and did not in time."""
    held = threading.Event()
    worker = Worker(lambda: None)
    hanging = task(held)
    worker.start(hanging)
    assert not worker.close(0.05)
    assert hanging.guard.should_stop()
    held.set()


def test_requests_second_joins_the_one_that_waits() -> None:
    """Two quick signals are one backup."""
    requests = Requests()
    assert requests.ask(FIRST, lambda: None) is None
    assert requests.ask(SECOND, lambda: None) == Joined("first")


def test_requests_that_could_not_begin_wait_on() -> None:
    """The worker was busy: nothing is lost."""
    requests = Requests()
    requests.ask(FIRST, lambda: None)
    assert not requests.begin(lambda _: False)
    assert requests.waiting == FIRST


def test_requests_put_back_does_not_push_another_aside() -> None:
    """Somebody asked while the first was turned away by the lock: one backup is enough for both."""
    requests = Requests()
    requests.ask(FIRST, lambda: None)
    requests.begin(lambda _: True)
    requests.ask(SECOND, lambda: None)
    requests.put_back(FIRST)
    assert requests.waiting == SECOND


def test_requests_of_many_threads_are_one_backup() -> None:
    """Twenty threads ask at the same moment: nineteen join the one that waits."""
    requests = Requests()
    barrier = threading.Barrier(20)
    answers: list[Joined | None] = []

    def ask(number: int) -> None:
        barrier.wait()
        answers.append(requests.ask(BackupRequest(str(number), BackupType.MANUAL, Trigger.API, "Test"), lambda: None))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers.count(None) == 1
    assert len({answer.backup_id for answer in answers if answer}) == 1


def test_messenger_delivers_in_order() -> None:
    """A start never comes after its end."""
    messenger = Messenger(lambda: None)
    log = make_logger(io.StringIO())
    sent: list[int] = []

    def deliver(number: int) -> tuple[DeliveryFailure, ...]:
        sent.append(number)
        return ()

    for number in range(50):
        messenger.send(partial(deliver, number), log)
    assert messenger.flush(10) == 0
    assert sent == list(range(50))


def test_messenger_says_how_many_are_left_when_time_is_up() -> None:
    """A service that hangs: the one under way and the one behind it."""
    held = threading.Event()
    messenger = Messenger(lambda: None)
    log = make_logger(io.StringIO())

    def hang() -> tuple[DeliveryFailure, ...]:
        held.wait(20)
        return ()

    messenger.send(hang, log)
    messenger.send(lambda: (), log)
    assert messenger.flush(0.05) == 2
    held.set()
    assert messenger.flush(10) == 0


def test_messenger_survives_a_bug_and_counts_it() -> None:
    """What a delivery raises is a failure like any other; the next one goes out."""
    counted: list[int] = []
    lines = io.StringIO()
    messenger = Messenger(lambda: counted.append(1))

    def broken() -> tuple[DeliveryFailure, ...]:
        raise ZeroDivisionError

    messenger.send(broken, make_logger(lines))
    messenger.send(lambda: (), make_logger(lines))
    assert messenger.flush(10) == 0
    assert counted == [1]
    assert "notification.failed" in lines.getvalue()
