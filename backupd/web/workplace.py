"""What the pages act on: the daemon and its parts, handed in from outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from backupd.catalog import Catalog
from backupd.log import Logger
from backupd.model import BackupType, Clock, Trigger
from backupd.retention import Policy
from backupd.runner import Runner
from backupd.slots import Timetable
from backupd.store import Store


@dataclass(frozen=True, slots=True)
class Asked:
    """What became of asking for a backup: its id, and whether it was one already wanted or under way that is joined."""

    backup_id: str
    joined: bool


@dataclass(frozen=True, slots=True)
class Workplace:
    """The parts of one configuration. Asked for anew at each request: a reload may exchange them.

    `catalog` is the daemon's own, for what is done under the lock of `runner`; `project` is the host of the project,
    `drill_reports` the directory where reports of drills are kept.
    """

    catalog: Catalog
    store: Store
    runner: Runner
    policy: Policy
    timetables: Mapping[str, Timetable]
    drill_reports: Path
    platform: str
    project: str
    request_backup: Callable[[BackupType, Trigger], Asked]
    clock: Clock
    log: Logger
