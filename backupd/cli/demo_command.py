"""`backupd demo`: the main job on a throwaway project, with nothing else set up."""

from __future__ import annotations

import shlex
import tempfile
from pathlib import Path

import click

from backupd.cli.backup_command import take_backup
from backupd.cli.documents import backup_document
from backupd.cli.entrance import Entrance, json_option
from backupd.cli.history_commands import show_backup
from backupd.cli.proof_commands import show_report, verify_backup
from backupd.cli.terminal import Terminal
from backupd.errors import ExitCode
from backupd.model import Backup, BackupType, Status
from backupd.sandbox import Sandbox, start_sandbox

_PLATFORM = "Car Audio Competition Platform"
_PRIVATE_DIRECTORY = 0o700


@click.command()
@click.option(
    "--rows", type=click.IntRange(100, 20_000_000), default=4000, show_default=True, help="About so many rows."
)
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the catalog and the archives of the demo go. Default: a new directory for temporary files.",
)
@click.option("--keep", is_flag=True, help="Leave the project running until Ctrl-C, to try the other commands on.")
@json_option
@click.pass_obj
def demo(entrance: Entrance, rows: int, directory: Path | None, keep: bool) -> ExitCode:
    """Back up a throwaway project on this machine.

    Starts a real PostgreSQL and a gateway that speaks PostgREST's dialect, loads a car-audio competition platform,
    backs it up, verifies the archive and shows what is inside. Needs no root and nothing installed but
    `pip install 'backupd[sandbox]'`. The archive stays; the project is gone afterwards.
    """
    console = entrance.console
    state = directory or Path(tempfile.mkdtemp(prefix="backupd-demo-"))
    with tempfile.TemporaryDirectory(prefix="backupd-sandbox-") as temporary:
        with console.status("  Starting PostgreSQL and a gateway, loading a car-audio competition platform…"):
            starting = start_sandbox(Path(temporary), rows=rows)
            sandbox = entrance.closing.enter_context(starting)
        inside = _inside(entrance, sandbox, state)
        with inside.closing:
            taken = _show_what_it_does(inside)
        if keep:
            _wait(console, sandbox, state)
        else:
            _what_next(console, state, taken)
        entrance.closing.close()
    return ExitCode.OK if taken.status is Status.COMPLETED else ExitCode.PARTIAL


def _inside(entrance: Entrance, sandbox: Sandbox, state: Path) -> Entrance:
    """The entrance of a user whose project is the sandbox, and who has configured nothing else."""
    environ = {
        "SUPABASE_URL": sandbox.project_url,
        "SUPABASE_SECRET_KEY": sandbox.secret_key,
        "BACKUPD_PROJECT__PLATFORM": _PLATFORM,
        "HOME": str(state),
    }
    return Entrance(environ, state=str(state), debug=entrance.debug, as_json=entrance.as_json)


def _show_what_it_does(inside: Entrance) -> Backup:
    taken = take_backup(inside, BackupType.MANUAL)
    report = verify_backup(inside, taken)
    backup = inside.catalog.backup(taken.backup_id)
    if inside.as_json:
        inside.show_json({**backup_document(backup), "verified": report.ok})
        return backup
    show_report(inside, backup, report)
    inside.console.print()
    show_backup(inside, backup)
    return backup


def _what_next(console: Terminal, state: Path, taken: Backup) -> None:
    console.print(
        f"\nThe archive is an ordinary ZIP:\n"
        f"  unzip -l {shlex.quote(f'{state}/archives/{taken.archive}')}\n"
        f"\nTry next:\n"
        f"  backupd --state {shlex.quote(str(state))} list\n"
        f"  backupd --state {shlex.quote(str(state))} verify latest\n"
        f"  backupd demo --keep        the project stays, for the other commands\n"
        f"\nYour own project needs two variables, SUPABASE_URL and SUPABASE_SECRET_KEY, and then: backupd check",
        markup=False,
    )


def _wait(console: Terminal, sandbox: Sandbox, state: Path) -> None:
    console.print(
        f"\nThe project runs until Ctrl-C. In another terminal:\n"
        f"  export SUPABASE_URL={sandbox.project_url}\n"
        f"  export SUPABASE_SECRET_KEY={sandbox.secret_key}\n"
        f"  export BACKUPD_STATE__DIRECTORY={shlex.quote(str(state))}\n"
        f"  backupd check\n"
        f"  backupd backup\n"
        f"  psql '{sandbox.database_url}'",
        markup=False,
    )
    waiting = Entrance({})
    with waiting.stoppable():
        waiting.stop.wait()
    console.print("\nStopped.")
