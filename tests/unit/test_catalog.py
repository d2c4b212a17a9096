"""The catalog: what is saved comes back, references, marks, runs, figures, and what it refuses to open."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from stat import S_IMODE
from typing import Any

import pytest

from backupd.catalog import Catalog, backup_from_sidecar
from backupd.catalog.database import Database
from backupd.catalog.schema import MIGRATIONS
from backupd.errors import BackupNotFound, CatalogError
from backupd.model import (
    ArchivedTable,
    Backup,
    BackupTable,
    BackupType,
    Count,
    Manifest,
    Paging,
    Run,
    Sidecar,
    SlotRecord,
    Status,
    Table,
    TableName,
    TableStatus,
    Trigger,
)

NOON = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC)


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    """An empty catalog."""
    with Catalog.open(tmp_path / "catalog.db") as opened:
        yield opened


def backup(backup_id: str = "b7f3c2a1-0000", hours_ago: float = 0, **changes: Any) -> Backup:
    """A completed automatic backup, except for `changes`."""
    values: dict[str, Any] = {
        "backup_id": backup_id,
        "created_at": NOON - timedelta(hours=hours_ago),
        "finished_at": NOON - timedelta(hours=hours_ago) + timedelta(seconds=14),
        "type": BackupType.AUTOMATIC,
        "status": Status.COMPLETED,
        "trigger": Trigger.SCHEDULE,
        "platform": "Car Audio",
        "project": "xyz.supabase.co",
        "archive": f"car-audio_{backup_id}.zip",
        "size_bytes": 1000,
        "sha256": "ab" * 32,
        "total_rows": 7,
    }
    return Backup(**(values | changes))


def run(run_id: str, hours_ago: float = 0, **changes: Any) -> Run:
    """A run in progress, except for `changes`."""
    values: dict[str, Any] = {
        "operation": "backup",
        "trigger": Trigger.CLI,
        "status": Status.IN_PROGRESS,
        "started_at": NOON - timedelta(hours=hours_ago),
    }
    return Run(run_id=run_id, **(values | changes))


def ids(backups: tuple[Backup, ...]) -> list[str]:
    """Their ids, in order."""
    return [one.backup_id for one in backups]


def test_save_backup_with_everything_comes_back_equal(catalog: Catalog) -> None:
    """Every field of a backup and of its tables survives, to the microsecond."""
    full = backup(
        tables=(
            BackupTable("users", TableStatus.COMPLETED, 7, 900, "cd" * 32, Paging.KEY),
            BackupTable("other.ünïcode", TableStatus.FAILED, 0, 0, message="no grant"),
        ),
        warnings=("a key is legacy", "zwei"),
        error="one table could not be read",
        pinned=True,
        verified_at=NOON,
        missing_since=NOON,
        deleting=True,
    )
    catalog.save(full)
    assert catalog.backup(full.backup_id) == full


def test_save_backup_with_nothing_optional_comes_back_equal(catalog: Catalog) -> None:
    """A backup that has only just begun survives too."""
    bare = Backup("b1", NOON, BackupType.MANUAL, Status.IN_PROGRESS, Trigger.CLI, "Car Audio", "xyz.supabase.co")
    catalog.save(bare)
    assert catalog.backup("b1") == bare


def test_save_same_id_again_replaces_backup_and_tables(catalog: Catalog) -> None:
    """The second save leaves nothing of the first."""
    first = tuple(BackupTable(f"t{number}", TableStatus.COMPLETED, 1, 1) for number in range(3))
    catalog.save(backup(tables=first, error="old"))
    second = backup(tables=(BackupTable("only", TableStatus.COMPLETED, 2, 2),))
    catalog.save(second)
    assert catalog.backups(with_tables=True) == (second,)


def test_save_keeps_a_pin_that_was_set_meanwhile(catalog: Catalog) -> None:
    """A pin set while the backup was running outlives the save at its end."""
    catalog.save(backup(status=Status.IN_PROGRESS))
    catalog.set_pinned("b7f3c2a1-0000", True)
    catalog.save(backup())
    assert catalog.backup("b7f3c2a1-0000").pinned


def test_save_archive_of_another_backup_is_refused_and_changes_nothing(catalog: Catalog) -> None:
    """Two backups never share an archive, and the one that had it stays."""
    first = backup("b1", archive="a.zip")
    catalog.save(first)
    with pytest.raises(CatalogError):
        catalog.save(backup("b2", archive="a.zip"))
    assert catalog.backups() == (first,)


def test_save_local_time_is_kept_as_the_same_instant_in_utc(catalog: Catalog) -> None:
    """Instants are compared as instants, wherever they were written."""
    berlin = timezone(timedelta(hours=1))
    catalog.save(backup(created_at=NOON.astimezone(berlin)))
    assert catalog.backup("b7").created_at.isoformat() == "2026-11-22T12:00:00.123456+00:00"


def test_save_naive_time_is_a_mistake(catalog: Catalog) -> None:
    """A time without a zone is never guessed at."""
    with pytest.raises(ValueError, match="must be aware"):
        catalog.save(backup(created_at=datetime(2026, 11, 22)))  # noqa: DTZ001 the mistake under test


def test_save_message_with_an_undecodable_file_name_is_kept_readable(catalog: Catalog) -> None:
    """An error that quotes a file name which is not UTF-8 does not fail the record of the failure."""
    catalog.save(backup(error="no such file: \udcff.zip"))
    assert catalog.backup("b7").error == "no such file: \\udcff.zip"


def test_save_number_beyond_sqlite_is_an_error_for_a_person(catalog: Catalog) -> None:
    """A size that cannot be true is a catalog error, not a crash."""
    with pytest.raises(CatalogError, match="cannot hold a value"):
        catalog.save(backup(size_bytes=2**70))


def test_save_reopened_catalog_still_has_it(tmp_path: Path) -> None:
    """What was saved is there after a restart."""
    with Catalog.open(tmp_path / "catalog.db") as opened:
        opened.save(backup())
    with Catalog.open(tmp_path / "catalog.db") as opened:
        assert opened.backups() == (backup(),)


@pytest.mark.parametrize("reference", ["b7f3c2a1-0000", "b7", "b", "B7F3"])
def test_backup_id_or_its_only_beginning_finds_it(catalog: Catalog, reference: str) -> None:
    """The full id, any unique prefix, in either case."""
    catalog.save(backup("b7f3c2a1-0000"))
    catalog.save(backup("c0000000-0000"))
    assert catalog.backup(reference).backup_id == "b7f3c2a1-0000"


def test_backup_full_id_that_begins_another_finds_itself(catalog: Catalog) -> None:
    """A complete id is never ambiguous."""
    catalog.save(backup("b7"))
    catalog.save(backup("b70"))
    assert catalog.backup("b7").backup_id == "b7"


def test_backup_ambiguous_beginning_names_the_candidates(catalog: Catalog) -> None:
    """The error lists what was meant, newest first, with type and time."""
    catalog.save(backup("b7-one", hours_ago=1))
    catalog.save(backup("b7-two", type=BackupType.MANUAL))
    with pytest.raises(BackupNotFound) as caught:
        catalog.backup("b7")
    assert caught.value.message == (
        "2 backups have ids that begin with 'b7': "
        "b7-two (manual, 2026-11-22T12:00Z), b7-one (automatic, 2026-11-22T11:00Z)"
    )


@pytest.mark.parametrize("reference", ["x", "", "%", "_", "*", "b7f3c2a1-0000-more"])
def test_backup_unknown_reference_is_not_found_with_a_hint(catalog: Catalog, reference: str) -> None:
    """What begins no id is not found, wildcards and nothing at all included."""
    catalog.save(backup())
    with pytest.raises(BackupNotFound) as caught:
        catalog.backup(reference)
    assert "backupd list" in str(caught.value.hint)


def test_backup_latest_is_the_newest_there_is_an_archive_of(catalog: Catalog) -> None:
    """Failed, running, missing and half-deleted backups are passed over; a partial one is not."""
    catalog.save(backup("b1", hours_ago=6))
    catalog.save(backup("b2", hours_ago=5, status=Status.PARTIAL))
    catalog.save(backup("b3", hours_ago=4, status=Status.FAILED))
    catalog.save(backup("b4", hours_ago=3, status=Status.IN_PROGRESS))
    catalog.save(backup("b5", hours_ago=2, missing_since=NOON))
    catalog.save(backup("b6", hours_ago=1, deleting=True))
    assert catalog.backup("latest").backup_id == "b2"


def test_backup_latest_of_nothing_is_not_found(catalog: Catalog) -> None:
    """With no backup at all the hint says how to make one."""
    with pytest.raises(BackupNotFound) as caught:
        catalog.backup("latest")
    assert "backupd backup" in str(caught.value.hint)


def test_backups_come_newest_first(catalog: Catalog) -> None:
    """The order is that of their making, not of their saving."""
    for backup_id, hours_ago in [("b2", 2), ("b1", 1), ("b3", 3)]:
        catalog.save(backup(backup_id, hours_ago=hours_ago))
    assert ids(catalog.backups()) == ["b1", "b2", "b3"]


def test_backups_limit_and_offset_give_a_page(catalog: Catalog) -> None:
    """A page is cut out of the whole order; an offset alone works too."""
    for number in range(5):
        catalog.save(backup(f"b{number}", hours_ago=number))
    assert ids(catalog.backups(limit=2, offset=1)) == ["b1", "b2"]
    assert ids(catalog.backups(offset=3)) == ["b3", "b4"]
    assert catalog.backups(limit=0) == ()


def test_backups_type_and_status_select(catalog: Catalog) -> None:
    """Both conditions hold together."""
    catalog.save(backup("b1", type=BackupType.MANUAL))
    catalog.save(backup("b2", status=Status.PARTIAL))
    catalog.save(backup("b3", type=BackupType.MANUAL, status=Status.PARTIAL))
    assert ids(catalog.backups(type=BackupType.MANUAL, status=Status.PARTIAL)) == ["b3"]
    assert ids(catalog.backups(type=BackupType.AUTOMATIC)) == ["b2"]


def test_backups_without_tables_are_cheap_and_empty_of_them(catalog: Catalog) -> None:
    """Tables come only when asked for."""
    catalog.save(backup(tables=(BackupTable("users", TableStatus.COMPLETED, 1, 1),)))
    assert [len(one.tables) for one in catalog.backups()] == [0]
    assert [len(one.tables) for one in catalog.backups(with_tables=True)] == [1]


def test_last_completed_passes_over_what_is_no_success(catalog: Catalog) -> None:
    """A partial, failed or missing backup is never the last success."""
    good = backup("b1", hours_ago=9, tables=(BackupTable("users", TableStatus.COMPLETED, 1, 1),))
    catalog.save(good)
    catalog.save(backup("b2", hours_ago=3, status=Status.PARTIAL))
    catalog.save(backup("b3", hours_ago=2, status=Status.FAILED, archive=None))
    catalog.save(backup("b4", hours_ago=1, missing_since=NOON))
    assert catalog.last_completed() == good


def test_last_completed_of_a_type_knows_only_that_type(catalog: Catalog) -> None:
    """A manual success does not hide that no automatic one exists."""
    catalog.save(backup("b1", type=BackupType.MANUAL))
    assert catalog.last_completed(BackupType.AUTOMATIC) is None
    assert catalog.last_completed(BackupType.MANUAL) == backup("b1", type=BackupType.MANUAL)


MARKS: dict[str, tuple[Callable[[Catalog, str], None], dict[str, Any]]] = {
    "pin": (lambda catalog, one: catalog.set_pinned(one, True), {"pinned": True}),
    "verified": (lambda catalog, one: catalog.set_verified(one, NOON), {"verified_at": NOON}),
    "missing": (lambda catalog, one: catalog.set_missing(one, NOON), {"missing_since": NOON}),
    "deleting": (lambda catalog, one: catalog.mark_deleting(one), {"deleting": True}),
}
UNMARKS: dict[str, Callable[[Catalog, str], None]] = {
    "pin": lambda catalog, one: catalog.set_pinned(one, False),
    "verified": lambda catalog, one: catalog.set_verified(one, None),
    "missing": lambda catalog, one: catalog.set_missing(one, None),
}


@pytest.mark.parametrize("mark", MARKS)
def test_mark_changes_its_field_of_its_backup_only(catalog: Catalog, mark: str) -> None:
    """A mark is on the one backup, and nothing else of it changes."""
    catalog.save(backup("b1"))
    catalog.save(backup("b10"))
    set_mark, expected = MARKS[mark]
    set_mark(catalog, "b1")
    assert set(catalog.backups()) == {backup("b1", **expected), backup("b10")}


@pytest.mark.parametrize("mark", UNMARKS)
def test_mark_taken_off_leaves_the_backup_as_it_was(catalog: Catalog, mark: str) -> None:
    """Pins, verifications and absences can be taken back."""
    catalog.save(backup("b1"))
    MARKS[mark][0](catalog, "b1")
    UNMARKS[mark](catalog, "b1")
    assert catalog.backups() == (backup("b1"),)


@pytest.mark.parametrize("mark", MARKS)
def test_mark_on_an_unknown_backup_is_not_found(catalog: Catalog, mark: str) -> None:
    """A mark is never lost in silence."""
    with pytest.raises(BackupNotFound, match="b1"):
        MARKS[mark][0](catalog, "b1")


def test_forget_drops_the_backup_with_its_tables(catalog: Catalog, tmp_path: Path) -> None:
    """Nothing of a forgotten backup stays, and no other goes with it."""
    table = (BackupTable("users", TableStatus.COMPLETED, 1, 1),)
    catalog.save(backup("b1", tables=table))
    catalog.save(backup("b10", tables=table))
    catalog.forget("b1")
    with sqlite3.connect(tmp_path / "catalog.db") as connection:
        left = connection.execute("SELECT backup_id FROM backup_tables").fetchall()
    connection.close()
    assert (ids(catalog.backups()), left) == (["b10"], [("b10",)])


def test_forget_unknown_backup_is_no_error(catalog: Catalog) -> None:
    """A deletion that was interrupted can be repeated."""
    catalog.forget("b1")
    assert catalog.backups() == ()


def test_run_finished_comes_back_equal(catalog: Catalog) -> None:
    """The end replaces the beginning."""
    catalog.start_run(run("r1"))
    ended = run("r1", status=Status.FAILED, finished_at=NOON, backup_id="b1", error="it broke", hint="mend it")
    catalog.finish_run(ended)
    assert catalog.runs() == (ended,)


def test_run_finished_in_a_catalog_that_was_replaced_is_recorded(catalog: Catalog) -> None:
    """The record of a run is not lost because its start is not known."""
    ended = run("r1", status=Status.COMPLETED, finished_at=NOON)
    catalog.finish_run(ended)
    assert catalog.runs() == (ended,)


def test_run_started_twice_is_refused(catalog: Catalog) -> None:
    """Two runs never share a record."""
    catalog.start_run(run("r1"))
    with pytest.raises(CatalogError):
        catalog.start_run(run("r1"))


def test_runs_come_newest_first_by_operation_and_limit(catalog: Catalog) -> None:
    """The page shows the last few of one operation."""
    for number in range(4):
        catalog.start_run(run(f"r{number}", hours_ago=number))
    catalog.start_run(run("v", hours_ago=-1, operation="verify"))
    assert [one.run_id for one in catalog.runs(operation="backup", limit=2)] == ["r0", "r1"]
    assert [one.run_id for one in catalog.runs(limit=2)] == ["v", "r0"]


def test_interrupt_unfinished_fails_what_a_dead_process_left(catalog: Catalog) -> None:
    """Backups and runs in progress become failed, those that ended stay, and the backups are named."""
    catalog.save(backup("b1", hours_ago=2))
    catalog.save(backup("b2", status=Status.IN_PROGRESS, archive=None, finished_at=None))
    catalog.start_run(run("r1", hours_ago=1, status=Status.COMPLETED))
    catalog.start_run(run("r2"))
    assert catalog.interrupt_unfinished(NOON) == ("b2",)
    failed: dict[str, Any] = {"status": Status.FAILED, "error": "interrupted", "finished_at": NOON}
    assert catalog.backups() == (backup("b2", archive=None, **failed), backup("b1", hours_ago=2))
    assert catalog.runs() == (run("r2", **failed), run("r1", hours_ago=1, status=Status.COMPLETED))


def test_interrupt_unfinished_with_a_reason_records_it(catalog: Catalog) -> None:
    """A run that failed says why, in its backup and in its own record."""
    catalog.save(backup("b1", status=Status.IN_PROGRESS, archive=None))
    catalog.start_run(run("r1"))
    catalog.interrupt_unfinished(NOON, "the key was refused")
    assert (catalog.backup("b1").error, catalog.runs()[0].error) == ("the key was refused", "the key was refused")


def test_statistics_of_nothing_are_zero_for_everything(catalog: Catalog) -> None:
    """Every type and status has its figure before there is a backup."""
    statistics = catalog.statistics()
    assert set(statistics.counts) == {(type_, status) for type_ in BackupType for status in Status}
    assert (statistics.total, statistics.total_size_bytes, statistics.missing) == (0, 0, 0)
    assert set(statistics.last_success_at.values()) | set(statistics.oldest_created_at.values()) == {None}


def test_statistics_count_and_measure_by_type(catalog: Catalog) -> None:
    """Counts are of rows; sizes, ages and successes of archives that the store has."""
    catalog.save(backup("b1", hours_ago=30, size_bytes=1))
    catalog.save(backup("b2", hours_ago=20, size_bytes=10))
    catalog.save(backup("b3", hours_ago=10, size_bytes=100, status=Status.PARTIAL))
    catalog.save(backup("b4", hours_ago=40, size_bytes=1000, missing_since=NOON))
    catalog.save(backup("b5", hours_ago=5, size_bytes=10000, type=BackupType.MANUAL, deleting=True))
    statistics = catalog.statistics()
    assert statistics.counts[BackupType.AUTOMATIC, Status.COMPLETED] == 3
    assert statistics.counts[BackupType.AUTOMATIC, Status.PARTIAL] == 1
    assert statistics.size_bytes == {BackupType.AUTOMATIC: 111, BackupType.MANUAL: 0}
    assert statistics.oldest_created_at[BackupType.AUTOMATIC] == NOON - timedelta(hours=30)
    assert statistics.last_success_at == {
        BackupType.AUTOMATIC: NOON - timedelta(hours=20) + timedelta(seconds=14),
        BackupType.MANUAL: None,
    }
    assert (statistics.total, statistics.missing) == (5, 1)


def test_statistics_of_a_partial_backup_show_no_success(catalog: Catalog) -> None:
    """A partial backup never counts as the last success."""
    catalog.save(backup(status=Status.PARTIAL))
    assert catalog.statistics().last_success_at[BackupType.AUTOMATIC] is None


@pytest.mark.parametrize("umask", [0o000, 0o077], ids=oct)
def test_open_new_catalog_is_private_with_all_its_files(tmp_path: Path, umask: int) -> None:
    """The file, its log and its index are 0600 whatever the umask, and a directory made for them is 0700."""
    before = os.umask(umask)
    try:
        with Catalog.open(tmp_path / "state" / "catalog.db") as opened:
            opened.save(backup())
            modes = {path.name: S_IMODE(path.stat().st_mode) for path in (tmp_path / "state").iterdir()}
    finally:
        os.umask(before)
    assert modes == {"catalog.db": 0o600, "catalog.db-wal": 0o600, "catalog.db-shm": 0o600}
    assert S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


def test_open_catalog_that_others_could_read_closes_it_to_them(tmp_path: Path) -> None:
    """A copy made with a careless umask becomes private."""
    Catalog.open(tmp_path / "catalog.db").close()
    (tmp_path / "catalog.db").chmod(0o644)
    Catalog.open(tmp_path / "catalog.db").close()
    assert S_IMODE((tmp_path / "catalog.db").stat().st_mode) == 0o600


def test_open_catalog_is_durable_and_consistent_by_its_pragmas(tmp_path: Path) -> None:
    """Write-ahead log, full synchronisation and foreign keys are on."""
    with Database(tmp_path / "catalog.db", busy_timeout_seconds=1) as database, database.read() as connection:
        found = [
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    assert found == ["wal", 2, 1]


def test_open_newer_version_is_refused_by_name(tmp_path: Path) -> None:
    """A catalog from a later backupd is never guessed at."""
    Catalog.open(tmp_path / "catalog.db").close()
    connection = sqlite3.connect(tmp_path / "catalog.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(CatalogError, match="version 99") as caught:
        Catalog.open(tmp_path / "catalog.db")
    assert "backupd rescan" in str(caught.value.hint)


def test_open_database_of_another_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    """A path to somebody else's database does not put tables into it."""
    connection = sqlite3.connect(tmp_path / "other.db")
    connection.execute("CREATE TABLE songs (title TEXT)")
    connection.close()
    before = (tmp_path / "other.db").read_bytes()
    with pytest.raises(CatalogError, match="not a catalog of backupd"):
        Catalog.open(tmp_path / "other.db")
    assert (tmp_path / "other.db").read_bytes() == before


