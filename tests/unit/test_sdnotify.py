"""sd_notify: what systemd receives, on a real datagram socket."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from backupd.sdnotify import ServiceManager


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    """A socket bound where systemd would listen."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(str(tmp_path / "notify"))
        bound.settimeout(5)
        yield bound


def manager(listener: socket.socket) -> ServiceManager:
    """A service manager that is reached through the listener."""
    return ServiceManager(
        {"NOTIFY_SOCKET": listener.getsockname()},
        pid=42,
        monotonic_ns=lambda: 7_000_999,
        send_timeout_seconds=0.05,
    )


def test_ready_with_status_sends_both_in_one_message(listener: socket.socket) -> None:
    """READY and the status line arrive together, so that no reader sees one without the other."""
    assert manager(listener).ready("next backup tonight at 02:00")
    assert listener.recv(1024) == b"READY=1\nSTATUS=next backup tonight at 02:00"


def test_ready_without_status_leaves_the_status_line_alone(listener: socket.socket) -> None:
    """No STATUS is sent when there is none."""
    assert manager(listener).ready()
    assert listener.recv(1024) == b"READY=1"


def test_status_with_line_breaks_stays_one_line(listener: socket.socket) -> None:
    """Text from outside, an error message say, cannot smuggle in another assignment."""
    assert manager(listener).status("failed:\nMAINPID=1\r\n  why? é")
    assert listener.recv(1024).decode() == "STATUS=failed: MAINPID=1 why? é"


def test_status_with_lone_surrogate_is_sent_all_the_same(listener: socket.socket) -> None:
    """A file name that is not UTF-8 does not stop the status line."""
    assert manager(listener).status("reading \udcff")
    assert listener.recv(1024) == b"STATUS=reading ?"


def test_watchdog_sends_a_sign_of_life(listener: socket.socket) -> None:
    """The watchdog is fed with WATCHDOG=1."""
    assert manager(listener).watchdog()
    assert listener.recv(1024) == b"WATCHDOG=1"


def test_reloading_carries_the_monotonic_time(listener: socket.socket) -> None:
    """RELOADING comes with CLOCK_MONOTONIC in whole microseconds."""
    assert manager(listener).reloading()
    assert listener.recv(1024) == b"RELOADING=1\nMONOTONIC_USEC=7000"


def test_stopping_sends_the_reason_along(listener: socket.socket) -> None:
    """STOPPING may carry what is being waited for."""
    assert manager(listener).stopping("finishing a page")
    assert listener.recv(1024) == b"STOPPING=1\nSTATUS=finishing a page"


def test_extend_timeout_rounds_up_to_microseconds(listener: socket.socket) -> None:
    """Seconds become whole microseconds, never fewer than asked for."""
    assert manager(listener).extend_timeout(1.0000001)
    assert listener.recv(1024) == b"EXTEND_TIMEOUT_USEC=1000001"


def test_send_to_abstract_socket_arrives(tmp_path: Path) -> None:
    """A name that begins with `@` is a socket without a file."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(f"\0backupd-test{tmp_path}")
        bound.settimeout(5)
        assert ServiceManager({"NOTIFY_SOCKET": f"@backupd-test{tmp_path}"}).watchdog()
        assert bound.recv(1024) == b"WATCHDOG=1"


@pytest.mark.parametrize("address", ["", "relative/path", "vsock:2:1234"])
def test_send_without_usable_socket_says_so_quietly(address: str) -> None:
    """Outside systemd nothing is sent and nothing breaks."""
    absent = ServiceManager({"NOTIFY_SOCKET": address} if address else {})
    assert not absent.is_present
    assert not absent.ready("up")


def test_send_to_vanished_socket_returns_false(tmp_path: Path) -> None:
    """A socket that is gone is reported, not raised."""
    gone = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "gone")})
    assert gone.is_present
    assert not gone.watchdog()


def test_send_to_socket_nobody_reads_gives_up(listener: socket.socket) -> None:
    """When the queue is full the daemon goes on after a moment."""
    sender = manager(listener)
    delivered = 0
    while sender.watchdog():
        delivered += 1
        assert delivered < 10_000
    assert delivered > 0


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({"WATCHDOG_USEC": "60000000"}, 60.0),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "42"}, 1.5),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "41"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({}, None),
    ],
)
def test_watchdog_seconds_counts_only_for_this_process(environ: dict[str, str], seconds: float | None) -> None:
    """The interval is read from the environment, if it is meant for this process and makes sense."""
    assert ServiceManager(environ, pid=42).watchdog_seconds == seconds
