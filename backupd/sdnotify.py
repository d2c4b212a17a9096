"""Tells systemd how the daemon is: ready, alive, reloading, stopping, and a line for `systemctl status`."""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Callable, Mapping


class ServiceManager:
    """The service manager that started this process, if one did: what sd_notify(3) and sd_watchdog_enabled(3) describe.

    `environ` is the process environment, `pid` the process that may feed the watchdog, `monotonic_ns` reads
    CLOCK_MONOTONIC in nanoseconds. systemd reads its socket at once; `send_timeout_seconds` is for the day when it
    does not. Each message returns whether it was handed over: False without a service manager
    and when the socket refuses it. Nothing here ever raises: a daemon does not die of its status line.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        *,
        pid: int | None = None,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        send_timeout_seconds: float = 1.0,
    ) -> None:
        self._address = _socket_address(environ.get("NOTIFY_SOCKET", ""))
        self._monotonic_ns = monotonic_ns
        self._send_timeout_seconds = send_timeout_seconds
        self._watchdog_seconds = _watchdog_seconds(environ, os.getpid() if pid is None else pid)

    @property
    def is_present(self) -> bool:
        """Whether a service manager listens to this process."""
        return self._address is not None

    @property
    def watchdog_seconds(self) -> float | None:
        """Within how many seconds `watchdog` has to be called again and again; None when nobody expects it.

        Call it about twice as often.
        """
        return self._watchdog_seconds

    def ready(self, status: str | None = None) -> bool:
        """Startup, or a reload, is finished. `status` goes out in the same message."""
        return self._send("READY=1", *_status(status))

    def status(self, text: str) -> bool:
        """Set the line that `systemctl status` shows."""
        return self._send(*_status(text))

    def watchdog(self) -> bool:
        """The process is alive and gets on with its work. Call it only where that has just been seen."""
        return self._send("WATCHDOG=1")

    def reloading(self) -> bool:
        """A reload begins; `ready` ends it. Carries the time, which `Type=notify-reload` requires."""
        return self._send("RELOADING=1", f"MONOTONIC_USEC={self._monotonic_ns() // 1000}")

    def stopping(self, status: str | None = None) -> bool:
        """The process is on its way out."""
        return self._send("STOPPING=1", *_status(status))

    def extend_timeout(self, seconds: float) -> bool:
        """Ask for so many more seconds, from now, to start, reload or stop."""
        return self._send(f"EXTEND_TIMEOUT_USEC={math.ceil(seconds * 1_000_000)}")

    def _send(self, *lines: str) -> bool:
        if self._address is None:
            return False
        message = "\n".join(lines).encode(errors="replace")
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
                connection.settimeout(self._send_timeout_seconds)
                return connection.sendto(message, self._address) == len(message)
        except OSError:
            return False


def _status(text: str | None) -> tuple[str, ...]:
    """A status is one line: a line break in it would begin another assignment."""
    return () if text is None else (f"STATUS={' '.join(text.split())}",)


def _socket_address(value: str) -> str | None:
    """A path, or an abstract name whose `@` stands for a zero byte; None for anything else (`vsock:…`)."""
    if value.startswith("@"):
        return "\0" + value[1:]
    return value if value.startswith("/") else None


def _watchdog_seconds(environ: Mapping[str, str], pid: int) -> float | None:
    """The watchdog counts only for the process it names: a child inherits the variables, not the duty."""
    if environ.get("WATCHDOG_PID", str(pid)) != str(pid):
        return None
    microseconds = environ.get("WATCHDOG_USEC", "")
    if not microseconds.isascii() or not microseconds.isdigit() or int(microseconds) == 0:
        return None
    return int(microseconds) / 1_000_000
