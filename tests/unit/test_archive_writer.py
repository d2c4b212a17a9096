"""Writing an archive."""

from __future__ import annotations

import gc
import hashlib
import io
import json
import random
import zipfile
from datetime import UTC, datetime

import msgspec
import pytest
from isal import isal_zlib

from backupd.archive import igzip
from backupd.archive.writer import ArchiveWriter
from backupd.errors import ArchiveError
from backupd.model import TableName
from tests.support.archives import CREATED_AT, USERS, make_archived, make_manifest, make_table, write_archive

NAME = TableName("public", "users")


def written(*pages: list[bytes | memoryview]) -> bytes:
    """The table file these pages make."""
    file = io.BytesIO()
    writer = ArchiveWriter(file, created_at=CREATED_AT)
    with writer.table(NAME) as member:
        for page in pages:
            member.write(page)
    archived = make_archived(USERS, file=member.file, rows=member.rows, bytes=member.bytes, sha256=member.sha256)
    writer.finish(make_manifest(archived))
    with zipfile.ZipFile(file) as archive:
        return archive.read(member.file)


def opens(file: io.BytesIO) -> bool:
    """Whether the standard library takes the file for a ZIP."""
    return zipfile.is_zipfile(file)


def test_table_with_pages_is_one_array_with_a_row_a_line() -> None:
    """Rows of several pages end up as one JSON array."""
    assert written([b'{"id":1}', b'{"id":2}'], [], [b'{"id":3}']) == b'[\n{"id":1},\n{"id":2},\n{"id":3}\n]\n'


def test_table_without_rows_is_an_empty_array() -> None:
    """An empty table is in the archive, as valid JSON."""
    assert written() == b"[\n]\n"


def test_table_with_views_of_a_page_takes_their_text() -> None:
    """Rows may be slices of the page they came in, by memoryview or by msgspec."""
    page = b'[{"id":1} , \n {"n":0.10}]'
    raw = msgspec.json.decode(page, type=list[msgspec.Raw])
    assert written(list(raw), [memoryview(page)[1:9]]) == b'[\n{"id":1},\n{"n":0.10},\n{"id":1}\n]\n'


@pytest.mark.parametrize("line_break", [b"\n", b"\r", b"\r\n"])
def test_table_with_a_line_break_in_a_row_keeps_the_row_on_its_line(line_break: bytes) -> None:
    """White space of a json column becomes a space; nothing else of the row changes."""
    row = b'{"j":{"a":' + line_break + b'1,\t"b":"\\n"}}'
    expected = row.replace(b"\n", b" ").replace(b"\r", b" ")
    assert written([b'{"id":1}', row], [row]) == b'[\n{"id":1},\n' + expected + b",\n" + expected + b"\n]\n"


def test_table_with_pages_of_wide_rows_keeps_every_row_in_order() -> None:
    """Pages too wide to join at once go out in parts."""
    rows: list[bytes | memoryview] = [b'{"v":"' + bytes([65 + n]) * 3_000_000 + b'"}' for n in range(7)]
    assert written(rows) == b"[\n" + b",\n".join(rows) + b"\n]\n"


def test_table_when_written_knows_its_rows_bytes_and_checksum() -> None:
    """What goes into the manifest is what is in the file."""
    writer = ArchiveWriter(io.BytesIO(), created_at=CREATED_AT)
    with writer.table(NAME) as member:
        member.write([b'{"id":1}', b'{"id":2}'])
    text = b'[\n{"id":1},\n{"id":2}\n]\n'
    found = (member.file, member.rows, member.bytes, member.sha256)
    assert found == ("tables/public/users.json", 2, len(text), hashlib.sha256(text).hexdigest())


def test_archive_has_the_manifest_as_its_last_member() -> None:
    """A file cut anywhere has no manifest."""
    data, _ = write_archive({USERS: [b"{}"]})
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.namelist() == ["schema.json", "tables/public/users.json", "RECOVERY.md", "manifest.json"]


def test_archive_written_twice_is_the_same_bytes() -> None:
    """Equal content and instant give equal archives."""
    assert write_archive({USERS: [b'{"id":1}']}) == write_archive({USERS: [b'{"id":1}']})


def test_archive_entries_are_dated_regular_files_of_their_owner() -> None:
    """Unpacking gives files with the backup's date (ZIP knows even seconds only) that only their owner can read."""
    data, _ = write_archive({USERS: []})
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        found = {(entry.date_time, entry.external_attr >> 16, entry.create_system) for entry in archive.infolist()}
    assert found == {((2026, 11, 22, 15, 24, 28), 0o100600, 3)}


def test_archive_of_a_clock_before_1980_can_be_written() -> None:
    """A box with a dead clock battery still gets its backup, though ZIP knows no earlier date."""
    file = io.BytesIO()
    writer = ArchiveWriter(file, created_at=datetime(1970, 1, 1, tzinfo=UTC))
    writer.finish(make_manifest())
    assert opens(file)


