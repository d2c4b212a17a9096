"""`run_backup` without the command line around it, and how long importing it takes."""

from __future__ import annotations

import sys
import time

BEGAN = time.perf_counter()

import io  # noqa: E402 - what is imported from here on is what is measured
import json  # noqa: E402
import uuid  # noqa: E402
from pathlib import Path  # noqa: E402

from backupd.backup import BackupRequest, Witness, run_backup  # noqa: E402
from backupd.catalog import Catalog  # noqa: E402
from backupd.config import ProjectSettings, Secret  # noqa: E402
from backupd.log import make_logger  # noqa: E402
from backupd.model import BackupType, Trigger, ignore_progress, never_stop, utc_now  # noqa: E402
from backupd.project import Project  # noqa: E402
from backupd.store import DirectoryStore  # noqa: E402


def main(url: str, key: str, directory: Path) -> dict[str, float]:
    """Take one backup into `directory`; return how long importing and how long the backup took, in seconds."""
    imported = time.perf_counter()
    work = directory / "work"
    work.mkdir()
    settings = ProjectSettings(url=url, key=Secret(key), platform="Benchmark")
    request = BackupRequest(str(uuid.uuid4()), BackupType.MANUAL, Trigger.CLI, settings.platform)
    witness = Witness(utc_now, ignore_progress, never_stop)
    with (
        Catalog.open(directory / "catalog.sqlite") as catalog,
        Project(settings, log=make_logger(io.StringIO())) as project,
    ):
        run_backup(project, DirectoryStore(directory / "archives"), catalog, request, work, witness)
    return {"import_seconds": imported - BEGAN, "recipe_seconds": time.perf_counter() - imported}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))))
