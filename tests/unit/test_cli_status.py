"""`backupd status` and `backupd cleanup` from outside: alive, hung, dead, stale; expired, kept, refused."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backupd.catalog import Catalog
from backupd.cli.commands import backupd
from backupd.cli.door import run_command
from backupd.daemon import Sign
from backupd.daemon.heartbeat import only_daemon
from backupd.errors import ExitCode
from backupd.model import Backup, BackupType, Status, utc_now
from tests.support.backup_rows import backup_row

NEXT: Mapping[str, datetime] = {"daily_backup": datetime(2030, 1, 1, 2, tzinfo=utc_now().tzinfo)}


@dataclass(frozen=True)
class Said:
    """What a command said."""

    code: ExitCode
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Its JSON document."""
        return json.loads(self.out)


class Machine:
    """A state directory, and the commands run on it in this process."""

    def __init__(self, state: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.state = state
        self._capsys = capsys

    def __call__(self, *arguments: str) -> Said:
        """Run a command."""
        code = run_command(backupd, ["--state", str(self.state), *arguments])
        said = self._capsys.readouterr()
        return Said(code, said.out, said.err)

    def save(self, *saved: Backup) -> None:
        """Put backups into the catalog, and their archives into the store."""
        archives = self.state / "archives"
        archives.mkdir(exist_ok=True)
        with Catalog.open(self.state / "catalog.sqlite") as catalog:
            for backup in saved:
                catalog.save(backup)
                if backup.archive is not None:
                    (archives / backup.archive).write_bytes(b"x" * backup.size_bytes)

    @contextmanager
    def daemon(self, **changes: Any) -> Iterator[None]:
        """A daemon that has just ticked, unless told otherwise."""
        now = utc_now()
        sign = Sign(4711, "0.1.0", now, now, "idle; next daily_backup", NEXT)
        with only_daemon(self.state) as heartbeat:
            heartbeat.beat(replace(sign, **changes))
            yield


@pytest.fixture
def machine(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine on which nothing was ever run."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("BACKUPD_CONFIG", "STATE_DIRECTORY", "XDG_CONFIG_HOME", "SUPABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    return Machine(tmp_path, capsys)


def ago(**span: float) -> datetime:
    """So long ago."""
    return utc_now() - timedelta(**span)


def nights(*ages_days: float) -> list[Backup]:
    """Completed automatic backups of these ages, 1,000 bytes each."""
    return [backup_row(ago(days=age), backup_id=f"{number:08x}") for number, age in enumerate(ages_days)]


def test_status_of_a_living_daemon_with_a_fresh_backup_is_good(machine: Machine) -> None:
    """Exit code 0; process, doing, next run and last good backup."""
    machine.save(backup_row(ago(hours=6)))
    with machine.daemon():
        said = machine("status")
    assert said.code == ExitCode.OK
    assert "✓ the daemon is alive (process 4711, version 0.1.0" in said.out
    assert "next daily_backup" in said.out
    assert "✓ last good backup 6 hours ago" in said.out


def test_status_without_a_daemon_says_how_to_start_one(machine: Machine) -> None:
    """Exit code 1."""
    machine.save(backup_row(ago(hours=6)))
    said = machine("status")
    assert said.code == ExitCode.FAILED
    assert "✗ no daemon runs on" in said.out
    assert "systemctl start backupd" in said.out


def test_status_of_a_dead_daemon_says_when_it_was_last_seen(machine: Machine) -> None:
    """Its last tick is still there to be read."""
    with machine.daemon(ticked_at=ago(hours=3)):
        pass
    assert "the last one was seen 3 hours ago" in machine("status").out


def test_status_of_a_daemon_that_does_not_tick_says_that_it_hangs(machine: Machine) -> None:
    """Alive by its lock, and its last tick ten minutes ago."""
    machine.save(backup_row(ago(hours=6)))
    with machine.daemon(ticked_at=ago(minutes=10)):
        said = machine("status")
    assert said.code == ExitCode.FAILED
    assert "✗ the daemon hangs: its last tick was 10 minutes ago" in said.out


def test_status_of_a_daemon_whose_run_hangs_says_so(machine: Machine) -> None:
    """The loop ticks, and the run under way does not move."""
    machine.save(backup_row(ago(hours=6)))
    with machine.daemon(hung=True):
        said = machine("status")
    assert said.code == ExitCode.FAILED
    assert "✗ the daemon hangs: its run does not move" in said.out


def test_status_with_a_stale_backup_fails(machine: Machine) -> None:
    """The daemon lives, and its last success is 27 hours old."""
    machine.save(backup_row(ago(hours=27)))
    with machine.daemon():
        said = machine("status")
    assert said.code == ExitCode.FAILED
    assert "✗ last good backup 1 day ago" in said.out
    assert "there should be one every 26 hours" in said.out


def test_status_shows_a_newer_backup_that_failed_and_why(machine: Machine) -> None:
    """The last good one, and the one after it that was none."""
    failed = backup_row(ago(hours=1), backup_id="ffff0000", status=Status.FAILED, error="interrupted")
    machine.save(backup_row(ago(hours=6)), failed)
    with machine.daemon():
        said = machine("status")
    assert said.code == ExitCode.OK
    assert "newest backup ffff0000 1 hour ago: failed: interrupted" in said.out


def test_status_with_a_broken_catalog_still_speaks_of_the_daemon(machine: Machine) -> None:
    """What is known is said before what is wrong."""
    (machine.state / "catalog.sqlite").write_text("no catalog at all " * 100)
    with machine.daemon():
        said = machine("status")
    assert said.code == ExitCode.FAILED
    assert "the daemon is alive" in said.out
    assert "is not a catalog" in said.err


@pytest.mark.parametrize(("changes", "alive", "hung"), [({}, True, False), ({"hung": True}, True, True)])
def test_status_json_tells_the_same(machine: Machine, changes: dict[str, bool], alive: bool, hung: bool) -> None:
    """One document for machines."""
    machine.save(backup_row(ago(hours=6), backup_id="abc"))
    with machine.daemon(**changes):
        document = machine("status", "--json").document
    assert (document["alive"], document["hung"], document["stale"]) == (alive, hung, False)
    assert (document["pid"], document["last_success_id"]) == (4711, "abc")


def test_status_json_without_a_daemon_says_so(machine: Machine) -> None:
    """Not alive, nothing known, stale."""
    said = machine("status", "--json")
    assert said.code == ExitCode.FAILED
    assert said.document == {
        "alive": False,
        "hung": False,
        "pid": None,
        "started_at": None,
        "ticked_at": None,
        "doing": None,
        "next_runs": {},
        "last_success_at": None,
        "last_success_id": None,
        "stale": True,
        "state": "unhealthy",
        "reasons": [{"text": "No backup has ever completed.", "remedy": "Take one: backupd backup"}],
    }


EXPIRED = (0.1, 1, 2, 3, 31, 32)
"""Six nights, of which the last two have expired."""


def test_cleanup_dry_run_prints_every_decision_and_deletes_nothing(machine: Machine) -> None:
    """Each backup with its reason, what would go, and everything still there."""
    machine.save(*nights(*EXPIRED))
    said = machine("cleanup", "--dry-run")
    assert said.code == ExitCode.OK
    assert said.out.count("within automatic_days = 30") == 4
    assert said.out.count("over automatic_days = 30") == 2
    assert "2 backups would be deleted, 2.0 kB." in said.out
    assert len(list((machine.state / "archives").glob("*.zip"))) == 6


def test_cleanup_dry_run_json_lists_every_decision(machine: Machine) -> None:
    """The same for machines."""
    machine.save(*nights(*EXPIRED))
    document = machine("cleanup", "--dry-run", "--json").document
    assert document["dry_run"] is True
    assert [one["decision"] for one in document["decisions"]] == ["keep"] * 4 + ["delete"] * 2
    assert document["deleted"] == ["00000004", "00000005"]


def test_cleanup_deletes_what_has_expired_and_says_what(machine: Machine) -> None:
    """Only what goes is listed."""
    machine.save(*nights(*EXPIRED))
    said = machine("cleanup")
    assert said.code == ExitCode.OK
    assert "2 backups deleted, 2.0 kB." in said.out
    assert "within automatic_days" not in said.out
    assert len(list((machine.state / "archives").glob("*.zip"))) == 4


def test_cleanup_json_names_what_was_deleted(machine: Machine) -> None:
    """The ids, and the bytes that were freed."""
    machine.save(*nights(*EXPIRED))
    document = machine("cleanup", "--json").document
    assert (document["dry_run"], document["deleted"]) == (False, ["00000004", "00000005"])
    assert document["freed_bytes"] == 2000


def test_cleanup_with_no_recent_success_deletes_nothing_good(machine: Machine) -> None:
    """A backup job that has been broken for days does not eat its own history."""
    machine.save(*nights(5, 31, 32, 33, 34))
    said = machine("cleanup", "--dry-run")
    assert "0 backups would be deleted" in said.out
    assert "nothing expires" in said.out


def test_cleanup_that_is_refused_a_deletion_says_which_and_why(machine: Machine) -> None:
    """A survivor shrank after it was proven: nothing good goes, exit code 3, and a reason for a person."""
    machine.save(*nights(0.1, 1, 2, 31), backup_row(ago(days=40), backup_id="abcdef012345", deleting=True))
    for name in ("00000000", "00000001", "00000002"):
        (machine.state / "archives" / f"{name}.zip").write_bytes(b"short")
    said = machine("cleanup")
    assert said.code == ExitCode.PARTIAL
    assert "✗ abcdef01 is still there: only" in said.out


def test_cleanup_with_an_archive_missing_exits_with_mismatch(machine: Machine) -> None:
    """Catalog and store do not agree: exit code 3, and which backup it is."""
    machine.save(*nights(0.1, 1, 2))
    next((machine.state / "archives").glob("00000001*")).unlink()
    said = machine("cleanup")
    assert said.code == ExitCode.PARTIAL
    assert "the archive of 00000001 is missing from the store" in said.out


def test_cleanup_never_touches_manual_backups(machine: Machine) -> None:
    """However old."""
    machine.save(*nights(0.1, 1, 2, 3), backup_row(ago(days=900), backup_id="old", type=BackupType.MANUAL))
    said = machine("cleanup", "--dry-run")
    assert "manual: kept until someone deletes it" in said.out
    assert "0 backups would be deleted" in said.out
