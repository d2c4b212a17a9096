"""The body of a write: checked for its shape, handed on as the text it came as."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from backupd.sandbox.answers import Refusal


@dataclass(frozen=True, slots=True)
class Payload:
    """Rows to write. `text` is a JSON array; no number in it was ever decoded."""

    text: str
    rows: int
    columns: tuple[str, ...]


def read_payload(body: bytes, columns: tuple[str, ...] | None) -> Payload:
    """Check a body. Raises `Refusal` with `PGRST102` when it is not JSON, or its rows do not match."""
    text, parsed = _parsed(body)
    if isinstance(parsed, dict):
        return Payload(f"[{text}]", 1, columns if columns is not None else tuple(parsed))
    if not isinstance(parsed, list) or not all(isinstance(row, dict) for row in parsed):
        raise _invalid()
    return Payload(text, len(parsed), _uniform_columns(parsed) if columns is None else columns)


def named_arguments(method: str, query_string: str, body: bytes) -> tuple[tuple[str, ...], str]:
    """The names of a function's arguments and the JSON object that holds them."""
    if method != "POST":
        given = dict(parse_qsl(query_string, keep_blank_values=True))
        return tuple(given), json.dumps(given)
    text, parsed = _parsed(body or b"{}")
    if not isinstance(parsed, dict):
        raise _invalid()
    return tuple(parsed), text


def _parsed(body: bytes) -> tuple[str, Any]:
    try:
        text = body.decode()
        return text, json.loads(text, parse_float=str, parse_int=str)
    except ValueError as error:
        raise _invalid() from error


def _uniform_columns(rows: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    if not rows:
        return ()
    names = rows[0].keys()
    if any(row.keys() != names for row in rows):
        raise Refusal(400, "PGRST102", "All object keys must match")
    return tuple(names)


def _invalid() -> Refusal:
    return Refusal(400, "PGRST102", "Empty or invalid json")
