"""What every command shares: options, the parts built from them, output, and the way errors end."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console

from backupd.catalog import Catalog
from backupd.config import Config, load_config
from backupd.errors import BackupdError, ExitCode, Interrupted
from backupd.log import Logger, Redaction, make_logger
from backupd.model import Clock, utc_now
from backupd.runner import Runner, as_failure
from backupd.store import Store, open_store

Command = TypeVar("Command", bound=Callable[..., Any])

_PRIVATE_DIRECTORY = 0o700


@dataclass
class Entrance:
    """The parts a command may ask for, built on first use from its options; closed when it ends."""

    environ: Mapping[str, str]
    config_file: Path | None = None
    state: str | None = None
    debug: bool = False
    as_json: bool = False
    log_level: str | None = None
    clock: Clock = utc_now
    overrides: dict[str, Any] = field(default_factory=dict)
    closing: ExitStack = field(default_factory=ExitStack)
    stop: threading.Event = field(default_factory=threading.Event)

    @cached_property
    def config(self) -> Config:
        """The configuration. Raises ConfigError."""
        overrides = {**self.overrides, **({"state.directory": self.state} if self.state else {})}
        return load_config(self.environ, self.config_file, overrides=overrides)

    @cached_property
    def log(self) -> Logger:
        """Logs go to standard error; on a terminal only what a person should see beside the display."""
        usual = "warning" if sys.stderr.isatty() else "info"
        level = "debug" if self.debug else self.log_level or usual
        return make_logger(sys.stderr, level=level, secrets=self._secrets)

    @cached_property
    def console(self) -> Console:
        """Standard output, for people."""
        return Console(highlight=False, soft_wrap=True)

    @cached_property
    def state_directory(self) -> Path:
        """The state directory, made when it is not there."""
        directory = self.config.state_directory
        try:
            directory.mkdir(mode=_PRIVATE_DIRECTORY, parents=True, exist_ok=True)
        except OSError as error:
            raise BackupdError(
                f"the state directory {directory} cannot be made: {error.strerror}",
                hint="Set state.directory (BACKUPD_STATE__DIRECTORY) to a place this user may write to.",
            ) from error
        return directory

    @cached_property
    def catalog(self) -> Catalog:
        """The catalog. Raises CatalogError."""
        return self.closing.enter_context(Catalog.open(self.state_directory / "catalog.sqlite"))

    @cached_property
    def store(self) -> Store:
        """The store. Raises ConfigError and StoreError."""
        return open_store(self.config.store_url)

    @cached_property
    def runner(self) -> Runner:
        """Runs operations under the lock of the state directory."""
        return Runner(self.state_directory, self.catalog, clock=self.clock, log=self.log)

    def show_json(self, document: object) -> None:
        """Print one JSON document."""
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))

    def clean(self, text: str) -> str:
        """Return `text` without secrets, for messages that may quote what a library said."""
        return Redaction(self._secrets).clean_text(text)

    @property
    def _secrets(self) -> list[Any]:
        try:
            return list(self.config.secrets)
        except BackupdError:
            return []

    @contextmanager
    def stoppable(self) -> Iterator[None]:
        """Let SIGINT and SIGTERM ask the run to stop at the next page; a second one ends the process at once."""

        def ask(_: int, __: object) -> None:
            if self.stop.is_set():
                os._exit(ExitCode.INTERRUPTED)
            self.stop.set()

        before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def run_command(command: click.Command, arguments: Sequence[str]) -> ExitCode:
    """Run the command line and return its exit code, having said what went wrong on standard error."""
    entrance = Entrance(dict(os.environ))
    try:
        with entrance.closing:
            code = command.main(list(arguments), prog_name="backupd", standalone_mode=False, obj=entrance)
    except click.exceptions.Exit as ended:
        return ExitCode(ended.exit_code)
    except click.UsageError as error:
        error.show()
        return ExitCode.CONFIGURATION
    except (click.Abort, KeyboardInterrupt):
        return _complain(entrance, Interrupted("interrupted"))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
    except Exception as error:  # noqa: BLE001 - the door: whatever comes out becomes a message and an exit code
        return _complain(entrance, error)
    return code if isinstance(code, ExitCode) else ExitCode.OK


def _complain(entrance: Entrance, error: BaseException) -> ExitCode:
    if entrance.debug:
        Console(stderr=True).print_exception()
    failure = as_failure(error)
    message = entrance.clean(failure.message)
    hint = entrance.clean(failure.hint) if failure.hint else None
    if entrance.as_json:
        entrance.show_json({"error": {"message": message, "hint": hint, "exit_code": int(failure.exit_code)}})
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(f"[bold red]✗[/] {_literal(message)}")
    if hint:
        console.print(f"  {_literal(hint)}", style="dim")
    return failure.exit_code


def _literal(text: str) -> str:
    return text.replace("[", r"\[")


def json_option(command: Command) -> Command:
    """Add `--json` to a command."""

    def remember(context: click.Context, _: click.Parameter, value: bool) -> None:
        context.find_object(Entrance).as_json = value  # type: ignore[union-attr]

    option = click.option(
        "--json", is_flag=True, expose_value=False, callback=remember, help="Print one JSON document instead of text."
    )
    return option(command)
