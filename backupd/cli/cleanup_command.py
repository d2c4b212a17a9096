"""`backupd cleanup`: remove what has expired."""

from __future__ import annotations

import click
from rich.text import Text

from backupd.cleanup import CleanupReport, run_cleanup
from backupd.cli.building import retention_policy
from backupd.cli.columns import columns
from backupd.cli.entrance import Entrance, json_option
from backupd.cli.words import caution, moment, plural, size
from backupd.errors import ExitCode
from backupd.model import Trigger
from backupd.retention import Action, Decision


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
    show = entrance.console.print
    shown = [one for one in report.decisions if report.dry_run or one.action is Action.DELETE]
    if shown:
        show(columns(("decision", "id", "created", "type", "status", "reason"), map(_row, shown)))
    verb = "would be deleted" if report.dry_run else "deleted"
    show(f"{plural(len(report.deleted), 'backup')} {verb}, {size(report.freed_bytes)}.")
    for refusal in report.refused:
        hint = f"; {refusal.hint}" if refusal.hint else ""
        words = f" {refusal.backup.backup_id[:8]} is still there: {refusal.reason}{hint}"
        show(Text.assemble(("✗", "red"), words))
    for orphan in report.orphans:
        show(caution(f"{orphan.name} is in the store, and not in the catalog: backupd rescan"))
    for backup in report.missing:
        show(caution(f"the archive of {backup.backup_id[:8]} is missing from the store"))
    for backup in report.damaged:
        show(caution(f"the archive of {backup.backup_id[:8]} is not what was put into the store: backupd rescan"))


def _row(decision: Decision) -> tuple[str | Text, ...]:
    backup = decision.backup
    action = Text(str(decision.action), style="red" if decision.action is Action.DELETE else "green")
    kind, status = str(backup.type), str(backup.status)
    return action, backup.backup_id[:8], moment(backup.created_at), kind, status, decision.reason


def _document(report: CleanupReport) -> dict[str, object]:
    return {
        "dry_run": report.dry_run,
        "decisions": [
            {"backup_id": one.backup.backup_id, "decision": str(one.action), "reason": one.reason}
            for one in report.decisions
        ],
        "deleted": [backup.backup_id for backup in report.deleted],
        "freed_bytes": report.freed_bytes,
        "refused": [
            {"backup_id": refusal.backup.backup_id, "reason": refusal.reason, "hint": refusal.hint}
            for refusal in report.refused
        ],
        "orphans": [orphan.name for orphan in report.orphans],
        "missing": [backup.backup_id for backup in report.missing],
        "damaged": [backup.backup_id for backup in report.damaged],
    }
