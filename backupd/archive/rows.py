"""The layout of a table file: a JSON array with one row a line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from backupd.errors import ArchiveError

_OPENING = b"[\n"
_CLOSING = b"\n]\n"


def row_blocks(chunks: Iterable[bytes], file: str) -> Iterator[bytes]:
    r"""Cut a table file into blocks of whole rows joined by `,\n`, without the brackets; none for an empty table.

    Splitting a block by `,\n` gives its rows: a row has no line break, so nothing else in it can look like that.
    A block is about as long as a chunk, or as long as one row if that is wider. Raises ArchiveError, naming `file`,
    when the brackets are not where they should be; that the rows are JSON is not checked.
    """
    lines = _whole_lines(chunks)
    text = next(lines, b"")
    if not text.startswith(_OPENING):
        raise ArchiveError(f"{file} does not start with a line that holds only [")
    text, is_first = text[len(_OPENING) :], True
    for following in lines:
        if text.endswith(b",\n"):
            yield text[:-2]
            text, is_first = following, False
        elif not text or following == _CLOSING[1:]:
            text += following
        else:
            raise ArchiveError(f"{file} lacks a comma between two rows")
    if is_first and text == _CLOSING[1:]:
        return
    if not text.endswith(_CLOSING) or text.endswith(b"," + _CLOSING):
        raise ArchiveError(f"{file} does not end with a row and a line that holds only ]")
    yield text[: -len(_CLOSING)]


def _whole_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes cut after line breaks only; a last line without one comes as it is."""
    waiting: list[bytes] = []
    for chunk in chunks:
        end = chunk.rfind(b"\n") + 1
        if not end:
            waiting.append(chunk)
            continue
        head, rest = chunk[:end], chunk[end:]
        if waiting:
            head = b"".join((*waiting, head))
        waiting = [rest] if rest else []
        yield head
    if waiting:
        yield b"".join(waiting)
