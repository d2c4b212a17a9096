"""`backupd restore`: a backup back into a project."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import click

from backupd.cli.entrance import Entrance, json_option
from backupd.cli.progress import ProgressDisplay
from backupd.cli.restore_words import show_outcome, show_plan
from backupd.cli.terminal import standard_error
from backupd.cli.words import caution
from backupd.config import ProjectSettings, Secret
from backupd.config.options import project_url
from backupd.config.sources import Problems, read_secret
from backupd.errors import BackupNotFound, ConfigError, ExitCode
from backupd.log import make_logger
from backupd.model import Backup, OnProgress, Progress, Trigger
from backupd.project import Project
from backupd.restore import (
    Choice,
    Mode,
    NotConfirmed,
    Plan,
    ProvenArchive,
    RestoreBlocked,
    RestoreReport,
    RestoreStopped,
    Witness,
    open_proven,
    plan_document,
    plan_restore,
    report_document,
    run_restore,
)

URL_VARIABLE = "BACKUPD_RESTORE_URL"
KEY_VARIABLE = "BACKUPD_RESTORE_KEY"
_STAGES = {"restoring": "reading", "comparing": "verifying"}


@dataclass(frozen=True, slots=True)
class _Order:
    """What was asked for on the command line."""

    backup: Backup
    choice: Choice
    dry_run: bool
    confirmed: str | None


@click.command()
@click.argument("id", metavar="ID")
@click.option("--to", "url", metavar="URL", help=f"The project to write into. Default: ${URL_VARIABLE}.")
@click.option("--table", "tables", metavar="NAME", multiple=True, help="Only this table; may be given several times.")
@click.option("--exclude", "excluded", metavar="NAME", multiple=True, help="Leave this table out; likewise.")
@click.option(
    "--mode",
    type=click.Choice([str(mode) for mode in Mode]),
    default=str(Mode.EMPTY),
    show_default=True,
    help="empty: refuse tables that have rows. merge: overwrite rows of the same primary key, keep all others.",
)
@click.option("--dry-run", is_flag=True, help="Print the whole plan, and write nothing.")
@click.option("--confirm", "confirmed", metavar="HOST", help="The host to write into, typed out. Asked for without.")
@click.option("--into-source", is_flag=True, help="Allow to write into the project that is backed up.")
@json_option
@click.pass_obj
def restore(
    entrance: Entrance,
    id: str,  # noqa: A002 - click's way
    url: str | None,
    tables: tuple[str, ...],
    excluded: tuple[str, ...],
    mode: str,
    dry_run: bool,
    confirmed: str | None,
    into_source: bool,
) -> ExitCode:
    r"""Write a backup into a project, and compare every row afterwards.

    The tables must be there: create them from your migrations first. The archive is read back before the first row is
    written. An interrupted restore goes on where it stopped when the same command is run again. Exits with 3 when
    something was refused or did not come out equal. ID: its id, the beginning of its id, or `latest`.

    \b
    The key of the project to write into is never given on the command line. It is taken from
      BACKUPD_RESTORE_KEY, the file that BACKUPD_RESTORE_KEY_FILE names, or a hidden prompt.
    """
    choice = Choice(Mode(mode), tables, excluded, into_source)
    settings = _target(entrance, url)
    order = _Order(entrance.catalog.backup(id), choice, dry_run, confirmed)
    _require_sense(order, urlsplit(settings.url).netloc)
    log = make_logger(
        standard_error(),
        level="debug" if entrance.debug else "warning",
        secrets=[*entrance.config.secrets, settings.key],
    )
    with entrance.stoppable(), Project(settings, log=log, should_stop=entrance.stop.is_set) as project:
        return _restore(entrance, project, order)


def _restore(entrance: Entrance, project: Project, order: _Order) -> ExitCode:
    with ProgressDisplay(entrance.console) as display:
        opening = open_proven(entrance.store, entrance.catalog, order.backup, _witness(entrance, display.report))
        archive = entrance.closing.enter_context(opening)
        plan = plan_restore(project, archive, order.choice, _directory(entrance), own_project=_own_host(entrance))
    if entrance.as_json and order.dry_run:
        entrance.show_json(plan_document(plan))
    show_plan(entrance.console, order.backup, plan)
    if order.dry_run:
        return ExitCode.FAILED if plan.obstacles else ExitCode.OK
    if plan.obstacles:
        raise RestoreBlocked(plan)
    confirmed = order.confirmed or _asked(entrance, plan)
    work = partial(_write, entrance, project, archive, plan, confirmed)
    report = entrance.runner.run("restore", Trigger.CLI, work, backup_id=plan.backup_id)
    _show(entrance, report)
    return ExitCode.OK if report.ok else ExitCode.PARTIAL


def _write(
    entrance: Entrance, project: Project, archive: ProvenArchive, plan: Plan, confirmed: str, _: Path
) -> RestoreReport:
    """Write with a progress display; a restore that stopped half-way shows how far it came."""
    try:
        with ProgressDisplay(entrance.console) as display:
            witness = _witness(entrance, _translated(display.report))
            return run_restore(project, archive, plan, _directory(entrance), witness, confirmed=confirmed)
    except RestoreStopped as stopped:
        show_outcome(entrance.console, stopped.report)
        raise


def _show(entrance: Entrance, report: RestoreReport) -> None:
    if entrance.as_json:
        entrance.show_json(report_document(report))
    show_outcome(entrance.console, report)


def _witness(entrance: Entrance, on_progress: OnProgress) -> Witness:
    return Witness(entrance.clock, on_progress, entrance.stop.is_set)


def _translated(report: OnProgress) -> Callable[[Progress], None]:
    """The display knows two of the stages under the names they have in a backup."""

    def on_progress(progress: Progress) -> None:
        report(replace(progress, stage=_STAGES.get(progress.stage, progress.stage)))

    return on_progress


def _directory(entrance: Entrance) -> Path:
    return entrance.state_directory / "restores"


def _own_host(entrance: Entrance) -> str | None:
    url = entrance.config.values["project.url"]
    return urlsplit(url).netloc if url else None


def _require_sense(order: _Order, host: str) -> None:
    """Find out before the archive is read what would stop the restore anyway."""
    backup = order.backup
    if backup.archive is None:
        raise BackupNotFound(
            f"backup {backup.backup_id[:8]} is {backup.status}: no archive was published",
            hint="`backupd list` shows which have one.",
        )
    if order.dry_run:
        return
    if order.confirmed is None and not sys.stdin.isatty():
        raise NotConfirmed(
            f"this would write into {host}, and nobody is there to confirm it",
            hint=f"--dry-run shows what would be done; --confirm {host} does it.",
        )
    if order.confirmed is not None and order.confirmed.strip().lower() != host.lower():
        raise NotConfirmed(
            f"the target is {host}, and --confirm says {order.confirmed}",
            hint=f"--confirm {host} says that this is the one.",
        )


def _asked(entrance: Entrance, plan: Plan) -> str:
    entrance.console.print(caution(f"{plan.target} will be written to."))
    answer: str = click.prompt(f"  Type {plan.target} to go on", default="", show_default=False, err=True)
    return answer


def _target(entrance: Entrance, url: str | None) -> ProjectSettings:
    """Where to write to, with which key. Raises ConfigError."""
    problems = Problems()
    origin, given = ("--to", url) if url else (URL_VARIABLE, entrance.environ.get(URL_VARIABLE, "").strip())
    if not given:
        raise ConfigError(
            "nobody said which project to restore into",
            hint=f"--to https://abcd.supabase.co, or {URL_VARIABLE}. `backupd restore --help` tells about the key.",
        )
    found = problems.collect(origin, "url", project_url, given)
    key = read_secret(KEY_VARIABLE, entrance.environ, problems)
    problems.raise_if_any()
    own = entrance.config.section("project")
    return ProjectSettings(
        url=found["url"],
        key=key or _asked_for_key(urlsplit(found["url"]).netloc),
        platform=urlsplit(found["url"]).netloc,
        page_rows=own["page_rows"],
        concurrency=own["concurrency"],
        max_bytes_per_second=own["max_bytes_per_second"],
    )


def _asked_for_key(host: str) -> Secret:
    if not sys.stdin.isatty():
        raise ConfigError(
            f"{KEY_VARIABLE} is not set",
            hint=f"It is a secret key (sb_secret_…) of {host}. {KEY_VARIABLE}_FILE names a file that holds it.",
        )
    return Secret(click.prompt(f"  Secret key of {host}", hide_input=True, err=True).strip())
