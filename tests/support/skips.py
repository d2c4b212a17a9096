"""Skips that are never silent: one line that says what is missing and how to install it."""

from __future__ import annotations

import os
import shutil

import pytest

FORBID_SKIPS = "BACKUPD_TEST_FORBID_SKIPS"
"""Set to `1` where everything is installed (CI): a missing piece then fails the test instead of skipping it."""


def require(condition: bool, what: str, how: str) -> None:
    """Go on only when `condition` holds; otherwise skip with "needs `what`: install with `how`".

    With `BACKUPD_TEST_FORBID_SKIPS=1` the test fails with that same line.
    """
    if condition:
        return
    line = f"needs {what}: install with {how}"
    if os.environ.get(FORBID_SKIPS) == "1":
        pytest.fail(line, pytrace=False)
    pytest.skip(line)


def require_tool(name: str, package: str) -> None:
    """Go on only when the program `name` is on the PATH; `package` is the Debian package that brings it."""
    require(shutil.which(name) is not None, name, f"apt-get install {package}")
