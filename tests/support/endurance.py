"""Many backups in one daemon, and what that costs it: memory, threads, open files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.daemons import DaemonProcess


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a process holds after so many backups."""

    backups: int
    rss_bytes: int
    threads: int
    files: int

    def __str__(self) -> str:
        megabytes = self.rss_bytes / 1e6
        return f"{self.backups:>5} backups: {megabytes:6.1f} MB, {self.threads} threads, {self.files} open files"


def footprints(running: DaemonProcess, after: Iterable[int]) -> Iterator[Footprint]:
    """Take backup after backup; give the footprint after these numbers of them."""
    taken = 0
    for wanted in sorted(after):
        for _ in range(taken, wanted):
            assert running.back_up()["status"] == "completed"
        taken = wanted
        yield footprint(running.process.pid, taken)


def footprint(pid: int, taken: int) -> Footprint:
    """What a process holds now."""
    process = Path(f"/proc/{pid}")
    pages = int((process / "statm").read_text().split()[1])
    return Footprint(
        backups=taken,
        rss_bytes=pages * os.sysconf("SC_PAGE_SIZE"),
        threads=len(list((process / "task").iterdir())),
        files=len(list((process / "fd").iterdir())),
    )


def cpu_seconds(pid: int) -> float:
    """How much processor time a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
