"""What the catalog knows of how things stand."""

from __future__ import annotations

from datetime import timedelta

from backupd.catalog.catalog import Catalog
from backupd.health import HealthFacts
from backupd.model import Status

_RECENT = 5


def health_facts(catalog: Catalog, stale_after: timedelta) -> HealthFacts:
    """The facts to judge health by, without those only the daemon knows. Raises CatalogError."""
    ended = [backup for backup in catalog.backups(limit=_RECENT) if backup.status is not Status.IN_PROGRESS]
    drills = [run for run in catalog.runs(operation="drill", limit=_RECENT) if run.status is not Status.IN_PROGRESS]
    return HealthFacts(
        stale_after=stale_after,
        last_success=catalog.last_completed(),
        last_ended=ended[0] if ended else None,
        missing=catalog.statistics().missing,
        drill_failed=bool(drills) and drills[0].status is Status.FAILED and not drills[0].was_interrupted,
    )
