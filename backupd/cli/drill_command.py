"""`backupd drill`: rehearse a restore."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from backupd.cli.building import drill_settings
from backupd.cli.entrance import Entrance, json_option
from backupd.cli.progress import ProgressDisplay
from backupd.drill import DrillReport, DrillSettings, Rehearsal, run_drill
from backupd.drill.report import document, keep, text
from backupd.errors import ExitCode
from backupd.model import Trigger


@click.command()
@click.argument("id", default="latest", metavar="[ID]")
@click.option(
    "--check-cmd",
    metavar="COMMAND",
    help="A command of yours that tests the restored database; it finds its address in DATABASE_URL.",
)
@json_option
@click.pass_obj
def drill(entrance: Entrance, id: str, check_cmd: str | None) -> ExitCode:  # noqa: A002 - the name of the argument
    """Rehearse a restore: load an archive into a throwaway PostgreSQL and compare every row.

    Builds the tables from the manifest, loads them, compares what the database gives back with the archive, follows
    every foreign key, and runs your own check command. Nothing is left of it but the report. Exits with 3 when
    anything is not as it should be. ID: its id, the beginning of its id, or `latest`, which is the default.
    """
    backup = entrance.catalog.backup(id)
    settings = drill_settings(entrance.config, check_cmd)
    with entrance.stoppable(), ProgressDisplay(entrance.console) as display:
        rehearsal = Rehearsal(entrance.clock, display.report, entrance.stop.is_set)
        work = partial(_rehearse, entrance, backup.backup_id, settings, rehearsal)
        report = entrance.runner.run("drill", Trigger.CLI, work, backup_id=backup.backup_id)
    kept = keep(report, entrance.state_directory / "drills")
    if entrance.as_json:
        entrance.show_json({**document(report), "report": str(kept)})
    else:
        entrance.console.print(text(report), markup=False)
        entrance.console.print(f"Report: {kept}", markup=False)
    return ExitCode.OK if report.ok else ExitCode.PARTIAL


def _rehearse(
    entrance: Entrance, backup_id: str, settings: DrillSettings, rehearsal: Rehearsal, work_directory: Path
) -> DrillReport:
    backup = entrance.catalog.backup(backup_id)
    return run_drill(entrance.store, entrance.catalog, backup, settings, work_directory, rehearsal)
