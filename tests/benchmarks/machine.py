"""Which machine it was, and how busy."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from backupd import __version__
from backupd.sandbox.binaries import find_binaries


def describe() -> str:
    """One line: what was measured where, with what, when."""
    return (
        f"backupd {__version__} · {os.cpu_count()} cores, {_processor()} · "
        f"Python {platform.python_version()} · PostgreSQL {_postgres()} · {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    )


def load() -> float:
    """How many processes wanted to run over the last minute."""
    return os.getloadavg()[0]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _postgres() -> str:
    said = subprocess.run([find_binaries() / "postgres", "--version"], capture_output=True, text=True, check=True)
    return said.stdout.split()[-1]
