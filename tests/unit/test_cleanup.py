"""Cleanup: what goes, in which order, what is refused, and what is only reported."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from backupd.archive.manifest import SIDECAR_SUFFIX
from backupd.catalog import Catalog
from backupd.cleanup import CleanupReport, DeletionRefused, delete_backup, run_cleanup
from backupd.errors import BackupNotFound, StoreError
from backupd.model import Backup, ShouldStop, Status, StoredObject, never_stop
from backupd.retention import Policy
from backupd.store import Store
from tests.support.backup_rows import NOW, nightly
from tests.support.stores import MemoryStore, file_with

POLICY = Policy(automatic_days=30, keep_minimum=3)


class Crash(Exception):
    """The process dies here."""


class WatchedStore(MemoryStore):
    """A store that tells `before_delete` what it is about to delete, and can lose objects right after listing them."""

    def __init__(self) -> None:
        super().__init__()
        self.before_delete: Callable[[str], None] = lambda _: None
        self.lost_after_listing: str | None = None

    def delete(self, name: str) -> None:
        """See `Store.delete`."""
        self.before_delete(name)
        super().delete(name)

    def size(self, name: str) -> int | None:
        """See `Store.size`."""
        return None if name == self.lost_after_listing else super().size(name)

    @property
    def names(self) -> list[str]:
        """Of everything in the store."""
        return [stored.name for stored in self.list()]


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    """An empty catalog."""
    with Catalog.open(tmp_path / "catalog.db") as opened:
        yield opened


@pytest.fixture
def store() -> WatchedStore:
    """An empty store."""
    return WatchedStore()


@pytest.fixture
def keep(tmp_path: Path, catalog: Catalog, store: Store) -> Callable[[Iterable[Backup]], None]:
    """Records backups, and puts an archive of the recorded size and a sidecar of ten bytes into the store."""

    def keep_all(backups: Iterable[Backup]) -> None:
        for backup in backups:
            catalog.save(backup)
            if backup.archive is not None:
                store.put(backup.archive, file_with(tmp_path, b"x" * backup.size_bytes))
                store.put(backup.archive + SIDECAR_SUFFIX, file_with(tmp_path, b"y" * 10))

    return keep_all


Keep = Callable[[Iterable[Backup]], None]


def cleanup(
    store: Store,
    catalog: Catalog,
    policy: Policy = POLICY,
    *,
    dry_run: bool = False,
    should_stop: ShouldStop = never_stop,
) -> CleanupReport:
    """Clean up at 03:00 on Sunday."""
    return run_cleanup(store, catalog, policy, clock=lambda: NOW, dry_run=dry_run, should_stop=should_stop)


def ids(backups: Iterable[Backup]) -> list[str]:
    """The ids of the backups, in order."""
    return [backup.backup_id for backup in backups]


def forty_nights() -> list[Backup]:
    """Forty nights of good backups: the last ten of them have expired."""
    return [nightly(n) for n in range(40)]


def test_cleanup_expired_backups_leave_catalog_and_store(store: WatchedStore, catalog: Catalog, keep: Keep) -> None:
    """Row, archive and sidecar go; what has not expired is untouched."""
    keep(forty_nights())
    report = cleanup(store, catalog)
    assert ids(report.deleted) == ids(forty_nights()[30:])
    assert report.freed_bytes == 10 * 1010
    assert ids(catalog.backups()) == ids(forty_nights()[:30])
    assert len(store.names) == 60
    assert (report.refused, report.mismatches, report.stopped) == ((), 0, False)


def test_cleanup_tells_of_each_deletion(store: WatchedStore, catalog: Catalog, keep: Keep) -> None:
    """Whoever watches learns of each backup once it is gone."""
    keep(forty_nights())
    told: list[Backup] = []
    report = run_cleanup(store, catalog, POLICY, clock=lambda: NOW, on_deleted=told.append)
    assert tuple(told) == report.deleted


def test_cleanup_dry_run_changes_nothing_and_says_the_same(store: WatchedStore, catalog: Catalog, keep: Keep) -> None:
    """A dry run reports what the real run then does."""
    keep(forty_nights())
    names, rows = store.names, catalog.backups()
    dry = cleanup(store, catalog, dry_run=True)
    assert (store.names, catalog.backups()) == (names, rows)
    assert cleanup(store, catalog) == replace(dry, dry_run=False)


def test_cleanup_second_time_deletes_nothing(store: WatchedStore, catalog: Catalog, keep: Keep) -> None:
    """What is done is done."""
    keep(forty_nights())
    cleanup(store, catalog)
    assert cleanup(store, catalog).deleted == ()


def test_cleanup_marks_before_the_archive_and_archive_before_sidecar(
    store: WatchedStore, catalog: Catalog, keep: Keep
) -> None:
    """The order that a crash cannot turn into a loss: mark, archive, sidecar, row."""
    keep(forty_nights()[:31])
    seen: list[tuple[str, bool]] = []
    store.before_delete = lambda name: seen.append((name, catalog.backups()[-1].deleting))
    cleanup(store, catalog)
    archive = nightly(30).archive
    assert seen == [(archive, True), (f"{archive}{SIDECAR_SUFFIX}", True)]
    assert len(catalog.backups()) == 30


@pytest.mark.parametrize("deletes_before_crash", [0, 1])
def test_cleanup_after_a_crash_finishes_the_job(
    store: WatchedStore, catalog: Catalog, keep: Keep, deletes_before_crash: int
) -> None:
    """Wherever the crash comes, the next cleanup leaves neither row nor object of that backup."""
    keep(forty_nights()[:31])
    calls: list[str] = []

    def crash(name: str) -> None:
        calls.append(name)
        if len(calls) > deletes_before_crash:
            raise Crash

    store.before_delete = crash
    with pytest.raises(Crash):
        cleanup(store, catalog)
    assert catalog.backups()[-1].deleting
    store.before_delete = lambda _: None
    assert ids(cleanup(store, catalog).deleted) == ids([nightly(30)])
    assert len(catalog.backups()) == 30
    assert len(store.names) == 60


def test_cleanup_refused_by_the_store_is_reported_and_tried_again(
    store: WatchedStore, catalog: Catalog, keep: Keep
) -> None:
    """One archive that cannot be deleted does not stop the others, and is not forgotten."""
    keep(forty_nights()[:33])

    def refuse(name: str) -> None:
        if name == nightly(31).archive:
            raise StoreError("read-only", hint="remount it")

    store.before_delete = refuse
    report = cleanup(store, catalog)
    assert ids(report.deleted) == ids([nightly(30), nightly(32)])
    assert [(r.backup.backup_id, r.reason, r.hint) for r in report.refused] == [
        (nightly(31).backup_id, "read-only", "remount it")
    ]
    assert catalog.backups()[-1] == replace(nightly(31), deleting=True)
    store.before_delete = lambda _: None
    assert ids(cleanup(store, catalog).deleted) == ids([nightly(31)])


def test_cleanup_empty_store_deletes_nothing(store: WatchedStore, catalog: Catalog, keep: Keep) -> None:
    """A store that was not mounted is full of missing archives, and no row is dropped for that."""
    keep(forty_nights())
    report = cleanup(WatchedStore(), catalog)
    assert report.deleted == ()
    assert ids(report.missing) == ids(forty_nights())
    assert len(catalog.backups()) == 40


@pytest.mark.parametrize("content", [None, b"short"])
def test_cleanup_survivors_that_are_not_really_there_do_not_count(
    tmp_path: Path, store: WatchedStore, catalog: Catalog, keep: Keep, content: bytes | None
) -> None:
    """When the newest archives are gone or cut short, the older ones stay in their place."""
    keep([nightly(n) for n in (0, 1, 60, 61, 62, 63)])
    spoilt = nightly(1)
    assert spoilt.archive is not None
    store.delete(spoilt.archive)
    if content is not None:
        store.put(spoilt.archive, file_with(tmp_path, content))
    report = cleanup(store, catalog)
    assert ids(report.deleted) == ids([nightly(62), nightly(63)])
    assert ids(report.missing if content is None else report.damaged) == [spoilt.backup_id]
    assert report.mismatches == 1


def test_cleanup_survivors_lost_since_the_listing_stop_every_deletion(
    store: WatchedStore, catalog: Catalog, keep: Keep
) -> None:
    """The archives that are to stay are looked at once more before one goes; a failed backup has none to lose."""
    failed = nightly(41, status=Status.FAILED)
    keep([*forty_nights(), failed])
    store.lost_after_listing = nightly(1).archive
    report = cleanup(store, catalog)
    assert report.deleted == (failed,)
    assert {r.reason for r in report.refused} == {"only 2 of the 3 proven backups to be kept are still in the store"}
    assert not any(backup.deleting for backup in catalog.backups())


def test_cleanup_begun_deletion_of_a_needed_backup_is_refused(
    store: WatchedStore, catalog: Catalog, keep: Keep
) -> None:
    """A deletion begun when there were more is not finished when there are too few."""
    keep([nightly(0), nightly(1), nightly(40, deleting=True)])
    (refusal,) = cleanup(store, catalog).refused
    assert refusal.reason == "only 2 other proven backups exist, and keep_minimum is 3"
    assert refusal.hint == f"if it is not wanted all the same, run: backupd delete {nightly(40).backup_id[:8]}"
    assert nightly(40).archive in store.names


def test_cleanup_begun_deletion_of_the_last_backup_is_refused_under_any_policy(
    store: WatchedStore, catalog: Catalog, keep: Keep
) -> None:
    """Even a minimum of none does not let cleanup take the last good backup."""
    keep([nightly(40, deleting=True)])
    report = cleanup(store, catalog, Policy(keep_minimum=0))
    assert (report.deleted, len(report.refused)) == ((), 1)
    assert nightly(40).archive in store.names


def test_cleanup_begun_deletion_whose_archive_is_gone_is_finished(
    store: WatchedStore, catalog: Catalog, keep: Keep
) -> None:
    """With the archive gone there is nothing left to protect: the sidecar and the row go."""
    keep([nightly(0), nightly(40, deleting=True)])
    store.delete(str(nightly(40).archive))
    report = cleanup(store, catalog)
    assert (ids(report.deleted), report.missing) == (ids([nightly(40)]), ())
    assert store.names == [nightly(0).archive, f"{nightly(0).archive}{SIDECAR_SUFFIX}"]


def test_cleanup_failed_backup_goes_without_touching_the_store(
    store: WatchedStore, catalog: Catalog, keep: Keep
) -> None:
    """A failed backup is only a row, and goes even where there is nothing good yet."""
    keep([nightly(8, status=Status.FAILED)])
    store.before_delete = pytest.fail
    assert ids(cleanup(store, catalog).deleted) == ids([nightly(8)])
    assert catalog.backups() == ()


def test_cleanup_archive_without_a_row_is_reported_and_stays(
    tmp_path: Path, store: WatchedStore, catalog: Catalog, keep: Keep
) -> None:
    """What cleanup does not know is not its to delete; sidecars and other people's files are not archives."""
    keep([nightly(0)])
    for name in ("stray.zip", "stray.zip.manifest.json", "secret.zip.age", "notes.txt"):
        store.put(name, file_with(tmp_path, b"z"))
    report = cleanup(store, catalog)
    assert [stored.name for stored in report.orphans] == ["secret.zip.age", "stray.zip"]
    assert {"stray.zip", "secret.zip.age"} <= set(store.names)


