"""Told to stop at any moment of a backup: ends in time, says so on record, leaves nothing half-done."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backupd.errors import ExitCode
from backupd.model import Status
from backupd.sandbox.postgres import Postgres
from tests.support.daemons import DaemonProcess, backups, daemon, leftovers, runs, settle, slot
from tests.support.faults import Drip, Fault, Hang, answer
from tests.support.http_recorder import http_recorder
from tests.support.processes import Backupd, SampleProject, sample_project, wait_until
from tests.support.proxy import FaultProxy, Match, path

LONGEST_SECONDS = 10.0
MANY_ROWS = """
create table events (id bigint primary key, note text not null);
insert into events select n, repeat('x', 300) || n from generate_series(1, 60000) n;
"""
STAGES: dict[str, tuple[Match, Fault]] = {
    "before discovery, no answer": (path("/rest/v1/"), Hang()),
    "during discovery, cut in the middle": (path("/rest/v1/"), Hang(after=0.5)),
    "during a table, no answer": (path("/rest/v1/users"), Hang()),
    "during a table, cut in the middle": (path("/rest/v1/users"), Hang(after=0.5)),
    "during a table, dripping": (path("/rest/v1/users"), Drip(400)),
    "during a pause between two tries": (path("/rest/v1/users"), answer(503, headers={"Retry-After": "300"})),
}


@pytest.fixture(scope="module")
def project(postgres: Postgres) -> Iterator[SampleProject]:
    """One project for the module."""
    with sample_project(postgres) as running:
        yield running


@pytest.fixture(scope="module")
def large(postgres: Postgres) -> Iterator[SampleProject]:
    """A project whose backup takes a second or two."""
    with sample_project(postgres, MANY_ROWS, max_rows=None) as running:
        yield running


def stop_in_time(running: DaemonProcess, number: int = signal.SIGTERM) -> float:
    """Stop it and give the seconds that took."""
    begin = time.monotonic()
    running.send(number)
    assert running.wait_for_end(LONGEST_SECONDS) == ExitCode.OK
    return time.monotonic() - begin


def expect_interrupted(cli: Backupd) -> None:
    """The record says interrupted, and nothing half-done is left."""
    taken = backups(cli)[0] if backups(cli) else None
    if taken is not None:
        assert (taken.status, (taken.error or "")[:11]) == (Status.FAILED, "interrupted")
    run = runs(cli)[0]
    assert (run.status, (run.error or "")[:11]) == (Status.FAILED, "interrupted")
    assert leftovers(cli) == []
    assert cli.archives == []


@pytest.mark.parametrize("stage", STAGES)
def test_stop_at_a_stage_ends_in_time_and_leaves_nothing(project: SampleProject, tmp_path: Path, stage: str) -> None:
    """Exit code 0 within ten seconds, `failed: interrupted`, no temporary; the next start backs up."""
    when, do = STAGES[stage]
    cli = Backupd(tmp_path, project.environ)
    with FaultProxy(project.gateway.project_url) as proxy:
        proxy.always(when=when, do=do)
        with daemon(cli.having(SUPABASE_URL=proxy.url)) as running:
            running.send(signal.SIGUSR1)
            proxy.wait_for(when)
            stop_in_time(running, signal.SIGINT if "dripping" in stage else signal.SIGTERM)
        expect_interrupted(cli)
    with daemon(cli) as again:
        assert again.back_up()["status"] == "completed"


def test_stop_of_a_slot_is_made_up_for_at_the_next_start(project: SampleProject, tmp_path: Path) -> None:
    """A restart in the middle of the night costs none of its attempts, whether the worker stopped in time or hung."""
    cli = Backupd(tmp_path, project.environ)
    settle(cli, "weekly_cleanup")
    with FaultProxy(project.gateway.project_url) as proxy:
        proxy.always(when=path("/rest/v1/users"), do=Hang())
        with daemon(cli.having(SUPABASE_URL=proxy.url), quiet=False, jitter=0) as running:
            proxy.wait_for(path("/rest/v1/users"))
            stop_in_time(running)
            assert running.events("daemon.abandoned")
    record = slot(cli)
    assert record is not None
    assert (record.attempts, record.settled) == (0, False)
    with daemon(cli, quiet=False, jitter=0) as again:
        assert again.wait_for("slot.begun")["attempt"] == 1
        again.wait_for("run.finished", operation="backup", status="completed")


@pytest.mark.parametrize("attempt", range(8))
def test_stop_at_a_random_moment_leaves_all_or_nothing(large: SampleProject, tmp_path: Path, attempt: int) -> None:
    """Anywhere from discovery over read-back to publishing: a whole backup and its record, or none and `failed`."""
    cli = Backupd(tmp_path, large.environ)
    with daemon(cli) as running:
        running.send(signal.SIGUSR1)
        running.wait_for("run.started", operation="backup")
        time.sleep(random.Random(attempt).uniform(0.05, 1.6))
        assert stop_in_time(running) < LONGEST_SECONDS
    assert leftovers(cli) == []
    (taken,) = backups(cli) or (None,)
    if taken is None or taken.status is Status.FAILED:
        expect_interrupted(cli)
    else:
        assert taken.status is Status.COMPLETED
        assert cli("verify", "latest").code == ExitCode.OK
    with daemon(cli) as again:
        assert again.back_up()["status"] == "completed"


def test_stop_with_a_message_that_hangs_ends_in_time(project: SampleProject, tmp_path: Path) -> None:
    """A service that does not answer holds up neither the stop nor the record of the run."""
    with http_recorder() as recorder:
        ping = f"http://127.0.0.1:{recorder.port}/hang"
        cli = Backupd(tmp_path, {**project.environ, "BACKUPD_NOTIFY__PING_URL": ping})
        settle(cli, "weekly_cleanup")
        with daemon(cli, quiet=False, jitter=0) as running:
            running.wait_for("run.finished", operation="backup", status="completed")
            wait_until(lambda: recorder.targets, "the ping comes")
            stop_in_time(running)
            assert running.events("notification.abandoned")
    record = slot(cli)
    assert record is not None
    assert record.settled
