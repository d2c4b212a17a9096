"""What a run looks like while it goes on: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType

from rich.cells import cell_len, set_cell_size
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from backupd.cli.terminal import Terminal
from backupd.cli.words import MARKS, clock_time, number, plural, size
from backupd.model import Progress, TableStatus

_NAME_COLUMNS = 18
_WIDEST_BAR, _NARROWEST_BAR = 18, 8
_REFRESHES_PER_SECOND = 8
_STAGES = {"verifying": "reading back", "storing": "storing"}


class ProgressDisplay:
    """Shows the progress of one run. Give its `report` to the run as `on_progress`; safe from several threads."""

    def __init__(self, console: Terminal, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._expected: dict[str, int | None] = {}
        self._now: Progress | None = None
        self._began = False
        self._since = monotonic()
        self._spinner = Spinner("dots")
        self._live = Live(
            console=console,
            get_renderable=self.line,
            refresh_per_second=_REFRESHES_PER_SECOND,
            transient=True,
        )

    def __enter__(self) -> ProgressDisplay:
        if self._console.is_terminal and not self._console.quiet:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._live.stop()

    def report(self, progress: Progress) -> None:
        """Take note of progress; a table that has ended becomes a line that stays."""
        with self._lock:
            self._expect(progress)
            if progress.status is not None:
                line = self._finished(progress, progress.status)
                self._now, self._since = None, self._monotonic()
            else:
                line = None
                if progress.rows or progress.stage != "reading":
                    self._begin(progress)
        if line is not None:
            self._console.print(line)

    def _expect(self, progress: Progress) -> None:
        if progress.table is None or progress.stage != "reading" or progress.status is not None:
            return
        if not self._began:
            # A table takes from the end of the one before it; the first one from the first count.
            self._began, self._since = True, self._monotonic()
        if progress.expected_rows is not None:
            self._expected[progress.table] = progress.expected_rows

    def _begin(self, progress: Progress) -> None:
        changed = self._now is None or (self._now.stage, self._now.table) != (progress.stage, progress.table)
        if changed and progress.stage != "reading":
            self._since = self._monotonic()
        self._now = progress

    def _finished(self, progress: Progress, status: TableStatus) -> Text:
        mark, colour = MARKS[status]
        line = Text.assemble("  ", (mark, colour), " ", (progress.table or "").ljust(_NAME_COLUMNS))
        if status is not TableStatus.FAILED:
            rows = plural(progress.rows, "row").rjust(14)
            seconds = self._monotonic() - self._since
            line.append(f" {rows}  {size(progress.bytes):>10}  {seconds:>6.1f} s")
        if status is not TableStatus.COMPLETED:
            line.append(f"  {status}: {progress.message}", style=colour)
        return line

    def line(self) -> Text:
        """The line that moves, as it is at this moment."""
        with self._lock:
            now, began = self._now, self._began
        spinner = self._spinner.render(self._console.get_time())
        line = Text.assemble("  ", (spinner.plain if isinstance(spinner, Text) else "…", "cyan"), " ")
        line.no_wrap, line.overflow = True, "crop"
        if now is None:
            return line.append("reading" if began else "asking the project what there is")
        if now.stage != "reading":
            return self._bar(line, _STAGES[now.stage], now, now.expected_rows)
        return self._bar(line, now.table or "", now, self._expected.get(now.table or ""))

    def _bar(self, line: Text, name: str, now: Progress, expected: int | None) -> Text:
        """As much as fits: what says least goes first, and the line never wraps."""
        seconds = max(self._monotonic() - self._since, 0.001)
        line.append(set_cell_size(name, _NAME_COLUMNS) if cell_len(name) <= _NAME_COLUMNS else _cut(name))
        rate = f"{size(round(now.bytes / seconds))}/s" if now.bytes else ""
        if not expected:
            return line.append(f" {plural(now.rows, 'row')}  {rate}" if now.rows else "")
        share = min(now.rows / expected, 1.0)
        left = f"{clock_time(seconds / share - seconds)} left" if share else ""
        facts = [f"{share:5.0%}", f"{number(now.rows):>{len(number(expected))}} of {plural(expected, 'row')}"]
        facts += [f"{rate:>10}", f"{left:>9}"]
        room = self._console.width - line.cell_len - 2
        while len(facts) > 1 and room - len("  ".join(facts)) < _NARROWEST_BAR:
            facts.pop(-2 if len(facts) > 2 else -1)
        bar = min(_WIDEST_BAR, room - len("  ".join(facts)))
        if bar >= _NARROWEST_BAR:
            line.append(" ").append_text(_drawn(share, bar))
        return line.append(" ").append("  ".join(facts))


def _cut(name: str) -> str:
    """The beginning of a name that is too long for its column."""
    return set_cell_size(name, _NAME_COLUMNS - 1) + "…"


def _drawn(share: float, columns: int) -> Text:
    """`━━━━━━╸━━━━━━`: what is done and what is to do, told apart by the tip as well as by colour."""
    halves = int(share * columns * 2)
    done, half = divmod(halves, 2)
    tip = "╸" if half else ""
    if columns - done - len(tip) > 0 and not half:
        tip = "╺" if done else ""
    rest = "━" * (columns - done - len(tip))
    return Text.assemble(("━" * done, "cyan"), (tip, "cyan" if half else "bright_black"), (rest, "bright_black"))
