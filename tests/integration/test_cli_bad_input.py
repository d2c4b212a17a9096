"""What is wrong with the world, said in one or two lines with a remedy, under the right exit code, without the key."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from backupd.errors import ExitCode
from backupd.sandbox.keys import make_keys
from backupd.sandbox.postgres import Postgres
from tests.support.faults import answer, html_page
from tests.support.processes import Backupd, Done, SampleProject, sample_project
from tests.support.proxy import FaultProxy

OTHER_KEY = make_keys().secret


@pytest.fixture(scope="module")
def project(postgres: Postgres) -> Iterator[SampleProject]:
    """One project for the module: no test here changes it."""
    with sample_project(postgres) as running:
        yield running


@pytest.fixture(scope="module")
def one_backup(project: SampleProject, tmp_path_factory: pytest.TempPathFactory) -> Backupd:
    """A state directory that holds one backup, to be copied."""
    cli = Backupd(tmp_path_factory.mktemp("home"), project.environ)
    cli("backup")
    return cli


@pytest.fixture
def cli(one_backup: Backupd, tmp_path: Path) -> Backupd:
    """A user with one backup."""
    return one_backup.copied_to(tmp_path)


@pytest.fixture
def fresh(project: SampleProject, tmp_path: Path) -> Backupd:
    """A user who has never taken a backup."""
    return Backupd(tmp_path, project.environ)


def assert_told(done: Done, code: ExitCode, *words: str) -> None:
    """One or two lines, a remedy, no traceback, and the words."""
    assert done.code == code, done.said
    lines = done.err.splitlines()
    assert len(lines) == 2, done.said
    assert lines[0].startswith("✗ ")
    assert "Traceback" not in done.said
    assert "bug" not in done.err
    assert [word for word in words if word not in done.err] == [], done.said


def assert_never_shown(secret: str, done: Done, home: Path) -> None:
    """The secret is in nothing that was printed and in no file that was written."""
    assert secret not in done.said
    for file in home.rglob("*"):
        if file.is_file():
            assert secret.encode() not in file.read_bytes(), file


def write_config(cli: Backupd, text: str) -> None:
    """The configuration file in the usual place."""
    file = cli.home / ".config" / "backupd" / "backupd.toml"
    file.parent.mkdir(parents=True)
    file.write_text(text)


def test_no_configuration_at_all_names_both_variables(tmp_path: Path) -> None:
    """The first thing a new user sees says what is needed, and what needs nothing."""
    done = Backupd(tmp_path)("backup")
    assert_told(done, ExitCode.CONFIGURATION, "SUPABASE_URL is not set", "SUPABASE_SECRET_KEY is not set", "demo")


def test_unknown_config_key_is_refused_with_the_one_meant(fresh: Backupd) -> None:
    """A typing mistake in the file is never silently ignored."""
    write_config(fresh, '[project]\nexclud = ["users"]\n')
    assert_told(fresh("backup"), ExitCode.CONFIGURATION, "project.exclud", "did you mean project.exclude?")


def test_unknown_variable_is_refused_with_the_one_meant(fresh: Backupd) -> None:
    """The same for the environment."""
    done = fresh.having(BACKUPD_PROJECT__PAGEROWS="5")("list")
    assert_told(done, ExitCode.CONFIGURATION, "did you mean BACKUPD_PROJECT__PAGE_ROWS?")


def test_several_problems_are_all_said_at_once(fresh: Backupd) -> None:
    """Nobody has to start five times to mend five mistakes."""
    write_config(fresh, "[project]\npage_rows = 0\nfoo = 1\n[stor]\nurl = 5\n")
    done = fresh.having(SUPABASE_URL="abcd.supabase.co")("backup")
    assert done.code == ExitCode.CONFIGURATION
    assert "4 problems" in done.err
    for word in ("project.page_rows is '0'", "project.foo", "stor.url", "SUPABASE_URL is 'abcd.supabase.co'"):
        assert word in done.err


def test_file_that_is_not_toml_is_named_with_the_place(fresh: Backupd) -> None:
    """Where in the file, and how it should look."""
    write_config(fresh, "[project]\nplatform = Car Audio\n")
    assert_told(fresh("backup"), ExitCode.CONFIGURATION, "backupd.toml is not valid TOML", "line 2", "quotes")


def test_config_file_asked_for_that_is_not_there_is_an_error(fresh: Backupd) -> None:
    """A file that was named is never passed over."""
    assert_told(fresh("--config", "/nope.toml", "backup"), ExitCode.CONFIGURATION, "/nope.toml", "--config")


@pytest.mark.parametrize("url", ["abcd", "ftp://abcd.supabase.co", "https://", "https://a b.co", "https://h:x"])
def test_url_that_is_none_says_what_one_looks_like(fresh: Backupd, url: str) -> None:
    """Anything that is not a URL of a project."""
    assert_told(fresh.having(SUPABASE_URL=url)("backup"), ExitCode.CONFIGURATION, "SUPABASE_URL", "it ")


def test_url_with_a_path_says_which_part_is_enough(fresh: Backupd) -> None:
    """Copied from the wrong field of the dashboard."""
    done = fresh.having(SUPABASE_URL="https://abcd.supabase.co/rest/v1/")("backup")
    assert_told(done, ExitCode.CONFIGURATION, "such as https://abcd.supabase.co")


def test_url_with_a_password_is_refused_without_showing_it(fresh: Backupd) -> None:
    """A database URL where the project URL belongs."""
    done = fresh.having(SUPABASE_URL="https://postgres:hunter2@db.abcd.supabase.co")("backup")
    assert_told(done, ExitCode.CONFIGURATION, "SUPABASE_URL")
    assert "hunter2" not in done.said


def test_key_in_the_place_of_the_url_is_not_shown(fresh: Backupd) -> None:
    """Two variables the wrong way round."""
    key = fresh.environ["SUPABASE_SECRET_KEY"]
    done = fresh.having(SUPABASE_URL=key, SUPABASE_SECRET_KEY="https://abcd.supabase.co")("backup")
    assert done.code == ExitCode.CONFIGURATION
    assert_never_shown(key, done, fresh.home)


@pytest.mark.parametrize(
    "line", ['key = "{}"', 'secret_key = "{}"', 'url = "{}"', 'platform = "x"\nservice_key = "{}"']
)
def test_key_in_the_config_file_is_refused_without_showing_it(fresh: Backupd, line: str) -> None:
    """Configuration files are copied into tickets; keys have places of their own."""
    write_config(fresh, "[project]\n" + line.format(OTHER_KEY))
    done = fresh("config")
    assert_told(done, ExitCode.CONFIGURATION)
    assert OTHER_KEY not in done.said


def test_key_of_another_project_is_refused_with_the_reason(fresh: Backupd) -> None:
    """Right in form, unknown to this project: which service refused, and what to look at."""
    done = fresh.having(SUPABASE_SECRET_KEY=OTHER_KEY)("backup")
    assert_told(done, ExitCode.CONFIGURATION, "the Data API of 127.0.0.1", "refused the API key", "another project")
    assert_never_shown(OTHER_KEY, done, fresh.home)
    assert fresh.archives == []


@pytest.mark.parametrize("kind", ["publishable", "anon"])
def test_key_that_row_security_applies_to_is_refused(fresh: Backupd, project: SampleProject, kind: str) -> None:
    """With such a key a project looks empty, and an empty backup looks complete."""
    key = getattr(project.gateway.keys, kind)
    done = fresh.having(SUPABASE_SECRET_KEY=key)("backup")
    assert_told(done, ExitCode.CONFIGURATION, kind, "row level security", "sb_secret_")
    assert key not in done.said


def test_key_that_is_none_is_refused(fresh: Backupd) -> None:
    """Cut off, or something else altogether."""
    done = fresh.having(SUPABASE_SECRET_KEY="correct-horse-battery")("backup")
    assert_told(done, ExitCode.CONFIGURATION, "does not look like a Supabase API key")
    assert "correct-horse" not in done.said


def test_legacy_key_works_with_a_warning(fresh: Backupd, project: SampleProject) -> None:
    """Still accepted, and said to be on its way out."""
    key = project.gateway.keys.service_role
    done = fresh.having(SUPABASE_SECRET_KEY=None, SUPABASE_SERVICE_ROLE_KEY=key)("backup")
    assert done.code == ExitCode.OK, done.said
    assert "legacy service_role key" in done.out
    assert_never_shown(key, done, fresh.home)


def test_key_is_in_nothing_that_a_backup_prints_or_writes(fresh: Backupd) -> None:
    """Not in the catalog, the archive, the sidecar or the log, not even with `--debug`."""
    done = fresh("--debug", "backup")
    assert done.code == ExitCode.OK, done.said
    assert_never_shown(fresh.environ["SUPABASE_SECRET_KEY"], done, fresh.home)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"\xff\xfe\x00", "is not text"),
        (b"two words", "holds more than a key"),
        (None, "cannot be read"),
    ],
)
def test_secret_file_that_holds_no_key_is_named(fresh: Backupd, content: bytes | None, words: str) -> None:
    """Which variable, which file, and what is wrong with it."""
    file = fresh.home / "key"
    if content is not None:
        file.write_bytes(content)
    done = fresh.having(SUPABASE_SECRET_KEY=None, SUPABASE_SECRET_KEY_FILE=str(file))("backup")
    assert_told(done, ExitCode.CONFIGURATION, "SUPABASE_SECRET_KEY_FILE", words)
    assert "two words" not in done.said


def test_key_from_a_file_and_urls_of_the_original_platform_work(fresh: Backupd) -> None:
    """The names of the original system, and the key as a file with a line break at its end."""
    url, key = fresh.environ["SUPABASE_URL"], fresh.environ["SUPABASE_SECRET_KEY"]
    (fresh.home / "key").write_text(key + "\n")
    cli = fresh.having(SUPABASE_URL=None, SUPABASE_SECRET_KEY=None, VITE_SUPABASE_URL=url)
    done = cli.having(SUPABASE_SECRET_KEY_FILE=str(fresh.home / "key"))("check", "--json")
    assert (done.code, done.document["ok"]) == (ExitCode.OK, True)


@pytest.mark.parametrize("name", ["SUPABASE_SECRET_KEY", "supabase_secret_key"])
def test_key_from_a_systemd_credential_works(fresh: Backupd, name: str) -> None:
    """`LoadCredential=` needs no variable but systemd's own."""
    (fresh.home / name).write_text(fresh.environ["SUPABASE_SECRET_KEY"])
    done = fresh.having(SUPABASE_SECRET_KEY=None, CREDENTIALS_DIRECTORY=str(fresh.home))("config", "--json")
    assert done.document["key"] == {"value": "set", "from": f"the credential {name}"}


