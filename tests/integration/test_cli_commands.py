"""The commands as people and scripts run them: a real process against a throwaway project."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from backupd.errors import ExitCode
from backupd.sandbox.postgres import Postgres
from tests.support.processes import SAMPLE_ROWS, Backupd, SampleProject, sample_project

TOTAL_ROWS = sum(SAMPLE_ROWS.values())


@pytest.fixture(scope="module")
def project(postgres: Postgres) -> Iterator[SampleProject]:
    """One project for the module: no test here changes it."""
    with sample_project(postgres) as running:
        yield running


@pytest.fixture(scope="module")
def one_backup(project: SampleProject, tmp_path_factory: pytest.TempPathFactory) -> Backupd:
    """A state directory that holds one backup, to be copied."""
    cli = Backupd(tmp_path_factory.mktemp("home"), project.environ)
    done = cli("backup")
    assert done.code == ExitCode.OK, done.said
    return cli


@pytest.fixture
def fresh(project: SampleProject, tmp_path: Path) -> Backupd:
    """A user who has never taken a backup."""
    return Backupd(tmp_path, project.environ)


@pytest.fixture
def cli(one_backup: Backupd, tmp_path: Path) -> Backupd:
    """A user with one backup."""
    return one_backup.copied_to(tmp_path)


def test_backup_of_a_project_says_each_table_and_where_the_archive_is(fresh: Backupd) -> None:
    """Plain lines, no control characters, and nothing on standard error."""
    done = fresh("backup")
    assert (done.code, done.err, done.log) == (ExitCode.OK, "", ())
    assert re.search(r"✓ users +300 rows", done.out)
    assert f"3 tables · {TOTAL_ROWS} rows" in done.out
    assert "read back and proven" in done.out
    assert "\x1b" not in done.out
    assert f"{fresh.state}/archives/{fresh.archives[0]}" in done.out


def test_backup_with_json_prints_one_document_in_the_manifests_words(fresh: Backupd) -> None:
    """A script gets the id, the status, the archive, and every table with its rows."""
    done = fresh("backup", "--json")
    document = done.document
    assert done.code == ExitCode.OK
    assert {"backup_id", "status", "type", "archive", "size_bytes", "total_rows", "tables"} <= document.keys()
    assert (document["status"], document["type"], document["total_rows"]) == ("completed", "manual", TOTAL_ROWS)
    assert {table["name"]: table["rows"] for table in document["tables"]} == SAMPLE_ROWS
    assert document["archive"] == fresh.archives[0]


def test_backup_of_a_type_is_of_that_type(fresh: Backupd) -> None:
    """What a cron job takes may expire."""
    assert fresh("backup", "--type", "automatic", "--json").document["type"] == "automatic"


def test_list_with_json_is_newest_first(cli: Backupd) -> None:
    """The document of `list` begins with what was taken last."""
    newer = cli("backup", "--json").document["backup_id"]
    backups = cli("list", "--json").document["backups"]
    assert backups[0]["backup_id"] == newer
    assert len(backups) == 2


def test_list_shows_ids_whole_whatever_the_width(cli: Backupd) -> None:
    """An id that is cut off cannot be copied, so nothing is cut."""
    backup_id = cli("list", "--json").document["backups"][0]["backup_id"]
    for columns in ("40", "80", "200"):
        listed = cli.having(COLUMNS=columns)("list").out
        assert backup_id[:8] in listed
        assert "…" not in listed


def test_list_of_nothing_says_what_to_do(fresh: Backupd) -> None:
    """A first look is no error."""
    done = fresh("list")
    assert done.code == ExitCode.OK
    assert "No backups yet. `backupd backup` takes one" in done.out


def test_list_into_a_reader_that_goes_away_is_quiet(cli: Backupd, tmp_path: Path) -> None:
    """`backupd list | head -1` ends well, without a word about pipes."""
    with cli.start("list") as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
        assert process.wait(30) == ExitCode.OK


@pytest.mark.parametrize("length", [36, 8, 4])
def test_show_by_id_or_its_beginning_shows_that_backup(cli: Backupd, length: int) -> None:
    """Any beginning of an id that only one backup has will do."""
    backup_id = cli("list", "--json").document["backups"][0]["backup_id"]
    assert cli("show", backup_id[:length], "--json").document["backup_id"] == backup_id


def test_show_without_an_id_shows_the_latest_and_its_tables(cli: Backupd) -> None:
    """What is inside, how it was walked, and where the archive is."""
    shown = cli("show").out
    assert re.search(r"users +300 +\d+\.\d kB +key +[0-9a-f]{12} +✓", shown)
    assert f"{cli.state}/archives/{cli.archives[0]}" in shown


def test_verify_of_a_whole_archive_says_so(cli: Backupd) -> None:
    """The latest by default."""
    done = cli("verify", "--json")
    assert done.code == ExitCode.OK
    assert done.document | {"ok": True, "tables": 3, "rows": TOTAL_ROWS, "problems": []} == done.document


def test_verify_of_a_changed_archive_names_the_member_and_exits_with_3(cli: Backupd) -> None:
    """A flipped byte is found, and the backup no longer counts as verified."""
    flip_a_byte(cli.state / "archives" / cli.archives[0])
    done = cli("verify")
    assert done.code == ExitCode.PARTIAL
    assert "is not whole" in done.out
    assert "tables/public/" in done.out
    assert cli("list", "--json").document["backups"][0]["verified_at"] is None


def test_verify_all_goes_on_after_an_archive_that_is_gone(cli: Backupd) -> None:
    """One archive that is missing does not keep the others from being looked at."""
    cli("backup")
    (cli.state / "archives" / cli.archives[1]).unlink()
    done = cli("verify", "--all", "--json")
    assert done.code == ExitCode.PARTIAL
    assert sorted(backup["ok"] for backup in done.document["backups"]) == [False, True]


def test_verify_all_goes_on_after_an_archive_that_cannot_be_read(cli: Backupd) -> None:
    """Nor does one that the store cannot give: it is no longer known to be whole, and not known to be damaged."""
    cli("backup")
    archive = cli.state / "archives" / cli.archives[1]
    archive.unlink()
    archive.symlink_to(archive.name)
    done = cli("verify", "--all", "--json")
    assert done.code == ExitCode.PARTIAL
    problems = [backup["problems"] for backup in done.document["backups"]]
    assert sorted(problem["where"] for found in problems for problem in found) == ["store"]
    assert [] in problems


def test_verify_of_an_archive_under_another_ones_name_is_a_mismatch(cli: Backupd) -> None:
    """A whole archive, with its sidecar, is still not the backup it is taken for."""
    other = cli("backup", "--json").document["archive"]
    archives = cli.state / "archives"
    first = next(name for name in cli.archives if name != other)
    for suffix in ("", ".manifest.json"):
        (archives / (first + suffix)).write_bytes((archives / (other + suffix)).read_bytes())
    done = cli("verify", first.rpartition("_")[2].removesuffix(".zip"))
    assert done.code == ExitCode.PARTIAL
    assert "is that of another backup" in done.out


def test_rescan_after_the_catalog_was_lost_finds_every_backup(cli: Backupd) -> None:
    """The catalog is disposable."""
    before = cli("show", "--json").document
    for file in cli.state.glob("catalog.sqlite*"):
        file.unlink()
    done = cli("rescan", "--json")
    assert (done.code, done.document["adopted"]) == (ExitCode.OK, [before["backup_id"]])
    assert cli("show", "--json").document == before | {"verified_at": None}


def test_rescan_without_an_archive_says_which_is_missing_and_exits_with_3(cli: Backupd) -> None:
    """A backup that is gone is shown, never silently dropped."""
    (cli.state / "archives" / cli.archives[0]).unlink()
    done = cli("rescan")
    assert done.code == ExitCode.PARTIAL
    assert "missing from the store" in done.out
    assert "missing from the store" in cli("list").out


def test_backup_after_an_archive_went_missing_says_so_and_succeeds(cli: Backupd) -> None:
    """Before a backup begins, catalog and store are brought into line."""
    (cli.state / "archives" / cli.archives[0]).unlink()
    done = cli("backup")
    assert done.code == ExitCode.OK
    assert "missing from the store" in done.out


def test_pin_and_its_opposite_are_shown(cli: Backupd) -> None:
    """A pin is there until it is taken off."""
    assert cli("pin", "latest", "--json").document["pinned"] is True
    assert "pinned" in cli("list").out
    assert cli("pin", "latest", "--off", "--json").document["pinned"] is False


def test_delete_with_yes_removes_archive_and_row(cli: Backupd) -> None:
    """Nothing of the backup stays."""
    done = cli("delete", "latest", "--yes", "--json")
    assert done.code == ExitCode.OK
    assert list((cli.state / "archives").iterdir()) == []
    assert cli("list", "--json").document == {"backups": []}


def test_delete_with_nobody_to_ask_deletes_nothing(cli: Backupd) -> None:
    """A script has to say that it means it."""
    done = cli("delete", "latest")
    assert done.code == ExitCode.CONFIGURATION
    assert "--yes" in done.err
    assert len(cli.archives) == 1


def test_delete_of_a_pinned_backup_is_refused_with_the_way_out(cli: Backupd) -> None:
    """Even `--yes` does not get past a pin."""
    cli("pin", "latest")
    done = cli("delete", "latest", "--yes")
    assert done.code == ExitCode.FAILED
    assert "is pinned" in done.err
    assert "backupd pin --off" in done.err
    assert len(cli.archives) == 1


def test_check_of_a_good_setup_has_a_line_for_everything(cli: Backupd) -> None:
    """Each line is ok or a warning, and nothing is a problem."""
    document = cli("check", "--json").document
    verdicts = {finding["subject"]: finding["verdict"] for finding in document["findings"]}
    assert document["ok"] is True
    assert {"configuration", "catalog", "store", "space", "key", "Data API", "clock", "keys"} <= verdicts.keys()
    assert "problem" not in verdicts.values()
    assert all(finding["remedy"] for finding in document["findings"] if finding["verdict"] != "ok")


def test_config_says_where_each_value_came_from_and_never_the_key(cli: Backupd) -> None:
    """The key is set, and that is all that is said of it."""
    done = cli.having(BACKUPD_PROJECT__PAGE_ROWS="500")("config", "--json")
    assert done.document["settings"]["project.page_rows"] == {"value": 500, "from": "environment"}
    assert done.document["key"] == {"value": "set", "from": "SUPABASE_SECRET_KEY"}
    assert cli.environ["SUPABASE_SECRET_KEY"] not in done.said + cli("config").said


def test_config_example_uncommented_is_a_configuration(fresh: Backupd, tmp_path: Path) -> None:
    """What the example shows for each option is something that option takes."""
    example = fresh("config", "--example").out
    file = tmp_path / "backupd.toml"
    file.write_text(re.sub(r"^# ([a-z_]+ = )", r"\1", example, flags=re.MULTILINE))
    done = fresh("--config", file, "config", "--json")
    assert done.code == ExitCode.OK, done.said
    assert {setting["from"] for name, setting in done.document["settings"].items() if name != "project.url"} == {
        str(file)
    }


def test_version_is_that_of_the_package(fresh: Backupd) -> None:
    """`--version` names the program and its version."""
    assert re.fullmatch(r"backupd \d+\.\d+\S*\n", fresh("--version").out)


def flip_a_byte(archive: Path) -> None:
    """Change one byte in the middle of the first table's data."""
    data = bytearray(archive.read_bytes())
    data[data.index(b"tables/public/") + 200] ^= 0xFF
    archive.chmod(0o600)
    archive.write_bytes(bytes(data))
