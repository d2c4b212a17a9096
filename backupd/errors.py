"""Every error a person can meet: a message, what to do next, an exit code."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """How a command ends. The one table: `--help`, the README and the systemd unit are checked against it."""

    OK = 0
    FAILED = 1
    PARTIAL = 3
    NOT_FOUND = 10
    LOCKED = 11
    WRONG_KEY = 12
    CONFIGURATION = 78
    INTERRUPTED = 130

    @property
    def meaning(self) -> str:
        """What the code tells the caller, in a few words."""
        return _MEANINGS[self]


_MEANINGS = {
    ExitCode.OK: "done",
    ExitCode.FAILED: "failed; nothing was published or changed",
    ExitCode.PARTIAL: "the backup lacks something, or verification found a mismatch",
    ExitCode.NOT_FOUND: "no such backup",
    ExitCode.LOCKED: "another run holds the lock",
    ExitCode.WRONG_KEY: "wrong key to decrypt",
    ExitCode.CONFIGURATION: "the configuration or the command line is wrong",
    ExitCode.INTERRUPTED: "interrupted",
}


class BackupdError(Exception):
    """Something went wrong that a person can understand.

    `message` says what and where in one line; `hint` says what to do next. Neither ever holds a secret.
    """

    exit_code: ExitCode = ExitCode.FAILED

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(BackupdError):
    """The configuration cannot be used. The message lists every problem found, one a line."""

    exit_code = ExitCode.CONFIGURATION


class ProjectError(BackupdError):
    """The Supabase project could not be read or written."""


class ProjectUnreachable(ProjectError):
    """The project did not answer, or not in a way that makes sense, however often it was asked."""


class KeyRefused(ProjectError):
    """The project refused the API key, or the key is of a kind that cannot see every row."""

    exit_code = ExitCode.CONFIGURATION


class TableUnreadable(ProjectError):
    """One table could not be read; the others can. `code` is the server's error code, `42501` for a missing grant."""

    def __init__(self, message: str, *, code: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code


class ArchiveError(BackupdError):
    """An archive is damaged, or is not one of ours. Verification found a mismatch."""

    exit_code = ExitCode.PARTIAL


class StoreError(BackupdError):
    """The place where archives are kept refused an operation."""


class CatalogError(BackupdError):
    """The catalog cannot be opened, read or written."""


class BackupNotFound(BackupdError):
    """No backup has this id, or more than one has this prefix."""

    exit_code = ExitCode.NOT_FOUND


class RunLocked(BackupdError):
    """Another run holds the lock of this state directory."""

    exit_code = ExitCode.LOCKED


class WrongKey(BackupdError):
    """None of the identities given opens this archive."""

    exit_code = ExitCode.WRONG_KEY


class Interrupted(BackupdError):
    """The run was asked to stop and did, between two pages. Nothing was published."""

    exit_code = ExitCode.INTERRUPTED