def test_archive_members_are_deflated_by_igzip() -> None:
    """The private attribute the speed depends on still takes the compressor."""
    with zipfile.ZipFile(io.BytesIO(), "w") as archive:
        entry = zipfile.ZipInfo("x")
        entry.compress_type = zipfile.ZIP_DEFLATED
        with igzip.open_to_write(archive, entry) as member:
            member.write(b"x" * 1000)
        reader = igzip.open_to_read(archive, entry)
    assert type(vars(member)["_compressor"]) is type(isal_zlib.compressobj())
    assert type(vars(reader)["_decompressor"]) is type(isal_zlib.decompressobj())
    assert entry.compress_size < 100


def test_archive_with_tables_that_differ_in_capitals_gives_them_different_files() -> None:
    """Unpacking on Windows or macOS writes no table over another."""
    data, manifest = write_archive({make_table("Users"): [b'{"a":1}'], make_table("users"): [b'{"b":2}']})
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        rows = [json.loads(archive.read(str(table.file)))[0] for table in manifest.tables]
    assert rows == [{"a": 1}, {"b": 2}]
    assert len({str(table.file).casefold() for table in manifest.tables}) == 2


def test_archive_with_the_same_table_twice_is_refused() -> None:
    """One table, one file."""
    writer = ArchiveWriter(io.BytesIO(), created_at=CREATED_AT)
    with writer.table(NAME):
        pass
    with pytest.raises(ArchiveError, match="users is in the archive already"), writer.table(NAME):
        pass


def test_archive_abandoned_in_a_table_cannot_be_finished() -> None:
    """An error in the middle of a table is never papered over."""
    file = io.BytesIO()
    writer = ArchiveWriter(file, created_at=CREATED_AT)
    with pytest.raises(TypeError), writer.table(NAME) as member:
        member.write(["not bytes"])  # type: ignore[list-item]
    with pytest.raises(ArchiveError, match="abandoned"):
        writer.finish(make_manifest())
    assert not opens(file)


def test_archive_dropped_before_the_end_opens_nowhere() -> None:
    """Garbage collection does not turn half an archive into a ZIP."""
    file = io.BytesIO()
    writer = ArchiveWriter(file, created_at=CREATED_AT)
    with writer.table(NAME) as member:
        member.write([b'{"id":1}'])
    del writer, member
    gc.collect()
    assert not opens(file)


def test_archive_finished_cannot_be_written_to() -> None:
    """Nothing comes after the manifest."""
    writer = ArchiveWriter(io.BytesIO(), created_at=CREATED_AT)
    writer.finish(make_manifest())
    with pytest.raises(ArchiveError, match="finished"):
        writer.add("x", b"")


@pytest.mark.parametrize("changes", [{"rows": 2}, {"bytes": 5}, {"sha256": "0" * 64}, {"file": "tables/public/x.json"}])
def test_archive_with_a_manifest_of_something_else_is_refused(changes: dict[str, object]) -> None:
    """The manifest describes exactly what was written, or there is no archive."""
    file = io.BytesIO()
    writer = ArchiveWriter(file, created_at=CREATED_AT)
    with writer.table(NAME) as member:
        member.write([b"{}"])
    right = {"file": member.file, "rows": member.rows, "bytes": member.bytes, "sha256": member.sha256}
    with pytest.raises(ArchiveError, match="does not describe what was written of users"):
        writer.finish(make_manifest(make_archived(USERS, **{**right, **changes})))
    assert not opens(file)


def test_archive_with_a_manifest_that_lacks_a_table_is_refused() -> None:
    """A table cannot be in the archive unnoticed."""
    writer = ArchiveWriter(io.BytesIO(), created_at=CREATED_AT)
    with writer.table(NAME):
        pass
    with pytest.raises(ArchiveError, match="does not describe what was written of users"):
        writer.finish(make_manifest())


class _FullDisk(io.BytesIO):
    """Takes a thousand bytes, and fails differently each time after that."""

    failures = 0

    def write(self, data: object, /) -> int:
        if self.tell() > 1000:
            self.failures += 1
            raise OSError(28, f"No space left on device ({self.failures})")
        return super().write(data)  # type: ignore[arg-type]


def test_archive_on_a_full_disk_raises_the_error_and_opens_nowhere() -> None:
    """The first error is the one that is told, and what is on the disk is no archive."""
    file = _FullDisk()
    writer = ArchiveWriter(file, created_at=CREATED_AT)
    row = b'{"v":"' + random.Random(0).randbytes(200_000).hex().encode() + b'"}'
    with pytest.raises(OSError, match=r"No space left on device \(1\)"), writer.table(NAME) as member:
        member.write([row] * 10)
    with pytest.raises(ArchiveError, match="abandoned"):
        writer.finish(make_manifest())
    assert not opens(io.BytesIO(file.getvalue()))
