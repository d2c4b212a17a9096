"""The daemon as a real process: start, signals, reload, stop."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from backupd.errors import ExitCode
from backupd.model import BackupType, Status, Trigger
from backupd.sandbox.postgres import Postgres
from tests.support.daemons import backups, daemon, leftovers, runs, settle, slot
from tests.support.faults import Hang, answer
from tests.support.http_recorder import http_recorder
from tests.support.processes import Backupd, SampleProject, sample_project, wait_until
from tests.support.proxy import FaultProxy, path
from tests.support.skips import require_tool


@pytest.fixture(scope="module")
def project(postgres: Postgres) -> Iterator[SampleProject]:
    """One project for the module: no test here changes it."""
    with sample_project(postgres) as running:
        yield running


@pytest.fixture
def cli(project: SampleProject, tmp_path: Path) -> Backupd:
    """A user with a project and an empty state directory."""
    return Backupd(tmp_path, project.environ)


@pytest.fixture
def proxy(project: SampleProject) -> Iterator[FaultProxy]:
    """A way to the project on which a test can hold things up."""
    with FaultProxy(project.gateway.project_url) as running:
        yield running


def through(cli: Backupd, proxy: FaultProxy) -> Backupd:
    """The same user, with the proxy in between."""
    return cli.having(SUPABASE_URL=proxy.url)


def test_start_reconciles_cleans_up_and_catches_up_once(cli: Backupd) -> None:
    """The first start: the store is compared, cleaned up, and the night that was missed is run, in this order."""
    with daemon(cli, quiet=False, jitter=0) as running:
        running.wait_for("run.finished", operation="backup")
        order = [line["operation"] for line in running.events("run.started")]
        assert order == ["rescan", "cleanup", "backup"]
        assert running.stop() == ExitCode.OK
    (taken,) = backups(cli)
    assert (taken.type, taken.trigger, taken.status) == (BackupType.AUTOMATIC, Trigger.CATCH_UP, Status.COMPLETED)
    with daemon(cli, quiet=False, jitter=0) as again:
        assert again.back_up()["status"] == "completed"
        assert not again.events("slot.begun")
    assert [backup.type for backup in backups(cli)] == [BackupType.MANUAL, BackupType.AUTOMATIC]


def test_start_with_catch_up_off_runs_nothing_that_was_missed(cli: Backupd) -> None:
    """schedule.catch_up = false: what was missed is let go, and the log says so."""
    with daemon(cli) as running:
        assert running.events("slot.skipped", job_name="daily_backup")
        assert not running.events("slot.begun")
    record = slot(cli)
    assert record is not None
    assert record.settled


def test_usr1_takes_a_manual_backup(cli: Backupd) -> None:
    """SIGUSR1: a manual backup, triggered by a signal, at once."""
    with daemon(cli) as running:
        assert running.back_up()["status"] == "completed"
    (taken,) = backups(cli)
    assert (taken.type, taken.trigger, taken.status) == (BackupType.MANUAL, Trigger.SIGNAL, Status.COMPLETED)


def test_usr1_several_times_takes_one_backup_and_says_which(cli: Backupd, proxy: FaultProxy) -> None:
    """Whoever asks while a backup is under way joins it, and the log names it."""
    proxy.once(when=path("/rest/v1/users"), do=Hang())
    with daemon(through(cli, proxy)) as running:
        running.send(signal.SIGUSR1)
        proxy.wait_for(path("/rest/v1/users"))
        for count in (1, 2, 3):
            running.send(signal.SIGUSR1)
            running.wait_for("backup.joined", count=count, trigger="signal")
        proxy.release()
        running.wait_for("run.finished", operation="backup")
        joined = {line["backup_id"] for line in running.events("backup.joined")}
        assert running.stop() == ExitCode.OK
    assert joined == {backup.backup_id for backup in backups(cli)}
    assert len(runs(cli)) == 1


def test_usr1_during_an_automatic_backup_joins_it(cli: Backupd, proxy: FaultProxy) -> None:
    """The backup of the night answers the signal as well."""
    settle(cli, "weekly_cleanup")
    proxy.once(when=path("/rest/v1/users"), do=Hang())
    with daemon(through(cli, proxy), quiet=False, jitter=0) as running:
        proxy.wait_for(path("/rest/v1/users"))
        running.send(signal.SIGUSR1)
        joined = running.wait_for("backup.joined")
        proxy.release()
        running.wait_for("run.finished", operation="backup")
        assert running.stop() == ExitCode.OK
    (taken,) = backups(cli)
    assert (taken.backup_id, taken.type) == (joined["backup_id"], BackupType.AUTOMATIC)


def test_usr1_during_a_cleanup_waits_for_its_end(cli: Backupd) -> None:
    """A request that comes before the daemon is ready is not lost."""
    with daemon(cli, started=False) as running:
        running.wait_for("run.started", operation="rescan")
        running.send(signal.SIGUSR1)
        running.wait_for("run.finished", operation="backup", status="completed")


def test_hup_with_a_changed_schedule_changes_the_status(cli: Backupd, tmp_path: Path) -> None:
    """SIGHUP: the configuration is read anew, and `backupd status` shows the new time."""
    file = tmp_path / "backupd.toml"
    file.write_text('[schedule]\ntimezone = "UTC"\ndaily_backup = "02:00"\n')
    with daemon(cli.having(BACKUPD_CONFIG=str(file))) as running:
        assert "T02:00:00" in running.cli("status", "--json").document["next_runs"]["daily_backup"]
        file.write_text('[schedule]\ntimezone = "UTC"\ndaily_backup = "04:30"\n')
        running.send(signal.SIGHUP)
        assert "T04:30:00" in running.wait_for("config.reloaded")["daily_backup"]
        wait_until(
            lambda: "T04:30:00" in running.cli("status", "--json").document["next_runs"]["daily_backup"],
            "the new time shows in the status",
        )


def test_hup_with_a_broken_configuration_keeps_the_old_one(cli: Backupd, tmp_path: Path) -> None:
    """A typo in the file changes nothing but the log, which names it."""
    file = tmp_path / "backupd.toml"
    file.write_text('[schedule]\ntimezone = "UTC"\ndaily_backup = "02:00"\n')
    with daemon(cli.having(BACKUPD_CONFIG=str(file))) as running:
        file.write_text('[schedule]\ndaily_backap = "04:30"\n')
        running.send(signal.SIGHUP)
        assert "daily_backap" in running.wait_for("config.rejected")["error"]
        assert running.back_up()["status"] == "completed"


def test_hup_with_another_state_directory_is_refused(cli: Backupd, tmp_path: Path) -> None:
    """A running daemon cannot move: its lock and catalog are where they are."""
    file = tmp_path / "backupd.toml"
    file.write_text("")
    with daemon(cli.having(BACKUPD_CONFIG=str(file))) as running:
        file.write_text(f'[state]\ndirectory = "{tmp_path}/elsewhere"\n')
        running.send(signal.SIGHUP)
        assert "cannot move" in running.wait_for("config.rejected")["error"]
    assert not (tmp_path / "elsewhere").exists()


def test_hup_with_another_store_uses_it_and_looks_what_is_there(cli: Backupd, tmp_path: Path) -> None:
    """The next backup goes to the new store; the archives of the old one are marked as missing."""
    file = tmp_path / "backupd.toml"
    file.write_text("")
    with daemon(cli.having(BACKUPD_CONFIG=str(file))) as running:
        running.back_up()
        file.write_text(f'[store]\nurl = "file://{tmp_path}/other"\n')
        running.send(signal.SIGHUP)
        running.wait_for("run.finished", operation="rescan", count=2)
        running.back_up()
    newer, older = backups(cli)
    assert (tmp_path / "other" / str(newer.archive)).is_file()
    assert (newer.missing_since, older.missing_since is None) == (None, False)


def test_hup_during_a_backup_does_not_disturb_it(cli: Backupd, proxy: FaultProxy, tmp_path: Path) -> None:
    """A run ends with the configuration it began with."""
    file = tmp_path / "backupd.toml"
    file.write_text("")
    proxy.once(when=path("/rest/v1/users"), do=Hang())
    with daemon(through(cli, proxy).having(BACKUPD_CONFIG=str(file))) as running:
        running.send(signal.SIGUSR1)
        proxy.wait_for(path("/rest/v1/users"))
        file.write_text(f'[store]\nurl = "file://{tmp_path}/other"\n')
        running.send(signal.SIGHUP)
        running.wait_for("config.reloaded")
        proxy.release()
        running.wait_for("run.finished", operation="backup", status="completed")
    assert len(cli.archives) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_while_idle_ends_at_once(cli: Backupd, number: int) -> None:
    """Nothing is under way: exit code 0, and both lines in the log."""
    with daemon(cli) as running:
        running.send(number)
        assert running.wait_for_end(5) == ExitCode.OK
        assert running.events("daemon.stopping")
        assert running.events("daemon.stopped")


def test_stop_twice_during_a_backup_exits_at_once(cli: Backupd, proxy: FaultProxy) -> None:
    """The second signal does not wait for anything."""
    proxy.always(when=path("/rest/v1/users"), do=Hang())
    with daemon(through(cli, proxy)) as running:
        running.send(signal.SIGUSR1)
        proxy.wait_for(path("/rest/v1/users"))
        running.send(signal.SIGTERM)
        running.wait_for("daemon.stopping")
        running.send(signal.SIGTERM)
        assert running.wait_for_end(2) == ExitCode.INTERRUPTED
    with daemon(cli):
        assert not leftovers(cli)
    (taken,) = backups(cli)
    assert (taken.status, taken.error) == (Status.FAILED, "interrupted")


def test_second_daemon_is_refused_and_told_of_the_first(cli: Backupd) -> None:
    """One daemon for each state directory: exit code 11, and the process id of the other."""
    with daemon(cli) as first:
        done = first.cli("run")
        assert done.code == ExitCode.LOCKED, done.said
        assert f"process {first.process.pid}" in done.err
        assert first.process.poll() is None


def test_cli_backup_while_the_daemon_backs_up_is_refused(cli: Backupd, proxy: FaultProxy) -> None:
    """Exit code 11, and who holds the lock."""
    proxy.once(when=path("/rest/v1/users"), do=Hang())
    with daemon(through(cli, proxy)) as running:
        running.send(signal.SIGUSR1)
        proxy.wait_for(path("/rest/v1/users"))
        done = cli("backup")
        proxy.release()
        running.wait_for("run.finished", operation="backup", status="completed")
    assert done.code == ExitCode.LOCKED, done.said
    assert f"a backup, process {running.process.pid}" in done.err


def test_slot_while_a_cli_backup_holds_the_lock_runs_afterwards(cli: Backupd, proxy: FaultProxy) -> None:
    """The slot is put off, said once, not counted as an attempt, and run when the lock is free."""
    settle(cli, "weekly_cleanup")
    proxy.once(when=path("/rest/v1/users"), do=Hang())
    with through(cli, proxy).start("backup") as other:
        proxy.wait_for(path("/rest/v1/users"))
        with daemon(cli, started=False, quiet=False, lock_pause=0.05) as running:
            running.wait_for("run.postponed")
            wait_until(lambda: "waiting" in str(running.cli("status", "--json").document["doing"]), "it says so")
            assert slot(cli) is None
            proxy.release()
            other.communicate(timeout=30)
            running.wait_for("run.finished", operation="backup", status="completed")
            assert len(running.events("run.postponed")) == len(running.events("slot.begun")) == 1
            wait_until(lambda: (found := slot(cli)) is not None and found.settled, "the slot is settled")
    record = slot(cli)
    assert record is not None
    assert record.attempts == 1


def test_usr1_while_a_cli_backup_holds_the_lock_is_not_lost(cli: Backupd, proxy: FaultProxy) -> None:
    """A request waits as well until the lock is free."""
    proxy.once(when=path("/rest/v1/users"), do=Hang())
    with daemon(cli, lock_pause=0.05) as running, through(cli, proxy).start("backup") as other:
        proxy.wait_for(path("/rest/v1/users"))
        running.send(signal.SIGUSR1)
        running.wait_for("run.postponed")
        proxy.release()
        other.communicate(timeout=30)
        running.wait_for("run.finished", operation="backup", status="completed")
    assert [backup.trigger for backup in backups(cli)] == [Trigger.SIGNAL, Trigger.CLI]


def test_kill_during_the_backup_of_a_slot_is_made_up_for(cli: Backupd, proxy: FaultProxy) -> None:
    """Kill -9: the next start marks the backup interrupted, and tries the slot again as its second attempt."""
    settle(cli, "weekly_cleanup")
    proxy.once(when=path("/rest/v1/users"), do=Hang())
    with daemon(through(cli, proxy), quiet=False, jitter=0) as running:
        proxy.wait_for(path("/rest/v1/users"))
        running.process.kill()
        running.wait_for_end()
    with daemon(cli, quiet=False, first_pause=0.1) as again:
        assert again.wait_for("slot.begun")["attempt"] == 2
        again.wait_for("run.finished", operation="backup", status="completed")
        assert not leftovers(cli)
    newer, older = backups(cli)
    assert (newer.status, older.status, older.error) == (Status.COMPLETED, Status.FAILED, "interrupted")


def test_catalog_deleted_while_the_daemon_runs_is_rebuilt(cli: Backupd) -> None:
    """It says so, goes on, and lists again what the store holds."""
    with daemon(cli) as running:
        running.back_up()
        for file in cli.state.glob("catalog.sqlite*"):
            file.unlink()
        running.send(signal.SIGUSR1)
        running.wait_for("catalog.replaced")
        running.wait_for("run.finished", operation="backup", count=2)
    assert [backup.status for backup in backups(cli)] == [Status.COMPLETED] * 2


def test_start_with_a_publishable_key_is_refused_in_words(cli: Backupd, project: SampleProject) -> None:
    """Exit code 78, a sentence for a person, and a line of log for a machine, without the key in either."""
    key = project.gateway.keys.publishable
    done = cli.having(SUPABASE_SECRET_KEY=key, BACKUPD_WEB__LISTEN="off")("run")
    assert done.code == ExitCode.CONFIGURATION, done.said
    assert "publishable" in done.err
    assert [line["event"] for line in done.log] == ["daemon.refused"]
    assert key not in done.said


def test_start_with_a_bad_configuration_is_refused_in_words(cli: Backupd) -> None:
    """Exit code 78, and the option that is wrong."""
    done = cli.having(BACKUPD_SCHEDULE__DAILY_BACKUP="25:00")("run")
    assert done.code == ExitCode.CONFIGURATION, done.said
    assert "BACKUPD_SCHEDULE__DAILY_BACKUP" in done.err
    assert [line["event"] for line in done.log] == ["daemon.refused"]


def test_start_with_a_catalog_that_is_none_is_refused_in_words(cli: Backupd) -> None:
    """Exit code 1, the file, and what to do."""
    cli.state.mkdir(parents=True)
    (cli.state / "catalog.sqlite").write_text("this is no catalog, whatever its name says" * 50)
    done = cli("run")
    assert done.code == ExitCode.FAILED, done.said
    assert "catalog.sqlite is not a catalog" in done.err
    assert [line["event"] for line in done.log] == ["daemon.refused"]


def test_run_without_progress_is_stopped_and_says_why(cli: Backupd, proxy: FaultProxy) -> None:
    """A project that puts us off for ever: the run fails after schedule.stall_minutes, and the daemon goes on."""
    proxy.always(when=path("/rest/v1/users"), do=answer(503, headers={"Retry-After": "300"}))
    with daemon(through(cli, proxy), stall_seconds=5) as running:
        running.send(signal.SIGUSR1)
        assert "it made no progress" in running.wait_for("run.failed", operation="backup")["error"]
        proxy.clear()
        running.send(signal.SIGUSR1)
        running.wait_for("run.finished", operation="backup", status="completed")
    assert "it made no progress" in str(backups(cli)[1].error)


def test_clock_step_while_running_is_noticed_and_the_night_made_up_for(cli: Backupd, tmp_path: Path) -> None:
    """The wall clock of the whole process jumps by a day (libfaketime): the night in between is run, once."""
    require_tool("faketime", "faketime")
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    offset = tmp_path / "offset"
    offset.write_text("+0")
    faked = {"LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(offset), "FAKETIME_NO_CACHE": "1"}
    stepped = cli.having(**faked, FAKETIME_DONT_FAKE_MONOTONIC="1", BACKUPD_SCHEDULE__CATCH_UP="false")
    with daemon(stepped) as running:
        offset.write_text("+1d")
        # Any signal makes the loop turn at once; this one changes nothing else.
        running.send(signal.SIGUSR2)
        assert running.wait_for("clock.stepped")["seconds"] == pytest.approx(86400, abs=5)
        running.wait_for("slot.begun", job_name="daily_backup")
        running.wait_for("run.finished", operation="backup", status="completed")
    assert [backup.type for backup in backups(cli)] == [BackupType.AUTOMATIC]


def test_pings_of_a_night_reach_the_dead_man_switch(cli: Backupd) -> None:
    """Over real HTTP: start and success, with the id of the backup."""
    settle(cli, "weekly_cleanup")
    with http_recorder() as recorder:
        pinged = cli.having(BACKUPD_NOTIFY__PING_URL=f"http://127.0.0.1:{recorder.port}/switch")
        with daemon(pinged, quiet=False, jitter=0) as running:
            running.wait_for("run.finished", operation="backup")
            wait_until(lambda: len(recorder.targets) == 2, "both pings")
    (taken,) = backups(cli)
    assert recorder.targets == [f"/switch/start?rid={taken.backup_id}", f"/switch?rid={taken.backup_id}"]
