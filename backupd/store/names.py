"""Which names an object may have, in whatever store."""

from __future__ import annotations

import unicodedata

from backupd.errors import StoreError

LONGEST_NAME_BYTES = 255
"""What every file system takes; object stores take more."""


def check_name(name: str) -> None:
    """Raise `StoreError` unless `name` is a plain file name: no path, no leading dot, nothing that cannot be printed.

    Names that begin with a dot are kept for what a store needs for itself.
    """
    problem = _problem_with(name)
    if problem is not None:
        raise StoreError(f"{name!r} cannot be the name of an object: {problem}")


def is_valid_name(name: str) -> bool:
    """Whether `check_name` lets `name` through."""
    return _problem_with(name) is None


def _problem_with(name: str) -> str | None:
    if not name:
        return "it is empty"
    if name.startswith("."):
        return "it begins with a dot"
    if "/" in name or "\\" in name:
        return "it holds a slash"
    if any(unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in name):
        return "it holds a control character"
    if len(name.encode()) > LONGEST_NAME_BYTES:
        return f"it is longer than {LONGEST_NAME_BYTES} bytes"
    return None
