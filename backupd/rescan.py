"""Brings the catalog into line with the store: adopts what it does not know, marks what is missing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from io import SEEK_END
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO, cast

from backupd.archive.checksum import ChecksummedFile
from backupd.archive.manifest import MANIFEST_LIMIT_BYTES, SIDECAR_SUFFIX, sidecar_from_json, sidecar_to_json
from backupd.archive.reader import ArchiveReader
from backupd.catalog import Catalog, backup_from_sidecar
from backupd.errors import ArchiveError, Interrupted, StoreError
from backupd.model import Backup, Clock, ShouldStop, Sidecar, Status, StoredObject, never_stop
from backupd.store import Store

PLAIN_SUFFIX = ".zip"
ENCRYPTED_SUFFIX = ".zip.age"


@dataclass(frozen=True, slots=True)
class RescanProblem:
    """One object of the store that could not be taken as it is, and why."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


@dataclass(frozen=True, slots=True)
class RescanReport:
    """What a rescan found and did.

    `archives`: how many archives the store holds. `adopted`, `found`: ids of backups that the catalog learned of, and
    of those that were missing and are back. `missing`: ids of all whose archive the store lacks, since now or longer.
    `sidecars_written`, `leftovers_removed`: names. `foreign`: names of objects that are not backupd's, and stay.
    """

    archives: int
    adopted: tuple[str, ...]
    found: tuple[str, ...]
    missing: tuple[str, ...]
    sidecars_written: tuple[str, ...]
    leftovers_removed: tuple[str, ...]
    foreign: tuple[str, ...]
    problems: tuple[RescanProblem, ...]

    @property
    def mismatches(self) -> int:
        """In how many places the catalog and the store do not agree even now."""
        return len(self.missing) + len(self.problems)


def run_rescan(store: Store, catalog: Catalog, *, clock: Clock, should_stop: ShouldStop = never_stop) -> RescanReport:
    """Look at every object of the store and every backup of the catalog, and report what does not match.

    1. Leftovers of interrupted puts are removed.
    2. An archive the catalog does not know is adopted by its sidecar, or, where that is missing or unreadable, by what
       is inside it, once every table in it has been found to be as its manifest says.
    3. A missing sidecar is written anew, from inside the archive.
    4. A backup whose archive is not in the store is marked missing; one whose archive is back no longer is.

    No object and no backup is ever removed. Pins stay. `verified_at` stays, unless the archive is seen to be another
    than the one that was verified. A backup that is being deleted is left to the deletion. An archive that has its
    sidecar and the size that the catalog expects is not opened, so that this is cheap enough for every start.

    Must be called while holding the run lock: it would take a backup in the middle of its publishing for a stray one.
    Raises StoreError when the store cannot be listed, CatalogError, OSError when no temporary file can be made, and
    Interrupted; what was done until then stays, and the next rescan goes on.
    """
    leftovers = store.remove_leftovers()
    rescan = _Rescan(store, catalog, clock(), should_stop)
    rescan.look_at_archives()
    rescan.look_at_backups()
    return rescan.report(leftovers)


@dataclass(slots=True)
class _Findings:
    """The report as it grows."""

    adopted: list[str] = field(default_factory=list)
    found: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    sidecars_written: list[str] = field(default_factory=list)
    problems: list[RescanProblem] = field(default_factory=list)

    def add_problem(self, name: str, reason: str) -> None:
        self.problems.append(RescanProblem(name, reason))