def test_host_that_nobody_answers_at_is_said_soon(fresh: Backupd) -> None:
    """Three tries, then the host, the reason, and what to look at."""
    done = fresh.having(SUPABASE_URL="http://127.0.0.1:9")("backup")
    assert_told(done, ExitCode.FAILED, "127.0.0.1:9", "in 3 tries", "Connection refused", "paused")


@pytest.mark.parametrize("status", [402, 540])
def test_project_that_is_paused_or_restricted_says_so(fresh: Backupd, project: SampleProject, status: int) -> None:
    """A free project sleeps after a week; one without money is cut off."""
    with FaultProxy(project.gateway.project_url) as proxy:
        proxy.always(do=answer(status, body='{"message": "Project paused"}'))
        done = fresh.having(SUPABASE_URL=proxy.url)("backup")
    assert_told(done, ExitCode.FAILED, "paused or restricted", "dashboard")


def test_host_that_is_no_supabase_project_says_so(fresh: Backupd, project: SampleProject) -> None:
    """A web site answers 200 with HTML: that is no empty project."""
    with FaultProxy(project.gateway.project_url) as proxy:
        proxy.always(do=html_page())
        done = fresh.having(SUPABASE_URL=proxy.url)("backup")
    assert_told(done, ExitCode.FAILED, "SUPABASE_URL")


