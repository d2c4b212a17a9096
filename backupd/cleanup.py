"""Deletes what retention lets go, in an order that a crash cannot turn into a loss."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from backupd.archive.manifest import SIDECAR_SUFFIX
from backupd.catalog import Catalog
from backupd.errors import BackupdError, BackupNotFound, StoreError
from backupd.model import Backup, Clock, ShouldStop, Status, StoredObject, never_stop, utc_now
from backupd.retention import Action, Decision, Policy, decide, is_proven
from backupd.store import Store

_ARCHIVE_SUFFIXES = (".zip", ".zip.age")

OnDeleted = Callable[[Backup], None]
"""Told of each backup right after it was deleted."""


class DeletionRefused(BackupdError):
    """This backup must not be deleted as things stand."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A backup that should have gone and is still there, and why."""

    backup: Backup
    reason: str
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class CleanupReport:
    """What a cleanup decided, did and found. After a dry run `deleted` is what would have gone.

    `orphans`: archives in the store that no backup in the catalog names. `missing`: backups whose archive the store
    lacks. `damaged`: backups whose archive has another size than recorded; they do not count as good ones. None of
    the three is ever deleted for being so. `stopped`: asked to stop before all was done.
    """

    dry_run: bool
    decisions: tuple[Decision, ...]
    deleted: tuple[Backup, ...]
    freed_bytes: int
    refused: tuple[Refusal, ...]
    orphans: tuple[StoredObject, ...]
    missing: tuple[Backup, ...]
    damaged: tuple[Backup, ...]
    stopped: bool

    @property
    def mismatches(self) -> int:
        """In how many places the catalog and the store do not agree."""
        return len(self.orphans) + len(self.missing) + len(self.damaged)


@dataclass(frozen=True, slots=True)
class _Shelf:
    """What the store holds and the catalog says it should, at one moment."""

    backups: Sequence[Backup]
    objects: Mapping[str, StoredObject]

    @property
    def orphans(self) -> tuple[StoredObject, ...]:
        known = {backup.archive for backup in self.backups}
        archives = (stored for stored in self.objects.values() if stored.name.endswith(_ARCHIVE_SUFFIXES))
        return tuple(stored for stored in archives if stored.name not in known)

    @property
    def missing(self) -> tuple[Backup, ...]:
        return tuple(backup for backup in self.backups if not backup.deleting and self._lacks(backup))

    @property
    def damaged(self) -> tuple[Backup, ...]:
        return tuple(backup for backup in self.backups if self._differs(backup))

    def as_stored(self, now: datetime) -> list[Backup]:
        """The backups with what the store says of them: one without its archive, or with another, cannot count."""
        return [
            replace(
                backup,
                missing_since=backup.missing_since or (now if self._lacks(backup) else None),
                verified_at=None if self._differs(backup) else backup.verified_at,
            )
            for backup in self.backups
        ]

    def _lacks(self, backup: Backup) -> bool:
        return backup.archive is not None and backup.archive not in self.objects

    def _differs(self, backup: Backup) -> bool:
        stored = None if backup.archive is None else self.objects.get(backup.archive)
        return stored is not None and stored.size_bytes != backup.size_bytes


def run_cleanup(
    store: Store,
    catalog: Catalog,
    policy: Policy,
    *,
    clock: Clock = utc_now,
    dry_run: bool = False,
    on_deleted: OnDeleted = lambda _: None,
    should_stop: ShouldStop = never_stop,
) -> CleanupReport:
    """Delete what the policy lets go; to be called by who holds the run lock, a dry run excepted.

    The store is asked first: only backups whose archive it really has, with the right size, count as survivors, and
    they are looked at once more before the first archive goes. A backup that cannot be deleted is reported, stays
    marked and is tried again next time. Between two backups `should_stop` is asked. A dry run changes nothing.

    Raises `StoreError` when the store cannot be listed, before anything is deleted, and `CatalogError`.
    """
    now = clock()
    shelf = _Shelf(catalog.backups(), {stored.name: stored for stored in store.list()})
    decisions = decide(shelf.as_stored(now), policy, now)
    survivors = _Survivors.among(decisions, policy, store)
    work = _Work(store, catalog, survivors, dry_run, on_deleted)
    stopped = not work.do((d.backup for d in decisions if d.action is Action.DELETE), should_stop)
    return CleanupReport(
        dry_run=dry_run,
        decisions=decisions,
        deleted=tuple(work.deleted),
        freed_bytes=work.freed_bytes,
        refused=tuple(work.refused),
        orphans=shelf.orphans,
        missing=shelf.missing,
        damaged=shelf.damaged,
        stopped=stopped,
    )


