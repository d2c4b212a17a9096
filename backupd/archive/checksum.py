"""The checksum of a file, taken in passing while somebody else reads it."""

from __future__ import annotations

import hashlib
import io
from typing import BinaryIO

from backupd.errors import Interrupted
from backupd.model import ShouldStop

_BLOCK_BYTES = 1024 * 1024
_GAP_LIMIT_BYTES = 64 * 1024


class ChecksummedFile(io.BufferedIOBase):
    """Reads `file` for somebody else, and hashes what comes by in the order of the file.

    Whoever reads from front to back, jumping over little, gets the checksum of the whole without a second reading.
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
        self._sha256 = hashlib.sha256()
        self._hashed = 0

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move, as the file does."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Where the next read starts."""
        return self._file.tell()

    def read(self, size: int | None = -1, /) -> bytes:
        """Read, as the file does."""
        start = self._file.tell()
        if 0 < start - self._hashed <= _GAP_LIMIT_BYTES:
            self._hash_gap(start)
        data = self._file.read(-1 if size is None else size)
        if start <= self._hashed < start + len(data):
            self._hash(data[self._hashed - start :])
        return data

    def sha256(self, should_stop: ShouldStop) -> str:
        """The checksum of the whole file; reads what nobody has read in order. Raises Interrupted."""
        self._file.seek(self._hashed)
        while block := self._file.read(_BLOCK_BYTES):
            if should_stop():
                raise Interrupted("interrupted while taking the checksum of the archive")
            self._hash(block)
        return self._sha256.hexdigest()

    def _hash_gap(self, end: int) -> None:
        self._file.seek(self._hashed)
        self._hash(self._file.read(end - self._hashed))
        self._file.seek(end)

    def _hash(self, data: bytes) -> None:
        self._sha256.update(data)
        self._hashed += len(data)
