"""The backup that somebody asked for: at most one waits, and whoever asks meanwhile joins it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from backupd.backup import BackupRequest


@dataclass(frozen=True, slots=True)
class Joined:
    """A request that came while a backup was under way or about to begin: it is answered by that one."""

    backup_id: str


class Requests:
    """Asked from any thread, answered by the loop's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: BackupRequest | None = None

    @property
    def waiting(self) -> BackupRequest | None:
        """The backup that is to be begun next."""
        return self._waiting

    def ask(self, request: BackupRequest, under_way: Callable[[], str | None]) -> Joined | None:
        """Let the request wait for its turn, None then; or say which backup, waiting or `under_way`, it joins."""
        with self._lock:
            joined = self._waiting.backup_id if self._waiting else under_way()
            if joined is not None:
                return Joined(joined)
            self._waiting = request
            return None

    def begin(self, start: Callable[[BackupRequest], bool]) -> bool:
        """Hand the waiting request to `start`; it waits on when that says False. Nobody can ask in between."""
        with self._lock:
            if self._waiting is None or not start(self._waiting):
                return False
            self._waiting = None
            return True

    def put_back(self, request: BackupRequest) -> None:
        """Let a request wait again that could not be begun after all."""
        with self._lock:
            self._waiting = self._waiting or request
