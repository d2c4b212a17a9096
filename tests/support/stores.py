"""A store in memory that keeps `Store`'s contract, and files to put into stores."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from backupd.errors import StoreError
from backupd.model import StoredObject
from backupd.store import check_name


class MemoryStore:
    """Objects in a dictionary. Passes the contract suite, so that a test that uses it says something of real stores."""

    url = "memory://"

    def __init__(self) -> None:
        self._objects: dict[str, tuple[bytes, datetime]] = {}
        self._lock = threading.Lock()

    def put(self, name: str, source: Path) -> StoredObject:
        """See `Store.put`."""
        check_name(name)
        try:
            content = source.read_bytes()
        except OSError as error:
            raise StoreError(f"cannot put {source}: there is no such file") from error
        with self._lock:
            if self._objects.setdefault(name, (content, datetime.now(UTC)))[0] != content:
                raise StoreError(f"{self.url} already has another object named {name}")
        source.unlink()
        return self._describe(name)

    def open(self, name: str) -> BinaryIO:
        """See `Store.open`."""
        check_name(name)
        if name not in self._objects:
            raise StoreError(f"{self.url} has no object named {name}")
        return io.BytesIO(self._objects[name][0])

    def list(self) -> Iterator[StoredObject]:
        """See `Store.list`."""
        return iter([self._describe(name) for name in sorted(self._objects)])

    def delete(self, name: str) -> None:
        """See `Store.delete`."""
        check_name(name)
        self._objects.pop(name, None)

    def size(self, name: str) -> int | None:
        """See `Store.size`."""
        check_name(name)
        return len(self._objects[name][0]) if name in self._objects else None

    def free_bytes(self) -> int | None:
        """See `Store.free_bytes`."""
        return None

    def presigned_url(self, name: str, expires_in_seconds: int) -> str | None:  # noqa: ARG002 the protocol's
        """See `Store.presigned_url`."""
        check_name(name)
        return None

    def remove_leftovers(self) -> tuple[str, ...]:
        """See `Store.remove_leftovers`: there are never any."""
        return ()

    def _describe(self, name: str) -> StoredObject:
        content, modified_at = self._objects[name]
        return StoredObject(name, len(content), modified_at)


def file_with(directory: Path, content: bytes, name: str = "source") -> Path:
    """A new file in `directory` with this content, ready to be put."""
    path = directory / name
    path.write_bytes(content)
    return path
