"""Reading an archive."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from backupd.archive.manifest import MANIFEST_LIMIT_BYTES
from backupd.archive.reader import ArchiveReader
from backupd.archive.rows import row_blocks
from backupd.errors import ArchiveError
from tests.support.archives import USERS, make_archived, make_table, repacked, write_archive

ROWS = [b'{"id":1,"n":12345678901234.123456}', b'{"id":2,"n":1e400,"s":"\\ud800 ,\\n"}', b'{ "id" : 3 }']
DATA, MANIFEST = write_archive({USERS: ROWS, make_table("empty"): []})
FILE = "tables/public/users.json"


def read_all(data: bytes) -> list[list[bytes]]:
    """Every row of every table."""
    with ArchiveReader(io.BytesIO(data)) as reader:
        return [list(reader.rows(archived)) for archived in reader.manifest.tables]


def test_reader_gives_back_the_manifest_and_the_exact_rows() -> None:
    """What was written comes back, to the byte."""
    with ArchiveReader(io.BytesIO(DATA)) as reader:
        assert reader.manifest == MANIFEST
    assert read_all(DATA) == [ROWS, []]


def test_reader_of_a_table_without_a_file_gives_no_rows() -> None:
    """A table that could not be read is simply not there."""
    with ArchiveReader(io.BytesIO(DATA)) as reader:
        assert list(reader.rows(make_archived(file=None, rows=0))) == []


def test_reader_of_an_archive_of_several_schemas_expects_their_documents() -> None:
    """The documents of further schemas belong to the format; a stranger beside them still does not."""
    data = repacked(DATA, {"schemas/extra.json": b"{}", "schemata.json": b"{}"})
    with ArchiveReader(io.BytesIO(data)) as reader:
        assert reader.unexpected_members() == ("schemata.json",)


def drain(chunks: Iterator[bytes], into: bytearray) -> None:
    """Keep what comes before the error."""
    for chunk in chunks:
        into += chunk


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "the archive is damaged: File is not a zip file"),
        (b"PK\x03\x04" + b"x" * 500, "the archive is damaged: File is not a zip file"),
        (DATA[:-30], "the archive is damaged: File is not a zip file"),
        (DATA[:300] + DATA[340:], "is damaged"),
    ],
)
def test_reader_of_something_that_is_not_a_whole_zip_refuses_it(data: bytes, problem: str) -> None:
    """A cut file is damage, said in words."""
    with pytest.raises(ArchiveError, match=problem):
        read_all(data)


def test_reader_of_a_zip_without_a_manifest_says_it_is_not_ours() -> None:
    """Any other ZIP is refused."""
    data = repacked(DATA, {"manifest.json": None})
    with pytest.raises(ArchiveError, match=r"has no manifest.json: it was not written by backupd"):
        read_all(data)


def test_reader_of_an_archive_that_lacks_a_table_names_it() -> None:
    """A member the manifest promises and the ZIP lacks is named."""
    with pytest.raises(ArchiveError, match=f"{FILE} is missing from the archive"):
        read_all(repacked(DATA, {FILE: None}))


def test_reader_of_a_member_that_is_longer_than_the_manifest_says_stops_before_reading() -> None:
    """A ZIP bomb is refused by its own directory."""
    bomb = repacked(DATA, {FILE: b"[\n" + b" " * 10_000_000})
    with pytest.raises(ArchiveError, match=f"{FILE} holds 10000002 bytes; the manifest says"):
        read_all(bomb)


def test_reader_of_a_member_that_lies_about_its_size_reads_no_more_than_it_says() -> None:
    """A bomb whose directory entry is forged gives no more bytes than announced, and then the CRC tells."""
    rows = [b'{"v":"' + b"x" * 1_000_000 + b'"}']
    data, manifest = write_archive({USERS: rows})
    size = manifest.tables[0].bytes
    forged = data.replace(size.to_bytes(4, "little"), (300_000).to_bytes(4, "little"))
    forged = forged.replace(size.to_bytes(8, "little"), (300_000).to_bytes(8, "little"))
    with ArchiveReader(io.BytesIO(forged)) as reader:
        received = bytearray()
        with pytest.raises(ArchiveError, match=f"{FILE} is damaged: Bad CRC-32"):
            drain(reader.chunks(replace(manifest.tables[0], bytes=300_000)), received)
    assert 0 < len(received) <= 300_000


def patched(data: bytes, member: str, offset: int, value: int) -> bytes:
    """The archive with four bytes of a member's entry in the directory replaced."""
    entry = data.rindex(member.encode()) - 46
    assert data[entry : entry + 4] == b"PK\x01\x02"
    return data[: entry + offset] + value.to_bytes(4, "little") + data[entry + offset + 4 :]


