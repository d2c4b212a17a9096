"""What every store promises. Each method's text is a contract; `tests/contract/test_store.py` holds stores to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from backupd.model import StoredObject


class Store(Protocol):
    """A flat set of named, finished, never changing objects.

    Every method may raise `StoreError` with a message for a person; none lets an `OSError` or a library's own exception
    through, the readers that `open` gives included. Names are checked by `check_name` in every method. Methods
    may be called from several threads.
    """

    @property
    def url(self) -> str:
        """What this store is, for people and logs. Holds no credentials."""
        ...

    def put(self, name: str, source: Path) -> StoredObject:
        """Put the file `source` into the store under `name`: atomic, durable, never overwriting.

        At every instant, a crash included, the object is at `name` whole or not there at all. When `put` returns, the
        object has the length of `source` and survives a power cut.

        An object that is already at `name` stays as it is. When it is byte for byte the same as `source`, the put
        succeeds, so that a put that was interrupted can be repeated; otherwise it is a `StoreError`.

        `source` must not change meanwhile. On success it is consumed: gone, moved where that saves copying it. On
        failure it is left where it is, and nothing that this put brought stays at `name`. A crash may take it along.
        """
        ...

    def open(self, name: str) -> BinaryIO:
        """Open the object for reading. The reader is seekable, and only what is read is fetched.

        The caller closes it. An absent object is a `StoreError` that says so.
        """
        ...

    def list(self) -> Iterator[StoredObject]:
        """Every finished object, sorted by name. Never a temporary, never a name that `open` would refuse."""
        ...

    def delete(self, name: str) -> None:
        """Delete the object, durably. Deleting what is absent is not an error."""
        ...

    def size(self, name: str) -> int | None:
        """The object's length in bytes, None when it is absent."""
        ...

    def free_bytes(self) -> int | None:
        """How many bytes can still be put, None where there is no such limit."""
        ...

    def presigned_url(self, name: str, expires_in_seconds: int) -> str | None:
        """A URL that lets anyone download the object for so long, None where the store has no such thing."""
        ...

    def remove_leftovers(self) -> tuple[str, ...]:
        """Remove what interrupted puts left behind and say what was removed.

        What a put that is still alive, in this process or another, is writing now is never touched.
        """
        ...
