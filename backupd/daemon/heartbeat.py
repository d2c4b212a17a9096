"""The daemon's sign of life: a lock nobody else can hold while it lives, and in it what it is doing."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from backupd.errors import BackupdError, RunLocked

_FILE = "daemon"
_PRIVATE_FILE = 0o600


@dataclass(frozen=True, slots=True)
class Sign:
    """What a living daemon says of itself. `next_runs` by job, in UTC."""

    pid: int
    version: str
    started_at: datetime
    ticked_at: datetime
    doing: str
    next_runs: Mapping[str, datetime]


class Heartbeat:
    """Writes the sign of life of the one daemon of a state directory."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def beat(self, sign: Sign) -> None:
        """Write the sign. A full disk is no reason to die: then the sign grows old."""
        document = {
            "pid": sign.pid,
            "version": sign.version,
            "started_at": sign.started_at.isoformat(),
            "ticked_at": sign.ticked_at.isoformat(),
            "doing": sign.doing,
            "next_runs": {job: at.isoformat() for job, at in sign.next_runs.items()},
        }
        data = json.dumps(document).encode()
        try:
            os.pwrite(self._descriptor, data + b" " * 16, 0)
            os.ftruncate(self._descriptor, len(data))
        except OSError:
            return


@contextmanager
def only_daemon(state_directory: Path) -> Iterator[Heartbeat]:
    """Be the one daemon of a state directory. Raises RunLocked when there is one already."""
    file = state_directory / _FILE
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE_FILE)
    except OSError as error:
        raise BackupdError(
            f"{file} cannot be opened: {error.strerror}", hint="Who owns the state directory?"
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            other = read_sign(state_directory)
            who = f"process {other.pid}" if other else "another process"
            raise RunLocked(
                f"{who} is the daemon of {state_directory}", hint="`backupd status` tells what it is doing."
            ) from error
        yield Heartbeat(descriptor)
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def living_daemon(state_directory: Path) -> Sign | None:
    """Read the sign of the daemon of a state directory; None when none is alive."""
    try:
        descriptor = os.open(state_directory / _FILE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return read_sign(state_directory)
    finally:
        os.close(descriptor)
    return None


def read_sign(state_directory: Path) -> Sign | None:
    """Read the last sign, whether its writer is alive or not; None when there is none."""
    try:
        document: dict[str, Any] = json.loads((state_directory / _FILE).read_bytes())
        return Sign(
            pid=int(document["pid"]),
            version=str(document["version"]),
            started_at=datetime.fromisoformat(document["started_at"]),
            ticked_at=datetime.fromisoformat(document["ticked_at"]),
            doing=str(document["doing"]),
            next_runs={job: datetime.fromisoformat(at) for job, at in document["next_runs"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
