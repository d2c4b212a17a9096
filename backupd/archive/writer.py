"""Writes an archive as a stream, in bounded memory: tables row by row, the manifest last."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import IO, BinaryIO

from backupd.archive.igzip import open_to_write
from backupd.archive.manifest import manifest_to_json
from backupd.archive.names import collision_key, member_name
from backupd.archive.recovery import recovery_text
from backupd.archive.rows import SEPARATOR
from backupd.errors import ArchiveError
from backupd.model import Manifest, TableName

MANIFEST_MEMBER = "manifest.json"
RECOVERY_MEMBER = "RECOVERY.md"
SCHEMA_MEMBER = "schema.json"

_REGULAR_FILE_0600 = 0o100600 << 16
_UNIX = 3
_EARLIEST_ZIP_DATE = datetime(1980, 1, 1, tzinfo=UTC)
_BATCH_BYTES = 8 * 1024 * 1024
_SLICE_BYTES = 1024 * 1024
_BREAKS_TO_SPACES = bytes.maketrans(b"\r\n", b"  ")


class TableWriter:
    """Writes the rows of one table. `rows`, `bytes` and `sha256` are final after the `with` block of `table()`.

    `bytes` and `sha256` are of the uncompressed member.
    """

    def __init__(self, file: str, member: IO[bytes]) -> None:
        self.file = file
        self.rows = 0
        self.bytes = 0
        self._sha256 = hashlib.sha256()
        self._member = member
        self._put(b"[\n")

    @property
    def sha256(self) -> str:
        """The checksum of what was written so far."""
        return self._sha256.hexdigest()

    def write(self, rows: Sequence[bytes | memoryview]) -> None:
        """Add rows, each the exact JSON text the server sent; `msgspec.Raw` objects will do.

        A raw line break in a row can only be white space of a `json` column and becomes a space, so that a row stays
        on its line. Wide pages go out in parts: joining copies 8 MiB or one row at most. Raises OSError as the file
        does, on a full disk for example.
        """
        if len(rows) > 1 and sum(map(len, rows)) > _BATCH_BYTES:
            half = len(rows) // 2
            self.write(rows[:half])
            self.write(rows[half:])
        elif rows:
            self._write_batch(rows)

    def end(self) -> None:
        """Close the JSON array and the member. Called by `ArchiveWriter.table`."""
        self._put(b"\n]\n" if self.rows else b"]\n")
        self._member.close()

    def _write_batch(self, rows: Sequence[bytes | memoryview]) -> None:
        text = SEPARATOR.join(rows if _on_one_line(rows) else (bytes(row).translate(_BREAKS_TO_SPACES) for row in rows))
        if self.rows:
            self._put(SEPARATOR)
        self._put(text)
        self.rows += len(rows)

    def _put(self, data: bytes) -> None:
        self._sha256.update(data)
        self.bytes += len(data)
        if len(data) <= _SLICE_BYTES:
            self._member.write(data)
            return
        view = memoryview(data)
        for start in range(0, len(data), _SLICE_BYTES):
            self._member.write(view[start : start + _SLICE_BYTES])


def _on_one_line(rows: Sequence[bytes | memoryview]) -> bool:
    """Joining and searching is several times faster than counting the separators afterwards."""
    text = b"".join(rows)
    return b"\n" not in text and b"\r" not in text


class ArchiveWriter:
    """Writes one archive to `file`, which stays open and the caller's to flush, fsync and close.

    `created_at` dates every entry, so that equal content gives equal bytes. Only `finish` writes the directory that
    makes the file a ZIP: whatever happens before leaves a file that nothing opens. Not for several threads at once.
    """

    def __init__(self, file: BinaryIO, *, created_at: datetime) -> None:
        self._zip = _Zip(file, "w")
        self._date_time = max(created_at.astimezone(UTC), _EARLIEST_ZIP_DATE).timetuple()[:6]
        self._whole = True
        self._taken: set[str] = set()
        self._written: dict[TableName, TableWriter] = {}

    @contextmanager
    def table(self, name: TableName) -> Iterator[TableWriter]:
        """Open the file of one table; one at a time. An exception that leaves the block abandons the whole archive.

        A table that could only be read in part is ended by handling the error inside the block.
        """
        if name in self._written:
            raise ArchiveError(f"{name} is in the archive already")
        self._require_whole()
        self._whole = False
        file = member_name(name, self._taken)
        member = open_to_write(self._zip, self._entry(file))
        try:
            writer = TableWriter(file, member)
            yield writer
            writer.end()
        except BaseException:
            with suppress(OSError, ValueError):  # the error under way says more than a second one on closing
                member.close()
            raise
        self._taken.add(collision_key(file))
        self._written[name] = writer
        self._whole = True

    def add(self, name: str, data: bytes) -> None:
        """Add a small member whole, such as `schema.json`. Raises OSError as the file does."""
        self._require_whole()
        self._whole = False
        with open_to_write(self._zip, self._entry(name)) as member:
            member.write(data)
        self._whole = True

    def finish(self, manifest: Manifest) -> None:
        """Write RECOVERY.md, then the manifest, then the directory.

        Raises ArchiveError, leaving a file nothing opens, when a table was abandoned or when the manifest does not
        describe exactly what was written; OSError as the file does.
        """
        self._require_whole()
        self._require_described(manifest)
        self.add(RECOVERY_MEMBER, recovery_text(manifest).encode("utf-8", "backslashreplace"))
        self.add(MANIFEST_MEMBER, manifest_to_json(manifest))
        self._whole = False
        self._zip.close()

    def _entry(self, name: str) -> zipfile.ZipInfo:
        year, month, day, hour, minute, second = self._date_time
        entry = zipfile.ZipInfo(name, (year, month, day, hour, minute, second))
        entry.compress_type = zipfile.ZIP_DEFLATED
        entry.create_system = _UNIX
        entry.external_attr = _REGULAR_FILE_0600
        return entry

    def _require_whole(self) -> None:
        if not self._whole:
            raise ArchiveError("the archive was abandoned or is finished; nothing more can be written to it")

    def _require_described(self, manifest: Manifest) -> None:
        described = {
            archived.table.name: (archived.file, archived.rows, archived.bytes, archived.sha256)
            for archived in manifest.tables
            if archived.file is not None
        }
        written = {name: (table.file, table.rows, table.bytes, table.sha256) for name, table in self._written.items()}
        for name in sorted(described.keys() | written.keys()):
            if described.get(name) != written.get(name):
                raise ArchiveError(f"the manifest does not describe what was written of {name}")


class _Zip(zipfile.ZipFile):
    """A ZIP that gets its directory from `close` alone, never from the garbage collector."""

    def __del__(self) -> None:
        pass
