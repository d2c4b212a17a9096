"""How far a restore has come, on disk: what an interrupted one goes on from."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from backupd.errors import BackupdError
from backupd.model import TableName

_PRIVATE_FILE = 0o600


@dataclass(slots=True)
class TableRecord:
    """What is known of one table: `rows` of the archive's that are dealt with, from the first; those `refused`.

    `loaded` is whether its first pass is through, `filled_in` its second.
    """

    rows: int = 0
    refused: dict[int, str] = field(default_factory=dict)
    loaded: bool = False
    filled_in: bool = False


class Journal:
    """One line a step, flushed at once: after a crash of this process it is whole but for its last line.

    It begins with what restore it is of; one of another restore at the same place is begun anew. What it says may be
    behind the target, never ahead of it, as long as the target is not emptied meanwhile. Raises BackupdError when the
    file cannot be written.
    """

    def __init__(self, path: Path, restore: Mapping[str, str]) -> None:
        self.path = path
        self.tables: dict[TableName, TableRecord] = {}
        self.always_identity: set[tuple[TableName, str]] = set()
        self._restore = dict(restore)
        self._file: TextIO | None = None
        for line in self._lines():
            self._learn(line)

    def __enter__(self) -> Self:
        """Open the file for writing."""
        with self._in_words():
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | (os.O_APPEND if self.tables or self.always_identity else os.O_TRUNC)
            self._file = os.fdopen(os.open(self.path, flags, _PRIVATE_FILE), "w", encoding="utf-8")
        # A line of its own in case the last one of a killed run was not finished.
        self._write({"restore": self._restore}, before="\n" if self.tables else "")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._file is not None:
            self._file.close()

    def of(self, name: TableName) -> TableRecord:
        """The record of one table."""
        return self.tables.setdefault(name, TableRecord())

    @property
    def begun(self) -> frozenset[TableName]:
        """Tables that were written to."""
        return frozenset(self.tables)

    def forget(self, name: TableName) -> None:
        """Begin a table anew: the target has less of it than this journal knows of."""
        self.tables[name] = TableRecord()
        self._write({**_named(name), "forgotten": True})

    def dealt_with(self, name: TableName, rows: int) -> None:
        """Note that the first `rows` rows of a table are written, or refused for good."""
        self.of(name).rows = rows
        self._write({**_named(name), "rows": rows})

    def refused(self, name: TableName, number: int, why: str) -> None:
        """Note that the row of this number, from 0, was not taken."""
        self.of(name).refused[number] = why
        self._write({**_named(name), "refused": [number, why]})

    def loaded(self, name: TableName) -> None:
        """Note that the first pass over a table is through."""
        self.of(name).loaded = True
        self._write({**_named(name), "loaded": True})

    def filled_in(self, name: TableName) -> None:
        """Note that the second pass over a table is through."""
        self.of(name).filled_in = True
        self._write({**_named(name), "filled_in": True})

    def found_always_identity(self, name: TableName, column: str) -> None:
        """Note a column that has to be made GENERATED ALWAYS again in the end."""
        self.always_identity.add((name, column))
        self._write({**_named(name), "always_identity": column})

    def remove(self) -> None:
        """The restore has come to its end: there is nothing to go on from."""
        with self._in_words():
            self.path.unlink(missing_ok=True)

    def _lines(self) -> Iterator[dict[str, Any]]:
        """The lines of this restore; none when the file is of another one."""
        with self._in_words():
            text = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        lines = [line for line in map(_parsed, text.splitlines()) if line is not None]
        if lines and lines[0].get("restore") == self._restore:
            yield from (line for line in lines if "table" in line)

    def _learn(self, line: dict[str, Any]) -> None:
        name = TableName(line["schema"], line["table"])
        if "forgotten" in line:
            self.tables[name] = TableRecord()
            return
        if "always_identity" in line:
            self.always_identity.add((name, line["always_identity"]))
            return
        record = self.of(name)
        record.rows = line.get("rows", record.rows)
        record.loaded = line.get("loaded", record.loaded)
        record.filled_in = line.get("filled_in", record.filled_in)
        if "refused" in line:
            number, why = line["refused"]
            record.refused[number] = why

    def _write(self, line: Mapping[str, object], *, before: str = "") -> None:
        if self._file is None:
            raise RuntimeError("the journal is not open")
        with self._in_words():
            self._file.write(before + json.dumps(line) + "\n")
            self._file.flush()

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise BackupdError(
                f"the restore's journal {self.path} cannot be used: {error.strerror}",
                hint="It keeps how far the restore has come. See to the space and the owner of the state directory.",
            ) from error


def _named(name: TableName) -> dict[str, object]:
    return {"schema": name.schema, "table": name.name}


def _parsed(line: str) -> dict[str, Any] | None:
    """A line; None for the one that a killed process did not finish."""
    try:
        document = json.loads(line)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None
