"""The one door to psycopg, which only the `sandbox` extra brings along."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backupd.errors import BackupdError

if TYPE_CHECKING:
    import psycopg

INSTALL_HINT = "pip install 'backupd[sandbox]'"


class SandboxError(BackupdError):
    """The throwaway project could not be started or used."""


class SandboxMissing(SandboxError):
    """The `sandbox` extra is not installed on this machine."""


class SandboxRefused(SandboxError):
    """PostgreSQL does not take connections, or not ours."""


def connect(url: str, *, autocommit: bool = True) -> psycopg.Connection:
    """Open a connection.

    Raises `SandboxMissing` without psycopg and `SandboxRefused` when the server does not let us in.
    """
    try:
        import psycopg
    except ImportError as error:
        raise SandboxMissing("psycopg is not installed.", hint=INSTALL_HINT) from error
    try:
        return psycopg.connect(url, autocommit=autocommit, connect_timeout=5)
    except psycopg.OperationalError as error:
        raise SandboxRefused(f"PostgreSQL refused the connection: {error}") from error
