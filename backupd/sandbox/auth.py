"""As much of Supabase Auth as signing in needs: a fixed list of users, a token for a password, and who a token is."""

from __future__ import annotations

import hmac
import json
import secrets
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from backupd.sandbox.answers import Answer
from backupd.sandbox.keys import SERVICE, Caller, sign

_HOUR_SECONDS = 3600
_SPACE = uuid.UUID("6f1d7f0e-9a4c-4f7b-9d4e-2a1f6f0c5b11")


@dataclass(frozen=True, slots=True)
class SandboxUser:
    """Somebody who can sign in to a throwaway project. The id follows from the email, so that a table can hold it."""

    email: str
    password: str
    app_metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def user_id(self) -> str:
        """The user's id, always the same."""
        return str(uuid.uuid5(_SPACE, self.email))

    def document(self) -> dict[str, Any]:
        """The user as Auth answers."""
        at = datetime(2026, 1, 1, tzinfo=UTC).isoformat()
        return {
            "id": self.user_id,
            "aud": "authenticated",
            "role": "authenticated",
            "email": self.email,
            "email_confirmed_at": at,
            "app_metadata": {"provider": "email", "providers": ["email"], **self.app_metadata},
            "user_metadata": {},
            "identities": [],
            "created_at": at,
            "updated_at": at,
        }


class Auth:
    """Answers requests below `/auth/v1/`."""

    def __init__(self, users: Sequence[SandboxUser], jwt_secret: str) -> None:
        self._users = users
        self._jwt_secret = jwt_secret

    def answer(self, method: str, path: str, query: str, body: bytes, caller: Caller) -> Answer:
        """What Auth says to a request from `caller`."""
        if (method, path) == ("POST", "token") and "grant_type=password" in query:
            return self._token(body)
        if (method, path) == ("GET", "user"):
            return self._user(str(caller.claims.get("sub", "")))
        if method == "GET" and path.startswith("admin/users/"):
            if caller.role != SERVICE:
                return _refused(403, "not_admin", "User not allowed")
            return self._user(path.removeprefix("admin/users/"), missing=404)
        if (method, path) == ("GET", "settings"):
            return _answered({"external": {"email": True}, "disable_signup": False})
        if (method, path) == ("POST", "logout"):
            return Answer(204)
        return _refused(404, "not_found", "404 page not found")

    def _token(self, body: bytes) -> Answer:
        try:
            given = json.loads(body)
            email, password = str(given["email"]).lower(), str(given["password"])
        except (ValueError, KeyError, TypeError):
            return _refused(400, "bad_json", "Could not parse request body as JSON")
        user = next((one for one in self._users if one.email.lower() == email), None)
        if user is None or not hmac.compare_digest(user.password.encode(), password.encode()):
            return _refused(400, "invalid_credentials", "Invalid login credentials")
        expires_at = int(time.time()) + _HOUR_SECONDS
        claims = {"sub": user.user_id, "role": "authenticated", "aud": "authenticated", "exp": expires_at}
        return _answered(
            {
                "access_token": sign({**claims, "email": user.email}, self._jwt_secret),
                "token_type": "bearer",
                "expires_in": _HOUR_SECONDS,
                "expires_at": expires_at,
                "refresh_token": secrets.token_urlsafe(9),
                "user": user.document(),
            }
        )

    def _user(self, user_id: str, missing: int = 403) -> Answer:
        user = next((one for one in self._users if one.user_id == user_id), None)
        return _answered(user.document()) if user else _refused(missing, "user_not_found", "User not found")


def _answered(document: Mapping[str, Any]) -> Answer:
    return Answer(200, json.dumps(document).encode())


def _refused(status: int, code: str, message: str) -> Answer:
    return Answer(status, json.dumps({"code": status, "error_code": code, "msg": message}).encode())
