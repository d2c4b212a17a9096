"""The weekly drill of a real daemon: it rehearses the last good backup, records it, and keeps its report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from backupd.model import Status
from backupd.sandbox.postgres import Postgres
from tests.support.daemons import daemon, runs
from tests.support.http_recorder import http_recorder
from tests.support.processes import Backupd, SampleProject, sample_project, wait_until

DRILLS = {"BACKUPD_SCHEDULE__WEEKLY_DRILL": "sunday 04:00"}


@pytest.fixture(scope="module")
def project(postgres: Postgres) -> Iterator[SampleProject]:
    """One project for the module: no test here changes it."""
    with sample_project(postgres) as running:
        yield running


@pytest.fixture
def cli(project: SampleProject, tmp_path: Path) -> Backupd:
    """A user whose daemon rehearses restores."""
    return Backupd(tmp_path, project.environ).having(**DRILLS)


def test_first_start_drills_the_first_backup(cli: Backupd) -> None:
    """The Sunday that was missed is caught up like every slot: after the backup there is something to rehearse."""
    with daemon(cli, quiet=False, jitter=0) as running:
        ended = running.wait_for("drill.ended", seconds=90)
        running.wait_for("run.finished", operation="drill")
        assert (ended["ok"], ended["problems"]) == (True, [])
        running.stop()
    (drill,) = runs(cli, "drill")
    assert drill.status is Status.COMPLETED


def test_drill_whose_check_command_fails_is_failed_and_told(cli: Backupd) -> None:
    """The owner's own test found something: the record says failed, and a message goes out."""
    with http_recorder() as hook:
        troubled = cli.having(
            BACKUPD_DRILL__CHECK_COMMAND="echo the totals are wrong; exit 4",
            BACKUPD_NOTIFY__URLS=f"json://127.0.0.1:{hook.port}/",
        )
        with daemon(troubled, quiet=False, jitter=0) as running:
            assert running.wait_for("drill.ended", seconds=90)["ok"] is False
            running.wait_for("run.finished", operation="drill", status="failed")
            wait_until(lambda: hook.received, "the message")
            running.stop()
    message = json.loads(hook.received[0].body)
    assert message["title"] == "Restore drill failed: Test"
    assert "the check command ended with 4: the totals are wrong" in message["message"]