def test_open_directory_is_refused_and_left_alone(tmp_path: Path) -> None:
    """A path that names a directory is an error, and its mode stays."""
    (tmp_path / "catalog.db").mkdir(mode=0o755)
    with pytest.raises(CatalogError, match="not a file"):
        Catalog.open(tmp_path / "catalog.db")
    assert S_IMODE((tmp_path / "catalog.db").stat().st_mode) == 0o755


def test_migration_added_later_keeps_what_was_saved(tmp_path: Path) -> None:
    """A further script at the end of the list brings an older catalog up to date."""
    with Catalog.open(tmp_path / "catalog.db") as opened:
        opened.save(backup())
    script = "CREATE TABLE extra (one TEXT);\nINSERT INTO extra VALUES ('a;b');"
    with Database(tmp_path / "catalog.db", busy_timeout_seconds=1, migrations=[*MIGRATIONS, script]) as database:
        assert Catalog(database).backups() == (backup(),)
        with database.read() as connection:
            assert [*connection.execute("SELECT one FROM extra").fetchone()] == ["a;b"]


def test_migration_that_fails_leaves_the_catalog_as_it_was(tmp_path: Path) -> None:
    """Half a migration is none: the present backupd opens the catalog afterwards as before."""
    with Catalog.open(tmp_path / "catalog.db") as opened:
        opened.save(backup())
    broken = "CREATE TABLE extra (one TEXT);\nINSERT INTO nowhere VALUES (1);"
    with pytest.raises(CatalogError):
        Database(tmp_path / "catalog.db", busy_timeout_seconds=1, migrations=[*MIGRATIONS, broken])
    with Catalog.open(tmp_path / "catalog.db") as opened:
        assert opened.backups() == (backup(),)


