"""The README tells the truth: every room, command, option and exit code is in it as it is in the code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import click
import pytest

from backupd.cli.commands import backupd
from backupd.config import OPTIONS
from backupd.errors import ExitCode

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
ROOMS = sorted(
    path for path in (ROOT / "backupd").iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()
)
NAMED = [room for room in ROOMS if room.stem not in ("__init__", "__main__")]


def commands() -> list[str]:
    """The names of all commands."""
    return backupd.list_commands(click.Context(backupd))


@pytest.mark.parametrize("room", NAMED, ids=lambda room: room.stem)
def test_readme_map_has_the_first_line_of_each_room(room: Path) -> None:
    """The first line of a module's docstring is its line on the map."""
    source = room / "__init__.py" if room.is_dir() else room
    docstring = ast.get_docstring(ast.parse(source.read_text())) or ""
    name = f"{room.name}/" if room.is_dir() else room.name
    assert re.search(rf"^\| `{re.escape(name)}` \| {re.escape(docstring.splitlines()[0])} \|$", README, re.MULTILINE)


def test_readme_map_has_no_room_that_is_not_there() -> None:
    """A room that was torn down is off the map."""
    shown = set(re.findall(r"^\| `([a-z_]+(?:\.py|/))` \|", README, re.MULTILINE))
    assert shown <= {f"{room.name}/" if room.is_dir() else room.name for room in ROOMS}


@pytest.mark.parametrize("name", commands())
def test_readme_names_every_command(name: str) -> None:
    """Whoever reads the README knows what there is."""
    assert f"| `backupd {name}" in README


def test_readme_names_no_command_that_is_not_there() -> None:
    """And nothing that there is not."""
    assert set(re.findall(r"^\| `backupd ([a-z-]+)", README, re.MULTILINE)) <= set(commands())


@pytest.mark.parametrize("code", list(ExitCode))
def test_readme_has_the_table_of_exit_codes(code: ExitCode) -> None:
    """One table: in `errors`, in `--help` and here."""
    assert f"| {code.value} | {code.meaning} |" in README


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.key)
def test_readme_explains_every_setting(option: object) -> None:
    """Each with its sentence, as `backupd config --example` has it."""
    key, text = getattr(option, "key", ""), getattr(option, "help", "")
    assert f"| `{key}` | {text} |" in README


@pytest.mark.parametrize("name", commands())
def test_help_of_every_command_teaches(name: str) -> None:
    """Each has a sentence that says what it does, and explains each option."""
    command = backupd.get_command(click.Context(backupd), name)
    assert command is not None
    assert len(command.help or "") > 20
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert parameter.help, parameter.name
