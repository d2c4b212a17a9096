"""`backupd verify` and `rescan`: is what the catalog says true?"""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

import click
from rich.text import Text

from backupd.cli.documents import verify_document
from backupd.cli.entrance import Entrance, json_option
from backupd.cli.progress import ProgressDisplay
from backupd.cli.terminal import Terminal
from backupd.cli.words import plural, size
from backupd.errors import BackupNotFound, ExitCode, StoreError
from backupd.model import Backup, Trigger
from backupd.rescan import RescanReport, run_rescan
from backupd.verify import Problem, VerifyReport, verify_stored


@click.command()
@click.argument("id", default="latest", metavar="[ID]")
@click.option("--all", "every", is_flag=True, help="Verify every backup in the store.")
@json_option
@click.pass_obj
def verify(entrance: Entrance, id: str, every: bool) -> ExitCode:  # noqa: A002 - click's way
    """Read a whole archive back and compare it with its manifest and its sidecar.

    Checks the archive's checksum, each member's CRC, length and checksum, each row as JSON, and every row count.
    Exits with 3 when anything differs. ID: its id, the beginning of its id, or `latest`, which is the default.
    """
    chosen = _all_archived(entrance) if every else [entrance.catalog.backup(id)]
    documents = []
    with entrance.stoppable():
        for backup in chosen:
            report = _verified(entrance, backup, one_of_many=every)
            documents.append(verify_document(backup.backup_id, report))
            if not entrance.as_json:
                show_report(entrance, backup, report)
    if entrance.as_json:
        entrance.show_json({"backups": documents} if every else documents[0])
    return ExitCode.OK if all(document["ok"] for document in documents) else ExitCode.PARTIAL


def _verified(entrance: Entrance, backup: Backup, *, one_of_many: bool) -> VerifyReport:
    work = partial(_verify_in, entrance, backup)
    try:
        return entrance.runner.run("verify", Trigger.CLI, work, backup_id=backup.backup_id)
    except StoreError as error:
        if not one_of_many:
            raise
        return VerifyReport(backup.backup_id, (Problem("store", error.message),))


def _verify_in(entrance: Entrance, backup: Backup, _: Path) -> VerifyReport:
    return verify_backup(entrance, backup)


def _all_archived(entrance: Entrance) -> list[Backup]:
    return [backup for backup in entrance.catalog.backups() if backup.archive and not backup.deleting]


def verify_backup(entrance: Entrance, backup: Backup) -> VerifyReport:
    """Verify one backup, with a progress display, and record when it was found right or that it no longer is."""
    if backup.archive is None:
        raise BackupNotFound(
            f"backup {backup.backup_id[:8]} is {backup.status}: no archive was published",
            hint="`backupd verify` without an id takes the newest that has one.",
        )
    with ProgressDisplay(entrance.console) as display:
        return verify_stored(
            entrance.store,
            entrance.catalog,
            backup,
            clock=entrance.clock,
            on_progress=display.report,
            should_stop=entrance.stop.is_set,
        )


def show_report(entrance: Entrance, backup: Backup, report: VerifyReport) -> None:
    """Say what verification found."""
    if report.ok:
        facts = f"{plural(report.tables, 'table')}, {plural(report.rows, 'row')}, {size(report.bytes)}"
        words = f" {backup.backup_id[:8]} is whole: {facts} read back and equal to the manifest"
        entrance.console.print(Text.assemble("  ", ("✓", "green"), words))
        return
    words = f" {backup.backup_id[:8]} is not whole: {plural(len(report.problems), 'problem')}"
    entrance.console.print(Text.assemble("  ", ("✗", "red"), words))
    for problem in report.problems:
        entrance.console.print(Text(f"      {problem}"))


@click.command()
@json_option
@click.pass_obj
def rescan(entrance: Entrance) -> ExitCode:
    """Rebuild the catalog's backups from what is in the store.

    Adopts archives the catalog does not know, marks backups whose archive is missing, and reports what cannot be
    read. Deletes no archive. Exits with 3 when catalog and store do not agree even then.
    """
    with entrance.stoppable():
        report = entrance.runner.run("rescan", Trigger.CLI, lambda _: _rescan(entrance))
    if entrance.as_json:
        entrance.show_json(dataclasses.asdict(report))
    else:
        _show_rescan(entrance.console, report)
    return ExitCode.PARTIAL if report.mismatches else ExitCode.OK


def _rescan(entrance: Entrance) -> RescanReport:
    return run_rescan(entrance.store, entrance.catalog, clock=entrance.clock, should_stop=entrance.stop.is_set)


def _show_rescan(console: Terminal, report: RescanReport) -> None:
    console.print(f"{plural(report.archives, 'archive')} in the store.")
    groups = {
        "adopted": [backup_id[:8] for backup_id in report.adopted],
        "back again": [backup_id[:8] for backup_id in report.found],
        "missing from the store": [backup_id[:8] for backup_id in report.missing],
        "sidecars written": report.sidecars_written,
        "leftovers removed": report.leftovers_removed,
        "not backupd's, left alone": report.foreign,
    }
    for words, names in groups.items():
        if names:
            console.print(f"  {words}: {', '.join(names)}", markup=False)
    for problem in report.problems:
        console.print(Text.assemble("  ", ("✗", "red"), f" {problem}"))
