"""The sandbox is an extra: light to import, and clear about what is missing."""

from __future__ import annotations

import subprocess
import sys

import pytest

from backupd.sandbox.driver import SandboxMissing, connect


def test_sandbox_import_does_not_load_its_libraries() -> None:
    """Commands that never start a sandbox do not pay for PostgreSQL's client or a web server."""
    script = "import sys, backupd.sandbox; print({'psycopg', 'starlette', 'uvicorn'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_sandbox_without_psycopg_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra the error names it."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(SandboxMissing) as caught:
        connect("postgresql://postgres@/postgres?host=/nonexistent")
    assert caught.value.hint == "pip install 'backupd[sandbox]'"
