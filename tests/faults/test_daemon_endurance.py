"""The short form of `tests.benchmarks.endurance`: what leaks in a thousand backups shows in sixty."""

from __future__ import annotations

from pathlib import Path

from backupd.sandbox.postgres import Postgres
from tests.support.daemons import daemon
from tests.support.endurance import footprints
from tests.support.processes import Backupd, sample_project

MOST_GROWTH_BYTES = 10_000_000
"""Over forty backups. The heaps of short-lived threads fill during the first few hundred, and then no more."""


def test_daemon_over_sixty_backups_holds_no_more_than_after_twenty(postgres: Postgres, tmp_path: Path) -> None:
    """Threads and open files stay, and memory does not grow by 250 kB a backup."""
    with sample_project(postgres) as project, daemon(Backupd(tmp_path, project.environ)) as running:
        early, late = footprints(running, {20, 60})
    assert late.threads <= early.threads + 1
    assert late.files <= early.files + 1
    assert late.rss_bytes - early.rss_bytes < MOST_GROWTH_BYTES