def test_cleanup_missing_archive_is_reported_and_its_row_stays(
    store: WatchedStore, catalog: Catalog, keep: Keep
) -> None:
    """A backup whose archive has vanished is shown, never silently dropped."""
    keep([*forty_nights()[:4], nightly(50)])
    store.delete(str(nightly(50).archive))
    report = cleanup(store, catalog)
    assert ids(report.missing) == ids([nightly(50)])
    assert report.decisions[-1].reason == "its archive is missing from the store: nothing to delete"
    assert len(catalog.backups()) == 5


def test_cleanup_asked_to_stop_stops_between_two_backups(store: WatchedStore, catalog: Catalog, keep: Keep) -> None:
    """What was begun is finished, what was not is left whole."""
    keep(forty_nights()[:33])
    report = cleanup(store, catalog, should_stop=lambda: len(catalog.backups()) < 33)
    assert report.stopped
    assert ids(report.deleted) == ids([nightly(30)])
    assert not any(backup.deleting for backup in catalog.backups())


def test_cleanup_pinned_in_the_meantime_is_refused(store: WatchedStore, catalog: Catalog, keep: Keep) -> None:
    """Someone who pins a backup while cleanup is at work is heard."""
    keep(forty_nights()[:32])

    def pin_the_other(name: str) -> None:
        catalog.set_pinned(nightly(31).backup_id, True)

    store.before_delete = pin_the_other
    report = cleanup(store, catalog)
    assert [r.backup.backup_id for r in report.refused] == [nightly(31).backup_id]
    assert nightly(31).archive in store.names


