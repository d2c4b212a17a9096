"""A catalog that is damaged, locked, shared between processes, out of space, or whose process is killed."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backupd.catalog import Catalog
from backupd.catalog.database import Database
from backupd.errors import CatalogError
from backupd.model import Backup, BackupType, Status, Trigger
from tests.support.skips import require, require_tool

ROUNDS = 10
SAVES = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from backupd.catalog import Catalog
from backupd.model import Backup, BackupTable, BackupType, Status, TableStatus, Trigger
catalog, prefix = Catalog.open(Path(sys.argv[1])), sys.argv[2]
tables = tuple(BackupTable(f"t{n}", TableStatus.COMPLETED, n, n) for n in range(40))
for number in range(int(sys.argv[3])):
    backup_id = f"{prefix}-{number}"
    kept = (datetime.now(UTC), BackupType.MANUAL, Status.COMPLETED, Trigger.CLI, "platform", "host")
    catalog.save(Backup(backup_id, *kept, tables=tables))
    print(backup_id, flush=True)
"""
OPEN = """
import sys
from pathlib import Path
from backupd.catalog import Catalog
from backupd.errors import CatalogError
try:
    Catalog.open(Path(sys.argv[1]), busy_timeout_seconds=0.2).close()
except CatalogError as error:
    print(error.message, "|", error.hint)
else:
    print("opened")
"""
COUNT = """
import sys
from pathlib import Path
from backupd.catalog import Catalog
found = Catalog.open(Path(sys.argv[1])).backups(with_tables=True)
print("every backup whole" if found and all(len(one.tables) == 40 for one in found) else "not whole")
"""


def python(code: str, *arguments: object, under: tuple[str, ...] = ()) -> list[str]:
    """The command that runs `code` in a process of its own."""
    return [*under, sys.executable, "-c", code, *map(str, arguments)]


