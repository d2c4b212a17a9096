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
    copy,
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
_CANNOT_MOVE = {errno.EXDEV, errno.EPERM, errno.EACCES}


class DirectoryStore:
    """Archives as plain files of one directory, made with mode 0700; the files are 0600 whatever the umask.

    A put first brings the source to a temporary name here (`.put-….part`): by renaming it, so that not a byte is
    copied, or by copying it where it is on another file system. At no moment are source and object one file with two
    names, so that whoever writes to the source's path after a crash does not write into the object. The temporary is
    locked while its put lives; one that nobody has locked is a leftover. A hard link then gives it its final name,
    which cannot replace a name that exists.

    `link` makes that hard link. It is a parameter for the sake of file systems that have none, where a rename publishes
    after a look that the name is free; one run at a time is what makes that enough.
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
                with self._brought(source, file) as temporary, self._published(temporary, target, length):
                    source.unlink(missing_ok=True)
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

    @contextmanager
    def _brought(self, source: Path, file: BinaryIO) -> Iterator[Path]:
        """The source, private and on the disk, under a temporary name of the store; afterwards that name is gone.

        When the block fails the source is where it was.
        """
        path = self._path / f"{_TEMPORARY_PREFIX}{secrets.token_hex(8)}{_TEMPORARY_SUFFIX}"
        if _moved(source, file, path):
            with _moved_back_on_failure(path, source):
                _make_private_and_durable(file)
                yield path
            path.unlink(missing_ok=True)
        else:
            with _copied(file, path):
                yield path

    @contextmanager
    def _published(self, temporary: Path, target: Path, length: int) -> Iterator[None]:
        """The temporary under its final name, durable and of this length.

        When the block fails the name is free again: whoever called will say that nothing was published.
        """
        self._name(temporary, target)
        try:
            sync_directory(self._path)
            _check_length(target, length)
            yield
        except BaseException:
            if temporary.exists():
                target.unlink(missing_ok=True)
            else:
                target.rename(temporary)
            raise

    def _name(self, temporary: Path, target: Path) -> None:
        try:
            self._link(temporary, target)
        except OSError as error:
            if error.errno not in _CANNOT_LINK:
                raise
            if os.path.lexists(target):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from error
            temporary.rename(target)


def _moved(source: Path, file: BinaryIO, path: Path) -> bool:
    """Rename the source to `path`, unless it has another name, is held by someone, or lies on another file system.

    It is locked first, so that at no moment it is a temporary that nobody has locked.
    """
    if source.is_symlink() or os.fstat(file.fileno()).st_nlink != 1 or not lock(file.fileno()):
        return False
    try:
        source.rename(path)
    except OSError as error:
        if error.errno not in _CANNOT_MOVE:
            raise
        return False
    return True


@contextmanager
def _moved_back_on_failure(path: Path, source: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        path.rename(source)
        raise


@contextmanager
def _copied(source: BinaryIO, path: Path) -> Iterator[None]:
    """A private and durable copy of the source at `path`, locked; gone afterwards under that name."""
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        if not lock(file.fileno()) or not is_at(path, file.fileno()):
            # A clean-up came between its making and its locking and took it for a leftover.
            raise StoreError("another backupd is clearing the store of leftovers", hint="try again")
        try:
            copy(source, file)
            _make_private_and_durable(file)
            yield
        finally:
            path.unlink(missing_ok=True)


def _check_length(target: Path, length: int) -> None:
    arrived = target.stat().st_size
    if arrived != length:
        raise StoreError(f"{target} came to {arrived:,} bytes where {length:,} were put")


def _make_private_and_durable(file: BinaryIO) -> None:
    os.fchmod(file.fileno(), 0o600)
    os.fsync(file.fileno())


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
