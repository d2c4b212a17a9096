"""RECOVERY.md: how to read and restore one archive with and without backupd."""

from __future__ import annotations

from backupd.model import Manifest


def recovery_text(manifest: Manifest) -> str:
    """Text for a person."""
    return f"# {manifest.platform}\n"
