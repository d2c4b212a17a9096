"""Which bytes of an archive somebody wants: the `Range` header, read as RFC 9110 says. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes from `start` up to and without `end`, of `size` in all."""

    start: int
    end: int
    size: int

    @property
    def length(self) -> int:
        """How many bytes."""
        return self.end - self.start

    @property
    def is_whole(self) -> bool:
        """Whether it is everything."""
        return self.length == self.size

    @property
    def content_range(self) -> str:
        """The header of a partial answer."""
        return f"bytes {self.start}-{self.end - 1}/{self.size}"


class Unsatisfiable(ValueError):
    """There are no such bytes."""


def read_range(header: str | None, size: int) -> Span:
    """The span that is asked for: everything without a header, and where it asks for several or makes no sense.

    Raises Unsatisfiable when it begins after the end.
    """
    found = _RANGE.fullmatch(header.strip()) if header else None
    if found is None or found.groups() == ("", ""):
        return Span(0, size, size)
    first, last = found.groups()
    if not first:
        start, end = max(size - int(last), 0), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return Span(0, size, size)
    if start >= size or start >= end:
        raise Unsatisfiable
    return Span(start, end, size)