class _Rescan:
    """One rescan: the store and the catalog as they were found, and what came of it."""

    def __init__(self, store: Store, catalog: Catalog, now: datetime, should_stop: ShouldStop) -> None:
        self._store = store
        self._catalog = catalog
        self._now = now
        self._should_stop = should_stop
        self._objects = {stored.name: stored for stored in store.list()}
        self._backups = {backup.backup_id: backup for backup in catalog.backups()}
        self._findings = _Findings()

    def look_at_archives(self) -> None:
        """Compare each archive with what the catalog knows of it."""
        known = {backup.archive: backup for backup in self._backups.values() if backup.archive is not None}
        for stored in self._archives():
            if self._should_stop():
                raise Interrupted("stopped between two archives of the rescan")
            backup = known.get(stored.name)
            if backup is None or backup.status in {Status.IN_PROGRESS, Status.FAILED}:
                self._adopt(stored)
            elif not backup.deleting:
                self._compare(stored, backup)

    def look_at_backups(self) -> None:
        """Mark each backup whose archive is gone; the marks of those that are back were taken off before."""
        for backup in self._backups.values():
            if backup.archive is None or backup.archive in self._objects or backup.deleting:
                continue
            self._findings.missing.append(backup.backup_id)
            if backup.missing_since is None:
                self._catalog.set_missing(backup.backup_id, self._now)
        self._note_lonely_sidecars()

    def report(self, leftovers: tuple[str, ...]) -> RescanReport:
        """What was found and done."""
        findings = self._findings
        return RescanReport(
            archives=sum(1 for _ in self._archives()),
            adopted=tuple(findings.adopted),
            found=tuple(findings.found),
            missing=tuple(findings.missing),
            sidecars_written=tuple(findings.sidecars_written),
            leftovers_removed=leftovers,
            foreign=tuple(name for name in self._objects if not _is_ours(name)),
            problems=tuple(findings.problems),
        )

    def _archives(self) -> Iterator[StoredObject]:
        return (stored for stored in self._objects.values() if _is_archive(stored.name))

    def _compare(self, stored: StoredObject, backup: Backup) -> None:
        if backup.missing_since is not None:
            self._catalog.set_missing(backup.backup_id, None)
            self._findings.found.append(backup.backup_id)
        if stored.size_bytes != backup.size_bytes:
            sizes = f"{stored.size_bytes:,} bytes; the catalog expects {backup.size_bytes:,}"
            self._distrust(backup, stored.name, f"it has {sizes}")
        elif stored.name + SIDECAR_SUFFIX not in self._objects:
            self._renew_sidecar(stored, backup)

    def _renew_sidecar(self, stored: StoredObject, backup: Backup) -> None:
        try:
            sidecar = self._sidecar_from_inside(stored)
        except StoreError as error:
            self._findings.add_problem(stored.name, error.message)
        except ArchiveError as error:
            self._distrust(backup, stored.name, error.message)
        else:
            if sidecar is None:
                return
            if (sidecar.manifest.backup_id, sidecar.sha256) != (backup.backup_id, backup.sha256):
                self._distrust(backup, stored.name, "it is another archive than the one that was put there")
            else:
                self._write_sidecar(sidecar)

    def _distrust(self, backup: Backup, name: str, reason: str) -> None:
        """Report it, and let the backup no longer count as verified: what was verified is not what is there."""
        self._findings.add_problem(name, reason)
        if backup.verified_at is not None:
            self._catalog.set_verified(backup.backup_id, None)

    def _adopt(self, stored: StoredObject) -> None:
        sidecar = self._sidecar_of(stored)
        if sidecar is None:
            return
        row = self._backups.get(sidecar.manifest.backup_id)
        if row is not None and self._has_another_archive(row, stored.name):
            reason = f"it is a second copy of backup {row.backup_id}, which has {row.archive}"
            self._findings.add_problem(stored.name, reason)
            return
        backup = _still_verified(row, backup_from_sidecar(sidecar))
        self._catalog.save(backup)
        self._backups[backup.backup_id] = backup
        self._findings.adopted.append(backup.backup_id)
        if stored.name + SIDECAR_SUFFIX not in self._objects:
            self._write_sidecar(sidecar)

    def _has_another_archive(self, row: Backup, name: str) -> bool:
        """Whether the backup's own archive is elsewhere, and still there or on its way out."""
        return row.archive not in {None, name} and (row.archive in self._objects or row.deleting)

    def _sidecar_of(self, stored: StoredObject) -> Sidecar | None:
        """What describes the archive: the sidecar beside it, else what is inside it; None, and reported, if neither."""
        try:
            beside = self._sidecar_beside(stored)
            return beside or self._sidecar_from_inside(stored)
        except (ArchiveError, StoreError) as error:
            self._findings.add_problem(stored.name, error.message)
            return None

    def _sidecar_beside(self, stored: StoredObject) -> Sidecar | None:
        """The sidecar of the archive, under the name the archive has now; None where there is none to be read."""
        name = stored.name + SIDECAR_SUFFIX
        if name not in self._objects:
            return None
        try:
            with self._store.open(name) as file:
                sidecar = sidecar_from_json(file.read(MANIFEST_LIMIT_BYTES + 1))
        except (ArchiveError, StoreError) as error:
            self._findings.add_problem(name, f"{error.message}; the archive itself was read instead")
            return None
        if sidecar.size_bytes != stored.size_bytes:
            raise ArchiveError(f"it has {stored.size_bytes:,} bytes; its sidecar expects {sidecar.size_bytes:,}")
        return replace(sidecar, archive=stored.name)

    def _sidecar_from_inside(self, stored: StoredObject) -> Sidecar | None:
        if stored.name.endswith(ENCRYPTED_SUFFIX):
            reason = "it is encrypted and has no sidecar that could be read; put its sidecar back beside it"
            self._findings.add_problem(stored.name, reason)
            return None
        with self._store.open(stored.name) as file:
            return describe_archive(file, stored.name, self._should_stop)

    def _write_sidecar(self, sidecar: Sidecar) -> None:
        """Put the sidecar beside its archive. That it cannot be does not make the archive any worse."""
        name = sidecar.archive + SIDECAR_SUFFIX
        try:
            with TemporaryDirectory(prefix="backupd-") as directory:
                file = Path(directory) / "sidecar"
                file.write_bytes(sidecar_to_json(sidecar))
                self._store.put(name, file)
        except StoreError as error:
            self._findings.add_problem(name, error.message)
        else:
            self._findings.sidecars_written.append(name)

    def _note_lonely_sidecars(self) -> None:
        """A sidecar whose archive is gone is reported, unless the catalog knows of the loss or of the deletion."""
        expected = {backup.archive for backup in self._backups.values()}
        for name in self._objects:
            archive = name.removesuffix(SIDECAR_SUFFIX)
            if archive != name and archive not in self._objects and archive not in expected:
                self._findings.add_problem(name, "it is a sidecar without its archive")


