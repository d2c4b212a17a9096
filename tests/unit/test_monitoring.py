"""Writing out what Prometheus, Alertmanager and Grafana need."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backupd.cli.commands import backupd as command_line
from backupd.cli.door import run_command
from backupd.errors import BackupdError, ExitCode
from backupd.monitoring import FILES, WillNotOverwrite, write_out


def test_write_out_into_a_new_directory_writes_every_file(tmp_path: Path) -> None:
    """All four, whole, for every user of the machine to read: Prometheus is another."""
    written = write_out(tmp_path / "a" / "b")
    assert [path.name for path in written] == list(FILES)
    assert sorted(path.name for path in (tmp_path / "a" / "b").iterdir()) == sorted(FILES)
    assert {path.stat().st_mode & 0o777 for path in written} == {0o644}
    assert json.loads((tmp_path / "a" / "b" / "grafana-dashboard.json").read_text())["title"] == "backupd"


def test_write_out_again_leaves_what_is_there(tmp_path: Path) -> None:
    """The second time nothing differs, so nothing is written."""
    write_out(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert write_out(tmp_path) == ()
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_write_out_over_a_file_that_differs_writes_nothing_at_all(tmp_path: Path) -> None:
    """Somebody made the rules their own: they stay, and no half of a new set appears beside them."""
    (tmp_path / "alerts.yml").write_text("mine")
    with pytest.raises(WillNotOverwrite, match=r"other versions of alerts\.yml; nothing was written") as caught:
        write_out(tmp_path)
    assert "--force" in (caught.value.hint or "")
    assert [path.name for path in tmp_path.iterdir()] == ["alerts.yml"]
    assert (tmp_path / "alerts.yml").read_text() == "mine"


def test_write_out_with_force_replaces_what_differs(tmp_path: Path) -> None:
    """Only that; what is as it should be is not written anew."""
    write_out(tmp_path)
    (tmp_path / "alerts.yml").write_text("mine")
    assert [path.name for path in write_out(tmp_path, force=True)] == ["alerts.yml"]
    assert (tmp_path / "alerts.yml").read_text() != "mine"
    assert len(list(tmp_path.iterdir())) == len(FILES)


def test_write_out_where_a_file_is_in_the_way_says_where(tmp_path: Path) -> None:
    """The message names the path and the reason."""
    (tmp_path / "file").touch()
    with pytest.raises(BackupdError, match=r"file.* cannot be written: (Not a directory|File exists)"):
        write_out(tmp_path / "file")


def test_command_needs_no_configuration_and_shows_each_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Someone who has only installed it can set monitoring up."""
    assert run_command(command_line, ["monitoring", str(tmp_path / "out")]) is ExitCode.OK
    shown = capsys.readouterr().out
    assert [name for name in FILES if f"✓ {tmp_path / 'out' / name}\n" not in shown] == []
    assert f"promtool check config {tmp_path / 'out' / 'prometheus.yml'}" in shown


def test_command_as_json_names_what_was_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One document, and an empty list the second time."""
    for written in (list(FILES), []):
        assert run_command(command_line, ["monitoring", "--json", str(tmp_path)]) is ExitCode.OK
        assert json.loads(capsys.readouterr().out) == {"directory": str(tmp_path), "written": written}


def test_command_refuses_what_differs_until_forced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1 and the way out; with --force it is done."""
    (tmp_path / "prometheus.yml").write_text("mine")
    assert run_command(command_line, ["monitoring", str(tmp_path)]) is ExitCode.FAILED
    assert "prometheus.yml" in capsys.readouterr().err
    assert run_command(command_line, ["monitoring", str(tmp_path), "--force"]) is ExitCode.OK
