"""The checksum of a file taken while somebody else reads it."""

from __future__ import annotations

import hashlib
import io
import random

import pytest

from backupd.archive.checksum import ChecksummedFile
from backupd.model import never_stop

DATA = random.Random(0).randbytes(3_000_000)
SHA256 = hashlib.sha256(DATA).hexdigest()


class _Counted(io.BytesIO):
    """Counts the bytes read."""

    received = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.received += len(data)
        return data


@pytest.mark.parametrize(
    "reads",
    [
        [],
        [(0, 100)],
        [(0, 3_000_000)],
        [(2_999_000, 1000), (0, 1000), (1000, 1000)],
        [(0, 1000), (500, 1000), (100, 50)],
        [(0, 1000), (1020, 1000), (2_000_000, 1000)],
        [(0, -1), (0, -1)],
    ],
)
def test_checksum_after_any_reads_is_that_of_the_file(reads: list[tuple[int, int]]) -> None:
    """In whatever order it was read, by how much and how often."""
    file = ChecksummedFile(io.BytesIO(DATA))
    for start, size in reads:
        file.seek(start)
        expected = DATA[start:] if size < 0 else DATA[start : start + size]
        assert file.read(size) == expected
    assert file.sha256(never_stop) == SHA256


def test_checksum_of_a_file_read_with_small_gaps_reads_it_once() -> None:
    """A reader that jumps over headers does not make the file be read twice."""
    counted = _Counted(DATA)
    file = ChecksummedFile(counted)
    for start in range(0, len(DATA), 100_000):
        file.seek(start + 20)
        file.read(100_000 - 20)
    assert file.sha256(never_stop) == SHA256
    assert counted.received == len(DATA)
