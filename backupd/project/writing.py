"""Rows into a project: as they came out, many at a time, and never twice."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
from postgrest import ReturnMethod

from backupd.errors import ProjectError, ProjectUnreachable, TableUnreadable
from backupd.model import TableName
from backupd.project.answers import StatementTimeout, Transient, error_of
from backupd.project.connection import LARGEST_ANSWER_BYTES, Connection
from backupd.project.paging import quote_name

_WRITTEN = frozenset({200, 201, 204})
_TOO_LARGE = 413


class RowsRefused(ProjectError):
    """The database refused to write these rows, all of them: what is sent together is written together or not at all.

    `code` is its SQLSTATE or PostgREST's own code, `details` what it says beside the message.
    """

    def __init__(self, message: str, *, code: str, details: str = "", hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.details = details


class TooMuchAtOnce(ProjectError):
    """The server has not the time or the room for so many rows in one request. None of them was written."""


class Unanswered(ProjectUnreachable):
    """No answer came, and rows without a key cannot simply be sent again: they may be there or not."""


@dataclass(frozen=True, slots=True)
class Insertion:
    """Where rows go. Of each row only `columns` are written, the others get their defaults.

    With a `key` a row that is there already is left as it is, or overwritten with `merge`; so sending twice does no
    harm. Without a key every row sent is one more row.
    """

    table: TableName
    columns: tuple[str, ...]
    key: tuple[str, ...] = ()
    merge: bool = False


class WritingConnection(Connection):
    """A connection that also writes."""

    def insert(self, insertion: Insertion, rows: Sequence[bytes]) -> None:
        """Write `rows`, each the exact JSON text of an object, in one transaction.

        Asks again what may be better the next time, except without a key: then Unanswered says that nobody knows.
        Raises RowsRefused, TooMuchAtOnce, KeyRefused, ProjectUnreachable and Interrupted.
        """
        request = self._insertion(insertion, b"[" + b",".join(rows) + b"]")
        subject = f"an answer to rows of {insertion.table}"
        if insertion.key:
            self._again(subject, None)(self._write_once, request)
            return
        try:
            self._write_once(request)
        except Transient as error:
            raise Unanswered(f"{self.host} did not give {subject}: {error}", hint=error.hint) from error

    def _insertion(self, insertion: Insertion, body: bytes) -> httpx.Request:
        """The client builds the request of an empty list; its own encoder would turn numbers into floats."""
        table: Any = self.client.schema(insertion.table.schema).table("t")
        if insertion.key:
            query = table.upsert(
                [],
                returning=ReturnMethod.minimal,
                ignore_duplicates=not insertion.merge,
                on_conflict=_names(insertion.key),
            )
        else:
            query = table.insert([], returning=ReturnMethod.minimal)
        headers = httpx.Headers(query.request.headers)
        headers["Content-Type"] = "application/json"
        return self._http.build_request(
            "POST",
            f"{self._rest_url}/{quote(insertion.table.name, safe='').replace('.', '%2E')}",
            params=query.request.params.set("columns", _names(insertion.columns)),
            headers=headers,
            content=body,
        )

    def _write_once(self, request: httpx.Request) -> None:
        self._stop_if_asked()
        try:
            response = self._http.send(request, stream=True)
            try:
                body = self._receive(response, LARGEST_ANSWER_BYTES)
            finally:
                response.close()
        except (httpx.TransportError, httpx.DecodingError) as error:
            self.traffic.answered(type(error).__name__)
            raise Transient.from_network(error, self.host) from error
        self.traffic.answered(str(response.status_code))
        if response.status_code not in _WRITTEN:
            raise _refusal(response, body, self.host)


def _names(columns: Sequence[str]) -> str:
    return ",".join(quote_name(column) for column in columns)


def _refusal(response: httpx.Response, body: bytes | bytearray, host: str) -> Exception:
    if response.status_code == _TOO_LARGE:
        return TooMuchAtOnce(f"{host} takes no request as large as this")
    error = error_of(response.status_code, response.headers, body, host)
    if isinstance(error, StatementTimeout):
        return TooMuchAtOnce(error.message)
    if isinstance(error, TableUnreadable):
        complaint = _complaint(body)
        message = str(complaint.get("message") or error.message)
        details, hint = complaint.get("details"), complaint.get("hint")
        return RowsRefused(message, code=error.code or "", details=str(details or ""), hint=str(hint) if hint else None)
    return error


def _complaint(body: bytes | bytearray) -> Mapping[str, object]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
