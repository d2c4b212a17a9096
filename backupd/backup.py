"""The recipe of a backup: discover, read, write, read back, publish, record."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from backupd import __version__
from backupd.archive.manifest import SIDECAR_SUFFIX, sidecar_to_json
from backupd.archive.names import archive_name, schema_member_name
from backupd.archive.writer import SCHEMA_MEMBER, ArchiveWriter
from backupd.catalog import Catalog, backup_from_sidecar
from backupd.errors import ArchiveError, CatalogError, Interrupted, ProjectError, ProjectUnreachable, StoreError
from backupd.model import (
    ArchivedTable,
    Backup,
    BackupType,
    Clock,
    Manifest,
    OnProgress,
    Progress,
    ShouldStop,
    Sidecar,
    Status,
    Table,
    TableStatus,
    Trigger,
)
from backupd.project import Discovery, Lane, Project, Rows, TableOutcome
from backupd.store import Store
from backupd.store.disk import in_words
from backupd.verify import verify_archive

GENERATOR = f"backupd {__version__}"

_UNREACHABLE_IN_A_ROW = 3
"""So many tables in a row without an answer, and the project is away: the run ends instead of waiting for each."""

_SPARE_BYTES = 16 << 20
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class BackupRequest:
    """Which backup is wanted, by whom, and what the project is called in it."""

    backup_id: str
    type: BackupType
    trigger: Trigger
    platform: str


@dataclass(frozen=True, slots=True)
class Witness:
    """What a run tells the world while it goes on, and how the world tells it to stop."""

    clock: Clock
    on_progress: OnProgress
    should_stop: ShouldStop


def run_backup(
    project: Project, store: Store, catalog: Catalog, request: BackupRequest, work_directory: Path, witness: Witness
) -> Backup:
    """Back the project up and return the backup, `completed` or `partial`.

    The archive is written in `work_directory`, read back there, and only then put into `store`. Nothing has been
    published when this is raised: ProjectError and its kin, StoreError, ArchiveError when the archive read back is not
    what was received, Interrupted. A CatalogError says whether the archive is in the store; if so, the next
    reconciliation records it.
    """
    started = _started(request, project.host, witness.clock)
    catalog.save(started)
    last = catalog.last_completed()
    found = project.discover([table.name for table in last.tables] if last else [])
    require_space(store, work_directory, last.size_bytes if last else 0)
    archive = work_directory / archive_name(request.platform, request.type, started.created_at, request.backup_id)
    manifest = _write(archive, project, found, started, witness)
    sidecar = _prove(archive, manifest, witness)
    verified_at = witness.clock()
    warnings = _publish(store, archive, sidecar, witness)
    backup = backup_from_sidecar(sidecar, verified_at=verified_at)
    return _recorded(catalog, replace(backup, warnings=(*backup.warnings, *warnings)))


def require_space(store: Store, work_directory: Path, last_size_bytes: int) -> None:
    """Refuse to begin when an archive like the last one, 0 for the first, would not fit. Raises StoreError."""
    needed = last_size_bytes + last_size_bytes // 4 + _SPARE_BYTES
    what = "a backup like the last one" if last_size_bytes else "even a small backup"
    places = {store.url: store.free_bytes(), str(work_directory): shutil.disk_usage(work_directory).free}
    for place, free in places.items():
        if free is not None and free < needed:
            raise StoreError(
                f"{place} has {free / 1e6:,.0f} MB free; {what} needs {needed / 1e6:,.0f} MB",
                hint="Free some space, or move the archives (store.url) or the state directory (state.directory).",
            )


def _started(request: BackupRequest, host: str, clock: Clock) -> Backup:
    return Backup(
        backup_id=request.backup_id,
        created_at=clock(),
        type=request.type,
        status=Status.IN_PROGRESS,
        trigger=request.trigger,
        platform=request.platform,
        project=host,
    )


def _write(path: Path, project: Project, found: Discovery, started: Backup, witness: Witness) -> Manifest:
    """Write the archive and make it durable. Raises ProjectError when not a single table could be read."""
    with in_words(f"write the archive in {path.parent}"), path.open("xb") as file:
        writer = ArchiveWriter(file, created_at=started.created_at)
        for number, (schema, document) in enumerate(found.documents):
            writer.add(SCHEMA_MEMBER if number == 0 else schema_member_name(schema), document)
        archived, warnings = _read_tables(writer, project, found, witness)
        if all(table.file is None for table in archived):
            raise _nothing_readable(archived)
        manifest = Manifest(
            backup_id=started.backup_id,
            created_at=started.created_at,
            finished_at=witness.clock(),
            type=started.type,
            trigger=started.trigger,
            status=overall_status(archived),
            platform=started.platform,
            project=started.project,
            generator=GENERATOR,
            tables=tuple(archived),
            warnings=(*found.warnings, *warnings),
        )
        writer.finish(manifest)
        file.flush()
        os.fsync(file.fileno())
    return manifest


def overall_status(tables: Sequence[ArchivedTable]) -> Status:
    """A backup is completed when every table is; one that lacks anything is partial."""
    complete = all(table.status is TableStatus.COMPLETED for table in tables)
    return Status.COMPLETED if complete else Status.PARTIAL


def _read_tables(
    writer: ArchiveWriter, project: Project, found: Discovery, witness: Witness
) -> tuple[list[ArchivedTable], list[str]]:
    archived = [
        ArchivedTable(Table(table.name), TableStatus.FAILED, message=_with_hint(table.message, table.hint))
        for table in found.unreadable
    ]
    for failed in archived:
        _report_end(witness, failed)
    warnings: list[str] = []
    unreachable_in_a_row = 0
    with project.read(found.tables, on_count=witness.on_progress) as lanes:
        for table, lane in zip(found.tables, lanes, strict=True):
            pages = _Pages(lane)
            result = _archive_table(writer, table, pages, witness)
            archived.append(result)
            _report_end(witness, result)
            if pages.outcome.warning:
                warnings.append(f"{table.name}: {pages.outcome.warning}")
            unreachable_in_a_row = unreachable_in_a_row + 1 if pages.unreachable else 0
            if pages.unreachable and unreachable_in_a_row == _UNREACHABLE_IN_A_ROW:
                raise pages.unreachable
    return archived, warnings


class _Pages:
    """The pages of one lane. A project that stops answering ends them like a table that came out short."""

    def __init__(self, lane: Lane[Rows, TableOutcome]) -> None:
        self._lane = lane
        self.rows = 0
        self.unreachable: ProjectUnreachable | None = None

    def __iter__(self) -> Iterator[Rows]:
        try:
            for page in self._lane:
                self.rows += len(page)
                yield page
        except ProjectUnreachable as error:
            self.unreachable = error

    @property
    def outcome(self) -> TableOutcome:
        """How reading ended."""
        if self.unreachable is None:
            return self._lane.outcome
        status = TableStatus.INCOMPLETE if self.rows else TableStatus.FAILED
        return TableOutcome(status, message=_with_hint(self.unreachable.message, self.unreachable.hint))


def _archive_table(writer: ArchiveWriter, table: Table, pages: _Pages, witness: Witness) -> ArchivedTable:
    coming = iter(pages)
    first = next(coming, None)
    if first is None and pages.outcome.status is TableStatus.FAILED:
        return ArchivedTable(table, TableStatus.FAILED, message=pages.outcome.message)
    with writer.table(table.name) as member:
        for rows in chain([] if first is None else [first], coming):
            member.write(rows)
            witness.on_progress(Progress("reading", str(table.name), member.rows, bytes=member.bytes))
    outcome = pages.outcome
    return ArchivedTable(
        table=table,
        status=outcome.status,
        file=member.file,
        rows=member.rows,
        bytes=member.bytes,
        sha256=member.sha256,
        paging=outcome.paging,
        count_before=outcome.count_before,
        count_after=outcome.count_after,
        message=outcome.message,
    )


def _report_end(witness: Witness, table: ArchivedTable) -> None:
    name = str(table.table.name)
    witness.on_progress(Progress("reading", name, table.rows, table.rows, table.bytes, table.status, table.message))


def _with_hint(message: str, hint: str | None) -> str:
    return f"{message}. {hint}" if hint else message


def _nothing_readable(tables: Sequence[ArchivedTable]) -> ProjectError:
    reasons = "; ".join(f"{table.table.name}: {table.message}" for table in tables[:3])
    return ProjectError(
        f"not one of {len(tables)} tables could be read: {reasons}",
        hint="`backupd check` shows what the key may read.",
    )


def _prove(path: Path, manifest: Manifest, witness: Witness) -> Sidecar:
    """Read the finished file back and compare it with what was received. Raises ArchiveError when it differs."""
    with in_words(f"read the archive back from {path.parent}"), path.open("rb") as file:
        sidecar = Sidecar(manifest, path.name, path.stat().st_size, _sha256(file, witness.should_stop))
        report = verify_archive(file, sidecar=sidecar, on_progress=witness.on_progress, should_stop=witness.should_stop)
    if not report.ok:
        raise ArchiveError(
            f"the archive read back is not what was received: {report.problems[0]}",
            hint="Nothing was published. Disk or memory may be failing: look at dmesg, then run again.",
        )
    return sidecar


def _sha256(file: BinaryIO, should_stop: ShouldStop) -> str:
    digest = hashlib.sha256()
    while block := file.read(_BLOCK_BYTES):
        if should_stop():
            raise Interrupted("interrupted while reading the archive back; nothing was published")
        digest.update(block)
    return digest.hexdigest()


def _publish(store: Store, archive: Path, sidecar: Sidecar, witness: Witness) -> list[str]:
    """Put the archive into the store, then its sidecar, and return what a person should know of it.

    From the first put on the backup exists: a sidecar that cannot be written does not make the archive any worse, and
    a crash in between is mended by the next reconciliation.
    """
    witness.on_progress(Progress("storing", bytes=sidecar.size_bytes))
    store.put(archive.name, archive)
    beside = archive.with_name(archive.name + SIDECAR_SUFFIX)
    try:
        with in_words(f"write {beside.name} in {beside.parent}"):
            beside.write_bytes(sidecar_to_json(sidecar))
        store.put(beside.name, beside)
    except StoreError as error:
        return [f"the archive has no sidecar yet ({error.message}); `backupd rescan` writes it"]
    return []


def _recorded(catalog: Catalog, backup: Backup) -> Backup:
    """Save the published backup. A catalog that cannot take it must not pass for a backup that is not there."""
    try:
        catalog.save(backup)
    except CatalogError as error:
        raise CatalogError(
            f"{error.message}; the archive {backup.archive} is proven and in the store all the same",
            hint=f"{error.hint or 'Mend the catalog'}. Then `backupd rescan` records the backup.",
        ) from error
    return backup
