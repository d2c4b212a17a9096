"""The table, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tests.benchmarks.measuring import Cost, Measured, ratio
from tests.benchmarks.subjects import BARE, RECIPE, USUAL

_HEADER = "| rows | what | wall, s: median (range) | ÷ bare fetch | CPU, s | CPU ÷ bare fetch | peak RSS, MB | rows/s |"
_RULE = "|---|---|---:|---:|---:|---:|---:|---:|"


def table(measured: Sequence[Measured]) -> str:
    """One line for each thing at each size, with ratios to the bare fetch of the same size and round."""
    return "\n".join([_HEADER, _RULE, *_lines(measured)])


def notes(measured: Sequence[Measured]) -> list[str]:
    """What the table does not show: the usual script against the recipe, and the time of importing."""
    return [*_against_usual(measured), *_importing(measured)]


def _lines(measured: Iterable[Measured]) -> Iterator[str]:
    base: Measured | None = None
    for one in measured:
        if one.name == BARE:
            base = one
        if base is None:
            raise ValueError(f"{one.name} comes before the bare fetch it is compared with")
        yield _line(one, base)


def _line(one: Measured, base: Measured) -> str:
    least, most = one.spread(_wall)
    cells = (
        str(one.layout),
        one.name,
        f"{one.median(_wall):.2f} ({least:.2f} – {most:.2f})",
        f"{ratio(one, base, _wall):.2f}",
        f"{one.median(_cpu):.2f}",
        f"{ratio(one, base, _cpu):.2f}",
        f"{one.median(_rss) / 1e6:.0f}",
        f"{one.layout.rows / one.median(_wall):,.0f}",
    )
    return f"| {' | '.join(cells)} |"


def _against_usual(measured: Sequence[Measured]) -> Iterator[str]:
    recipes = {one.layout: one for one in measured if one.name == RECIPE}
    for usual in measured:
        if usual.name == USUAL and usual.layout in recipes:
            times = ratio(usual, recipes[usual.layout], _wall)
            memory = ratio(usual, recipes[usual.layout], _rss)
            yield f"At {usual.layout} rows the usual script takes {times:.1f} × the time and {memory:.1f} × the memory."


def _importing(measured: Sequence[Measured]) -> Iterator[str]:
    recipes = [one for one in measured if one.name == RECIPE]
    if recipes:
        seconds = recipes[-1].median(lambda cost: float(cost.extra["import_seconds"]))
        yield f"Of each in-process line, {seconds:.2f} s are importing the Supabase client and backupd."


def _wall(cost: Cost) -> float:
    return cost.seconds


def _cpu(cost: Cost) -> float:
    return cost.cpu_seconds


def _rss(cost: Cost) -> float:
    return float(cost.peak_rss_bytes)
