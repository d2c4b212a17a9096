"""What commands look like: widths, marks, words, and terminals that can do less."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from backupd.cli.columns import columns
from backupd.cli.progress import ProgressDisplay
from backupd.cli.terminal import Terminal
from backupd.cli.words import age, clock_time, duration, instant, moment, number, place, plural, size
from backupd.model import Progress, TableStatus

NOW = datetime(2026, 11, 22, 15, 24, 29, tzinfo=UTC)


class Stopwatch:
    """Seconds as a test wants them."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        """What it shows."""
        return self.seconds


@contextmanager
def screen(width: int, monkeypatch: pytest.MonkeyPatch, **environ: str) -> Iterator[tuple[Terminal, io.StringIO]]:
    """A terminal of that width, and what is written to it."""
    stream = io.StringIO()
    monkeypatch.setattr("sys.stdout", stream)
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TERM": "xterm-256color", **environ}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    terminal = Terminal()
    terminal.width = width
    yield terminal, stream


def shown(display: ProgressDisplay) -> str:
    """The line that moves, as it is at this moment."""
    return display.line().plain


def reading(rows: int, *, table: str = "payments", expected: int | None = None) -> Progress:
    """So many rows of a table have come."""
    return Progress("reading", table, rows, expected, rows * 100)


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 200])
@pytest.mark.parametrize(
    "name", ["a", "payments", "a_table_with_a_name_that_is_far_too_long_for_its_column", "таблица日本"]
)
def test_progress_line_fits_any_width(width: int, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It never wraps: a line that wraps cannot be taken back, and the screen fills up."""
    with screen(width, monkeypatch) as (terminal, _):
        watch = Stopwatch()
        display = ProgressDisplay(terminal, monotonic=watch)
        display.report(Progress("reading", name, expected_rows=672_114))
        for rows in (1, 99_999, 412_000, 672_114, 700_000):
            watch.seconds += 60
            display.report(reading(rows, table=name))
            assert cell_len(shown(display)) <= width
            assert "%" in shown(display)


def test_progress_line_on_a_usual_terminal_tells_share_rows_speed_and_time_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As the picture has it."""
    with screen(100, monkeypatch) as (terminal, _):
        watch = Stopwatch()
        display = ProgressDisplay(terminal, monotonic=watch)
        display.report(Progress("reading", "payments", expected_rows=672_114))
        watch.seconds = 8
        display.report(reading(412_000))
        assert shown(display)[4:].split() == [
            "payments", "━━━━━━━━━━━╺━━━━━━", "61%", "412,000", "of", "672,114", "rows", "5.2", "MB/s", "0:05", "left",
        ]  # fmt: skip


def test_progress_line_of_a_table_without_a_count_has_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is guessed."""
    with screen(80, monkeypatch) as (terminal, _):
        display = ProgressDisplay(terminal, monotonic=Stopwatch())
        display.report(Progress("reading", "payments"))
        display.report(reading(5_000))
        assert "5,000 rows" in shown(display)
        assert "%" not in shown(display)
        assert "━" not in shown(display)


def test_progress_of_a_finished_table_is_a_line_with_mark_and_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long it took is counted from the end of the table before it."""
    with screen(100, monkeypatch) as (terminal, stream):
        watch = Stopwatch()
        display = ProgressDisplay(terminal, monotonic=watch)
        display.report(Progress("reading", "users", expected_rows=12_034))
        watch.seconds = 0.4
        display.report(Progress("reading", "users", 12_034, 12_034, 3_100_000, TableStatus.COMPLETED))
        assert Text.from_ansi(stream.getvalue()).plain.split() == [
            "✓",
            "users",
            "12,034",
            "rows",
            "3.1",
            "MB",
            "0.4",
            "s",
        ]


@pytest.mark.parametrize(
    ("status", "mark"), [(TableStatus.INCOMPLETE, "◐ users"), (TableStatus.FAILED, "✗ users")], ids=str
)
def test_progress_of_a_table_that_lacks_something_says_so_in_words(
    status: TableStatus, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mark, word and reason: never colour alone."""
    with screen(100, monkeypatch, NO_COLOR="1") as (terminal, stream):
        display = ProgressDisplay(terminal, monotonic=Stopwatch())
        display.report(Progress("reading", "users", 5, 5, 100, status, "the API key may not read it"))
        assert mark in stream.getvalue()
        assert f"{status}: the API key may not read it" in stream.getvalue()
        assert "\x1b[3" not in stream.getvalue()


def test_progress_on_a_dumb_terminal_moves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """No cursor is moved where no cursor can be moved."""
    with screen(80, monkeypatch, TERM="dumb") as (terminal, stream):
        with ProgressDisplay(terminal) as display:
            display.report(reading(5, expected=10))
            display.report(Progress("reading", "users", 10, 10, 100, TableStatus.COMPLETED))
        assert "\x1b" not in stream.getvalue()
        assert "✓ users" in stream.getvalue()


def test_terminal_whose_reader_went_away_falls_silent() -> None:
    """Nobody looks any more, and that is no reason to stop."""
    reader, writer = os.pipe()
    os.close(reader)
    kept = os.dup(1)
    try:
        os.dup2(writer, 1)
        with os.fdopen(os.dup(1), "w") as stream:
            terminal = Terminal()
            terminal.file = stream
            terminal.print("x" * 100_000)
            terminal.print("again")
        assert terminal.quiet
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(writer)


def test_columns_are_as_wide_as_what_is_in_them() -> None:
    """Aligned, complete, and without blanks at the end of a line."""
    text = columns(("id", "rows", ""), [("a", "1,000", ""), (Text("日本"), "5", "note")], right={"rows"})
    assert text.plain == "id     rows\na     1,000\n日本      5  note"
    stream = io.StringIO()
    Console(file=stream, width=20).print(text)
    assert stream.getvalue() == text.plain + "\n"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (size(0), "0 B"),
        (size(999), "999 B"),
        (size(61_200_000), "61.2 MB"),
        (number(12034), "12,034"),
        (plural(1, "row"), "1 row"),
        (plural(0, "row"), "0 rows"),
        (plural(1200, "table"), "1,200 tables"),
        (duration(14.2), "14.2 s"),
        (duration(184), "3 min 4 s"),
        (duration(7500), "2 h 5 min"),
        (clock_time(5), "0:05"),
        (clock_time(3723), "1:02:03"),
        (age(NOW, NOW + timedelta(seconds=5)), "just now"),
        (age(NOW, NOW + timedelta(hours=6)), "6 hours ago"),
        (age(NOW, NOW + timedelta(days=1, hours=5)), "1 day ago"),
        (place("file:///var/lib/back%20up", "a.zip"), "/var/lib/back up/a.zip"),
        (place("s3://bucket/prefix", "a.zip"), "s3://bucket/prefix/a.zip"),
    ],
)
def test_words_for_figures_are_those_people_use(said: str, words: str) -> None:
    """Sizes, counts, times and places."""
    assert said == words


def test_words_for_an_instant_are_local_with_the_offset() -> None:
    """Nobody has to guess the time zone."""
    local = NOW.astimezone()
    assert instant(NOW) == f"{local:%Y-%m-%d %H:%M:%S} {local.isoformat()[-6:]}"
    assert moment(NOW) == f"{local:%Y-%m-%d %H:%M} {local.isoformat()[-6:]}"