def test_host_that_knows_no_data_api_says_so(fresh: Backupd, project: SampleProject) -> None:
    """A web site's own 404."""
    with FaultProxy(project.gateway.project_url) as proxy:
        proxy.always(do=answer(404, body="<h1>Not here</h1>"))
        done = fresh.having(SUPABASE_URL=proxy.url)("backup")
    assert_told(done, ExitCode.FAILED, "does not answer like a Supabase project", "SUPABASE_URL")


@pytest.mark.parametrize("command", [("show",), ("verify",), ("pin",), ("delete", "--yes")])
def test_backup_that_does_not_exist_exits_with_10(cli: Backupd, command: tuple[str, ...]) -> None:
    """Whatever is to be done with it."""
    assert_told(cli(*command, "ffffffff"), ExitCode.NOT_FOUND, "ffffffff", "backupd list")


def test_latest_of_no_backups_exits_with_10(fresh: Backupd) -> None:
    """There is nothing yet, and one command makes it."""
    assert_told(fresh("show"), ExitCode.NOT_FOUND, "no backup yet", "backupd backup")


def test_beginning_of_two_ids_lists_both(cli: Backupd) -> None:
    """Which two, so that the next letter can be typed."""
    with sqlite3.connect(cli.state / "catalog.sqlite") as catalog:
        columns = [row[1] for row in catalog.execute("PRAGMA table_info(backups)")]
        kept = ", ".join(column for column in columns if column not in {"backup_id", "archive"})
        for backup_id in ("abc1", "abc2"):
            catalog.execute(
                f"INSERT INTO backups (backup_id, archive, {kept}) SELECT ?, NULL, {kept} FROM backups LIMIT 1",
                (backup_id,),
            )
    catalog.close()
    assert_told(cli("show", "abc"), ExitCode.NOT_FOUND, "abc1", "abc2", "give more of the id")


