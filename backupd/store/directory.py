"""A store that is a directory on this machine."""

from __future__ import annotations

import errno
import io
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO

from backupd.errors import StoreError
from backupd.model import StoredObject
from backupd.store.disk import (
    BLOCK_BYTES,
    ReadFile,
    copy_durably,
    in_words,
    is_at,
    lock,
    make_private_directory,
    same_content,
    sync_directory,
)
from backupd.store.names import check_name, is_valid_name

_TEMPORARY_PREFIX, _TEMPORARY_SUFFIX = ".put-", ".part"
_CANNOT_LINK = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_CANNOT_MOVE = {errno.EXDEV, errno.EACCES, *_CANNOT_LINK}


class DirectoryStore:
    """Archives as plain files of one directory, made with mode 0700; the files are 0600 whatever the umask.

    A put gives a source that is on the same file system a second name (a hard link) and then takes the first away, so
    that not a byte is copied. From elsewhere it copies to a temporary (`.put-….part`) that is locked while its put
    lives: a temporary nobody has locked is a leftover. Neither way replaces a name that exists.

    `link` makes a hard link; it is a parameter for the sake of file systems that have none, where a rename publishes
    after a look that the name is free. One run at a time is what makes that enough.
    """

    def __init__(self, path: Path, *, link: Callable[[Path, Path], None] = os.link) -> None:
        self._path = path.absolute()
        self._link = link
        with in_words(f"make the directory {self._path}"):
            make_private_directory(self._path)

    @property
    def url(self) -> str:
        """The directory as a `file://` URL."""
        return self._path.as_uri()

    def put(self, name: str, source: Path) -> StoredObject:
        """See `Store.put`. A source on the same file system is moved, from elsewhere it is copied."""
        target = self._at(name)
        with in_words(f"put {name} into {self._path}"), _open(source) as file:
            length = os.fstat(file.fileno()).st_size
            if os.path.lexists(target):
                self._accept_existing(target, file)
                source.unlink()
            else:
                self._bring(source, file, target)
                with _taken_back_on_failure(target):
                    self._settle(target, length)
                    source.unlink()
            return _describe(target)

    def open(self, name: str) -> BinaryIO:
        """See `Store.open`."""
        target = self._at(name)
        if self.size(name) is None:
            raise StoreError(f"{self._path} has no object named {name}", hint="backupd rescan shows what is there")
        with in_words(f"open {target}"):
            return io.BufferedReader(ReadFile(target), BLOCK_BYTES)

    def list(self) -> Iterator[StoredObject]:
        """See `Store.list`. Directories and other things that are not files are not objects."""
        with in_words(f"list {self._path}"):
            paths = sorted(path for path in self._path.iterdir() if is_valid_name(path.name))
            found = [_describe_if_there(path) for path in paths]
        return iter([stored for stored in found if stored is not None])

    def delete(self, name: str) -> None:
        """See `Store.delete`."""
        target = self._at(name)
        with in_words(f"delete {target}"):
            target.unlink(missing_ok=True)
            sync_directory(self._path)

    def size(self, name: str) -> int | None:
        """See `Store.size`."""
        target = self._at(name)
        with in_words(f"look at {target}"):
            stored = _describe_if_there(target)
        return None if stored is None else stored.size_bytes

    def free_bytes(self) -> int | None:
        """See `Store.free_bytes`: what the file system gives to users other than root."""
        with in_words(f"ask how much space is free in {self._path}"):
            space = os.statvfs(self._path)
        return space.f_bavail * space.f_frsize

    def presigned_url(self, name: str, expires_in_seconds: int) -> str | None:  # noqa: ARG002 the protocol's
        """None: a directory has no URLs to hand out."""
        check_name(name)
        return None

    def remove_leftovers(self) -> tuple[str, ...]:
        """See `Store.remove_leftovers`. A put holds a lock on its temporary that dies with its process."""
        with in_words(f"remove leftovers from {self._path}"):
            temporaries = sorted(path for path in self._path.iterdir() if _is_temporary(path.name))
            return tuple(path.name for path in temporaries if _remove_unless_locked(path))

    def _at(self, name: str) -> Path:
        check_name(name)
        return self._path / name

    def _accept_existing(self, target: Path, source: BinaryIO) -> None:
        """Let an identical object stand for the source; refuse any other. Its durability is not taken on trust."""
        if not target.is_file():
            raise StoreError(f"cannot put {target.name} into {self._path}: the name is taken by something else")
        with target.open("rb") as existing:
            if not same_content(existing, source):
                raise StoreError(
                    f"{self._path} already has another object named {target.name}",
                    hint="nothing is ever overwritten; look at that object and delete it if it is not wanted",
                )
            os.fsync(existing.fileno())
        sync_directory(self._path)

    def _bring(self, source: Path, file: BinaryIO, target: Path) -> None:
        """Give the source's bytes the final name, by a link if that can be."""
        if not self._moved(source, file, target):
            self._copy(file, target)

    def _moved(self, source: Path, file: BinaryIO, target: Path) -> bool:
        """Publish the source itself under the final name, unless someone else has a name for it or disks differ."""
        if source.is_symlink() or os.fstat(file.fileno()).st_nlink != 1:
            return False
        try:
            os.fchmod(file.fileno(), 0o600)
            os.fsync(file.fileno())
            self._link(source, target)
        except OSError as error:
            if error.errno not in _CANNOT_MOVE:
                raise
            return False
        return True

    def _copy(self, file: BinaryIO, target: Path) -> None:
        with self._temporary() as (path, temporary):
            copy_durably(file, temporary)
            self._publish(path, target)

    @contextmanager
    def _temporary(self) -> Iterator[tuple[Path, BinaryIO]]:
        """A new file that no clean-up takes for a leftover while it is open; gone afterwards under its own name."""
        while True:
            path = self._path / f"{_TEMPORARY_PREFIX}{secrets.token_hex(8)}{_TEMPORARY_SUFFIX}"
            with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                # Between its making and its locking a clean-up may have taken it for a leftover: then make another.
                if not lock(file.fileno()) or not is_at(path, file.fileno()):
                    continue
                try:
                    os.fchmod(file.fileno(), 0o600)
                    yield path, file
                finally:
                    path.unlink(missing_ok=True)
                return

    def _publish(self, temporary: Path, target: Path) -> None:
        try:
            self._link(temporary, target)
        except OSError as error:
            if error.errno not in _CANNOT_LINK:
                raise
            if os.path.lexists(target):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from error
            temporary.rename(target)

    def _settle(self, target: Path, length: int) -> None:
        """Make the published name durable and look that the whole of the source is there."""
        sync_directory(self._path)
        arrived = target.stat().st_size
        if arrived != length:
            raise StoreError(f"{target.name} came to {arrived:,} bytes in {self._path} where {length:,} were put")


