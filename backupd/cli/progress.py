"""What a run looks like while it goes on: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table as Grid
from rich.text import Text

from backupd.cli.words import MARKS, clock_time, number, plural, size
from backupd.model import Progress, TableStatus

_NAME_WIDTH = 18
_REFRESHES_PER_SECOND = 8
_STAGES = {"verifying": "reading back", "storing": "storing"}


class ProgressDisplay:
    """Shows the progress of one run. Give its `report` to the run as `on_progress`; safe from several threads."""

    def __init__(self, console: Console, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._expected: dict[str, int | None] = {}
        self._now: Progress | None = None
        self._since = monotonic()
        self._spinner = Spinner("dots", style="cyan")
        self._live = Live(
            console=console,
            get_renderable=self._render,
            refresh_per_second=_REFRESHES_PER_SECOND,
            transient=True,
        )

    def __enter__(self) -> ProgressDisplay:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def report(self, progress: Progress) -> None:
        """Take note of progress; a table that has ended becomes a line that stays."""
        with self._lock:
            if progress.table is not None and progress.stage == "reading" and progress.expected_rows is not None:
                self._expected[progress.table] = progress.expected_rows
            if progress.status is not None:
                line = self._finished(progress)
                self._now, self._since = None, self._monotonic()
            else:
                line = None
                if progress.rows or progress.stage != "reading":
                    self._begin(progress)
        if line is not None:
            self._console.print(line)

    def _begin(self, progress: Progress) -> None:
        if self._now is None or (self._now.stage, self._now.table) != (progress.stage, progress.table):
            self._since = self._monotonic()
        self._now = progress

    def _finished(self, progress: Progress) -> Text:
        mark, colour = MARKS[progress.status or ""]
        name = (progress.table or "").ljust(_NAME_WIDTH)
        line = Text.assemble("  ", (mark, colour), " ", name)
        if progress.status is not TableStatus.FAILED:
            rows = plural(progress.rows, "row").rjust(14)
            seconds = self._monotonic() - self._since
            line.append(f"{rows}  {size(progress.bytes):>10}  {seconds:>6.1f} s")
        if progress.status is not TableStatus.COMPLETED:
            line.append(f"  {progress.status}: {progress.message}", style=colour)
        return line

    def _render(self) -> Group | Text:
        with self._lock:
            now = self._now
        if now is None:
            return Group(self._line("waiting for the project"))
        if now.stage != "reading":
            return Group(self._bar(_STAGES[now.stage], now, now.expected_rows))
        return Group(self._bar(now.table or "", now, self._expected.get(now.table or "")))

    def _line(self, words: str) -> Grid:
        grid = Grid.grid(padding=(0, 1))
        grid.add_row("", self._spinner, words)
        return grid

    def _bar(self, name: str, now: Progress, expected: int | None) -> Grid:
        seconds = max(self._monotonic() - self._since, 0.001)
        grid = Grid.grid(padding=(0, 1))
        cells: list[RenderableType] = ["", self._spinner, name.ljust(_NAME_WIDTH)]
        if expected:
            share = min(now.rows / expected, 1.0)
            left = seconds / share - seconds if share else 0.0
            cells += [ProgressBar(total=1.0, completed=share, width=20, complete_style="cyan")]
            cells += [f"{share:4.0%}", f"{number(now.rows)} of {plural(expected, 'row')}"]
            cells += [f"{size(round(now.bytes / seconds))}/s", f"{clock_time(left)} left"]
        elif now.rows:
            cells += [plural(now.rows, "row"), f"{size(round(now.bytes / seconds))}/s"]
        grid.add_row(*cells)
        return grid
