"""`backupd backup`: take a backup now."""

from __future__ import annotations

import time
import uuid
from functools import partial
from pathlib import Path

import click
from rich.text import Text

from backupd.backup import BackupRequest, Witness, run_backup
from backupd.cli.documents import backup_document
from backupd.cli.entrance import Entrance, json_option
from backupd.cli.progress import ProgressDisplay
from backupd.cli.terminal import Terminal
from backupd.cli.words import MARKS, caution, duration, place, plural, size
from backupd.errors import ExitCode
from backupd.model import Backup, BackupType, Status, Trigger
from backupd.project import KeyKind, Project
from backupd.rescan import RescanReport, run_rescan

_MOST_NAMES = 5


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
    taken = take_backup(entrance, BackupType(backup_type))
    if entrance.as_json:
        entrance.show_json(backup_document(taken))
    return ExitCode.OK if taken.status is Status.COMPLETED else ExitCode.PARTIAL


def take_backup(entrance: Entrance, backup_type: BackupType) -> Backup:
    """Take a backup with a progress display, and say how it ended."""
    settings, console = entrance.config.project(), entrance.console
    for warning in entrance.config.warnings:
        console.print(caution(warning))
    request = BackupRequest(str(uuid.uuid4()), backup_type, Trigger.CLI, settings.platform)
    started = time.monotonic()
    with (
        entrance.stoppable(),
        Project(settings, log=entrance.log, should_stop=entrance.stop.is_set) as project,
        ProgressDisplay(console) as display,
    ):
        names = dict.fromkeys((settings.platform, project.host, str(backup_type)))
        console.print(Text.assemble("\n  ", (settings.platform, "bold"), *(f" · {name}" for name in list(names)[1:])))
        if project.key_kind is KeyKind.LEGACY_SERVICE_ROLE:
            console.print(
                caution("a legacy service_role key; Supabase is retiring them. Make a secret key, sb_secret_…")
            )
        witness = Witness(entrance.clock, display.report, entrance.stop.is_set)
        work = partial(_back_up, entrance, project, request, witness)
        taken = entrance.runner.run("backup", request.trigger, work, backup_id=request.backup_id)
    _show_end(console, taken, entrance, time.monotonic() - started)
    return taken


def _back_up(
    entrance: Entrance, project: Project, request: BackupRequest, witness: Witness, work_directory: Path
) -> Backup:
    """Mend first what an earlier run that was killed left behind: its archive may be in the store already."""
    store, catalog = entrance.store, entrance.catalog
    for sentence in _news(run_rescan(store, catalog, clock=witness.clock, should_stop=witness.should_stop)):
        entrance.console.print(caution(sentence))
    return run_backup(project, store, catalog, request, work_directory, witness)


def _news(report: RescanReport) -> list[str]:
    """What a person should know before the backup begins."""
    news = {
        "found in the store and listed from now on": [backup_id[:8] for backup_id in (*report.adopted, *report.found)],
        "missing from the store": [backup_id[:8] for backup_id in report.missing],
        "not as they should be, as `backupd rescan` shows": [problem.name for problem in report.problems],
    }
    return [f"{words}: {_some(names)}" for words, names in news.items() if names]


def _some(names: list[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _show_end(console: Terminal, taken: Backup, entrance: Entrance, seconds: float) -> None:
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
        console.print(caution(warning))
    console.print(Text(f"    {taken.backup_id[:8]}  {place(entrance.store.url, taken.archive or '')}\n"))
