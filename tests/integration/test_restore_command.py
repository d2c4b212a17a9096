"""`backupd restore` as people and scripts run it: a real process, one project to read and one to write."""

from __future__ import annotations

import json
import os
import pty
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from backupd.errors import ExitCode
from backupd.sandbox.postgres import Postgres
from tests.support.processes import SAMPLE, SAMPLE_ROWS, Backupd, SampleProject, sample_project
from tests.support.restores import dump, execute

TABLES_ONLY = "\n".join(line for line in SAMPLE.splitlines() if not line.startswith("insert"))


@dataclass(frozen=True)
class World:
    """A user with one backup, the project it is of, and an empty project with the same tables."""

    cli: Backupd
    source: SampleProject
    target: SampleProject

    @property
    def host(self) -> str:
        """What `--confirm` wants."""
        return urlsplit(self.target.gateway.project_url).netloc


@pytest.fixture(scope="module")
def source(postgres: Postgres) -> Iterator[SampleProject]:
    """One project for the module: no test here changes it."""
    with sample_project(postgres) as running:
        yield running


@pytest.fixture(scope="module")
def one_backup(source: SampleProject, tmp_path_factory: pytest.TempPathFactory) -> Backupd:
    """A state directory that holds one backup, to be copied."""
    cli = Backupd(tmp_path_factory.mktemp("home"), source.environ)
    cli("backup")
    return cli


@pytest.fixture
def world(one_backup: Backupd, source: SampleProject, postgres: Postgres, tmp_path: Path) -> Iterator[World]:
    """A world of this test's own, with the target in the environment."""
    with sample_project(postgres, TABLES_ONLY) as target:
        environ = {
            "BACKUPD_RESTORE_URL": target.gateway.project_url,
            "BACKUPD_RESTORE_KEY": target.gateway.keys.secret,
        }
        yield World(one_backup.copied_to(tmp_path).having(**environ), source, target)


def test_restore_with_dry_run_prints_the_plan_and_writes_nothing(world: World) -> None:
    """Tables in order, rows here and there, and what would be done."""
    done = world.cli("restore", "latest", "--dry-run")
    assert (done.code, done.err) == (ExitCode.OK, "")
    lines = [line.split()[:3] for line in done.out.splitlines() if "by primary key" in line]
    assert lines == [["entries", "150", "0"], ["organizations", "20", "0"], ["users", "300", "0"]]
    assert f"→ {world.host}, into empty tables" in done.out
    assert all(not rows for rows in dump(world.target.database_url).values())
    assert not (world.cli.state / "restores").exists()


def test_restore_with_dry_run_and_json_prints_one_document(world: World) -> None:
    """The same for programs."""
    document = world.cli("restore", "latest", "--dry-run", "--json", "--table", "users").document
    assert [(one["name"], one["rows"], one["rows_in_target"]) for one in document["tables"]] == [("users", 300, 0)]
    assert document["not_chosen_but_referred_to"] == ["organizations"]
    assert (document["target"], document["mode"]) == (world.host, "empty")


def test_restore_confirmed_writes_every_row_and_says_what_to_run(world: World) -> None:
    """The outcome in a line, the SQL below it and in a file, a report beside that."""
    done = world.cli("restore", "latest", "--confirm", world.host)
    assert (done.code, done.err) == (ExitCode.OK, ""), done.said
    assert f"restored   3 tables · {sum(SAMPLE_ROWS.values())} rows · every row read back and equal" in done.out
    assert dump(world.target.database_url) == dump(world.source.database_url)
    files = sorted((world.cli.state / "restores").iterdir())
    assert [file.suffix for file in files] == [".json", ".sql"]
    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600, 0o600]
    assert json.loads(files[0].read_text())["ok"] is True
    assert files[1].read_text().strip() in done.out


def test_restore_with_json_prints_the_report(world: World) -> None:
    """What was written, read back and compared, table by table."""
    document = world.cli("restore", "latest", "--confirm", world.host, "--json").document
    assert (document["ok"], document["stopped"], document["resumed"]) == (True, None, False)
    assert {one["name"]: one["rows_written"] for one in document["tables"]} == SAMPLE_ROWS
    assert {one["outcome"] for one in document["tables"]} == {"restored"}
    assert "setval" in document["sql_to_run"]


def test_restore_that_did_not_come_out_equal_exits_with_3_and_names_the_rows(world: World) -> None:
    """A trigger of the target changed them."""
    execute(
        world.target.database_url,
        "create function dim() returns trigger language plpgsql as $$ begin new.balance := 0; return new; end $$;"
        "create trigger dim before insert on users for each row execute function dim();",
    )
    done = world.cli("restore", "latest", "--confirm", world.host)
    assert done.code == ExitCode.PARTIAL
    assert "✗ users: not as it was: 300 different" in done.out
    assert "different in balance: id=" in done.out
    assert "balance is 0.000000, was 12345678901" in done.out


