"""The benchmark's machinery at tiny sizes: that it measures what it says, never how fast."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from backupd.sandbox.driver import connect
from backupd.sandbox.postgres import Postgres
from tests.benchmarks.__main__ import document, parse
from tests.benchmarks.bare import fetch
from tests.benchmarks.data import Layout, bench_project
from tests.benchmarks.measuring import BenchmarkFailed, Cost, Measured, measure, measure_all, ratio, run
from tests.benchmarks.report import table
from tests.benchmarks.subjects import BARE, COMMAND, COPY, DUMP, RECIPE, USUAL, Order, subjects

TINY = Layout(2, 1100)
PYTHON = (sys.executable, "-c")


def measured(name: str, *seconds: float) -> Measured:
    """Runs of these lengths, each with half as much CPU, and ten million bytes."""
    return Measured(TINY, name, tuple(Cost(one, one / 2, 10_000_000) for one in seconds))


def test_every_subject_of_a_tiny_project_is_measured_in_each_round(postgres: Postgres, tmp_path: Path) -> None:
    """The commands work against a real project, and the table has a line for each of them."""
    said: list[str] = []
    with bench_project(postgres, TINY) as project:
        results = measure_all(project, subjects(TINY.rows, full=False), repeat=1, scratch=tmp_path, report=said.append)
    assert [one.name for one in results] == [BARE, COMMAND, RECIPE, USUAL, DUMP, COPY]
    assert all(cost.seconds > 0 and cost.cpu_seconds > 0 for one in results for cost in one.costs)
    assert len(said) == len(results)
    text = document(results, (0.5, 1.5), repeat=1)
    assert text.count("\n| 2 × 1,100 |") == len(results)
    assert "importing the Supabase client" in text
    assert not list(tmp_path.iterdir())


def test_bare_fetch_takes_every_row_over_the_wire(postgres: Postgres) -> None:
    """The base of all ratios: rows of about 300 bytes, and no page left out."""
    with bench_project(postgres, TINY) as project:
        size_bytes = fetch(project.url, project.key, list(TINY.names), 1000)
        with connect(project.database_url) as connection:
            row = connection.execute("select sum(length(row_to_json(r)::text)) from results_1 r").fetchone()
    assert row is not None
    assert 250 <= row[0] / TINY.rows_each <= 320
    assert size_bytes >= TINY.tables * row[0]


def test_run_counts_the_memory_and_cpu_of_the_command_alone() -> None:
    """Neither what this process holds nor what ran before."""
    ballast = b"x" * 200_000_000
    small = run(Order((*PYTHON, "pass")))
    large = run(Order((*PYTHON, "b'x' * 100_000_000; sum(range(3_000_000))")))
    assert small.peak_rss_bytes < 50_000_000 < 100_000_000 < large.peak_rss_bytes < len(ballast)
    assert large.cpu_seconds > small.cpu_seconds


def test_run_of_a_command_that_fails_says_what_it_said() -> None:
    """A benchmark of something that does not work is worth nothing."""
    with pytest.raises(BenchmarkFailed, match="no such thing"):
        run(Order((*PYTHON, "raise SystemExit('no such thing')")))


def test_measure_of_a_command_gives_it_an_empty_directory_and_its_environment(
    postgres: Postgres, tmp_path: Path
) -> None:
    """What it says of itself comes back as `extra`."""
    program = "import json, os, sys; print(json.dumps({'files': os.listdir(sys.argv[1]), 'word': os.environ['WORD']}))"
    with bench_project(postgres, Layout(1, 1)) as project:
        cost = measure(lambda _, place: Order((*PYTHON, program, str(place)), {"WORD": "x"}), project, tmp_path)
    assert cost.extra == {"files": [], "word": "x"}


def test_ratio_compares_within_a_round() -> None:
    """Noise that hits a whole round leaves the ratio as it is."""
    assert ratio(measured(RECIPE, 2.0, 20.0, 3.0), measured(BARE, 1.0, 10.0, 1.0), lambda cost: cost.seconds) == 2.0


def test_table_shows_medians_range_ratios_and_rows_a_second() -> None:
    """One line by hand."""
    text = table([measured(BARE, 1.0, 2.0, 4.0), measured(RECIPE, 2.0, 3.0, 4.0)])
    assert text.splitlines()[-1] == (
        "| 2 × 1,100 | `run_backup` in-process | 3.00 (2.00 – 4.00) | 1.50 | 1.50 | 1.50 | 10 | 733 |"
    )


def test_usual_script_is_left_out_where_it_takes_minutes() -> None:
    """Unless it is asked for."""
    assert USUAL in subjects(200_000, full=False)
    assert USUAL not in subjects(200_001, full=False)
    assert USUAL in subjects(200_001, full=True)


def test_options_without_arguments_are_three_sizes_and_four_tables() -> None:
    """The defaults of `make bench`."""
    options = parse([])
    assert [str(layout) for layout in options.layouts] == ["10,000", "100,000", "1,000,000", "4 × 250,000"]
    assert (options.repeat, options.full, options.write) == (3, False, False)


def test_options_quick_is_one_round_of_the_smallest(capsys: pytest.CaptureFixture[str]) -> None:
    """And a size that is no number is refused."""
    assert [str(layout) for layout in parse(["--quick"]).layouts] == ["10,000", "4 × 2,500"]
    with pytest.raises(SystemExit):
        parse(["--rows", "many"])
    assert "many" in capsys.readouterr().err
