"""The daemon of `backupd run`, short of patience: `python -m tests.support.quick_daemon '{"stall_seconds": 1}'`.

It serves no pages. What can be said: `jitter`, `lock_pause`, `first_pause` (before a failed slot is tried again),
`stall_seconds`, `deadline_seconds`, `stale_after`, all in seconds. What is not said is as in the product, but for the
jitter, which is 0.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from datetime import timedelta

from backupd.cli.entrance import Entrance
from backupd.cli.run_command import DaemonParts
from backupd.daemon import Daemon, Services, Surroundings
from backupd.figures import Figures
from backupd.metrics import Metrics
from backupd.sdnotify import ServiceManager
from tests.support.daemon_room import NO_FIGURES


class QuickParts(DaemonParts):
    """The parts of the product with other figures."""

    def __init__(self, entrance: Entrance, figures: dict[str, float]) -> None:
        super().__init__(entrance)
        self._figures_given = figures

    def build(self) -> Services:
        """Build as always, then change what was asked for."""
        services, given = super().build(), self._figures_given
        pause = timedelta(seconds=given.get("first_pause", services.retry.first_pause.total_seconds()))
        self._services = replace(
            services,
            stall_seconds=given.get("stall_seconds", services.stall_seconds),
            deadline_seconds=given.get("deadline_seconds", services.deadline_seconds),
            stale_after=timedelta(seconds=given.get("stale_after", services.stale_after.total_seconds())),
            retry=replace(services.retry, first_pause=pause, growth=1),
        )
        return self._services


def main() -> int:
    """Run it."""
    figures: dict[str, float] = json.loads(sys.argv[1])
    entrance = Entrance(dict(os.environ))
    parts = QuickParts(entrance, figures)
    around = Surroundings(
        parts.state_directory,
        entrance.clock,
        ServiceManager(entrance.environ),
        Metrics(lambda: Figures(NO_FIGURES, None)),
        jitter=lambda: figures.get("jitter", 0.0),
        lock_pause_seconds=figures.get("lock_pause", 5.0),
    )
    return Daemon(parts, around).run()


if __name__ == "__main__":
    sys.exit(main())
