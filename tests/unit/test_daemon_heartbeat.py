"""The sign of life: one daemon a state directory, and what it says of itself."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backupd.daemon.heartbeat import Sign, living_daemon, only_daemon, read_sign
from backupd.errors import BackupdError, RunLocked

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
NEXT: Mapping[str, datetime] = {"daily_backup": datetime(2026, 11, 23, 2, tzinfo=UTC)}
SIGN = Sign(4711, "0.1.0", NOON, NOON, "idle; next daily_backup 2026-11-23 02:00 UTC", NEXT)


def test_sign_of_a_living_daemon_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Everything comes back, to the microsecond."""
    with only_daemon(tmp_path) as heartbeat:
        heartbeat.beat(SIGN)
        assert living_daemon(tmp_path) == SIGN


def test_sign_that_is_shorter_than_the_one_before_leaves_nothing_of_it(tmp_path: Path) -> None:
    """What was written before does not show through."""
    with only_daemon(tmp_path) as heartbeat:
        heartbeat.beat(replace(SIGN, doing="x" * 500))
        heartbeat.beat(SIGN)
        assert living_daemon(tmp_path) == SIGN


def test_sign_is_whole_at_every_moment(tmp_path: Path) -> None:
    """A reader that looks while signs of all lengths are written always gets one of them."""
    done = threading.Event()
    seen: list[Sign | None] = []

    def read() -> None:
        while not done.is_set():
            seen.append(read_sign(tmp_path))

    with only_daemon(tmp_path) as heartbeat:
        heartbeat.beat(SIGN)
        reader = threading.Thread(target=read)
        reader.start()
        for number in range(2000):
            heartbeat.beat(replace(SIGN, doing="x" * (number * 7 % 300)))
        done.set()
        reader.join()
    assert seen
    assert None not in seen


def test_sign_of_a_dead_daemon_is_no_sign_of_life(tmp_path: Path) -> None:
    """The lock says whether it lives; when it was last seen can still be read."""
    with only_daemon(tmp_path) as heartbeat:
        heartbeat.beat(SIGN)
    assert living_daemon(tmp_path) is None
    assert read_sign(tmp_path) == SIGN


def test_sign_where_no_daemon_ever_ran_is_none(tmp_path: Path) -> None:
    """An empty state directory."""
    assert living_daemon(tmp_path) is None
    assert read_sign(tmp_path) is None


def test_second_daemon_is_refused_and_told_of_the_first(tmp_path: Path) -> None:
    """The message names the process."""
    with only_daemon(tmp_path) as heartbeat:
        heartbeat.beat(SIGN)
        with pytest.raises(RunLocked, match="process 4711 is the daemon of"), only_daemon(tmp_path):
            pass


def test_daemon_is_not_refused_because_somebody_looks_whether_it_lives(tmp_path: Path) -> None:
    """`backupd status` takes the lock for a moment; a daemon that starts in that moment waits for it to pass."""
    descriptor = os.open(tmp_path / "daemon", os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    release = threading.Timer(0.1, os.close, [descriptor])
    release.start()
    with only_daemon(tmp_path):
        release.join()


def test_daemon_in_a_directory_that_is_not_there_is_refused_in_words(tmp_path: Path) -> None:
    """The file and the reason."""
    with pytest.raises(BackupdError, match="daemon cannot be opened: No such file"), only_daemon(tmp_path / "absent"):
        pass


def test_beat_to_a_full_disk_does_not_raise(tmp_path: Path) -> None:
    """The sign grows old, and that is all."""
    from backupd.daemon.heartbeat import Heartbeat

    descriptor = os.open("/dev/full", os.O_RDWR)
    try:
        Heartbeat(descriptor).beat(SIGN)
    finally:
        os.close(descriptor)
