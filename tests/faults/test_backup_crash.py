"""A backup that is killed, told to stop, out of space, or not alone: nothing half-done, and the next one succeeds."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from backupd.errors import ExitCode
from backupd.sandbox.postgres import Postgres
from tests.support.faults import Call, Delay, Hang
from tests.support.processes import SAMPLE, Backupd, Done, SampleProject, finish, sample_project, wait_until
from tests.support.proxy import FaultProxy, all_of, method, path, query
from tests.support.skips import require, require_tool

KILL_SECONDS = float(os.environ.get("BACKUPD_TEST_KILL_SECONDS", "15"))
"""How long the loop of killed backups goes on; more for a long watch."""

USERS = all_of(method("GET"), path("/rest/v1/users"), query("select", "*"))
FILLING = """
create table filling (id bigint primary key, noise text);
insert into filling select n, (select string_agg(md5(n || '-' || i), '') from generate_series(1, 60) i)
  from generate_series(1, 4000) n;
"""


@pytest.fixture(scope="module")
def project(postgres: Postgres) -> Iterator[SampleProject]:
    """One project for the module: no test here changes it."""
    with sample_project(postgres, SAMPLE + FILLING) as running:
        yield running


@pytest.fixture
def proxy(project: SampleProject) -> Iterator[FaultProxy]:
    """What stands between backupd and the project."""
    with FaultProxy(project.gateway.project_url) as running:
        yield running


@pytest.fixture
def cli(project: SampleProject, proxy: FaultProxy, tmp_path: Path) -> Backupd:
    """A user who has never taken a backup."""
    return Backupd(tmp_path, {**project.environ, "SUPABASE_URL": proxy.url, "BACKUPD_PROJECT__PAGE_ROWS": "100"})


def assert_consistent(cli: Backupd) -> None:
    """Every archive at a final name is whole and listed, every one that is listed is there; nothing is left over."""
    store = cli.state / "archives"
    for archive in cli.archives:
        with zipfile.ZipFile(store / archive) as opened:
            assert opened.testzip() is None
    backups = cli("list", "--json").document["backups"]
    assert sorted(backup["archive"] for backup in backups if backup["archive"]) == cli.archives
    assert {backup["status"] for backup in backups} <= {"completed", "failed"}
    assert sorted(path.name for path in store.iterdir()) == sorted(
        name for archive in cli.archives for name in (archive, f"{archive}.manifest.json")
    )
    assert not (cli.state / "work").exists()


def test_backup_killed_at_any_moment_leaves_a_state_the_next_one_mends(cli: Backupd) -> None:
    """Killed over and over at random moments, also between publishing and recording: no archive is lost or half."""
    seed = random.randrange(10**6)
    moments, ends = random.Random(seed), time.monotonic() + KILL_SECONDS
    began = time.monotonic()
    assert cli("backup").code == ExitCode.OK
    longest = time.monotonic() - began
    killed = 0
    while time.monotonic() < ends:
        with cli.start("backup") as process:
            time.sleep(moments.uniform(0.1, longest))
            process.kill()
            process.communicate()
            killed += process.returncode == -signal.SIGKILL
    done = cli("backup")
    assert done.code == ExitCode.OK, f"seed {seed}: {done.said}"
    assert "✓ completed" in done.out
    assert killed >= 3, "the loop killed nothing"
    assert_consistent(cli)
    verified = cli("verify", "--all", "--json")
    assert verified.code == ExitCode.OK, f"seed {seed}: {verified.said}"
    errors = {backup["error"] for backup in cli("list", "--status", "failed", "--json").document["backups"]}
    assert errors <= {"interrupted"}


def killed_while_reading(cli: Backupd, proxy: FaultProxy) -> None:
    """A backup that dies with a table half read."""
    proxy.once(when=USERS, after=1, do=Hang())
    with cli.start("backup") as process:
        proxy.wait_for(USERS, count=2)
        process.kill()
        process.communicate()
    proxy.release()


def test_backup_that_was_killed_is_shown_as_interrupted_at_once(cli: Backupd, proxy: FaultProxy) -> None:
    """Whoever looks after the crash sees a failed backup, not one that is in progress for ever."""
    killed_while_reading(cli, proxy)
    (backup,) = cli("list", "--json").document["backups"]
    assert (backup["status"], backup["error"], backup["archive"]) == ("failed", "interrupted", None)


def test_backup_after_one_that_was_killed_says_nothing_odd(cli: Backupd, proxy: FaultProxy) -> None:
    """What was left behind is cleaned up without a word."""
    killed_while_reading(cli, proxy)
    assert (cli.state / "work").exists()
    done = cli("backup")
    assert (done.code, done.err, done.log) == (ExitCode.OK, "", ())
    assert "  ! " not in done.out
    assert_consistent(cli)


def test_archive_published_just_before_the_kill_is_adopted(cli: Backupd) -> None:
    """The archive is in the store and the catalog has not heard of it: the next backup lists it as what it is."""
    cli("backup")
    with sqlite3.connect(cli.state / "catalog.sqlite") as catalog:
        catalog.execute("UPDATE backups SET status = 'in_progress', archive = NULL, sha256 = NULL, finished_at = NULL")
    catalog.close()
    (cli.state / "archives" / f"{cli.archives[0]}.manifest.json").unlink()
    done = cli("backup")
    assert done.code == ExitCode.OK
    assert "found in the store and listed from now on" in done.out
    assert [backup["status"] for backup in cli("list", "--json").document["backups"]] == ["completed", "completed"]
    assert_consistent(cli)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_backup_told_to_stop_stops_within_a_page_and_publishes_nothing(
    cli: Backupd, proxy: FaultProxy, number: signal.Signals
) -> None:
    """Ctrl-C ends with 130, a word, and a record of what happened."""
    proxy.once(when=USERS, after=1, do=Delay(0.3))
    with cli.start("backup") as process:
        proxy.wait_for(USERS, count=2)
        process.send_signal(number)
        done = finish(process)
    assert done.code == ExitCode.INTERRUPTED, done.said
    assert done.err.startswith("✗ interrupted")
    assert "nothing was published" in done.err
    assert cli("list", "--json").document["backups"][0]["status"] == "failed"
    assert_consistent(cli)


def test_backup_told_to_stop_twice_ends_at_once(cli: Backupd, proxy: FaultProxy) -> None:
    """A server that says nothing does not hold up whoever is in a hurry."""
    proxy.once(when=USERS, do=Hang())
    with cli.start("backup") as process:
        proxy.wait_for(USERS)
        process.send_signal(signal.SIGINT)
        wait_until(lambda: not signals_pending(process.pid), "the first signal was taken")
        process.send_signal(signal.SIGINT)
        assert finish(process).code == ExitCode.INTERRUPTED
    proxy.release()


def test_second_backup_at_the_same_time_exits_with_11_and_names_the_first(cli: Backupd, proxy: FaultProxy) -> None:
    """Which process to wait for or to stop; the first one goes on as if nothing had been."""
    proxy.once(when=USERS, do=Hang())
    with cli.start("backup") as first:
        proxy.wait_for(USERS)
        second = cli("backup")
        assert second.code == ExitCode.LOCKED
        assert f"a backup, process {first.pid}" in second.err
        assert f"kill -INT {first.pid}" in second.err
        assert cli("list", "--json").document["backups"][0]["status"] == "in_progress"
        proxy.release()
        assert finish(first).code == ExitCode.OK
    assert_consistent(cli)


@pytest.mark.parametrize("command", [("verify",), ("rescan",), ("delete", "latest", "--yes")])
def test_other_run_while_a_backup_goes_on_exits_with_11(
    cli: Backupd, proxy: FaultProxy, command: tuple[str, ...]
) -> None:
    """Nothing reads or deletes archives beside a backup."""
    cli("backup")
    proxy.once(when=USERS, do=Hang())
    with cli.start("backup") as first:
        proxy.wait_for(USERS, count=len(proxy.requests) and 1)
        wait_until(lambda: "backup" in (cli.state / "lock").read_text(), "the backup holds the lock")
        assert cli(*command).code == ExitCode.LOCKED
        proxy.release()
        finish(first)


def signals_pending(pid: int) -> bool:
    """Whether a signal was sent to a process that it has not taken yet."""
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(status["ShdPnd"], 16) != 0


def unshared() -> list[str]:
    """The command that gives a process mounts of its own."""
    command = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-Urm"]
    require_tool("unshare", "util-linux")
    allowed = subprocess.run([*command, "true"], check=False, capture_output=True).returncode == 0
    require(allowed, "mount namespaces", "sysctl kernel.unprivileged_userns_clone=1")
    return command


def on_a_small_disk(cli: Backupd, directory: Path, size: str) -> Backupd:
    """The same with a small file system of its own mounted on `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    script = f'mount -t tmpfs -o size={size},mode=700 tmpfs "$0" && exec "$@"'
    return cli.run_under(*unshared(), "sh", "-c", script, str(directory))


def fill(process: subprocess.Popen[str], directory: Path) -> None:
    """Use up what is free on the disk that `process` sees at `directory`, all but a few pages."""
    inside = Path(f"/proc/{process.pid}/root{directory}")
    free = os.statvfs(inside)
    with (inside / "filler").open("wb") as filler:
        filler.write(b"\0" * max(0, free.f_bavail * free.f_bsize - 100_000))


def backed_up_while_filling(cli: Backupd, proxy: FaultProxy, directory: Path) -> tuple[Done, Done]:
    """A backup whose disk fills up while it reads, and what `list` says inside of the same mounts afterwards."""
    running: list[subprocess.Popen[str]] = []
    wanted = all_of(method("GET"), path("/rest/v1/filling"))
    proxy.once(when=wanted, do=Call(lambda _: fill(running[0], directory)))
    with cli.start("backup") as process:
        running.append(process)
        return finish(process), cli("list", "--json")


def test_backup_on_a_disk_that_fills_up_fails_with_the_place_and_the_reason(cli: Backupd, proxy: FaultProxy) -> None:
    """Where the archive is written: the error names the directory, and nothing was published."""
    require(os.geteuid() == 0, "root, to look into another's mounts", "sudo")
    done, _ = backed_up_while_filling(on_a_small_disk(cli, cli.state, "40m"), proxy, cli.state)
    assert done.code == ExitCode.FAILED, done.said
    assert done.err.startswith(f"✗ cannot write the archive in {cli.state}/work: no space left on the disk")
    assert len(done.err.splitlines()) == 2


def test_backup_into_a_store_that_is_full_fails_and_keeps_what_is_there(
    cli: Backupd, proxy: FaultProxy, tmp_path: Path
) -> None:
    """The store is another disk than the state: the copy fails, no temporary stays, and the row says why."""
    require(os.geteuid() == 0, "root, to look into another's mounts", "sudo")
    store = tmp_path / "store"
    there = cli.having(BACKUPD_STORE__URL=str(store))
    done, _ = backed_up_while_filling(on_a_small_disk(there, store, "40m"), proxy, store)
    assert done.code == ExitCode.FAILED, done.said
    assert f"into {store}: no space left on the disk" in done.err
    (backup,) = there("list", "--json").document["backups"]
    assert backup["status"] == "failed"
    assert "no space left" in backup["error"]


def test_backup_that_does_not_fit_is_refused_before_a_row_is_read(cli: Backupd, proxy: FaultProxy) -> None:
    """Two megabytes will not do, and that is known beforehand."""
    done = on_a_small_disk(cli, cli.state, "2m")("backup")
    assert done.code == ExitCode.FAILED, done.said
    assert "MB free" in done.err
    assert proxy.count(USERS) == 0


@pytest.mark.parametrize(
    ("call", "code", "words"),
    [
        (1, ExitCode.FAILED, "cannot write the archive in"),
        (2, ExitCode.FAILED, "cannot put"),
        (3, ExitCode.FAILED, "cannot put"),
        (4, ExitCode.OK, "has no sidecar yet"),
        (5, ExitCode.OK, "has no sidecar yet"),
    ],
    ids=["archive", "copy", "its name", "sidecar", "the sidecar's name"],
)
def test_backup_whose_disk_fails_an_fsync_says_what_there_is(
    cli: Backupd, call: int, code: ExitCode, words: str
) -> None:
    """An archive the disk does not vouch for is no backup; one without its sidecar is, and gets it the next time."""
    require_tool("strace", "strace")
    cli("backup")
    failing = cli.run_under("strace", "-f", "-qq", "-o", "/dev/null", "-e", f"inject=fsync:error=EIO:when={call}")
    done = failing("backup")
    assert done.code == code, done.said
    assert words in done.out + done.err
    assert "the disk reported an error" in done.out + done.err
    assert len(cli.archives) == (1 if code else 2)
    assert cli("backup").code == ExitCode.OK
    assert_consistent(cli)


def test_catalog_that_cannot_record_the_archive_says_that_it_is_there(cli: Backupd, proxy: FaultProxy) -> None:
    """The last step fails: the error does not claim that nothing was published, and the next run records it."""

    def spoil(_: object) -> None:
        with sqlite3.connect(cli.state / "catalog.sqlite", isolation_level=None) as catalog:
            catalog.execute(
                "CREATE TRIGGER spoilt BEFORE INSERT ON backup_tables BEGIN SELECT raise(ABORT, 'spoilt'); END"
            )
        catalog.close()

    proxy.once(when=USERS, do=Call(spoil))
    done = cli("backup")
    assert done.code == ExitCode.FAILED
    assert "is proven and in the store all the same" in done.err
    assert "rescan" in done.err
    with sqlite3.connect(cli.state / "catalog.sqlite", isolation_level=None) as catalog:
        catalog.execute("DROP TRIGGER spoilt")
    catalog.close()
    assert cli("backup").code == ExitCode.OK
    assert json.loads(cli("list", "--json").out)["backups"][1]["status"] == "completed"
    assert_consistent(cli)
