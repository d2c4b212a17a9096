"""Settings: where they come from, which one wins, and what is said of those that cannot be."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from backupd.config import OPTIONS, Secret, example_toml, load_config
from backupd.errors import ConfigError

TWO = {"SUPABASE_URL": "https://abcd.supabase.co", "SUPABASE_SECRET_KEY": "sb_secret_abc_123"}


def problem_of(environ: dict[str, str], path: Path | None = None) -> str:
    """What is said of a configuration that cannot be used."""
    with pytest.raises(ConfigError) as raised:
        load_config(environ, path).project()
    return raised.value.message


def write(directory: Path, text: str) -> Path:
    """A configuration file."""
    file = directory / "backupd.toml"
    file.write_text(text)
    return file


def test_config_of_two_variables_is_enough() -> None:
    """Everything else has a default."""
    settings = load_config(TWO).project()
    assert (settings.url, settings.key) == (TWO["SUPABASE_URL"], Secret(TWO["SUPABASE_SECRET_KEY"]))
    assert (settings.platform, settings.schemas, settings.tables) == ("abcd.supabase.co", ("public",), None)


def test_config_takes_the_command_line_over_the_environment_over_the_file(tmp_path: Path) -> None:
    """The nearer wins, and each value says where it came from."""
    file = write(tmp_path, "[project]\npage_rows = 1\nconcurrency = 1\nplatform = 'file'\n")
    environ = {**TWO, "BACKUPD_PROJECT__PAGE_ROWS": "2", "BACKUPD_PROJECT__CONCURRENCY": "2"}
    config = load_config(environ, file, overrides={"project.page_rows": 3})
    chosen = {name: config.values[f"project.{name}"] for name in ("page_rows", "concurrency", "platform")}
    assert chosen == {"page_rows": 3, "concurrency": 2, "platform": "file"}
    assert [config.origins[f"project.{name}"] for name in chosen] == ["command line", "environment", str(file)]
    assert config.origins["project.exclude"] == "default"


@pytest.mark.parametrize(
    ("text", "tables"),
    [("users", ("users",)), ("users, profiles", ("users", "profiles")), ('["a,b", "c"]', ("a,b", "c"))],
)
def test_config_list_in_a_variable_is_words_or_toml(text: str, tables: tuple[str, ...]) -> None:
    """Whoever writes a list in a shell need not know TOML."""
    assert load_config({**TWO, "BACKUPD_PROJECT__TABLES": text}).project().tables == tables


@pytest.mark.parametrize(
    ("name", "given", "allowed"),
    [
        ("PROJECT__PAGE_ROWS", "0", "must be a whole number from 1 to 100,000"),
        ("PROJECT__PAGE_ROWS", "true", "must be a whole number"),
        ("PROJECT__PAGE_ROWS", "many", "must be a whole number"),
        ("PROJECT__TABLES", "[]", "must not be empty"),
        ("PROJECT__KEYS", "5", "must be a table"),
    ],
)
def test_config_value_that_is_not_allowed_names_option_value_and_what_is(name: str, given: str, allowed: str) -> None:
    """Which variable, what it says, and what it may say."""
    said = problem_of({**TWO, f"BACKUPD_{name}": given})
    assert f"BACKUPD_{name} is " in said
    assert allowed in said


def test_config_with_unknown_names_tells_what_was_meant(tmp_path: Path) -> None:
    """Sections, keys and variables, all in one go."""
    file = write(tmp_path, "[projct]\nurl = ''\n[project]\nexcludes = []\n")
    said = problem_of({**TWO, "BACKUPD_CONFIGG": "x"}, file)
    assert "3 problems" in said
    assert "project.excludes is not a setting; did you mean project.exclude?" in said
    assert "projct.url is not a setting; did you mean project.url?" in said
    assert "BACKUPD_CONFIGG is not a setting" in said


@pytest.mark.parametrize("name", ["key", "secret_key", "service_role_key", "apikey", "password"])
def test_config_file_with_a_secret_says_where_secrets_go(tmp_path: Path, name: str) -> None:
    """And does not repeat it."""
    said = problem_of(TWO, write(tmp_path, f"[project]\n{name} = 'hunter2'\n"))
    assert "does not go into the file; set SUPABASE_SECRET_KEY" in said
    assert "hunter2" not in said


@pytest.mark.parametrize(
    "url",
    [
        "https://me:hunter2@h.co",
        "postgres://me:hunter2@h.co/x",
        "sb_secret_hunter2_1",
        "https://h.co/?k=eyJhunter2.a.b",
    ],
)
def test_config_url_that_holds_a_secret_is_not_repeated(url: str) -> None:
    """People put the wrong thing into the right variable."""
    assert "hunter2" not in problem_of({**TWO, "SUPABASE_URL": url})


@pytest.mark.parametrize("url", ["https://abcd.supabase.co/", " http://127.0.0.1:54321 ", "http://[::1]:8000"])
def test_config_url_of_a_project_is_taken(url: str) -> None:
    """Hosted, local, and copied with what came along."""
    assert load_config({**TWO, "SUPABASE_URL": url}).values["project.url"] == url.strip().rstrip("/")


def test_config_url_without_encryption_is_a_warning_except_on_this_machine() -> None:
    """The key would travel in the open."""
    assert "not encrypted" in load_config({**TWO, "SUPABASE_URL": "http://h.co"}).warnings[0]
    assert load_config({**TWO, "SUPABASE_URL": "http://127.0.0.1:1"}).warnings == ()


@pytest.mark.parametrize(
    ("environ", "origin"),
    [
        ({"SUPABASE_SECRET_KEY": "a", "SUPABASE_SERVICE_ROLE_KEY": "b"}, "SUPABASE_SECRET_KEY"),
        ({"SUPABASE_SERVICE_ROLE_KEY": "a", "VITE_SUPABASE_SERVICE_ROLE_KEY": "b"}, "SUPABASE_SERVICE_ROLE_KEY"),
        ({"VITE_SUPABASE_SERVICE_ROLE_KEY": "a"}, "VITE_SUPABASE_SERVICE_ROLE_KEY"),
        ({"SUPABASE_SECRET_KEY": " ", "SUPABASE_SERVICE_ROLE_KEY": "a\n"}, "SUPABASE_SERVICE_ROLE_KEY"),
    ],
)
def test_config_key_comes_from_the_first_place_that_has_one(environ: dict[str, str], origin: str) -> None:
    """The new kind before the old one, the plain name before the original platform's."""
    config = load_config(environ)
    assert (config.key, config.key_origin) == (Secret("a"), origin)