def describe_archive(file: BinaryIO, name: str, should_stop: ShouldStop = never_stop) -> Sidecar:
    """The sidecar of the plain archive `file` that is stored under `name`, in one reading and bounded memory.

    Raises ArchiveError when a member is damaged or a table is not as the manifest says, so that damage never gets a
    sidecar that calls it right, and Interrupted.
    """
    watched = ChecksummedFile(file)
    with ArchiveReader(cast("BinaryIO", watched)) as reader:
        tables = {archived.file: archived for archived in reader.manifest.tables if archived.file is not None}
        for missing in reader.missing_members():
            raise ArchiveError(f"{missing} is missing from the archive")
        for member in reader.member_names():
            sha256 = _read_through(reader, member, should_stop)
            if member in tables and sha256 != tables[member].sha256:
                raise ArchiveError(f"{member} has another checksum than the manifest says")
        manifest = reader.manifest
    size_bytes = file.seek(0, SEEK_END)
    return Sidecar(manifest, name, size_bytes, watched.sha256(should_stop))


def _read_through(reader: ArchiveReader, member: str, should_stop: ShouldStop) -> str:
    """The member's checksum; the reader checks its length and CRC."""
    sha256 = hashlib.sha256()
    for chunk in reader.member_chunks(member):
        if should_stop():
            raise Interrupted(f"interrupted while reading {member}")
        sha256.update(chunk)
    return sha256.hexdigest()


def _still_verified(row: Backup | None, backup: Backup) -> Backup:
    """A verification that is on record holds on if the archive is the same. Saving keeps a pin by itself."""
    if row is None or row.sha256 != backup.sha256:
        return backup
    return replace(backup, verified_at=row.verified_at)


def _is_archive(name: str) -> bool:
    return name.endswith((PLAIN_SUFFIX, ENCRYPTED_SUFFIX))


def _is_ours(name: str) -> bool:
    return _is_archive(name.removesuffix(SIDECAR_SUFFIX))
