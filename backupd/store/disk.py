"""What a directory store asks of the disk, with the operating system's errors put into words once."""

from __future__ import annotations

import errno
import fcntl
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from backupd.errors import StoreError

BLOCK_BYTES = 1024 * 1024
_REASONS = {
    errno.ENOSPC: (
        "no space left on the disk",
        "free some space there, or lower the retention and run backupd cleanup",
    ),
    errno.EDQUOT: ("the disk quota is used up", "raise the quota of the user that backupd runs as, or free some space"),
    errno.EFBIG: ("the file is larger than the disk or the process limit allows", "see ulimit -f and the file system"),
    errno.EACCES: ("permission denied", "let the user that backupd runs as read and write there"),
    errno.EPERM: ("the operation is not permitted", "let the user that backupd runs as read and write there"),
    errno.EROFS: (
        "the file system is read-only",
        "mount it read-write; under systemd, add the directory to ReadWritePaths=",
    ),
    errno.EIO: ("the disk reported an error", "check the disk and the kernel's log before relying on it"),
    errno.ESTALE: ("the network file system lost the file", "mount it anew"),
    errno.ENOENT: ("it is not there", "check that the disk is mounted"),
    errno.ENOTDIR: ("a part of the path is not a directory", "give it a directory of its own: store.url"),
    errno.EEXIST: ("the name is taken", None),
}


@contextmanager
def in_words(doing: str) -> Iterator[None]:
    """Turn an `OSError` of the block into a `StoreError` that says what could not be done, why, and what to do."""
    try:
        yield
    except OSError as error:
        reason, hint = _REASONS.get(error.errno or 0, (error.strerror or str(error), None))
        raise StoreError(f"cannot {doing}: {reason}", hint=hint) from error


class ReadFile(io.FileIO):
    """A file opened for reading whose errors are in words too: a disk can fail long after the file was opened."""

    def readinto(self, buffer: memoryview | bytearray) -> int | None:  # type: ignore[override]
        """Fill `buffer` from the file."""
        with in_words(f"read {self.name}"):
            return super().readinto(buffer)

    def readall(self) -> bytes:
        """Read what is left of the file."""
        with in_words(f"read {self.name}"):
            return super().readall() or b""


def sync_directory(directory: Path) -> None:
    """Make the names in `directory` as durable as the files they name."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_private_directory(directory: Path) -> None:
    """Make `directory`, and its parents, unless it exists; a new one is 0700 whatever the umask."""
    if directory.is_dir():
        return
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        directory.mkdir(mode=0o700, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(directory)) from error
    directory.chmod(0o700)
    sync_directory(directory.parent)


def lock(descriptor: int) -> bool:
    """Lock an open file for this process, unless someone else has. The kernel lets go when the process dies."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_at(path: Path, descriptor: int) -> bool:
    """Whether the open file is still the one that `path` names."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def copy(source: BinaryIO, target: BinaryIO) -> None:
    """Copy what is left of `source` to `target` in bounded memory."""
    while block := source.read(BLOCK_BYTES):
        target.write(block)
    target.flush()


def same_content(one: BinaryIO, other: BinaryIO) -> bool:
    """Whether two files, read from where they stand, hold the same bytes."""
    while True:
        block = one.read(BLOCK_BYTES)
        if block != other.read(BLOCK_BYTES):
            return False
        if not block:
            return True
