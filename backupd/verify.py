"""Reads a whole archive back and names whatever is not as the manifest and the sidecar say."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from typing import BinaryIO, NoReturn, cast

import msgspec

from backupd.archive.checksum import ChecksummedFile
from backupd.archive.manifest import MANIFEST_LIMIT_BYTES, SIDECAR_SUFFIX, sidecar_from_json
from backupd.archive.reader import ArchiveReader
from backupd.archive.rows import SEPARATOR, row_blocks
from backupd.archive.writer import MANIFEST_MEMBER
from backupd.catalog import Catalog
from backupd.errors import ArchiveError, Interrupted
from backupd.model import (
    ArchivedTable,
    Backup,
    Clock,
    Manifest,
    OnProgress,
    Progress,
    ShouldStop,
    Sidecar,
    ignore_progress,
    never_stop,
)
from backupd.store import Store


class _AnyObject(msgspec.Struct, gc=False):
    """A JSON object whose fields are checked but not kept."""


_ROWS = msgspec.json.Decoder(list[_AnyObject])


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: `where` is a member, `archive` or `sidecar`."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What reading an archive back has shown. `bytes` and `rows` are those of the tables that were read to the end.

    `backup_id` is the sidecar's where the archive does not say, and None where neither does.
    """

    backup_id: str | None
    problems: tuple[Problem, ...]
    tables: int = 0
    rows: int = 0
    bytes: int = 0

    @property
    def ok(self) -> bool:
        """Whether the archive holds exactly what it should."""
        return not self.problems


def verify_archive(
    file: BinaryIO,
    *,
    sidecar: Sidecar | None = None,
    on_progress: OnProgress = ignore_progress,
    should_stop: ShouldStop = never_stop,
) -> VerifyReport:
    """Read `file`, which must be seekable, from front to back and compare everything that can be compared.

    Each member's CRC, length and checksum, each row as a JSON object on its line, row counts, the set of members; with
    a sidecar also the archive's size and checksum and both manifests. Memory is bounded by the widest row. Damage is
    reported, never raised. Raises Interrupted between two chunks when `should_stop` says so.
    """
    watched = ChecksummedFile(file)
    verification = _Verification(on_progress, should_stop)
    manifest = verification.read(cast("BinaryIO", watched) if sidecar else file)
    if sidecar is not None:
        verification.compare(sidecar, manifest, watched)
    backup_id = manifest.backup_id if manifest else sidecar.manifest.backup_id if sidecar else None
    return verification.report(backup_id)


def verify_stored(
    store: Store,
    catalog: Catalog,
    backup: Backup,
    *,
    clock: Clock,
    on_progress: OnProgress = ignore_progress,
    should_stop: ShouldStop = never_stop,
) -> VerifyReport:
    """Read a backup's archive back from the store, and note in the catalog that it was found right, or no longer is.

    Compares the archive with its manifest and its sidecar, and both with what the catalog says was put there; a
    missing archive is a problem like any other. Raises StoreError, CatalogError, Interrupted, and ArchiveError for a
    backup that never had an archive.
    """
    if backup.archive is None:
        raise ArchiveError(f"backup {backup.backup_id[:8]} is {backup.status}: no archive was published")
    if store.size(backup.archive) is None:
        report = VerifyReport(backup.backup_id, (Problem("archive", "is missing from the store"),))
    else:
        sidecar, unreadable = _stored_sidecar(store, backup.archive)
        with store.open(backup.archive) as file:
            report = verify_archive(file, sidecar=sidecar, on_progress=on_progress, should_stop=should_stop)
        report = replace(report, problems=(*report.problems, *unreadable, *_unlike(backup, report, sidecar)))
    catalog.set_verified(backup.backup_id, clock() if report.ok else None)
    return report


def _stored_sidecar(store: Store, archive: str) -> tuple[Sidecar | None, tuple[Problem, ...]]:
    """The sidecar, or what is wrong with it; neither where there is none."""
    name = archive + SIDECAR_SUFFIX
    if store.size(name) is None:
        return None, ()
    with store.open(name) as file:
        try:
            return sidecar_from_json(file.read(MANIFEST_LIMIT_BYTES + 1), member="sidecar"), ()
        except ArchiveError as error:
            return None, (Problem("sidecar", _without_subject(error, "sidecar")),)


def _unlike(backup: Backup, report: VerifyReport, sidecar: Sidecar | None) -> Iterator[Problem]:
    """Whether this is another archive than the one that was put there."""
    if report.backup_id not in (None, backup.backup_id):
        yield Problem("archive", f"is that of another backup, {report.backup_id}")
    elif sidecar is not None and sidecar.sha256 != backup.sha256:
        yield Problem("sidecar", "is of another archive than the one that was put there")


