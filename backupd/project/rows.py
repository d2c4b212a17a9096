"""Cut a page into rows without decoding a single value.

A page is the JSON array a server answered. Each row leaves here as the exact text the server sent, so no digit of a
`numeric` and no spelling inside a `json` column is ever touched.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import msgspec

Row = bytes | msgspec.Raw
"""The exact JSON text of one row. A `msgspec.Raw` is a view that keeps its page alive."""

_raw_rows = msgspec.json.Decoder(list[msgspec.Raw])
_raw_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_exact_json = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str)
_WHITE_SPACE = " \t\n\r"
_PHYSICAL_POSITION = re.compile(rb'\{\s*"tableoid"\s*:\s*"?(\d+)"?\s*,\s*"ctid"\s*:\s*"(\(\d+,\d+\))"\s*,?\s*')


class MalformedPage(ValueError):
    """The body is not a whole JSON array of objects: cut off, garbled, or not JSON at all."""


class NotALiteral(ValueError):
    """A key value whose JSON text is not how PostgreSQL writes it in a filter: an array or a composite."""


def split_rows(body: bytes) -> Sequence[Row]:
    """Return the text of each object in the JSON array `body`.

    Raises MalformedPage when `body` is anything but a whole array of objects.
    """
    try:
        rows: Sequence[Row] = _raw_rows.decode(body)
    except (msgspec.DecodeError, RecursionError):
        # msgspec refuses what PostgreSQL may send: a lone surrogate in a json column, a number of 400 digits.
        rows = _split_slowly(body)
    # Looking at two is enough here: the archive is read back, and that looks at every row.
    if rows and not (bytes(rows[0])[:1] == bytes(rows[-1])[:1] == b"{"):
        message = "the array holds something else than objects"
        raise MalformedPage(message)
    return rows


def _split_slowly(body: bytes) -> list[Row]:
    try:
        text = body.decode()
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
    except (ValueError, RecursionError) as error:
        if isinstance(error, MalformedPage):
            raise
        raise MalformedPage(_not_an_array(body[:80].decode(errors="replace"))) from error
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

    Raises NotALiteral for arrays, composites and nulls; KeyError when a column is not in the row.
    """
    try:
        members = _raw_members.decode(row)
        return tuple(_literal(bytes(members[column])) for column in columns)
    except (msgspec.DecodeError, RecursionError):
        slowly = _exact_json.decode(bytes(row).decode())
        return tuple(_plain_literal(slowly[column]) for column in columns)


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
    if not isinstance(value, str):
        raise NotALiteral(repr(value)[:40])
    return value


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
