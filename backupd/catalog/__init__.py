"""The SQLite record of backups and runs. It is disposable: a rescan rebuilds the backups from the store."""

from __future__ import annotations

from backupd.catalog.audit import AuditEntry, AuditLog
from backupd.catalog.catalog import LATEST, Catalog
from backupd.catalog.facts import health_facts
from backupd.catalog.history import SORTS, HistoryPage, HistoryQuery
from backupd.catalog.rows import backup_from_sidecar
from backupd.catalog.sessions import Session, Sessions, token_hash
from backupd.catalog.statistics import Statistics

__all__ = [
    "LATEST",
    "SORTS",
    "AuditEntry",
    "AuditLog",
    "Catalog",
    "HistoryPage",
    "HistoryQuery",
    "Session",
    "Sessions",
    "Statistics",
    "backup_from_sidecar",
    "health_facts",
    "token_hash",
]
