"""Reads an archive as a stream and never further than the manifest allows; nothing is extracted to disk."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import BinaryIO, Self

from backupd.archive.fields import shortened
from backupd.archive.igzip import InflateError, open_to_read
from backupd.archive.manifest import MANIFEST_LIMIT_BYTES, manifest_from_json
from backupd.archive.names import SCHEMAS_FOLDER
from backupd.archive.rows import SEPARATOR, row_blocks
from backupd.archive.writer import MANIFEST_MEMBER, RECOVERY_MEMBER, SCHEMA_MEMBER
from backupd.errors import ArchiveError
from backupd.model import ArchivedTable, Manifest

CHUNK_BYTES = 128 * 1024
"""How much of a member is inflated at a time: measured a third faster than 1 MiB, which falls out of the caches."""

_ENCRYPTED = 0x1
_DAMAGE = (
    zipfile.BadZipFile,
    InflateError,
    EOFError,
    NotImplementedError,  # how zipfile refuses versions and features it does not know
    ValueError,
    OSError,
)


class ArchiveReader:
    """One archive, open for reading; `file` stays the caller's to close.

    Opening reads the directory and the manifest. Every method raises ArchiveError, naming the member, for damage:
    a cut file, a wrong CRC, a member that is missing, doubled, encrypted or larger than the manifest says.
    """

    def __init__(self, file: BinaryIO) -> None:
        with _damage_named("the archive"):
            self._zip = zipfile.ZipFile(file)
        self._members = {member.filename: member for member in self._zip.infolist()}
        self._check_members()
        self.manifest: Manifest = manifest_from_json(self._read_manifest())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._zip.close()

    def rows(self, archived: ArchivedTable) -> Iterator[bytes]:
        """The rows of one table, each its exact JSON text, in bounded memory: a chunk, or one row if that is wider.

        The number of bytes and rows and the CRC are checked, the checksum is not: that is what verification is for.
        """
        if archived.file is None:
            return
        count = 0
        for block in row_blocks(self.chunks(archived), archived.file):
            rows = block.split(SEPARATOR)
            count += len(rows)
            yield from rows
        if count != archived.rows:
            raise ArchiveError(f"{archived.file} holds {count} rows; the manifest says {archived.rows}")

    def chunks(self, archived: ArchivedTable) -> Iterator[bytes]:
        """The table file's bytes, about `CHUNK_BYTES` at a time, neither more nor fewer than the manifest says."""
        if archived.file is None:
            return
        size = self._member(archived.file).file_size
        if size != archived.bytes:
            raise ArchiveError(f"{archived.file} holds {size} bytes; the manifest says {archived.bytes}")
        yield from self.member_chunks(archived.file)

    def member_chunks(self, name: str) -> Iterator[bytes]:
        """The bytes of any member, checked against the directory's size and CRC."""
        member, received = self._member(name), 0
        with _damage_named(name), open_to_read(self._zip, member) as stream:
            while chunk := stream.read1(CHUNK_BYTES):
                received += len(chunk)
                yield chunk
        if received != member.file_size:
            raise ArchiveError(f"{name} ends after {received} of {member.file_size} bytes")

    def member_names(self) -> tuple[str, ...]:
        """The members in the order they lie in the archive, which is the order to read them in."""
        return tuple(sorted(self._members, key=lambda name: self._members[name].header_offset))

    def missing_members(self) -> tuple[str, ...]:
        """Members the manifest or the format promises and the archive lacks; `schema.json` is not promised."""
        promised = [archived.file for archived in self.manifest.tables if archived.file is not None]
        return tuple(name for name in (*promised, RECOVERY_MEMBER) if name not in self._members)

    def unexpected_members(self) -> tuple[str, ...]:
        """Members that neither the format nor the manifest knows of."""
        known = {archived.file for archived in self.manifest.tables}
        known |= {MANIFEST_MEMBER, RECOVERY_MEMBER, SCHEMA_MEMBER}
        return tuple(name for name in self.member_names() if name not in known and not name.startswith(SCHEMAS_FOLDER))

    def _member(self, name: str) -> zipfile.ZipInfo:
        if name not in self._members:
            raise ArchiveError(f"{name} is missing from the archive")
        return self._members[name]

    def _check_members(self) -> None:
        names = Counter(member.filename for member in self._zip.infolist())
        for member in self._zip.infolist():
            name = shortened(member.filename)
            if names[member.filename] > 1:
                raise ArchiveError(f"the archive holds {name} more than once")
            if member.flag_bits & _ENCRYPTED:
                raise ArchiveError(f"{name} is encrypted inside the ZIP; backupd never writes that")
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ArchiveError(f"{name} is compressed in a way backupd never writes ({member.compress_type})")

    def _read_manifest(self) -> bytes:
        if MANIFEST_MEMBER not in self._members:
            raise ArchiveError("the archive has no manifest.json: it was not written by backupd, or not to its end")
        if self._members[MANIFEST_MEMBER].file_size > MANIFEST_LIMIT_BYTES:
            raise ArchiveError(f"manifest.json is larger than {MANIFEST_LIMIT_BYTES} bytes")
        return b"".join(self.member_chunks(MANIFEST_MEMBER))


@contextmanager
def _damage_named(where: str) -> Iterator[None]:
    """Translate whatever reading a damaged ZIP raises."""
    try:
        yield
    except _DAMAGE as error:
        raise ArchiveError(f"{where} is damaged: {str(error) or type(error).__name__}") from error
