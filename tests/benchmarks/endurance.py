"""A thousand backups in one daemon: `python -m tests.benchmarks.endurance [backups] [idle seconds]`."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from tests.support.daemons import daemon
from tests.support.endurance import cpu_seconds, footprints
from tests.support.processes import Backupd, sample_project
from tests.support.sandbox import running_postgres


def main(backups: int, idle_seconds: float) -> None:
    """Take them, print what the daemon holds on the way, then leave it alone and print what that costs."""
    with (
        tempfile.TemporaryDirectory() as home,
        running_postgres(Path(home)) as postgres,
        sample_project(postgres) as project,
        daemon(Backupd(Path(home), project.environ)) as running,
    ):
        for footprint in footprints(running, {backups // 10, backups // 2, backups}):
            sys.stdout.write(f"{footprint}\n")
            sys.stdout.flush()
        pid, before, begin = running.process.pid, cpu_seconds(running.process.pid), time.monotonic()
        time.sleep(idle_seconds)
        share = (cpu_seconds(pid) - before) / (time.monotonic() - begin)
        sys.stdout.write(f"idle for {idle_seconds:g} s: {share:.4%} of a processor\n")


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:]]
    main(*[*given, *(1000, 60)[len(given) :]])
