"""One daemon, one project and one browser for the tests of a module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from backupd.sandbox.auth import SandboxUser
from backupd.sandbox.postgres import Postgres
from tests.support.browser import TOKEN, Visit, axe_script, chromium, free_port
from tests.support.daemons import daemon
from tests.support.processes import Backupd, sample_project

ADMIN = SandboxUser("ada@example.org", "analytical engine", {"role": "admin"})
STRANGER = SandboxUser("bob@example.org", "nothing special")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium."""
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def visit(postgres: Postgres, browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visit]:
    """A running daemon over a small project that is read slowly enough to be watched."""
    port = free_port()
    settings = {
        "BACKUPD_WEB__LISTEN": f"127.0.0.1:{port}",
        "BACKUPD_WEB__ADMIN_TOKEN": TOKEN,
        "BACKUPD_WEB__ADMIN_RULE": "app_metadata.role = admin",
        "BACKUPD_PROJECT__MAX_BYTES_PER_SECOND": "25000",
        "BACKUPD_PROJECT__PAGE_ROWS": "50",
    }
    with sample_project(postgres, users=(ADMIN, STRANGER)) as project:
        cli = Backupd(tmp_path_factory.mktemp("home"), {**project.environ, **settings})
        with daemon(cli) as running:
            yield Visit(browser, f"http://127.0.0.1:{port}", running)


@pytest.fixture(scope="session")
def axe() -> Path:
    """The accessibility checker."""
    return axe_script()
