"""The table of commands. A command's module is imported only when it is asked for: the Supabase client is heavy."""

from __future__ import annotations

import difflib
from importlib import import_module
from pathlib import Path

import click

from backupd import __version__
from backupd.cli.entrance import Entrance
from backupd.errors import ExitCode

COMMANDS = {
    "run": "run_command:run",
    "backup": "backup_command:backup",
    "list": "history_commands:list_backups",
    "show": "history_commands:show",
    "verify": "proof_commands:verify",
    "restore": "restore_command:restore",
    "drill": "drill_command:drill",
    "rescan": "proof_commands:rescan",
    "pin": "history_commands:pin",
    "delete": "delete_command:delete",
    "cleanup": "cleanup_command:cleanup",
    "status": "status_command:status",
    "check": "check_command:check",
    "login-link": "login_link_command:login_link",
    "config": "config_command:config",
    "monitoring": "monitoring_command:monitoring",
    "install-service": "install_service_command:install_service",
    "demo": "demo_command:demo",
}
"""Where each command is, in the order of the help."""


class _Commands(click.Group):
    """Finds a command in `COMMANDS`, in the order it is written there."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command of the command line; one that does not exist is told what it may have meant."""
        close = difflib.get_close_matches(args[0], COMMANDS, n=1)
        if args[0] not in COMMANDS and close:
            ctx.fail(f"No such command '{args[0]}'; did you mean {close[0]}?")
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        module, _, name = place.partition(":")
        command: click.Command = getattr(import_module(f"backupd.cli.{module}"), name)
        return command


_EXIT_CODES = "\n".join(f"  {code.value:>3}  {code.meaning}" for code in ExitCode)


@click.group(
    cls=_Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=f"\b\nExit codes:\n{_EXIT_CODES}\n\n"
    "\b\nFirst steps:\n"
    "  backupd demo                      a backup of a throwaway project on this machine\n"
    "  export SUPABASE_URL=https://abcd.supabase.co\n"
    "  export SUPABASE_SECRET_KEY=sb_secret_…\n"
    "  backupd check                     is everything as it should be?\n"
    "  backupd backup                    back up now\n",
)
@click.version_option(__version__, prog_name="backupd", message="%(prog)s %(version)s")
@click.option(
    "--config",
    "config_file",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Configuration file. Default: $BACKUPD_CONFIG, /etc/backupd/backupd.toml, ~/.config/backupd/backupd.toml.",
)
@click.option("--state", metavar="DIR", help="State directory: catalog, lock, and the archives unless store.url says.")
@click.option("--debug", is_flag=True, help="Log everything, and show tracebacks.")
@click.pass_context
def backupd(context: click.Context, config_file: Path | None, state: str | None, debug: bool) -> None:
    """Complete, exact, proven backups of a Supabase project.

    A backup is one ZIP file: a JSON file for each table and a manifest. It is read back to the last byte before it
    counts, and it lacks a row or a table only if it says so.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        context.exit(ExitCode.CONFIGURATION)
    entrance: Entrance = context.obj
    entrance.config_file = config_file
    entrance.state = state
    entrance.debug = debug
