"""`python -m tests.benchmarks`: how fast a backup is, against a bare fetch and the usual script, on this machine."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from backupd.sandbox.postgres import start_postgres
from tests.benchmarks import machine
from tests.benchmarks.data import Layout, bench_project
from tests.benchmarks.measuring import Measured, measure_all
from tests.benchmarks.report import notes, table
from tests.benchmarks.subjects import subjects

RESULTS = Path(__file__).with_name("RESULTS.md")

_SIDE_BY_SIDE = 4


@dataclass(frozen=True, slots=True)
class Options:
    """What is asked for on the command line."""

    layouts: tuple[Layout, ...]
    repeat: int
    full: bool
    write: bool


def parse(arguments: Sequence[str]) -> Options:
    """Read the command line; prints help or complaints, and ends, as argparse does."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--rows", type=_numbers, default="10000,100000,1000000", help="sizes, default %(default)s")
    parser.add_argument("--repeat", type=int, default=3, help="rounds at each size, default %(default)s")
    parser.add_argument("--quick", action="store_true", help="one round, 10,000 rows")
    parser.add_argument("--full", action="store_true", help="the usual script also where it takes minutes")
    parser.add_argument("--write", action="store_true", help=f"keep the table in {RESULTS.name}")
    given = parser.parse_args(arguments)
    sizes = [10_000] if given.quick else given.rows
    layouts = [Layout(1, rows) for rows in sizes] + [Layout(_SIDE_BY_SIDE, max(sizes) // _SIDE_BY_SIDE)]
    return Options(tuple(layouts), 1 if given.quick else given.repeat, given.full, given.write)


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def measure_layouts(options: Options, scratch: Path, report: Callable[[str], None]) -> list[Measured]:
    """Measure everything at every size, smallest first, on one PostgreSQL."""
    measured: list[Measured] = []
    with start_postgres(scratch) as postgres:
        for layout in options.layouts:
            report(f"filling {layout} rows")
            with bench_project(postgres, layout) as project:
                wanted = subjects(layout.rows, full=options.full)
                measured += measure_all(project, wanted, repeat=options.repeat, scratch=scratch, report=report)
    return measured


def document(measured: Sequence[Measured], loads: tuple[float, float], repeat: int) -> str:
    """The results with what one must know to read them."""
    return "\n".join(
        [
            "# How fast",
            "",
            f"{machine.describe()}. Load average {loads[0]:.1f} before, {loads[1]:.1f} after.",
            "",
            f"Written by `make bench ARGS=--write`; {repeat} rounds, everything in turn in each round, medians.",
            "The throwaway project (PostgreSQL and gateway, row cap 1,000) runs on the same cores. A row is about 300",
            "bytes of JSON. A ratio compares within a round, so noise that lasts hits both sides.",
            "",
            table(measured),
            "",
            *(f"- {note}" for note in notes(measured)),
            "",
        ]
    )


def main(arguments: Sequence[str], out: TextIO, progress: TextIO) -> None:
    """Measure, print the table, and keep it if asked to."""
    options = parse(arguments)

    def report(line: str) -> None:
        progress.write(f"{line}\n")
        progress.flush()

    before = machine.load()
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        measured = measure_layouts(options, Path(directory), report)
    text = document(measured, (before, machine.load()), options.repeat)
    out.write(text)
    if options.write:
        RESULTS.write_text(text)


if __name__ == "__main__":
    main(sys.argv[1:], sys.stdout, sys.stderr)
