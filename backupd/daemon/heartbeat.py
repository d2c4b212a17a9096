"""The daemon's sign of life: a lock nobody else can hold while it lives, and in it what it is doing."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from backupd.errors import BackupdError, RunLocked

_FILE = "daemon"
_PRIVATE_FILE = 0o600
_TRIES = 10
_PAUSE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Sign:
    """What a daemon says of itself. `next_runs` by job, in UTC; `hung`: the run under way should long have stopped."""

    pid: int
    version: str
    started_at: datetime
    ticked_at: datetime
    doing: str
    next_runs: Mapping[str, datetime]
    hung: bool = False


class Heartbeat:
    """Writes the sign of life of the one daemon of a state directory."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def beat(self, sign: Sign) -> None:
        """Write the sign. A full disk is no reason to die: then the sign grows old.

        In one write, padded to what is there: a reader never sees half of one sign and half of another.
        """
        document = {
            "pid": sign.pid,
            "version": sign.version,
            "started_at": sign.started_at.isoformat(),
            "ticked_at": sign.ticked_at.isoformat(),
            "doing": sign.doing,
            "hung": sign.hung,
            "next_runs": {job: at.isoformat() for job, at in sign.next_runs.items()},
        }
        with suppress(OSError):
            length = os.fstat(self._descriptor).st_size
            os.pwrite(self._descriptor, json.dumps(document).encode().ljust(length), 0)


@contextmanager
def only_daemon(state_directory: Path) -> Iterator[Heartbeat]:
    """Be the one daemon of a state directory. Raises RunLocked when there is one already.

    The file stays afterwards, and tells when the daemon was last seen; the lock is what says that it lives.
    """
    file = state_directory / _FILE
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE_FILE)
    except OSError as error:
        raise BackupdError(
            f"{file} cannot be opened: {error.strerror}", hint="Who owns the state directory?"
        ) from error
    try:
        if not _locked(descriptor, fcntl.LOCK_EX, tries=_TRIES):
            other = read_sign(state_directory)
            who = f"process {other.pid}" if other else "another process"
            raise RunLocked(
                f"{who} is the daemon of {state_directory}", hint="`backupd status` tells what it is doing."
            )
        yield Heartbeat(descriptor)
    finally:
        os.close(descriptor)


def living_daemon(state_directory: Path) -> Sign | None:
    """Read the sign of the daemon of a state directory; None when none is alive.

    Raises BackupdError when it may not be read, or when a daemon lives that says nothing.
    """
    file = state_directory / _FILE
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BackupdError(
            f"{file} cannot be read: {error.strerror}", hint="Ask as the user who runs the daemon."
        ) from error
    try:
        if _locked(descriptor, fcntl.LOCK_SH, tries=1):
            return None
    finally:
        os.close(descriptor)
    sign = _patiently_read(state_directory)
    if sign is None:
        raise BackupdError(f"a daemon lives on {state_directory}, but {file} tells nothing", hint="Is the disk full?")
    return sign


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
            hung=bool(document["hung"]),
            next_runs={job: datetime.fromisoformat(at) for job, at in document["next_runs"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _locked(descriptor: int, kind: int, *, tries: int) -> bool:
    """Take the lock. Several tries outlast somebody who only looks whether a daemon lives."""
    for left in reversed(range(tries)):
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if left:
                time.sleep(_PAUSE_SECONDS)
        else:
            return True
    return False


def _patiently_read(state_directory: Path) -> Sign | None:
    """A daemon that has just taken the lock has not written yet."""
    for _ in range(_TRIES):
        if (sign := read_sign(state_directory)) is not None:
            return sign
        time.sleep(_PAUSE_SECONDS)
    return None
