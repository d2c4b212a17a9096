"""Untrusted JSON, read field by field: every refusal names the member and the field."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeVar

from backupd.errors import ArchiveError

LARGEST_NUMBER = 2**63 - 1
"""No count or size is larger: what SQLite and PostgreSQL can hold."""

_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}")

Choice = TypeVar("Choice", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Fields:
    """One JSON object of `member`, found at `path` (`tables[3].columns[0].`, empty at the top).

    Every method returns the field with that name and raises `ArchiveError` when it is missing or not what it should
    be. Fields nobody asks for are left alone: a later backupd may add some within the same format.
    """

    member: str
    values: dict[str, object]
    path: str = ""

    def refused(self, name: str, problem: str) -> ArchiveError:
        """The error that says what is wrong with one field."""
        return ArchiveError(f"{self.member}: {self.path}{name} {problem}")

    def has(self, name: str) -> bool:
        """Whether the field is there and not null."""
        return self.values.get(name) is not None

    def text(self, name: str, *, empty: bool = True) -> str:
        """A string; with `empty=False` one that says something."""
        value = self._get(name)
        if not isinstance(value, str):
            raise self._unexpected(name, value, "a string")
        if not (value or empty):
            raise self.refused(name, "is empty")
        return value

    def optional_text(self, name: str) -> str | None:
        """A string, or None where it is null or missing."""
        return self.text(name) if self.has(name) else None

    def matching(self, name: str, pattern: re.Pattern[str], wanted: str) -> str:
        """A string that `pattern` matches as a whole; `wanted` describes it to a person."""
        value = self.text(name)
        if not pattern.fullmatch(value):
            raise self._unexpected(name, value, wanted)
        return value

    def sha256(self, name: str) -> str:
        """A checksum: 64 lower-case hexadecimal digits."""
        return self.matching(name, _SHA256, "64 hexadecimal digits")

    def number(self, name: str) -> int:
        """A whole number from 0 to `LARGEST_NUMBER`."""
        value = self._get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= LARGEST_NUMBER:
            raise self._unexpected(name, value, f"a whole number from 0 to {LARGEST_NUMBER}")
        return value

    def flag(self, name: str) -> bool:
        """True or false."""
        value = self._get(name)
        if not isinstance(value, bool):
            raise self._unexpected(name, value, "true or false")
        return value

    def instant(self, name: str) -> datetime:
        """An instant in UTC."""
        value = self.matching(name, _INSTANT, "an instant like 2026-11-22T15:24:29Z")
        try:
            return datetime.fromisoformat(value)
        except ValueError as error:
            raise self._unexpected(name, value, "an instant that exists") from error

    def choice(self, name: str, choices: type[Choice]) -> Choice:
        """One of the words of an enumeration."""
        value = self.text(name)
        try:
            return choices(value)
        except ValueError as error:
            raise self._unexpected(name, value, "one of " + ", ".join(choices)) from error

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings."""
        values = self._list(name)
        for index, value in enumerate(values):
            if not isinstance(value, str):
                raise self._unexpected(f"{name}[{index}]", value, "a string")
        return tuple(str(value) for value in values)

    def child(self, name: str) -> Fields:
        """The object in this field."""
        return self._object(name, self._get(name))

    def children(self, name: str) -> Iterator[Fields]:
        """The objects of the list in this field, one after another."""
        for index, value in enumerate(self._list(name)):
            yield self._object(f"{name}[{index}]", value)

    def _get(self, name: str) -> object:
        if name not in self.values:
            raise self.refused(name, "is missing")
        return self.values[name]

    def _list(self, name: str) -> list[object]:
        value = self._get(name)
        if not isinstance(value, list):
            raise self._unexpected(name, value, "a list")
        return value

    def _object(self, name: str, value: object) -> Fields:
        if not isinstance(value, dict):
            raise self._unexpected(name, value, "an object")
        return Fields(self.member, value, f"{self.path}{name}.")

    def _unexpected(self, name: str, value: object, wanted: str) -> ArchiveError:
        return self.refused(name, f"is {shortened(value)}; expected {wanted}")


def shortened(value: object) -> str:
    """What was found, safe to print and never long."""
    if isinstance(value, (list, dict)):
        return "a list" if isinstance(value, list) else "an object"
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
