"""The commands: builds the parts from the configuration, and turns errors into exit codes."""

from __future__ import annotations

import sys

from backupd.cli.commands import backupd
from backupd.cli.door import run_command
from backupd.cli.terminal import make_printable

__all__ = ["main"]


def main() -> None:
    """Run the command line of this process, and end the process with the exit code of what happened."""
    make_printable()
    sys.exit(run_command(backupd, sys.argv[1:]))
