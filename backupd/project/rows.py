"""Cut a page into rows without decoding a single value.

A page is the JSON array a server answered. Each row leaves here as the exact text the server sent, so no digit of a
`numeric` and no spelling inside a `json` column is ever touched.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Sequence
from typing import NoReturn

import msgspec

from backupd.errors import TableUnreadable

Row = bytes | msgspec.Raw
"""The exact JSON text of one row. A `msgspec.Raw` is a view that keeps its page alive."""

_raw_rows = msgspec.json.Decoder(list[msgspec.Raw])
_raw_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_OPENING_BRACE = ord("{")
_DECODED_BYTES = 1 << 20
_WHITE_SPACE = " \t\n\r"
_PHYSICAL_POSITION = re.compile(rb'\{\s*"tableoid"\s*:\s*"?(\d+)"?\s*,\s*"ctid"\s*:\s*"(\(\d+,\d+\))"\s*,?\s*')


class MalformedPage(ValueError):
    """The body is not a whole JSON array of objects: cut off, garbled, or not JSON at all."""


class NotALiteral(ValueError):
    """A key value whose JSON text is not how PostgreSQL writes it in a filter: an array, a composite, a null."""


class TooDeep(TableUnreadable):
    """A value nests so deeply that nobody can check it: msgspec and Python both stop at about 1,000 levels."""


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_exact_json = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=_refuse_constant)


def split_rows(body: bytes | bytearray) -> Sequence[Row]:
    """Return the text of each object in the JSON array `body`.

    Raises MalformedPage when `body` is anything but a whole array of objects, TooDeep when it may be one but cannot
    be checked.
    """
    _require_utf8(body)
    try:
        rows: Sequence[Row] = _raw_rows.decode(body)
    except (msgspec.DecodeError, RecursionError):
        # msgspec refuses what PostgreSQL may send: a lone surrogate in a json column, a number of 400 digits.
        rows = _split_slowly(body)
    # Looking at two is enough here: the archive is read back, and that looks at every row.
    if rows and not memoryview(rows[0])[0] == memoryview(rows[-1])[0] == _OPENING_BRACE:
        raise MalformedPage("the array holds something else than objects")
    return rows


def _require_utf8(body: bytes | bytearray) -> None:
    """In pieces: the text of a page takes up to four times its bytes."""
    if body.isascii():
        return
    decode = codecs.getincrementaldecoder("utf-8")().decode
    try:
        for start in range(0, len(body), _DECODED_BYTES):
            decode(memoryview(body)[start : start + _DECODED_BYTES])
        decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise MalformedPage("the body is not UTF-8") from error


def _split_slowly(body: bytes | bytearray) -> list[Row]:
    try:
        return _split_text(body.decode())
    except RecursionError as error:
        raise TooDeep("a value in a json column nests too deeply to be checked") from error
    except MalformedPage:
        raise
    except ValueError as error:
        raise MalformedPage(_not_an_array(body[:80].decode(errors="replace"))) from error


def _split_text(text: str) -> list[Row]:
    position = _skip_white_space(text, 0)
    if text[position : position + 1] != "[":
        raise MalformedPage(_not_an_array(text))
    position = _skip_white_space(text, position + 1)
    rows: list[Row] = []
    while text[position : position + 1] != "]":
        if rows:
            if text[position : position + 1] != ",":
                raise MalformedPage(_not_an_array(text))
            position = _skip_white_space(text, position + 1)
        _, end = _exact_json.raw_decode(text, position)
        rows.append(text[position:end].encode())
        position = _skip_white_space(text, end)
    if text[position + 1 :].strip(_WHITE_SPACE):
        raise MalformedPage(_not_an_array(text))
    return rows


def _skip_white_space(text: str, position: int) -> int:
    while position < len(text) and text[position] in _WHITE_SPACE:
        position += 1
    return position


def _not_an_array(text: str) -> str:
    start = " ".join(text[:60].split())
    if start.startswith("["):
        return "the JSON array is cut off or garbled"
    return f"expected a JSON array, got {start!r}"


def key_of(row: Row, columns: Sequence[str]) -> tuple[str, ...]:
    """Return the values of `columns` in `row` as PostgreSQL literals, with every digit.

    Raises NotALiteral for arrays, composites and nulls; KeyError when a column is not in the row; TooDeep.
    """
    try:
        members = _raw_members.decode(row)
        return tuple(_literal(bytes(members[column])) for column in columns)
    except (msgspec.DecodeError, RecursionError):
        return _key_of_slowly(bytes(row), columns)


def _key_of_slowly(row: bytes, columns: Sequence[str]) -> tuple[str, ...]:
    try:
        members = _exact_json.decode(row.decode())
    except RecursionError as error:
        raise TooDeep("a value in a json column nests too deeply to be checked") from error
    return tuple(_plain_literal(members[column]) for column in columns)


def _literal(text: bytes) -> str:
    first = text[:1]
    if first == b'"':
        return msgspec.json.decode(text, type=str)
    if first in (b"[", b"{", b"n"):
        raise NotALiteral(text[:40].decode(errors="replace"))
    return text.decode()


def _plain_literal(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str) or not _is_whole_text(value):
        raise NotALiteral(repr(value)[:40])
    return value


def _is_whole_text(value: str) -> bool:
    """Whether it can be sent: half a surrogate pair cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def take_position(row: Row) -> tuple[bytes, tuple[str, str]]:
    """Take the leading `tableoid` and `ctid` off a row read with `select=tableoid,ctid,*`.

    Returns the row as it would have come without them, and the two values. Raises MalformedPage when they are not
    there.
    """
    text = bytes(row)
    match = _PHYSICAL_POSITION.match(text)
    if match is None:
        message = "the row does not begin with its physical position"
        raise MalformedPage(message)
    heap, position = match.groups()
    return b"{" + text[match.end() :], (heap.decode(), position.decode())