def test_cleanup_deleted_by_hand_in_the_meantime_is_no_failure(
    store: WatchedStore, catalog: Catalog, keep: Keep
) -> None:
    """A backup that somebody else deleted is neither counted nor complained about."""
    keep(forty_nights()[:32])
    store.before_delete = lambda _: catalog.forget(nightly(31).backup_id)
    report = cleanup(store, catalog)
    assert (ids(report.deleted), report.refused) == (ids([nightly(30)]), ())


def test_cleanup_store_that_cannot_be_listed_deletes_nothing(catalog: Catalog, keep: Keep) -> None:
    """Without knowing what is there, nothing goes."""
    keep(forty_nights())

    class Unreachable(WatchedStore):
        def list(self) -> Iterator[StoredObject]:
            raise StoreError("no answer")

    with pytest.raises(StoreError, match="no answer"):
        cleanup(Unreachable(), catalog)
    assert len(catalog.backups()) == 40


def test_delete_backup_by_hand_deletes_even_the_last(store: WatchedStore, catalog: Catalog, keep: Keep) -> None:
    """Whoever asks for it by name gets it, and learns how much it freed."""
    keep([nightly(0)])
    assert delete_backup(store, catalog, nightly(0)) == 1010
    assert (store.names, catalog.backups()) == ([], ())


@pytest.mark.parametrize(
    ("backup", "message", "hint"),
    [
        (
            nightly(0, backup_id="b7f3c2a1-1", pinned=True),
            "backup b7f3c2a1 is pinned",
            "unpin it first: backupd pin --off b7f3c2a1",
        ),
        (
            nightly(0, backup_id="b7f3c2a1-1", status=Status.IN_PROGRESS),
            "backup b7f3c2a1 is in progress",
            "wait until it has ended",
        ),
    ],
)
def test_delete_backup_that_must_stay_is_refused_with_advice(
    store: WatchedStore, catalog: Catalog, keep: Keep, backup: Backup, message: str, hint: str
) -> None:
    """A pin, set after the caller looked perhaps, and a run in progress both protect a backup."""
    keep([backup])
    with pytest.raises(DeletionRefused) as refusal:
        delete_backup(store, catalog, replace(backup, pinned=False))
    assert (refusal.value.message, refusal.value.hint) == (message, hint)
    assert not catalog.backups()[0].deleting


def test_delete_backup_that_is_gone_says_so(store: WatchedStore, catalog: Catalog) -> None:
    """Deleting twice is told apart from deleting."""
    with pytest.raises(BackupNotFound):
        delete_backup(store, catalog, nightly(0))
