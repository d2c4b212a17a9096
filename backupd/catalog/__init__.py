"""The SQLite record of backups and runs. It is disposable: a rescan rebuilds the backups from the store."""

from __future__ import annotations

from backupd.catalog.catalog import LATEST, Catalog
from backupd.catalog.rows import backup_from_sidecar
from backupd.catalog.statistics import Statistics

__all__ = ["LATEST", "Catalog", "Statistics", "backup_from_sidecar"]
