"""The project's own users: who may sign in to the pages, by a claim or by a column of a table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

import httpx
from postgrest.exceptions import APIError

from backupd.config import AdminRule, ProjectSettings
from backupd.errors import KeyRefused, ProjectUnreachable
from backupd.model import Clock, utc_now
from backupd.project.connection import USER_AGENT, supabase_client

_TIMEOUT = httpx.Timeout(10.0, connect=5.0)
_CLAIMS = "app_metadata"
_WRONG_PASSWORD = frozenset({400, 422})


@dataclass(frozen=True, slots=True)
class User:
    """A user of the project whose password was right. `is_admin` is what the rule says."""

    user_id: str
    email: str
    is_admin: bool


class Users:
    """Signs users in with Supabase Auth, and asks whether they are admins.

    Answers are read by hand, through the client's own connection: its Auth module would turn the server's key into
    that user's session, and fails on time stamps that some servers send.

    Every method raises ProjectUnreachable when the project does not answer as it should, KeyRefused when it refuses
    the key. A password is sent and never kept.
    """

    def __init__(
        self,
        settings: ProjectSettings,
        rule: AdminRule,
        *,
        id_column: str = "id",
        clock: Clock = utc_now,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._rule = rule
        self._id_column = id_column
        self._clock = clock
        self._http = httpx.Client(
            http2=False, timeout=_TIMEOUT, headers={"User-Agent": USER_AGENT}, transport=transport
        )
        self._client = supabase_client(settings.url, settings.key.reveal(), self._http)

    def close(self) -> None:
        """Close the connections to the project."""
        self._http.close()

    def sign_in(self, email: str, password: str) -> User | None:
        """The user with this email and password; None when they are wrong."""
        answer = self._auth("POST", "token?grant_type=password", {"email": email, "password": password})
        if answer.status_code in _WRONG_PASSWORD:
            return None
        user = self._document(answer).get("user")
        if not isinstance(user, dict) or not isinstance(user.get("id"), str):
            raise self._odd("Auth did not say who has signed in")
        is_admin = self._claims(user) if self._rule.place == _CLAIMS else self._column(user["id"])
        return User(user["id"], str(user.get("email") or email), is_admin)

    def is_admin(self, user_id: str) -> bool:
        """Whether the rule still holds for a user; also False when there is no such user any more."""
        if self._rule.place != _CLAIMS:
            return self._column(user_id)
        answer = self._auth("GET", f"admin/users/{quote(user_id, safe='')}")
        if answer.status_code == httpx.codes.NOT_FOUND:
            return False
        document = self._document(answer)
        user = document.get("user", document)
        return isinstance(user, dict) and not _is_banned(user, self._clock()) and self._claims(user)

    def _claims(self, user: Mapping[str, Any]) -> bool:
        claims = user.get(_CLAIMS)
        return isinstance(claims, dict) and _matches(claims.get(self._rule.name), self._rule.value)

    def _column(self, user_id: str) -> bool:
        rule = self._rule
        query = self._client.table(rule.place).select(rule.name).eq(self._id_column, user_id).limit(1)
        try:
            rows: Any = query.execute().data
        except APIError as error:
            raise ProjectUnreachable(
                f"the admin rule {rule} could not be looked up: {error.message}",
                hint=f"Has the project a table {rule.place} with the columns {self._id_column} and {rule.name}, "
                "and may service_role read it?",
            ) from error
        except (httpx.HTTPError, ValueError) as error:
            raise self._odd(f"the admin rule could not be looked up: {type(error).__name__}") from error
        return bool(rows) and _matches(rows[0].get(rule.name), rule.value)

    def _auth(self, method: str, path: str, body: Mapping[str, str] | None = None) -> httpx.Response:
        headers = dict(self._client.postgrest.headers)
        try:
            return self._http.request(method, f"{self._client.supabase_url}auth/v1/{path}", json=body, headers=headers)
        except httpx.HTTPError as error:
            raise self._odd(f"Auth cannot be reached: {type(error).__name__}") from error

    def _document(self, answer: httpx.Response) -> dict[str, Any]:
        if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise KeyRefused(
                "the project's Auth service refused the API key", hint="`backupd check` tries each service."
            )
        if answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
            raise ProjectUnreachable("the project's Auth service asks to wait", hint="Try again in a minute.")
        try:
            document = json.loads(answer.content)
        except ValueError as error:
            raise self._odd("Auth sent something that is not JSON") from error
        if answer.status_code != httpx.codes.OK or not isinstance(document, dict):
            raise self._odd(f"Auth answered {answer.status_code}")
        return document

    def _odd(self, what: str) -> ProjectUnreachable:
        return ProjectUnreachable(what, hint="`backupd login-link` signs you in without the project.")


def _matches(found: object, wanted: str) -> bool:
    """Whether a claim or a column holds the value: `true` as JSON writes it, one of a list, or the text itself."""
    if isinstance(found, list):
        return any(_matches(one, wanted) for one in found)
    if isinstance(found, str):
        return found == wanted
    return found is not None and json.dumps(found) == wanted


def _is_banned(user: Mapping[str, Any], now: datetime) -> bool:
    until = user.get("banned_until")
    if not isinstance(until, str) or not until:
        return False
    try:
        return datetime.fromisoformat(until) > now
    except (ValueError, TypeError):
        return True
