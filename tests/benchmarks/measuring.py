"""Measures: each thing in a fresh process, all of them in turn, again and again."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.benchmarks.data import BenchProject, Layout
from tests.benchmarks.subjects import BARE, RECIPE, Order, Subject

Report = Callable[[str], None]

_LAUNCHER = Path(__file__).with_name("launcher.py")
_ROOT = Path(__file__).resolve().parents[2]
_INHERITED = ("PATH", "LD_LIBRARY_PATH")


class BenchmarkFailed(Exception):
    """What should be measured did not end well; the message is what it said."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run of one thing took. `extra` is what it said of itself."""

    seconds: float
    cpu_seconds: float
    peak_rss_bytes: int
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Measured:
    """All runs of one thing at one size, in the order of the rounds."""

    layout: Layout
    name: str
    costs: tuple[Cost, ...]

    def median(self, value: Callable[[Cost], float]) -> float:
        """The median over the rounds."""
        return statistics.median(map(value, self.costs))

    def spread(self, value: Callable[[Cost], float]) -> tuple[float, float]:
        """The least and the most over the rounds."""
        values = [value(cost) for cost in self.costs]
        return min(values), max(values)


def ratio(measured: Measured, base: Measured, value: Callable[[Cost], float]) -> float:
    """How many times as much as `base`: the median over the rounds, so that both had the same noise."""
    pairs = zip(measured.costs, base.costs, strict=True)
    return statistics.median(value(cost) / value(base_cost) for cost, base_cost in pairs)


def measure_all(
    project: BenchProject, wanted: Mapping[str, Subject], *, repeat: int, scratch: Path, report: Report
) -> list[Measured]:
    """Measure each of `wanted` in `repeat` rounds, once the server is warm: its caches, and all its connections."""
    for name in (BARE, RECIPE):
        measure(wanted[name], project, scratch)
    costs: dict[str, list[Cost]] = {name: [] for name in wanted}
    for number in range(1, repeat + 1):
        for name, subject in wanted.items():
            cost = measure(subject, project, scratch)
            costs[name].append(cost)
            report(f"{project.layout} rows, round {number}: {name}: {cost.seconds:.2f} s")
    return [Measured(project.layout, name, tuple(values)) for name, values in costs.items()]


def measure(subject: Subject, project: BenchProject, scratch: Path) -> Cost:
    """Measure one thing once, in a directory that goes afterwards. Raises BenchmarkFailed."""
    with tempfile.TemporaryDirectory(dir=scratch) as directory:
        return run(subject(project, Path(directory)))


def run(order: Order) -> Cost:
    """Run a command in an environment of its own and say what it cost. Raises BenchmarkFailed."""
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(_LAUNCHER), *order.command],
        env={"PYTHONPATH": str(_ROOT), **inherited, **order.environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    said, _, cost = done.stdout.strip().rpartition("\n")
    document = json.loads(cost)
    if document.pop("exit_code") != 0:
        raise BenchmarkFailed(f"{' '.join(order.command)}: {said} {done.stderr}")
    return Cost(**document, extra=_document(said))


def _document(said: str) -> dict[str, Any]:
    return dict(json.loads(said)) if said.startswith("{") else {}
