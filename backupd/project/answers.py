"""What an answer of the project means: which error a person sees, and what is worth asking again."""

from __future__ import annotations

import email.utils
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx

from backupd.errors import KeyRefused, ProjectError, ProjectUnreachable, TableUnreadable

TRANSIENT_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504, *range(520, 525)})
"""Asked again: time-outs, rate limits, and what proxies say when the server behind them is away."""

NOT_THE_PROJECT = "SUPABASE_URL is the project URL alone, such as https://abcd.supabase.co"
"""The hint where something answers that is not the Data API."""

MISSING_GRANT = "42501"
STATEMENT_TIMEOUT = "57014"
PAST_THE_END = "PGRST103"
GONE = frozenset({"PGRST205", "42P01"})
_TOO_LARGE = frozenset({"54000", "53200", "53400"})
_NOT_KNOWN = frozenset({"42703", "42883", "PGRST100", "PGRST204"})
_TRANSIENT_SQL = ("08", "40", "53", "55P03", "57", "XX000")
_BEYOND_MEMORY = "invalid memory alloc request size"
_URL_TOO_LONG = frozenset({414, 431})
_SHOWN_CHARACTERS = 200
_TITLE = re.compile(rb"<title[^>]*>([^<]*)", re.IGNORECASE)


class Transient(Exception):
    """May be better the next time. `reason` is one word for the metrics."""

    def __init__(
        self, message: str, *, reason: str, retry_after_seconds: float | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds
        self.hint = hint

    @classmethod
    def from_network(cls, error: Exception, host: str) -> Transient:
        """Put a failure of the network into words."""
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            hint = (
                f"Is the URL right, and is {host} up? A free project is paused after a week without use: "
                "restore it in the Supabase dashboard."
            )
            return cls(f"cannot connect ({str(error) or type(error).__name__})", reason="connect", hint=hint)
        if isinstance(error, httpx.TimeoutException):
            return cls(f"timed out ({type(error).__name__})", reason="timeout")
        return cls(f"the connection broke ({str(error) or type(error).__name__})", reason="network")


class PageTooLarge(TableUnreadable):
    """The answer has more bytes than we hold in memory; ask for fewer rows."""


class StatementTimeout(TableUnreadable):
    """The database ran out of time or memory for this query; ask for fewer rows."""


class ColumnRefused(TableUnreadable):
    """The server does not know a column, or cannot compare or order by it."""


@dataclass(frozen=True, slots=True)
class _Complaint:
    """The JSON body of an error, as PostgREST and Supabase's gateway write it; or what another body says."""

    code: str
    message: str
    hint: str | None = None
    is_page: bool = False
    """The body is HTML: whoever answered, it was not the Data API."""

    @classmethod
    def parse(cls, body: bytes | bytearray) -> _Complaint:
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            return cls._of_text(body)
        message = document.get("message") or document.get("error") or document.get("msg") or ""
        hint = document.get("hint")
        return cls(str(document.get("code") or ""), str(message)[:_SHOWN_CHARACTERS], str(hint) if hint else None)

    @classmethod
    def _of_text(cls, body: bytes | bytearray) -> _Complaint:
        is_page = body.lstrip()[:1] == b"<"
        title = _TITLE.search(body) if is_page else None
        shown = title.group(1) if title else body[:_SHOWN_CHARACTERS]
        return cls("", " ".join(shown.decode(errors="replace").split()), is_page=is_page)


def error_of(status: int, headers: httpx.Headers, body: bytes | bytearray, host: str) -> Exception:
    """Return the exception for an answer that is not 200 or 206. Goes by the SQL code before the status."""
    complaint = _Complaint.parse(body)
    by_code = _error_by_code(complaint)
    if by_code is not None:
        return by_code
    words = f"{status} {complaint.message or httpx.codes.get_reason_phrase(status)}".strip()
    if status in TRANSIENT_STATUSES and not _is_permanent(complaint.code):
        reason = "rate_limited" if status == 429 else f"status_{status}"
        return Transient(f"answered {words}", reason=reason, retry_after_seconds=_retry_after(headers))
    return _error_by_status(status, words, complaint, host)


def _error_by_code(complaint: _Complaint) -> Exception | None:
    code, message = complaint.code, complaint.message
    if code == STATEMENT_TIMEOUT or code in _TOO_LARGE or _BEYOND_MEMORY in message:
        return StatementTimeout(message, code=code)
    if code in {MISSING_GRANT, PAST_THE_END, *GONE}:
        return TableUnreadable(message, code=code)
    if code == "PGRST106":
        return ProjectError(message, hint=f"{complaint.hint}. Set project.schemas accordingly.")
    return ColumnRefused(message, code=code) if code in _NOT_KNOWN else None


def _error_by_status(status: int, words: str, complaint: _Complaint, host: str) -> Exception:
    if status in (401, 403) and not complaint.is_page:
        return KeyRefused(
            f"the Data API of {host} refused the API key: {words}",
            hint="Has the key been revoked, or does it belong to another project? `backupd check` tests each service.",
        )
    if status in (402, 540):
        return ProjectUnreachable(
            f"{host} is paused or restricted: {words}",
            hint="Open the project in the Supabase dashboard: restore it, or settle its usage limits.",
        )
    if complaint.code:
        return TableUnreadable(f"{complaint.message} ({complaint.code})", code=complaint.code)
    if status in _URL_TOO_LONG:
        return TableUnreadable(f"a key is too long for a request: {words}")
    return ProjectUnreachable(
        f"{host} does not answer like a Supabase project: {words}",
        hint=NOT_THE_PROJECT,
    )


def _is_permanent(code: str) -> bool:
    """A 500 that carries an SQL error is the database's last word, unless it is about connections or locks."""
    return len(code) == 5 and not code.startswith(_TRANSIENT_SQL)


def _retry_after(headers: httpx.Headers) -> float | None:
    value = headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        until = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return max(0.0, (until - datetime.now(UTC)).total_seconds())