def test_reader_of_a_member_shorter_than_the_directory_says_tells_where_it_ends() -> None:
    """A stream that ends early is short even if its CRC is right."""
    archived = MANIFEST.tables[0]
    longer = replace(archived, bytes=archived.bytes + 5)
    with ArchiveReader(io.BytesIO(patched(DATA, FILE, 24, longer.bytes))) as reader:
        problem = f"{FILE} ends after {archived.bytes} of {longer.bytes} bytes"
        with pytest.raises(ArchiveError, match=problem):
            list(reader.chunks(longer))


def test_reader_of_a_manifest_beyond_the_limit_refuses_it_unread() -> None:
    """A manifest that inflates without end is refused by its announced size."""
    with pytest.raises(ArchiveError, match=r"^manifest.json is larger than 268435456 bytes"):
        read_all(patched(DATA, "manifest.json", 24, MANIFEST_LIMIT_BYTES + 1))


def test_reader_of_a_member_that_lies_beyond_the_end_names_it() -> None:
    """A directory that points into nowhere is damage of that member."""
    with pytest.raises(ArchiveError, match=f"^{FILE} is damaged: "):
        read_all(patched(DATA, FILE, 42, len(DATA) - 10))


def test_reader_of_a_table_with_fewer_rows_than_the_manifest_says_refuses_it() -> None:
    """Rows are counted as they are read."""
    data = repacked(DATA, {"manifest.json": _edited(DATA, _one_row_more)})
    with pytest.raises(ArchiveError, match=f"{FILE} holds 3 rows; the manifest says 4"):
        read_all(data)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_reader_of_an_archive_with_a_member_twice_refuses_it() -> None:
    """Two members of one name could be read as either."""
    file = io.BytesIO(DATA)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(FILE, b"[\n]\n")
    with pytest.raises(ArchiveError, match=f"the archive holds '{FILE}' more than once"):
        read_all(file.getvalue())


def test_reader_of_an_encrypted_zip_refuses_it_by_the_member() -> None:
    """ZIP's own encryption is not ours."""
    data = bytearray(DATA)
    data[data.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(ArchiveError, match=r"'schema.json' is encrypted inside the ZIP"):
        read_all(bytes(data))


def test_reader_of_an_unknown_compression_refuses_it_by_the_member() -> None:
    """Only what backupd writes is read."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("manifest.json", b"{}")
    with pytest.raises(ArchiveError, match=r"'manifest.json' is compressed in a way backupd never writes \(14\)"):
        read_all(file.getvalue())


def test_reader_of_stored_members_reads_them() -> None:
    """An archive somebody packed again without compression is still readable."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(DATA)) as old, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    assert read_all(file.getvalue()) == [ROWS, []]


def test_reader_of_a_flipped_byte_in_a_table_names_the_table() -> None:
    """A wrong CRC is damage of that member."""
    data = bytearray(DATA)
    data[data.index(FILE.encode()) + len(FILE) + 40] ^= 0xFF
    with pytest.raises(ArchiveError, match=f"^{FILE} is damaged: "):
        read_all(bytes(data))


class _FailingDisk(io.BytesIO):
    """Reads fail once it is told so."""

    broken = False

    def read(self, size: int | None = -1, /) -> bytes:
        if self.broken:
            raise OSError(5, "Input/output error")
        return super().read(size)


def test_reader_of_a_failing_disk_names_the_member_it_could_not_read() -> None:
    """An IO error is told like damage: the bytes cannot be had."""
    file = _FailingDisk(DATA)
    with ArchiveReader(file) as reader:
        file.broken = True
        with pytest.raises(ArchiveError, match=rf"{FILE} is damaged: \[Errno 5\] Input/output error"):
            list(reader.rows(reader.manifest.tables[0]))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "does not start with a line"),
        (b"[{}]\n", "does not start with a line"),
        (b"[\n", "does not end with a row and a line"),
        (b"[\n{}\n]", "lacks a comma between two rows|does not end with a row"),
        (b"[\n{},\n]\n", "does not end with a row"),
        (b"[\n{},\n{}\n", "does not end with a row"),
        (b"[\n{}\n]\n,", "does not end with a row"),
        (b"[\n{},\n]\n]\n", "PASS"),
        (b"[\n{}\n{}\n]\n", "PASS"),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 100])
def test_row_blocks_of_a_wrongly_framed_file_never_end_quietly_short(text: bytes, problem: str, size: int) -> None:
    """Brackets in the wrong place are named, or what is between them is handed on for the JSON check to see."""
    chunks = [text[start : start + size] for start in range(0, len(text), size)]
    if problem == "PASS":
        try:
            assert b"".join(row_blocks(chunks, FILE)) not in (b"", b"{}", b"{}{}")
        except ArchiveError as error:
            assert error.message.startswith(FILE)  # noqa: PT017
    else:
        with pytest.raises(ArchiveError, match=problem):
            list(row_blocks(chunks, FILE))


def _edited(data: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        values: dict[str, Any] = json.loads(archive.read("manifest.json"))
    change(values)
    return json.dumps(values).encode()


def _one_row_more(values: dict[str, Any]) -> None:
    values["total_rows"] += 1
    values["tables"][0]["rows"] += 1