def delete_backup(store: Store, catalog: Catalog, backup: Backup) -> int:
    """Delete one backup for good and give the bytes that this freed, whatever retention says of it.

    First the catalog notes that the backup is to go, then the archive goes, then its sidecar, last the row. After a
    crash in between, the row says what is to be finished. The archive goes before the sidecar because a lone archive
    is a backup to `rescan`, which would bring it back if the catalog were lost as well, while a lone sidecar is
    none; and if the store refuses to delete the archive, everything that is known of it is still beside it.

    Raises `DeletionRefused` for a backup that is pinned or in progress, `BackupNotFound` when it is gone already, and
    `StoreError` when the store refuses: the backup then stays marked, and the next cleanup tries again.
    """
    # Read again: somebody may have pinned it since the caller looked.
    _check_may_go(catalog.backup(backup.backup_id))
    freed_bytes = _stored_bytes(store, backup)
    catalog.mark_deleting(backup.backup_id)
    for name in _names(backup):
        store.delete(name)
    catalog.forget(backup.backup_id)
    return freed_bytes


class _Work:
    """Deletes one backup after the other, and keeps the account."""

    def __init__(
        self, store: Store, catalog: Catalog, survivors: _Survivors, dry_run: bool, on_deleted: OnDeleted
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._survivors = survivors
        self._dry_run = dry_run
        self._on_deleted = on_deleted
        self.deleted: list[Backup] = []
        self.refused: list[Refusal] = []
        self.freed_bytes = 0

    def do(self, backups: Iterable[Backup], should_stop: ShouldStop) -> bool:
        """Delete them; False when asked to stop before the last."""
        for backup in backups:
            if should_stop():
                return False
            try:
                self._delete(backup)
            except (StoreError, DeletionRefused) as error:
                self.refused.append(Refusal(backup, error.message, error.hint))
            except BackupNotFound:
                # Somebody deleted it by hand in the meantime: what was to be done is done.
                continue
        return True

    def _delete(self, backup: Backup) -> None:
        self._survivors.check(backup)
        if self._dry_run:
            self.freed_bytes += _stored_bytes(self._store, backup)
            self.deleted.append(backup)
            return
        self.freed_bytes += delete_backup(self._store, self._catalog, backup)
        self.deleted.append(backup)
        self._on_deleted(backup)


@dataclass(frozen=True, slots=True)
class _Survivors:
    """The proven backups that are to stay, counted in the store itself right before anything goes."""

    minimum: int
    expected: int
    confirmed: int

    @classmethod
    def among(cls, decisions: Sequence[Decision], policy: Policy, store: Store) -> _Survivors:
        """Look at no more of them than have to stay."""
        minimum = max(policy.keep_minimum, 1)
        staying = [d.backup for d in decisions if d.action is Action.KEEP and is_proven(d.backup)][:minimum]
        return cls(minimum, len(staying), sum(_is_in(store, backup) for backup in staying))

    def check(self, backup: Backup) -> None:
        """Raise `DeletionRefused` if the backup's archive may be needed, now that the survivors have been seen."""
        if backup.archive is None:
            return
        if self.confirmed < self.expected:
            raise DeletionRefused(
                f"only {self.confirmed} of the {self.expected} proven backups to be kept are still in the store",
                hint="find out what removes archives from the store, then run: backupd rescan",
            )
        # Only a deletion that was begun earlier comes here with too few others: retention lets nothing else go.
        if backup.status is Status.COMPLETED and self.confirmed < self.minimum and backup.missing_since is None:
            raise DeletionRefused(
                f"only {self.confirmed} other proven backups exist, and keep_minimum is {self.minimum}",
                hint=f"if it is not wanted all the same, run: backupd delete {backup.backup_id[:8]}",
            )


def _check_may_go(backup: Backup) -> None:
    short_id = backup.backup_id[:8]
    if backup.pinned:
        raise DeletionRefused(f"backup {short_id} is pinned", hint=f"unpin it first: backupd pin --off {short_id}")
    if backup.status is Status.IN_PROGRESS:
        raise DeletionRefused(f"backup {short_id} is in progress", hint="wait until it has ended")


def _names(backup: Backup) -> tuple[str, ...]:
    """The backup's objects in the order in which they are to go."""
    return () if backup.archive is None else (backup.archive, backup.archive + SIDECAR_SUFFIX)


def _stored_bytes(store: Store, backup: Backup) -> int:
    return sum(store.size(name) or 0 for name in _names(backup))


def _is_in(store: Store, backup: Backup) -> bool:
    return backup.archive is not None and store.size(backup.archive) == backup.size_bytes