def test_close_then_use_is_an_error_for_a_person(tmp_path: Path) -> None:
    """A catalog used after its end says so; closing it again is no error."""
    catalog = Catalog.open(tmp_path / "catalog.db")
    catalog.close()
    catalog.close()
    with pytest.raises(CatalogError, match="closed"):
        catalog.backups()


def test_open_new_catalog_many_times_at_once_always_works(tmp_path: Path) -> None:
    """Whoever comes second waits until the first has made the tables and turned the write-ahead log on."""
    failures: list[BaseException] = []

    def open_at_once(path: Path, together: threading.Barrier) -> None:
        together.wait()
        try:
            Catalog.open(path).close()
        except BaseException as error:  # noqa: BLE001 whatever it is, the test shows it
            failures.append(error)

    for round_ in range(25):
        together = threading.Barrier(4)
        path = tmp_path / f"catalog-{round_}.db"
        threads = [threading.Thread(target=open_at_once, args=(path, together)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []


def test_catalog_used_by_many_threads_loses_nothing(catalog: Catalog) -> None:
    """Threads that save and read at once take turns."""
    failures: list[BaseException] = []

    def work(thread: int) -> None:
        try:
            for number in range(20):
                catalog.save(backup(f"{thread}-{number}"))
                catalog.backup(f"{thread}-{number}")
        except BaseException as error:  # noqa: BLE001 whatever it is, the test shows it
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (failures, len(catalog.backups())) == ([], 120)


def test_backup_from_sidecar_takes_over_what_the_manifest_says() -> None:
    """The row says what the archive says of itself, and what its sidecar says of the archive."""
    name = TableName("other", "users")
    archived = ArchivedTable(
        Table(name), TableStatus.INCOMPLETE, "tables/other/users.json", 7, 900, "cd" * 32, Paging.CTID, Count(9, True),
        Count(9, True), "two rows short",
    )  # fmt: skip
    manifest = Manifest(
        "b7f3c2a1-0000", NOON, NOON + timedelta(seconds=14), BackupType.AUTOMATIC, Trigger.SCHEDULE, Status.PARTIAL,
        "Car Audio", "xyz.supabase.co", "backupd/0.1.0", (archived,), ("a warning",),
    )  # fmt: skip
    made = backup_from_sidecar(Sidecar(manifest, "a.zip", 1000, "ab" * 32), verified_at=NOON)
    assert made == backup(
        status=Status.PARTIAL,
        archive="a.zip",
        tables=(BackupTable("other.users", TableStatus.INCOMPLETE, 7, 900, "cd" * 32, Paging.CTID, "two rows short"),),
        warnings=("a warning",),
        verified_at=NOON,
    )


def test_slot_saved_twice_remembers_the_last(catalog: Catalog) -> None:
    """A job has one slot on record, the last one, to the microsecond."""
    first = SlotRecord("daily_backup", NOON, 1, NOON, settled=False)
    second = SlotRecord("daily_backup", NOON + timedelta(days=1), 2, NOON + timedelta(days=1), settled=True)
    catalog.save_slot(first)
    catalog.save_slot(second)
    assert (catalog.slot("daily_backup"), catalog.slot("weekly_cleanup")) == (second, None)
