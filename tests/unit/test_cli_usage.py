"""The command line as such: help, exit codes, and what is said of a command that makes no sense."""

from __future__ import annotations

import json
import re

import pytest

from backupd.cli.commands import COMMANDS
from backupd.cli.commands import backupd as command_line
from backupd.cli.door import run_command
from backupd.errors import ExitCode


def run(*arguments: str) -> ExitCode:
    """Give the exit code of a command line."""
    return run_command(command_line, arguments)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_teaches_and_names_only_what_exists(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What it does in a sentence, and no `backupd …` that there is not."""
    assert run(name, "--help") == ExitCode.OK
    shown = capsys.readouterr().out
    assert f"Usage: backupd {name}" in shown
    assert set(re.findall(r"backupd ([a-z][a-z-]+)", shown)) <= set(COMMANDS)


def test_help_lists_every_command_and_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    """The one table of exit codes is the one that is printed."""
    assert run("--help") == ExitCode.OK
    shown = capsys.readouterr().out
    assert [name for name in COMMANDS if not re.search(rf"^  {name} +\S", shown, re.MULTILINE)] == []
    assert [code for code in ExitCode if f"{code.value:>3}  {code.meaning}" not in shown] == []


@pytest.mark.parametrize(
    "arguments",
    [("backup", "--foo"), ("bakup",), ("list", "--limit", "0"), ("show", "a", "b"), ("pin",), ("--state",), ()],
)
def test_usage_that_makes_no_sense_exits_with_78(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """A typing mistake is told from a failed backup by its exit code, and says where the help is."""
    assert run(*arguments) == ExitCode.CONFIGURATION
    said = capsys.readouterr()
    assert said.out == ""
    assert "--help" in said.err


def test_usage_of_a_command_that_does_not_exist_says_what_was_meant(capsys: pytest.CaptureFixture[str]) -> None:
    """Nearly right gets the right name."""
    run("bakup")
    assert "did you mean backup?" in capsys.readouterr().err


def test_usage_error_with_json_is_a_document_too(capsys: pytest.CaptureFixture[str]) -> None:
    """A script that asked for JSON gets JSON whatever happens."""
    run("list", "--limit", "x", "--json")
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["exit_code"] == ExitCode.CONFIGURATION
    assert error["hint"] == "`backupd list --help` shows what there is."
