"""A real daemon on a real project, scraped by a real Prometheus that tells a real Alertmanager.

Real time is too slow for alerts that wait for hours, so every `for` is a second here and 30 hours are fifteen seconds
(`hurried_rules`); how long they really wait is in the cases under `rules/`. The expressions are as shipped.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from backupd.sandbox.postgres import Postgres
from tests.support.daemons import DaemonProcess, daemon
from tests.support.dashboard import Query, queries
from tests.support.http_recorder import Recorder, http_recorder
from tests.support.monitoring import (
    Prometheus,
    Told,
    free_port,
    hurried_rules,
    running_alertmanager,
    running_prometheus,
    told,
)
from tests.support.processes import Backupd, SampleProject, sample_project, wait_until

STALE_SECONDS = 15
EMPTY_IN_PEACE = {"Last drill", "Duration B"}
"""Queries of what this project does not have: drills."""

LAST_SUCCESS = "max(backupd_backup_last_success_timestamp_seconds)"


@dataclass(frozen=True)
class Watched:
    """A project, the daemon's command line, and who watches it."""

    project: SampleProject
    cli: Backupd
    address: str
    prometheus: Prometheus
    inbox: Recorder

    def told(self, name: str, status: str) -> list[Told]:
        """What people were told of an alert."""
        return [alert for alert in told(self.inbox) if (alert.name, alert.status) == (name, status)]

    def wait_until_told(self, name: str, status: str) -> Told:
        """Wait until people were told."""
        wait_until(lambda: self.told(name, status), f"{name} {status} is told; so far {told(self.inbox)}", seconds=60)
        return self.told(name, status)[-1]

    def backed_up(self, running: DaemonProcess) -> float:
        """Take a backup and wait until Prometheus has seen it; gives the time of the success."""
        before = self.prometheus.value(LAST_SUCCESS) or 0.0
        running.back_up()
        self.prometheus.wait_for(f"{LAST_SUCCESS} > {before}")
        return self.prometheus.value(LAST_SUCCESS) or 0.0


@pytest.fixture
def watched(postgres: Postgres, tmp_path: Path) -> Iterator[Watched]:
    """Everything but the daemon, which a test starts, stops and starts again."""
    address = f"127.0.0.1:{free_port()}"
    with ExitStack() as stack:
        inbox = stack.enter_context(http_recorder())
        alertmanager_url = stack.enter_context(running_alertmanager(tmp_path, f"http://127.0.0.1:{inbox.port}/"))
        rules = hurried_rules(**{"30*3600": str(STALE_SECONDS)})
        prometheus = stack.enter_context(
            running_prometheus(tmp_path, address, rules=rules, alertmanager_url=alertmanager_url)
        )
        project = stack.enter_context(sample_project(postgres))
        environ = {**project.environ, "BACKUPD_WEB__LISTEN": address, "BACKUPD_WEB__TABLE_METRICS": "true"}
        yield Watched(project, Backupd(tmp_path / "home", environ), address, prometheus, inbox)


def test_dashboard_after_a_backup_has_data_in_every_panel(watched: Watched) -> None:
    """But for drills, which there are none of, each query gives something; the alert list once something is wrong."""
    with daemon(watched.cli) as running:
        watched.backed_up(running)
        watched.prometheus.wait_for(f"time() - {LAST_SUCCESS} > {STALE_SECONDS}")

        def without_data() -> set[str]:
            return {str(query) for query in queries() if not _has_data(watched, query)}

        wait_until(lambda: without_data() <= EMPTY_IN_PEACE, "every panel has data", seconds=20)
        assert without_data() == EMPTY_IN_PEACE


def test_last_success_after_a_restart_goes_on_with_the_same_value(watched: Watched) -> None:
    """It is read from the catalog: no scrape of the new process shows another time, and never a 0."""
    with daemon(watched.cli) as running:
        succeeded_at = watched.backed_up(running)
        started_at = watched.prometheus.value("process_start_time_seconds") or 0.0
        assert running.stop() == 0
    with daemon(watched.cli):
        watched.prometheus.wait_for(f"process_start_time_seconds > {started_at}")
        watched.prometheus.wait_for("count_over_time(process_start_time_seconds[2s]) >= 2")
        history = watched.prometheus.history('backupd_backup_last_success_timestamp_seconds{type="manual"}')
    assert set(history[history.index(succeeded_at) :]) == {succeeded_at}


def test_alerts_of_a_broken_project_are_told_and_resolved(watched: Watched) -> None:
    """The key is revoked: the backup fails, its age grows, people hear of both; the key is back, and they hear that."""
    with daemon(watched.cli) as running:
        watched.backed_up(running)
        watched.project.gateway.revoke(watched.project.gateway.keys.secret)
        running.send(signal.SIGUSR1)
        failed = watched.wait_until_told("BackupdBackupFailed", "firing")
        stale = watched.wait_until_told("BackupdBackupStale", "firing")
        assert failed.annotations["summary"] == f"The last manual backup of {watched.address} failed"
        assert (stale.labels["severity"], stale.labels["instance"]) == ("warning", watched.address)
        watched.project.gateway.reinstate(watched.project.gateway.keys.secret)
        watched.backed_up(running)
        watched.wait_until_told("BackupdBackupFailed", "resolved")
        watched.wait_until_told("BackupdBackupStale", "resolved")


def test_alert_of_a_daemon_that_is_killed_is_told_and_resolved(watched: Watched) -> None:
    """Whoever cannot speak any more is spoken of."""
    with daemon(watched.cli):
        watched.prometheus.wait_for("backupd_build_info")
    down = watched.wait_until_told("BackupdDown", "firing")
    assert down.annotations["summary"] == f"backupd on {watched.address} does not answer"
    with daemon(watched.cli):
        watched.wait_until_told("BackupdDown", "resolved")


def _has_data(watched: Watched, query: Query) -> bool:
    return bool(watched.prometheus.query(query.sent(watched.address)))