def test_config_key_file_beats_a_credential_and_loses_to_the_variable(tmp_path: Path) -> None:
    """One order, whatever is set at the same time."""
    (tmp_path / "SUPABASE_SECRET_KEY").write_text("from-credential\n")
    (tmp_path / "file").write_text("from-file\n")
    credential = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    file = {**credential, "SUPABASE_SECRET_KEY_FILE": str(tmp_path / "file")}
    assert load_config(credential).key == Secret("from-credential")
    assert load_config(file).key == Secret("from-file")
    assert load_config({**file, "SUPABASE_SECRET_KEY": "from-variable"}).key == Secret("from-variable")


@pytest.mark.parametrize("key", ["two words", '"quoted"', "a\nb", "clé", "a\x00b"])
def test_config_key_with_characters_no_key_has_is_refused_unseen(key: str) -> None:
    """It would break inside a header, where the error might show it."""
    said = problem_of({**TWO, "SUPABASE_SECRET_KEY": key})
    assert "SUPABASE_SECRET_KEY holds more than a key" in said
    assert key not in said


def test_config_credentials_directory_that_is_not_there_is_said() -> None:
    """A unit whose credential did not arrive must not fall back on something else silently."""
    assert "CREDENTIALS_DIRECTORY names a directory that is not there" in problem_of(
        {**TWO, "CREDENTIALS_DIRECTORY": "/nope"}
    )


def test_config_state_is_where_systemd_or_the_home_says(tmp_path: Path) -> None:
    """`STATE_DIRECTORY` under systemd, the data directory of the user otherwise, and archives below it."""
    assert load_config({"STATE_DIRECTORY": "/var/lib/backupd:/x"}).state_directory == Path("/var/lib/backupd")
    assert load_config({"HOME": "/h"}).state_directory == Path("/h/.local/share/backupd")
    assert load_config({"XDG_DATA_HOME": "/d"}).state_directory == Path("/d/backupd")
    assert load_config({"HOME": "/h h"}).store_url == "file:///h%20h/.local/share/backupd/archives"


def test_config_without_url_and_key_loads_for_commands_that_need_neither() -> None:
    """`list` and `verify` work without a project; `backup` says what is missing."""
    assert load_config({}).key is None
    assert problem_of({}) == "SUPABASE_URL is not set and SUPABASE_SECRET_KEY is not set"


def test_config_example_names_every_option_and_loads(tmp_path: Path) -> None:
    """The example is all comments, and each of its lines is right when it is taken out of them."""
    example = example_toml()
    assert load_config(TWO, write(tmp_path, example)).project() == load_config(TWO).project()
    loaded = load_config({}, write(tmp_path, re.sub(r"^# ([a-z_]+ = )", r"\1", example, flags=re.MULTILINE)))
    assert {key for key, origin in loaded.origins.items() if origin != "default"} == {one.key for one in OPTIONS}


def test_secret_does_not_show_itself() -> None:
    """Not in a message, not in a traceback, not in a dump of the settings."""
    settings = load_config(TWO).project()
    assert TWO["SUPABASE_SECRET_KEY"] not in f"{settings!r} {settings} {load_config(TWO)!r}"