def output_of(command: list[str]) -> str:
    """What the command printed, its complaints included."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.stdout + done.stderr


def backup(backup_id: str) -> Backup:
    """Any backup with this id."""
    return Backup(backup_id, datetime.now(UTC), BackupType.MANUAL, Status.FAILED, Trigger.CLI, "p", "h")


def saved_until_killed(path: Path, prefix: str, delay_seconds: float) -> list[str]:
    """Let a process save without end, kill it after a while, and give the ids it said it had saved."""
    with subprocess.Popen(python(SAVES, path, prefix, 10**9), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=delay_seconds)
        process.kill()
        lines = [first, *process.stdout.readlines()]
    return [line.strip() for line in lines if line.endswith("\n")]


def test_save_killed_at_any_moment_keeps_what_was_saved_and_nothing_half(tmp_path: Path) -> None:
    """Every backup that was reported as saved is there, and each one has all of its tables."""
    path = tmp_path / "catalog.db"
    reported: set[str] = set()
    for round_ in range(ROUNDS):
        reported |= set(saved_until_killed(path, str(round_), random.uniform(0, 0.05)))
        with Catalog.open(path) as catalog:
            found = {one.backup_id: len(one.tables) for one in catalog.backups(with_tables=True)}
        assert reported <= set(found)
        assert set(found.values()) == {40}


def test_save_by_two_processes_at_once_loses_nothing(tmp_path: Path) -> None:
    """Two processes that open one new catalog at the same moment and save into it take turns."""
    path = tmp_path / "catalog.db"
    processes = [
        subprocess.Popen(python(SAVES, path, prefix, 60), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for prefix in "abcd"
    ]
    complaints = [process.communicate(timeout=60)[1] for process in processes]
    assert complaints == ["", "", "", ""]
    with Catalog.open(path) as catalog:
        assert len(catalog.backups()) == 240


def test_save_in_a_locked_catalog_gives_up_in_words(tmp_path: Path) -> None:
    """A lock that another process does not give back is an error after the time-out, and leaves nothing behind."""
    path = tmp_path / "catalog.db"
    holder = sqlite3.connect(path, isolation_level=None)
    with Catalog.open(path, busy_timeout_seconds=0.05) as catalog:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(CatalogError, match="locked by another process"):
            catalog.save(backup("b1"))
        holder.execute("ROLLBACK")
        catalog.save(backup("b2"))
        assert [one.backup_id for one in catalog.backups()] == ["b2"]
    holder.close()


def test_write_that_begins_by_reading_already_keeps_others_out(tmp_path: Path) -> None:
    """A transaction that reads before it writes holds the lock from its start: nothing can come in between."""
    path = tmp_path / "catalog.db"
    with (
        Database(path, busy_timeout_seconds=0.05) as database,
        Catalog.open(path, busy_timeout_seconds=0.05) as catalog,
    ):
        with database.write() as connection:
            connection.execute("SELECT count(*) FROM backups").fetchone()
            with pytest.raises(CatalogError, match="locked by another process"):
                catalog.save(backup("b1"))
        catalog.save(backup("b2"))
        assert [one.backup_id for one in catalog.backups()] == ["b2"]


def test_backups_in_a_locked_catalog_can_still_be_read(tmp_path: Path) -> None:
    """Whoever writes does not stop the page and the metrics from reading."""
    path = tmp_path / "catalog.db"
    with Catalog.open(path) as catalog:
        catalog.save(backup("b1"))
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with Catalog.open(path, busy_timeout_seconds=0.05) as catalog:
        assert [one.backup_id for one in catalog.backups()] == ["b1"]
    holder.close()


def test_open_exclusively_locked_catalog_gives_up_in_words(tmp_path: Path) -> None:
    """A catalog that another program has locked altogether is an error after the time-out."""
    path = tmp_path / "catalog.db"
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(CatalogError, match="locked by another process"):
        Catalog.open(path, busy_timeout_seconds=0.05)
    holder.close()


@pytest.mark.parametrize("content", [b"x" * 5000, b"SQLite format 3\0" + b"\xff" * 4000, b"short"])
def test_open_file_that_is_no_database_is_refused_with_the_way_out(tmp_path: Path, content: bytes) -> None:
    """Garbage is named, left alone, and the hint says that a rescan rebuilds the catalog."""
    path = tmp_path / "catalog.db"
    path.write_bytes(content)
    with pytest.raises(CatalogError, match=str(path)) as caught:
        Catalog.open(path)
    assert caught.value.hint == "backupd rescan rebuilds it: move the file away first"
    assert path.read_bytes() == content


def test_use_of_a_catalog_with_damaged_pages_is_an_error_with_the_way_out(tmp_path: Path) -> None:
    """Damage behind an intact header is found when it is read, and said in words."""
    path = tmp_path / "catalog.db"
    with Catalog.open(path) as catalog:
        for number in range(200):
            catalog.save(backup(f"b{number}"))
    intact = path.read_bytes()
    path.write_bytes(intact[:4096] + b"\xaa" * (len(intact) - 4096))
    with pytest.raises(CatalogError, match="is damaged") as caught, Catalog.open(path) as catalog:
        catalog.backups()
    assert caught.value.hint == "backupd rescan rebuilds it: move the file away first"


def test_open_catalog_of_another_user_is_refused_in_words(tmp_path: Path) -> None:
    """A catalog that this user cannot write is an error with a remedy, before anything is tried on it."""
    require(os.geteuid() == 0, "root, to become another user", "sudo")
    require_tool("setpriv", "util-linux")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        Path(directory).chmod(0o755)
        Catalog.open(Path(directory) / "catalog.db").close()
        answer = output_of(
            python(OPEN, Path(directory) / "catalog.db", under=("setpriv", "--reuid=65534", "--clear-groups"))
        )
    assert "cannot be written" in answer
    assert "run backupd as the user who owns its directory" in answer


def test_save_on_a_full_disk_is_an_error_and_keeps_what_was_saved(tmp_path: Path) -> None:
    """Where the space runs out the error says so, and the catalog opens with all that was saved."""
    unshare = ("unshare", "-m") if os.geteuid() == 0 else ("unshare", "-Urm")
    require_tool("unshare", "util-linux")
    allowed = subprocess.run([*unshare, "true"], check=False, capture_output=True).returncode == 0
    require(allowed, "mount namespaces", "sysctl kernel.unprivileged_userns_clone=1")
    script = (
        'mount -t tmpfs -o size=1m tmpfs "$1" || exit; "$2" -c "$3" "$1/catalog.db" a 100000 2>&1 | tail -n 1;'
        ' "$2" -c "$4" "$1/catalog.db"'
    )
    answer = output_of([*unshare, "sh", "-c", script, "sh", str(tmp_path), sys.executable, SAVES, COUNT])
    complaint, opened = answer.splitlines()
    assert complaint.endswith("cannot grow: no space left on the disk")
    assert opened == "every backup whole"