@contextmanager
def _taken_back_on_failure(target: Path) -> Iterator[None]:
    """Of a put that failed after publishing nothing stays: its caller will say that nothing was published."""
    try:
        yield
    except (OSError, StoreError):
        target.unlink(missing_ok=True)
        raise


@contextmanager
def _open(source: Path) -> Iterator[BinaryIO]:
    if not source.is_file():
        raise StoreError(f"cannot put {source}: there is no such file")
    with closing(source.open("rb")) as file:
        yield file


def _describe(path: Path) -> StoredObject:
    found = path.stat()
    return StoredObject(path.name, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))


def _describe_if_there(path: Path) -> StoredObject | None:
    """None for what is absent (a delete may have come between) and for what is not a file."""
    try:
        return _describe(path) if S_ISREG(path.stat().st_mode) else None
    except FileNotFoundError:
        return None


def _is_temporary(name: str) -> bool:
    return name.startswith(_TEMPORARY_PREFIX) and name.endswith(_TEMPORARY_SUFFIX)


def _remove_unless_locked(path: Path) -> bool:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return False
    with file:
        # Whoever gets the lock last sees that the name is gone: a temporary is never removed under a living put.
        if not lock(file.fileno()) or not is_at(path, file.fileno()):
            return False
        path.unlink()
        return True
