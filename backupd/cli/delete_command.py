"""`backupd delete`: one backup, for good."""

from __future__ import annotations

import sys

import click

from backupd.cleanup import delete_backup
from backupd.cli.entrance import Entrance, json_option
from backupd.cli.history_commands import ID_HELP
from backupd.cli.words import instant, plural
from backupd.errors import ExitCode
from backupd.model import Backup, Trigger


@click.command(help=f"Delete a backup and its archive.\n\nID: {ID_HELP}")
@click.argument("id", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@click.pass_obj
def delete(entrance: Entrance, id: str, yes: bool) -> ExitCode:  # noqa: A002 - click's way
    """Delete a backup and its archive."""
    backup = entrance.catalog.backup(id)
    if not yes and not _agreed(backup):
        entrance.console.print("Nothing was deleted.")
        return ExitCode.FAILED
    entrance.runner.run(
        "delete",
        Trigger.CLI,
        lambda _: delete_backup(entrance.store, entrance.catalog, backup),
        backup_id=backup.backup_id,
    )
    if entrance.as_json:
        entrance.show_json({"deleted": backup.backup_id})
    else:
        entrance.console.print(f"Deleted {backup.backup_id[:8]}.")
    return ExitCode.OK


def _agreed(backup: Backup) -> bool:
    if not sys.stdin.isatty():
        raise click.UsageError("delete asks first, and nobody is there to answer; --yes deletes without asking")
    described = f"{backup.type} backup {backup.backup_id[:8]} of {instant(backup.created_at)}"
    return click.confirm(f"Delete the {described} ({plural(backup.total_rows, 'row')}) for good?", err=True)
