"""Standard output and standard error as they are: narrow, dumb, piped into `head`, or not there at all."""

from __future__ import annotations

import io
import os
import sys
from typing import TextIO, cast

from rich.console import Console

_NO_TERMINAL_COLUMNS = 160


class Terminal(Console):
    """Standard output for people. Long lines are the terminal's to wrap: whoever copies a path gets all of it.

    When the reader goes away, as `head` does, it falls silent: a backup does not fail because nobody watches.
    """

    def __init__(self, *, quiet: bool = False, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, quiet=quiet, highlight=False, soft_wrap=True, emoji=False)

    @property
    def columns(self) -> int:
        """How wide a line may be."""
        return self.width if self.is_terminal else _NO_TERMINAL_COLUMNS

    def on_broken_pipe(self) -> None:
        """Write to nowhere from now on. What is still in Python's own buffer goes there too when it exits."""
        self.quiet = True
        silence_output()


def standard_error() -> TextIO:
    """Give a stream that is standard error as it is at the moment of writing."""
    return cast("TextIO", _StandardError())


class _StandardError(io.TextIOBase):
    """While a display is up, `sys.stderr` is another: what is written to that one appears above the display."""

    def write(self, text: str) -> int:
        """Write to what is standard error now."""
        return sys.stderr.write(text)

    def flush(self) -> None:
        """Flush what is standard error now."""
        sys.stderr.flush()

    def isatty(self) -> bool:
        """Whether a person sees it."""
        return sys.stderr.isatty()


def silence_output() -> None:
    """Let standard output lead nowhere, where it led to a reader that has gone."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def make_printable() -> None:
    """Let no character be a reason to fail: where the locale has no `✓`, something stands in for it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