class _Verification:
    """The problems and totals of one verification, as they add up."""

    def __init__(self, on_progress: OnProgress, should_stop: ShouldStop) -> None:
        self._on_progress = on_progress
        self._should_stop = should_stop
        self._problems: list[Problem] = []
        self._tables = self._rows = self._bytes = 0

    def report(self, backup_id: str | None) -> VerifyReport:
        return VerifyReport(backup_id, tuple(self._problems), self._tables, self._rows, self._bytes)

    def read(self, file: BinaryIO) -> Manifest | None:
        """Check everything the archive says about itself."""
        try:
            reader = ArchiveReader(file)
        except ArchiveError as error:
            self._problems.append(_opening_problem(error))
            return None
        with reader:
            self._check_members(reader)
        return reader.manifest

    def compare(self, sidecar: Sidecar, manifest: Manifest | None, watched: ChecksummedFile) -> None:
        """Check what the sidecar says about the archive."""
        size_bytes = watched.seek(0, 2)
        if size_bytes != sidecar.size_bytes:
            self._add("archive", f"is {size_bytes} bytes long; the sidecar says {sidecar.size_bytes}")
        elif watched.sha256(self._should_stop) != sidecar.sha256:
            self._add("archive", "has another checksum than the sidecar says")
        if manifest is not None and manifest != sidecar.manifest:
            self._add("sidecar", f"says otherwise than the archive: {', '.join(_differences(manifest, sidecar))}")

    def _check_members(self, reader: ArchiveReader) -> None:
        """In the order of the file, so that it is read once."""
        tables = {archived.file: archived for archived in reader.manifest.tables if archived.file is not None}
        for missing in reader.missing_members():
            self._add(missing, "is missing from the archive")
        for name in reader.member_names():
            archived = tables.get(name)
            try:
                if archived is not None:
                    self._check_table(reader, archived)
                else:
                    self._read_through(reader, name)
            except ArchiveError as error:
                self._add(name, _without_subject(error, name))
        for unexpected in reader.unexpected_members():
            self._add(unexpected, "is in the archive, but the manifest does not know of it")

    def _read_through(self, reader: ArchiveReader, name: str) -> None:
        for _ in reader.member_chunks(name):
            self._stop_if_told(name)

    def _check_table(self, reader: ArchiveReader, archived: ArchivedTable) -> None:
        file = str(archived.file)
        table = _TableCheck(archived, self._on_progress)
        for block in row_blocks(table.hashed(reader.chunks(archived)), file):
            self._stop_if_told(file)
            table.check(block)
        for problem in table.problems():
            self._add(file, problem)
        self._tables += 1
        self._rows += table.rows
        self._bytes += archived.bytes

    def _stop_if_told(self, name: str) -> None:
        if self._should_stop():
            raise Interrupted(f"interrupted while reading {name} back")

    def _add(self, where: str, what: str) -> None:
        self._problems.append(Problem(where, what))


class _TableCheck:
    """One table while it is read: its checksum, its rows, and the first row that is wrong."""

    def __init__(self, archived: ArchivedTable, on_progress: OnProgress) -> None:
        self._archived = archived
        self._on_progress = on_progress
        self._sha256 = hashlib.sha256()
        self._bytes = 0
        self._bad_row: str | None = None
        self.rows = 0

    def hashed(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._sha256.update(chunk)
            self._bytes += len(chunk)
            yield chunk

    def check(self, block: bytes) -> None:
        rows, bad_row = check_rows(block, self.rows)
        self.rows += rows
        self._bad_row = self._bad_row or bad_row
        self._on_progress(
            Progress("verifying", str(self._archived.table.name), self.rows, self._archived.rows, self._bytes)
        )

    def problems(self) -> Iterator[str]:
        if self._bad_row is not None:
            yield self._bad_row
        if self.rows != self._archived.rows:
            yield f"holds {self.rows} rows; the manifest says {self._archived.rows}"
        if self._sha256.hexdigest() != self._archived.sha256:
            yield "has another checksum than the manifest says"


def check_rows(block: bytes, rows_before: int) -> tuple[int, str | None]:
    r"""How many rows `block` holds, and what is wrong with the first that is not a JSON object; None when all are.

    `block` is rows joined by `,\n`. The fast parser does nearly all; where it refuses something, the strict rules of
    JSON decide row by row, because it also refuses what is legal in a `json` column, such as half a surrogate pair.
    """
    lines = block.count(b"\n") + 1
    is_right = _objects(block) == lines and (block.isascii() or _is_utf8(block))
    return lines, None if is_right else _first_bad_row(block, rows_before)


def _objects(block: bytes) -> int:
    """How many objects, if they are joined as in a JSON array and nothing else is there; otherwise 0."""
    try:
        return len(_ROWS.decode(b"".join((b"[", block, b"]"))))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return 0


def _is_utf8(block: bytes) -> bool:
    try:
        block.decode()
    except UnicodeDecodeError:
        return False
    return True


def _first_bad_row(block: bytes, rows_before: int) -> str | None:
    for number, row in enumerate(block.split(SEPARATOR), rows_before + 1):
        if b"\n" in row:
            return f"row {number} is not on one line"
        try:
            value = json.loads(row.decode(), parse_float=str, parse_int=str, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            return f"row {number} is not valid JSON: {error}"
        if not isinstance(value, dict):
            return f"row {number} is not a JSON object"
    return None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _opening_problem(error: ArchiveError) -> Problem:
    if error.message.startswith(MANIFEST_MEMBER):
        return Problem(MANIFEST_MEMBER, _without_subject(error, MANIFEST_MEMBER))
    return Problem("archive", _without_subject(error, "the archive"))


def _without_subject(error: ArchiveError, subject: str) -> str:
    """An error's message starts with what it is about, which a problem says already."""
    return error.message.removeprefix(subject).lstrip(": ")


def _differences(manifest: Manifest, sidecar: Sidecar) -> list[str]:
    return [
        field.name
        for field in fields(manifest)
        if getattr(manifest, field.name) != getattr(sidecar.manifest, field.name)
    ]
