"""`backupd cleanup`: remove what has expired."""

from __future__ import annotations

import click
from rich.table import Table as Grid
from rich.text import Text

from backupd.cleanup import CleanupReport, run_cleanup
from backupd.cli.building import retention_policy
from backupd.cli.entrance import Entrance, json_option
from backupd.cli.words import instant, plural, size
from backupd.errors import ExitCode
from backupd.model import Trigger
from backupd.retention import Action


@click.command()
@click.option("--dry-run", is_flag=True, help="Print every decision with its reason, and delete nothing.")
@json_option
@click.pass_obj
def cleanup(entrance: Entrance, dry_run: bool) -> ExitCode:
    """Delete the backups that have expired.

    Automatic backups expire after retention.automatic_days; manual and pinned ones never do. At least
    retention.keep_minimum proven backups stay, and nothing good expires while backups fail. Exits with 3 when the
    store refused to delete something, or when catalog and store do not agree.
    """
    if dry_run:
        report = _clean_up(entrance, dry_run=True)
    else:
        with entrance.stoppable():
            report = entrance.runner.run("cleanup", Trigger.CLI, lambda _: _clean_up(entrance, dry_run=False))
    if entrance.as_json:
        entrance.show_json(_document(report))
    else:
        _show(entrance, report)
    return ExitCode.PARTIAL if report.refused or report.mismatches else ExitCode.OK


def _clean_up(entrance: Entrance, *, dry_run: bool) -> CleanupReport:
    policy = retention_policy(entrance.config)
    return run_cleanup(
        entrance.store,
        entrance.catalog,
        policy,
        clock=entrance.clock,
        dry_run=dry_run,
        should_stop=entrance.stop.is_set,
    )


def _show(entrance: Entrance, report: CleanupReport) -> None:
    shown = [one for one in report.decisions if report.dry_run or one.action is Action.DELETE]
    if shown:
        grid = Grid(box=None, pad_edge=False, header_style="dim")
        for title in ("id", "created", "type", "status", "decision", "reason"):
            grid.add_column(title, no_wrap=title != "reason")
        for one in shown:
            colour = "red" if one.action is Action.DELETE else "green"
            grid.add_row(
                one.backup.backup_id[:8],
                instant(one.backup.created_at),
                str(one.backup.type),
                str(one.backup.status),
                Text(str(one.action), style=colour),
                one.reason,
            )
        entrance.console.print(grid)
    verb = "would be deleted" if report.dry_run else "deleted"
    entrance.console.print(f"{plural(len(report.deleted), 'backup')} {verb}, {size(report.freed_bytes)}.")
    for refusal in report.refused:
        entrance.console.print(Text.assemble(("✗ ", "red"), str(refusal)))
    for orphan in report.orphans:
        words = f"{orphan.name} is in the store, and not in the catalog: backupd rescan"
        entrance.console.print(Text.assemble(("! ", "yellow"), words))
    for backup in (*report.missing, *report.damaged):
        words = f"the archive of {backup.backup_id[:8]} is missing from the store or not what was put there"
        entrance.console.print(Text.assemble(("! ", "yellow"), words))


def _document(report: CleanupReport) -> dict[str, object]:
    return {
        "dry_run": report.dry_run,
        "decisions": [
            {"backup_id": one.backup.backup_id, "decision": str(one.action), "reason": one.reason}
            for one in report.decisions
        ],
        "deleted": [backup.backup_id for backup in report.deleted],
        "freed_bytes": report.freed_bytes,
        "refused": [str(refusal) for refusal in report.refused],
        "orphans": [orphan.name for orphan in report.orphans],
        "missing": [backup.backup_id for backup in report.missing],
        "damaged": [backup.backup_id for backup in report.damaged],
    }
