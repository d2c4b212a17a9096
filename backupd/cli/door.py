"""Where a command line comes in, and where whatever happened goes out as a message and an exit code."""

from __future__ import annotations

import os
import traceback
from collections.abc import Sequence

import click
from rich.text import Text

from backupd.cli.entrance import Entrance
from backupd.cli.terminal import Terminal, silence_output
from backupd.errors import BackupdError, ExitCode, Interrupted
from backupd.runner import as_failure


class WrongUsage(BackupdError):
    """The command line cannot be understood."""

    exit_code = ExitCode.CONFIGURATION


def run_command(command: click.Command, arguments: Sequence[str]) -> ExitCode:
    """Run the command line and return its exit code, having said what went wrong on standard error."""
    entrance = Entrance(dict(os.environ))
    try:
        with entrance.closing:
            code = command.main(list(arguments), prog_name="backupd", standalone_mode=False, obj=entrance)
    except click.UsageError as error:
        entrance.as_json = "--json" in arguments
        return _complain(entrance, _usage(error))
    except (click.Abort, KeyboardInterrupt):
        return _complain(entrance, Interrupted("interrupted"))
    except BrokenPipeError:
        silence_output()
        return ExitCode.OK
    except Exception as error:  # noqa: BLE001 - the door: whatever comes out becomes a message and an exit code
        return _complain(entrance, error)
    return ExitCode(code) if isinstance(code, int) else ExitCode.OK


def _usage(error: click.UsageError) -> WrongUsage:
    path = error.ctx.command_path if error.ctx else "backupd"
    message = error.format_message()
    return WrongUsage(message[:1].lower() + message[1:].rstrip("."), hint=f"`{path} --help` shows what there is.")


def _complain(entrance: Entrance, error: BaseException) -> ExitCode:
    console = Terminal(stderr=True)
    if entrance.debug:
        console.print(Text(entrance.clean("".join(traceback.format_exception(error)))))
    failure = as_failure(error)
    message = entrance.clean(failure.message)
    hint = entrance.clean(failure.hint) if failure.hint else None
    if entrance.as_json:
        entrance.show_json({"error": {"message": message, "hint": hint, "exit_code": int(failure.exit_code)}})
    console.print(Text.assemble(("✗", "bold red"), f" {message}"))
    if hint:
        console.print(Text(f"  {hint}", style="dim"))
    return failure.exit_code