def test_error_with_json_is_one_document_on_standard_output(cli: Backupd) -> None:
    """Message, hint and exit code for a script; the same words for a person on standard error."""
    done = cli("show", "ffffffff", "--json")
    error = done.document["error"]
    assert error["exit_code"] == done.code == ExitCode.NOT_FOUND
    assert error["message"] in done.err
    assert error["hint"] in done.err


def test_state_directory_below_a_file_says_what_to_set(fresh: Backupd) -> None:
    """A place where no directory can be made."""
    (fresh.home / "file").write_text("")
    done = fresh("--state", fresh.home / "file" / "state", "list")
    assert_told(done, ExitCode.FAILED, "cannot be made", "state.directory")


def test_store_below_a_file_says_what_to_set(fresh: Backupd) -> None:
    """A store that cannot be made fails the backup before a row is read."""
    (fresh.home / "file").write_text("")
    done = fresh.having(BACKUPD_STORE__URL=str(fresh.home / "file" / "archives"))("backup")
    assert_told(done, ExitCode.FAILED, "a part of the path is not a directory", "store.url")


def test_store_of_an_unknown_kind_is_refused_without_showing_it(fresh: Backupd) -> None:
    """A URL may hold credentials."""
    done = fresh.having(BACKUPD_STORE__URL="ftp://me:hunter2@host/archives")("backup")
    assert_told(done, ExitCode.CONFIGURATION, "ftp:", "file:///")
    assert "hunter2" not in done.said


def test_catalog_of_a_newer_version_is_left_alone(cli: Backupd) -> None:
    """It is refused by its version, and not a byte of it is changed."""
    file = cli.state / "catalog.sqlite"
    with sqlite3.connect(file) as catalog:
        catalog.execute("PRAGMA user_version = 99")
    catalog.close()
    before = file.read_bytes()
    assert_told(cli("list"), ExitCode.FAILED, "has version 99", "run the newer backupd")
    assert file.read_bytes() == before


def test_catalog_that_is_garbage_says_how_to_rebuild_it(cli: Backupd) -> None:
    """Following the advice brings every backup back."""
    file = cli.state / "catalog.sqlite"
    file.write_bytes(b"not a database at all, whatever its name may say" * 100)
    assert_told(cli("list"), ExitCode.FAILED, "is not a catalog", "rescan")
    file.rename(cli.state / "broken")
    assert cli("rescan").code == ExitCode.OK
    assert len(json.loads(cli("list", "--json").out)["backups"]) == 1
