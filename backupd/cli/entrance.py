"""What every command shares: the parts built from its options, what it prints, and how it is asked to stop."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import click

from backupd.catalog import Catalog
from backupd.cli.terminal import Terminal, standard_error
from backupd.config import Config, Secret, load_config
from backupd.errors import BackupdError, ExitCode
from backupd.log import Logger, Redaction, make_logger
from backupd.model import Clock, utc_now
from backupd.runner import Runner
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
    clock: Clock = utc_now
    closing: ExitStack = field(default_factory=ExitStack)
    stop: threading.Event = field(default_factory=threading.Event)

    @cached_property
    def config(self) -> Config:
        """The configuration. Raises ConfigError."""
        return self.load_config()

    def load_config(self) -> Config:
        """Read the configuration anew. Raises ConfigError."""
        overrides = {"state.directory": self.state} if self.state else {}
        return load_config(self.environ, self.config_file, overrides=overrides)

    @cached_property
    def console(self) -> Terminal:
        """Standard output, for people; says nothing where one JSON document is wanted."""
        return Terminal(quiet=self.as_json)

    @cached_property
    def log(self) -> Logger:
        """Standard error: what a person should know while a run goes on, everything with `--debug`."""
        return self._logger("warning")

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

    @property
    def catalog_file(self) -> Path:
        """Where the catalog is."""
        return self.state_directory / "catalog.sqlite"

    @cached_property
    def catalog(self) -> Catalog:
        """The catalog. Raises CatalogError."""
        return self.closing.enter_context(Catalog.open(self.catalog_file))

    @cached_property
    def store(self) -> Store:
        """The store. Raises ConfigError and StoreError."""
        return open_store(self.config.store_url)

    @cached_property
    def runner(self) -> Runner:
        """Runs operations under the lock of the state directory. What it raises is said at the door, not logged."""
        return Runner(self.state_directory, self.catalog, clock=self.clock, log=self._logger("critical"))

    def show_json(self, document: object) -> None:
        """Print one JSON document."""
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))

    def clean(self, text: str) -> str:
        """Return `text` without secrets, for messages that may quote what a library said."""
        return Redaction(self._secrets).clean_text(text)

    def _logger(self, usual_level: str) -> Logger:
        level = "debug" if self.debug else usual_level
        colours = not self.environ.get("NO_COLOR")
        return make_logger(standard_error(), level=level, secrets=self._secrets, colours=colours)

    @property
    def _secrets(self) -> list[Secret]:
        try:
            return list(self.config.secrets)
        except BackupdError:
            return []

    @contextmanager
    def stoppable(self) -> Iterator[None]:
        """Let SIGINT and SIGTERM ask the run to stop at the next page; a second one ends the process at once."""

        def ask(_: int, __: object) -> None:
            if self.stop.is_set():
                self.console.show_cursor(True)
                os._exit(ExitCode.INTERRUPTED)
            self.stop.set()

        before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def json_option(command: Command) -> Command:
    """Add `--json` to a command."""

    def remember(context: click.Context, _: click.Parameter, value: bool) -> None:
        context.find_object(Entrance).as_json = value  # type: ignore[union-attr]

    option = click.option(
        "--json", is_flag=True, expose_value=False, callback=remember, help="Print one JSON document instead of text."
    )
    return option(command)
