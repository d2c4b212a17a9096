"""The members of a row as raw text: looked at by name, never decoded."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import msgspec

from backupd.errors import ArchiveError

_fast = msgspec.json.Decoder(dict[str, msgspec.Raw])
_exact = json.JSONDecoder(parse_float=str, parse_int=str)
_WHITE_SPACE = " \t\n\r"
_SHOWN_CHARACTERS = 80
NULL = b"null"


def members(row: bytes | memoryview | msgspec.Raw) -> Mapping[str, bytes]:
    """The members of the JSON object `row`, each value as its exact text. Raises ArchiveError when it is none."""
    try:
        return {name: bytes(value) for name, value in _fast.decode(row).items()}
    except (msgspec.DecodeError, RecursionError):
        # msgspec refuses what a json column may hold: half a surrogate pair, a number of 400 digits.
        return _members_slowly(bytes(row))


def rebuilt(row: bytes | msgspec.Raw, columns: Sequence[str]) -> bytes:
    """The row with these members alone, in this order; one it does not have is left out."""
    found = members(row)
    pairs = (json.dumps(name).encode() + b":" + found[name] for name in columns if name in found)
    return b"{" + b",".join(pairs) + b"}"


def described(row: bytes, columns: Sequence[str]) -> str:
    """A row for a person: the values of `columns`, or its beginning where there are none."""
    if not columns:
        return shortened(row)
    found = members(row)
    return ", ".join(f"{name}={shortened(found.get(name, b''))}" for name in columns)


def shortened(text: bytes) -> str:
    """Text on one line, and never long."""
    shown = " ".join(text[: 4 * _SHOWN_CHARACTERS].decode(errors="replace").split())
    return shown if len(shown) <= _SHOWN_CHARACTERS else f"{shown[: _SHOWN_CHARACTERS - 1]}…"


def _members_slowly(row: bytes) -> dict[str, bytes]:
    try:
        return _scanned(row.decode())
    except (ValueError, IndexError, RecursionError) as error:
        raise ArchiveError(f"a row is not a JSON object that can be taken apart: {shortened(row)}") from error


def _scanned(text: str) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    at = _after(text, _skip(text, 0), "{")
    while text[at] != "}":
        if found:
            at = _after(text, at, ",")
        name, at = _exact.raw_decode(text, at)
        start = _after(text, _skip(text, at), ":")
        _, end = _exact.raw_decode(text, start)
        found[str(name)] = text[start:end].encode()
        at = _skip(text, end)
    return found


def _after(text: str, at: int, token: str) -> int:
    if text[at] != token:
        raise ValueError(text)
    return _skip(text, at + 1)


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _WHITE_SPACE:
        at += 1
    return at
