"""`backupd backup`: take a backup now."""

from __future__ import annotations

import time
import uuid
from functools import partial
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from backupd.backup import BackupRequest, Witness, run_backup
from backupd.cli.documents import backup_document
from backupd.cli.entrance import Entrance, json_option
from backupd.cli.progress import ProgressDisplay
from backupd.cli.words import MARKS, duration, plural, size
from backupd.errors import ExitCode
from backupd.model import Backup, BackupType, Status, Trigger
from backupd.project import KeyKind, Project


@click.command()
@click.option(
    "--type",
    "backup_type",
    type=click.Choice([str(kind) for kind in BackupType]),
    default=str(BackupType.MANUAL),
    show_default=True,
    help="Manual backups are kept for ever, automatic ones expire.",
)
@json_option
@click.pass_obj
def backup(entrance: Entrance, backup_type: str) -> ExitCode:
    """Back up the project now.

    Reads every table, writes one ZIP, reads the ZIP back, and only then puts it into the store. Exits with 3 when
    something could not be read: the backup is kept as `partial` and says what it lacks.
    """
    taken = take_backup(entrance, BackupType(backup_type), quiet=entrance.as_json)
    if entrance.as_json:
        entrance.show_json(backup_document(taken))
    return ExitCode.OK if taken.status is Status.COMPLETED else ExitCode.PARTIAL


def take_backup(entrance: Entrance, backup_type: BackupType, *, quiet: bool = False) -> Backup:
    """Take a backup with a progress display, and say how it ended."""
    settings = entrance.config.project()
    console = Console(stderr=True, quiet=True) if quiet else entrance.console
    for warning in entrance.config.warnings:
        console.print(Text.assemble("  ", ("!", "yellow"), f" {warning}"))
    request = BackupRequest(str(uuid.uuid4()), backup_type, Trigger.CLI, settings.platform)
    started = time.monotonic()
    with (
        entrance.stoppable(),
        Project(settings, log=entrance.log, should_stop=entrance.stop.is_set) as project,
        ProgressDisplay(console) as display,
    ):
        console.print(f"\n  [bold]{settings.platform}[/] · {project.host} · {backup_type}")
        if project.key_kind is KeyKind.LEGACY_SERVICE_ROLE:
            words = " a legacy service_role key; Supabase is retiring them. Make a secret key (sb_secret_…)."
            console.print(Text.assemble("  ", ("!", "yellow"), words))
        witness = Witness(entrance.clock, display.report, entrance.stop.is_set)
        work = partial(_back_up, entrance, project, request, witness)
        taken = entrance.runner.run("backup", request.trigger, work, backup_id=request.backup_id)
    _show_end(console, taken, entrance, time.monotonic() - started)
    return taken


def _back_up(
    entrance: Entrance, project: Project, request: BackupRequest, witness: Witness, work_directory: Path
) -> Backup:
    return run_backup(project, entrance.store, entrance.catalog, request, work_directory, witness)


def _show_end(console: Console, taken: Backup, entrance: Entrance, seconds: float) -> None:
    mark, colour = MARKS[taken.status]
    raw_bytes = sum(table.bytes for table in taken.tables)
    facts = [
        plural(len(taken.tables), "table"),
        plural(taken.total_rows, "row"),
        f"{size(raw_bytes)} → {size(taken.size_bytes)}",
        "read back and proven",
        duration(seconds),
    ]
    console.print(
        Text.assemble("  ", (mark, colour), " ", (str(taken.status).ljust(19), colour), " · ".join(facts), style="bold")
    )
    for warning in taken.warnings:
        console.print(Text.assemble("  ", ("!", "yellow"), f" {warning}"))
    console.print(f"    {taken.backup_id[:8]}  {entrance.store.url.removeprefix('file://')}/{taken.archive}\n")
