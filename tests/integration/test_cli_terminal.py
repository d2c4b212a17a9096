"""Commands on a real terminal: what moves, what stays, what is asked, and locales that can do less."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.cells import cell_len

from backupd.errors import ExitCode
from backupd.sandbox.postgres import Postgres
from tests.support.faults import answer
from tests.support.processes import Backupd, SampleProject, sample_project
from tests.support.proxy import FaultProxy, path

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture(scope="module")
def project(postgres: Postgres) -> Iterator[SampleProject]:
    """One project for the module: no test here changes it."""
    with sample_project(postgres) as running:
        yield running


@pytest.fixture
def cli(project: SampleProject, tmp_path: Path) -> Backupd:
    """A user who has never taken a backup."""
    return Backupd(tmp_path, project.environ)


def lines_that_stay(shown: str) -> list[str]:
    """What is left on the screen: of each line what was written last."""
    return [line.rpartition("\r")[2].rstrip() for line in _ANSI.sub("", shown).replace("\r\n", "\n").split("\n")]


def test_backup_on_a_terminal_keeps_a_line_for_each_table(cli: Backupd) -> None:
    """What moved is gone, what ended is there, and a log line does not tear the display."""
    code, shown = cli.on_a_terminal("backup", columns=80)
    assert code == ExitCode.OK, shown
    kept = lines_that_stay(shown)
    assert [line for line in kept if line.startswith("  ✓ users")]
    assert [line for line in kept if "✓ completed" in line and "3 tables · 470 rows" in line]
    assert "\x1b[32m" in shown


def test_backup_on_a_terminal_puts_news_above_the_display(cli: Backupd, project: SampleProject) -> None:
    """A request that was tried again is a line of its own, not one in the middle of the bar."""
    with FaultProxy(project.gateway.project_url) as proxy:
        proxy.times(2, when=path("/rest/v1/users"), do=answer(503))
        code, shown = cli.having(SUPABASE_URL=proxy.url).on_a_terminal("backup", columns=300)
    assert code == ExitCode.OK, shown
    news = [line for line in re.split(r"[\r\n]", _ANSI.sub("", shown)) if "request.retried" in line]
    assert len(news) == 2
    assert not any("⠋" <= line.strip()[:1] <= "⣿" for line in news)


def test_backup_on_a_terminal_without_colour_has_none(cli: Backupd) -> None:
    """NO_COLOR is honoured; marks and words are enough."""
    _, shown = cli.having(NO_COLOR="1").on_a_terminal("backup", columns=100)
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]", shown)
    assert "✓ completed" in _ANSI.sub("", shown)


@pytest.mark.parametrize("locale", [{"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}, {"PYTHONUTF8": "0", "LC_ALL": "C"}])
def test_backup_where_the_locale_has_no_marks_succeeds_all_the_same(cli: Backupd, locale: dict[str, str]) -> None:
    """A character that cannot be shown is no reason to fail."""
    done = cli.having(**locale)("backup")
    assert done.code == ExitCode.OK, done.said
    assert "completed" in done.out


@pytest.mark.parametrize(("typed", "code", "left"), [(b"y\n", ExitCode.OK, 0), (b"n\n", ExitCode.FAILED, 1)])
def test_delete_on_a_terminal_asks_first(cli: Backupd, typed: bytes, code: ExitCode, left: int) -> None:
    """Which backup, of when, with how many rows; only a yes deletes it."""
    cli("backup")
    ended, shown = cli.on_a_terminal("delete", "latest", columns=100, typed=typed)
    assert ended == code, shown
    assert re.search(r"Delete the manual backup [0-9a-f]{8} of \d{4}-.* \(470 rows\) for good\?", shown)
    assert len(cli.archives) == left


def test_list_on_a_narrow_terminal_fits(cli: Backupd) -> None:
    """Eighty columns hold a backup's line."""
    cli("backup")
    _, shown = cli.on_a_terminal("list", columns=80)
    lines = [line for line in lines_that_stay(shown) if line]
    assert len(lines) == 2
    assert max(map(cell_len, lines)) <= 80
