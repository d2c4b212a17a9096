"""Whatever happens to the bytes of an archive, it is noticed, and never read as something else."""

from __future__ import annotations

import hashlib
import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backupd.archive.reader import ArchiveReader
from backupd.errors import ArchiveError
from backupd.model import Sidecar
from backupd.verify import verify_archive
from tests.support.archives import USERS, make_table, write_archive

ROWS = [b'{"id":%d,"email":"%s","boss":null}' % (n, hashlib.sha256(b"%d" % n).hexdigest().encode()) for n in range(60)]
DATA, MANIFEST = write_archive({USERS: ROWS, make_table("teams"): [b'{"id":1,"v":"x"}'] * 3, make_table("empty"): []})
SIDECAR = Sidecar(MANIFEST, "x.zip", len(DATA), hashlib.sha256(DATA).hexdigest())
WHOLE = [ROWS, [b'{"id":1,"v":"x"}'] * 3, []]

positions = st.integers(0, len(DATA) - 1)


def is_noticed_or_harmless(data: bytes) -> bool:
    """Without a sidecar: either verification finds a problem, or every row is still right."""
    if not verify_archive(io.BytesIO(data)).ok:
        return True
    with ArchiveReader(io.BytesIO(data)) as reader:
        same = reader.manifest.tables == MANIFEST.tables and reader.manifest.backup_id == MANIFEST.backup_id
        return same and [list(reader.rows(archived)) for archived in reader.manifest.tables] == WHOLE


def rows_or_error(data: bytes) -> list[list[bytes]] | None:
    """What a reader gets that trusts nobody: all rows, or None for an ArchiveError."""
    try:
        with ArchiveReader(io.BytesIO(data)) as reader:
            return [list(reader.rows(archived)) for archived in reader.manifest.tables]
    except ArchiveError:
        return None


@pytest.mark.parametrize("start", range(0, len(DATA), 512))
def test_archive_with_any_one_byte_flipped_is_noticed_or_harmless(start: int) -> None:
    """Every byte of the file, one after another."""
    for position in range(start, min(start + 512, len(DATA))):
        data = bytearray(DATA)
        data[position] ^= 0xFF
        assert is_noticed_or_harmless(bytes(data)), position
        assert rows_or_error(bytes(data)) in (None, WHOLE), position


@given(positions, st.integers(1, 255))
def test_archive_with_any_byte_changed_never_matches_its_sidecar(position: int, change: int) -> None:
    """With the sidecar there is no harmless change."""
    data = bytearray(DATA)
    data[position] ^= change
    assert not verify_archive(io.BytesIO(bytes(data)), sidecar=SIDECAR).ok


@given(st.integers(0, len(DATA) - 1))
@example(0)
@example(len(DATA) - 1)
def test_archive_cut_anywhere_does_not_open(size: int) -> None:
    """The directory is at the end: a cut file is no archive."""
    with pytest.raises(ArchiveError):
        ArchiveReader(io.BytesIO(DATA[:size]))


@given(positions, st.integers(1, 300))
def test_archive_with_a_hole_is_noticed_or_harmless(position: int, size: int) -> None:
    """Lost bytes in the middle."""
    assert is_noticed_or_harmless(DATA[:position] + DATA[position + size :])


@given(positions, st.binary(min_size=1, max_size=300))
def test_archive_with_bytes_overwritten_is_noticed_or_harmless(position: int, noise: bytes) -> None:
    """A bad sector."""
    assert is_noticed_or_harmless(DATA[:position] + noise + DATA[position + len(noise) :])


@given(st.binary(max_size=600), st.binary(max_size=60))
def test_something_else_is_never_an_archive(start: bytes, end: bytes) -> None:
    """Random bytes around a real directory do not crash the reader."""
    assert not verify_archive(io.BytesIO(start + DATA[-400:] + end)).ok
