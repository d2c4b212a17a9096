"""The layout of a table file: a JSON array with one row a line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from backupd.errors import ArchiveError

SEPARATOR = b",\n"
"""Stands between two rows and nowhere else: a row has no line break."""

_OPENING = b"[\n"
_CLOSING = b"\n]\n"
_EMPTY = b"[\n]\n"


def row_blocks(chunks: Iterable[bytes], file: str) -> Iterator[bytes]:
    r"""Cut a table file into blocks of whole rows joined by `SEPARATOR`, without the brackets; none for an empty table.

    A block is about as long as a chunk, or as long as one row if that is wider. Raises ArchiveError, naming `file`,
    when the brackets are not where they should be; that the rows are JSON is not checked.
    """
    is_first = True
    for text, is_last in _cut_between_rows(chunks):
        if is_first and not text.startswith(_OPENING):
            raise ArchiveError(f"{file} does not start with a line that holds only [")
        if is_first and text == _EMPTY:
            return
        if is_last and not text.endswith(_CLOSING):
            raise ArchiveError(f"{file} does not end with a row and a line that holds only ]")
        yield text[len(_OPENING) if is_first else 0 : -len(_CLOSING) if is_last else None]
        is_first = False


def _cut_between_rows(chunks: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    """The same bytes cut at separators, which are left out, and whether this is the last piece; at least one."""
    waiting: list[bytes] = []
    for chunk in _separators_whole(chunks):
        end = chunk.rfind(SEPARATOR)
        if end < 0:
            waiting.append(chunk)
            continue
        waiting.append(chunk[:end])
        text = b"".join(waiting)
        waiting = [chunk[end + len(SEPARATOR) :]]
        yield text, False
        del text  # a row may be wide: not two at a time
    yield b"".join(waiting), True


def _separators_whole(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes cut elsewhere where a cut would fall into a separator."""
    comma = b""
    for chunk in chunks:
        text = comma + chunk
        comma = text[-1:] if text.endswith(SEPARATOR[:1]) else b""
        yield text[:-1] if comma else text
    yield comma
