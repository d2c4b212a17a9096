"""The layout of a table file: a JSON array with one row a line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from backupd.errors import ArchiveError

SEPARATOR = b",\n"
"""Stands between two rows and nowhere else: a row has no line break."""

_OPENING = b"[\n"
_CLOSING = b"\n]\n"


def row_blocks(chunks: Iterable[bytes], file: str) -> Iterator[bytes]:
    r"""Cut a table file into blocks of whole rows joined by `SEPARATOR`, without the brackets; none for an empty table.

    A block is about as long as a chunk, or as long as one row if that is wider. Raises ArchiveError, naming `file`,
    when the brackets are not where they should be; that the rows are JSON is not checked.
    """
    waiting: list[bytes] = []
    is_empty = True
    for text in _after_opening(chunks, file):
        end = text.rfind(SEPARATOR)
        if end < 0:
            waiting.append(text)
            continue
        waiting.append(text[:end])
        block = b"".join(waiting)
        waiting = [text[end + len(SEPARATOR) :]]
        yield block
        del block  # a row may be wide: none is kept while the next comes in
        is_empty = False
    last = b"".join(waiting)
    waiting.clear()
    if is_empty and last == _CLOSING[1:]:
        return
    if not last.endswith(_CLOSING):
        raise ArchiveError(f"{file} does not end with a row and a line that holds only ]")
    yield last[: -len(_CLOSING)]


def _after_opening(chunks: Iterable[bytes], file: str) -> Iterator[bytes]:
    """What follows the opening bracket, with every separator in one piece."""
    texts = _separators_whole(chunks)
    start = b""
    while len(start) < len(_OPENING) and (text := next(texts, None)) is not None:
        start += text
    if not start.startswith(_OPENING):
        raise ArchiveError(f"{file} does not start with a line that holds only [")
    yield start[len(_OPENING) :]
    yield from texts


def _separators_whole(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes cut elsewhere where a cut would fall into a separator."""
    comma = b""
    for chunk in chunks:
        text = comma + chunk
        comma = text[-1:] if text.endswith(SEPARATOR[:1]) else b""
        yield text[:-1] if comma else text
    yield comma