def test_restore_nobody_confirmed_is_refused_before_the_archive_is_read(world: World) -> None:
    """Without a terminal there is nobody to ask."""
    done = world.cli("restore", "latest")
    assert done.code == ExitCode.CONFIGURATION
    assert f"--confirm {world.host}" in done.err
    assert "\n" not in done.out.strip()


def test_restore_with_the_wrong_host_confirmed_is_refused(world: World) -> None:
    """The name of another project is no yes to this one."""
    done = world.cli("restore", "latest", "--confirm", "other.supabase.co")
    assert done.code == ExitCode.CONFIGURATION
    assert f"the target is {world.host}, and --confirm says other.supabase.co" in done.err


def test_restore_into_the_project_that_is_backed_up_needs_its_flag(world: World) -> None:
    """Even with its host confirmed."""
    url, key = world.source.gateway.project_url, world.source.gateway.keys.secret
    host = urlsplit(url).netloc
    done = world.cli.having(BACKUPD_RESTORE_KEY=key)("restore", "latest", "--to", url, "--confirm", host)
    assert done.code == ExitCode.CONFIGURATION
    assert "--into-source" in done.err
    again = world.cli.having(BACKUPD_RESTORE_KEY=key)("restore", "latest", "--to", url, "--dry-run", "--into-source")
    assert "entries cannot be restored: the target's table has 150 rows" in again.out
    assert again.code == ExitCode.FAILED


def test_restore_takes_the_key_from_a_file_and_never_shows_it(world: World, tmp_path: Path) -> None:
    """Neither printed nor written down anywhere."""
    key = world.target.gateway.keys.secret
    file = tmp_path / "elsewhere" / "key"
    file.parent.mkdir()
    file.write_text(key + "\n")
    cli = world.cli.having(BACKUPD_RESTORE_KEY=None, BACKUPD_RESTORE_KEY_FILE=str(file))
    done = cli("--debug", "restore", "latest", "--confirm", world.host)
    assert done.code == ExitCode.OK, done.said
    assert key not in done.said
    written = [one for one in cli.state.rglob("*") if one.is_file() and key.encode() in one.read_bytes()]
    assert written == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"BACKUPD_RESTORE_URL": None}, "nobody said which project"),
        ({"BACKUPD_RESTORE_KEY": None}, "BACKUPD_RESTORE_KEY is not set"),
        ({"BACKUPD_RESTORE_KEY": "sb_publishable_x"}, "publishable key"),
        ({"BACKUPD_RESTORE_URL": "postgres://u:hunter2@h/db"}, "BACKUPD_RESTORE_URL"),
        ({"BACKUPD_RESTORE_KEYS": "x"}, "BACKUPD_RESTORE_KEYS is not a setting"),
    ],
)
def test_restore_with_a_target_that_makes_no_sense_says_which_setting(
    world: World, changes: dict[str, str | None], words: str
) -> None:
    """As everywhere: which one, and what is allowed."""
    done = world.cli.having(**changes)("restore", "latest", "--dry-run")
    assert done.code == ExitCode.CONFIGURATION, done.said
    assert words in done.err
    assert "hunter2" not in done.said


def test_restore_on_a_terminal_asks_for_key_and_host(world: World) -> None:
    """The key is not shown, and only the whole host is a yes."""
    cli = world.cli.having(BACKUPD_RESTORE_KEY=None)
    said = on_terminal(cli, ["restore", "latest"], [world.target.gateway.keys.secret, world.host])
    assert "Secret key of" in said
    assert f"Type {world.host} to go on" in said
    assert "every row read back and equal" in said
    assert world.target.gateway.keys.secret not in said
    assert dump(world.target.database_url) == dump(world.source.database_url)


def test_restore_on_a_terminal_answered_otherwise_writes_nothing(world: World) -> None:
    """A hasty `y` is not enough."""
    said = on_terminal(world.cli, ["restore", "latest"], ["y"])
    assert "what was confirmed is y" in said
    assert all(not rows for rows in dump(world.target.database_url).values())


def on_terminal(cli: Backupd, arguments: list[str], answers: list[str]) -> str:
    """Run it on a terminal, give each answer when something is asked for, and return what was to be seen."""
    terminal, side = pty.openpty()
    environ = {**cli.environ, "HOME": str(cli.home), "PATH": os.environ["PATH"], "TERM": "dumb", "COLUMNS": "200"}
    command = [sys.executable, "-m", "backupd", *arguments]
    process = subprocess.Popen(command, env=environ, stdin=side, stdout=side, stderr=side, start_new_session=True)
    os.close(side)
    said = b""
    waiting = [answer.encode() + b"\n" for answer in answers]
    while True:
        try:
            block = os.read(terminal, 65536)
        except OSError:  # the other side has closed it
            break
        said += block
        if waiting and said.rstrip().endswith(b":") and (b"Secret key" in block or b"to go on" in block):
            os.write(terminal, waiting.pop(0))
    process.wait(60)
    os.close(terminal)
    return said.decode()
