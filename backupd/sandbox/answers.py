"""What the gateway sends back: an answer, or a refusal in PostgREST's words."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from backupd.errors import BackupdError

JSON = "application/json; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer. The body is passed on as it is."""

    status: int
    body: bytes = b""
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)


class Refusal(BackupdError):
    """A request that PostgREST would refuse: an HTTP status, PostgREST's or PostgreSQL's code, and a message."""

    def __init__(
        self, status: int, code: str, message: str, *, details: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.code = code
        self.details = details
        self.headers: dict[str, str] = {}

    def answer(self) -> Answer:
        """The refusal as PostgREST words it."""
        document = {"code": self.code, "details": self.details, "hint": self.hint, "message": self.message}
        headers = {"Proxy-Status": f"PostgREST; error={self.code}", **self.headers}
        return Answer(self.status, _compact(document), headers=headers)


class KeyRejected(BackupdError):
    """The gateway before PostgREST does not let the request through."""

    def answer(self) -> Answer:
        """The rejection as Supabase's gateway words it."""
        return Answer(401, _compact({"message": self.message, "hint": self.hint}))


def status_of(sqlstate: str, message: str, *, authenticated: bool) -> int:
    """The HTTP status PostgREST gives a PostgreSQL error (its `pgErrorStatus`)."""
    if sqlstate == "42501":
        return 403 if authenticated else 401
    if sqlstate == "21000" and message.endswith("requires a WHERE clause"):
        return 400
    for length in (5, 2):
        if sqlstate[:length] in _STATUS:
            return _STATUS[sqlstate[:length]]
    return 400


_STATUS = {
    "08": 503,
    "09": 500,
    "0L": 403,
    "0P": 403,
    "21000": 500,
    "23503": 409,
    "23505": 409,
    "25006": 405,
    "25": 500,
    "28": 403,
    "2D": 500,
    "38": 500,
    "39": 500,
    "3B": 500,
    "40": 500,
    "42883": 404,
    "42P01": 404,
    "42P17": 500,
    "53400": 500,
    "53": 503,
    "54": 500,
    "55": 500,
    "57P01": 503,
    "57": 500,
    "58": 500,
    "F0": 500,
    "HV": 500,
    "P0001": 400,
    "P0": 500,
    "XX": 500,
}


def _compact(document: object) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
