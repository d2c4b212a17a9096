"""API keys as Supabase's gateway knows them: secret, publishable, and the legacy signed tokens."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backupd.sandbox.answers import KeyRejected, Refusal

ANON = "anon"
SERVICE = "service_role"
_TEN_YEARS_SECONDS = 10 * 365 * 24 * 3600


@dataclass(frozen=True, slots=True)
class ProjectKeys:
    """The keys of one throwaway project. `jwt_secret` signs the legacy ones, `service_role` and `anon`."""

    secret: str
    publishable: str
    jwt_secret: str
    service_role: str
    anon: str


def make_keys() -> ProjectKeys:
    """Fresh keys that no other project accepts."""
    jwt_secret = secrets.token_urlsafe(32)
    claims = {"iss": "supabase", "ref": "sandbox", "exp": int(time.time()) + _TEN_YEARS_SECONDS}
    return ProjectKeys(
        secret=f"sb_secret_{secrets.token_urlsafe(16)}_{secrets.token_hex(4)}",
        publishable=f"sb_publishable_{secrets.token_urlsafe(16)}_{secrets.token_hex(4)}",
        jwt_secret=jwt_secret,
        service_role=sign({**claims, "role": SERVICE}, jwt_secret),
        anon=sign({**claims, "role": ANON}, jwt_secret),
    )


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a request comes from. `privileged` callers may read the OpenAPI root."""

    role: str
    claims: Mapping[str, Any]
    privileged: bool


class KeyCheck:
    """Decides who a request comes from, as Supabase's gateway does. Keys can be revoked and reinstated."""

    def __init__(self, keys: ProjectKeys) -> None:
        self._keys = keys
        self._revoked: set[str] = set()

    def revoke(self, key: str) -> None:
        """From now on the key is unknown."""
        self._revoked.add(key)

    def reinstate(self, key: str) -> None:
        """Undo `revoke`."""
        self._revoked.discard(key)

    def caller(self, headers: Mapping[str, str]) -> Caller:
        """Who sent these headers. Raises `KeyRejected` or, for a token PostgREST cannot read, `Refusal`."""
        api_key = headers.get("apikey", "")
        role = self._role_of(api_key)
        if api_key == self._keys.secret and "mozilla/" in headers.get("user-agent", "").lower():
            raise KeyRejected(
                "Forbidden use of secret API key in browser",
                hint="Secret API keys can only be used in a protected environment.",
            )
        token = _bearer(headers)
        if token is None or token == api_key:
            return Caller(role, {"role": role}, privileged=role == SERVICE)
        claims = verify(token, self._keys.jwt_secret)
        if token in self._revoked:
            raise _unreadable_token()
        return Caller(claims.get("role", ANON), claims, privileged=role == SERVICE)

    def _role_of(self, api_key: str) -> str:
        if not api_key:
            raise KeyRejected("No API key found in request", hint="No `apikey` request header or url param was found.")
        if api_key not in self._revoked:
            if api_key in (self._keys.secret, self._keys.publishable):
                return SERVICE if api_key == self._keys.secret else ANON
            role = _legacy_role(api_key, self._keys.jwt_secret)
            if role is not None:
                return role
        raise KeyRejected("Invalid API key", hint="Double check your Supabase `anon` or `service_role` API key.")


class TokenCheck:
    """Decides who a request comes from when PostgREST stands alone: a token, or else one fixed role."""

    def __init__(self, keys: ProjectKeys, anon_role: str) -> None:
        self._keys = keys
        self._anon_role = anon_role

    def caller(self, headers: Mapping[str, str]) -> Caller:
        """Who sent these headers. Raises `Refusal` for a token that cannot be read."""
        token = _bearer(headers)
        claims = verify(token, self._keys.jwt_secret) if token is not None else {}
        return Caller(claims.get("role", self._anon_role), claims, privileged=True)


def sign(claims: Mapping[str, Any], secret: str) -> str:
    """A JWT, HS256."""
    header = _encode(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
    signed = f"{header}.{_encode(json.dumps(claims).encode())}"
    return f"{signed}.{_signature(signed, secret)}"


def verify(token: str, secret: str) -> dict[str, Any]:
    """The claims of a token. Raises `Refusal` when it was not signed with `secret` or has expired."""
    signed, _, signature = token.rpartition(".")
    if not hmac.compare_digest(signature.encode(), _signature(signed, secret).encode()):
        raise _unreadable_token()
    try:
        claims = json.loads(_decode(signed.partition(".")[2]))
    except (binascii.Error, ValueError) as error:
        raise _unreadable_token() from error
    if claims.get("exp", time.time()) < time.time() - 30:
        raise _challenged(Refusal(401, "PGRST303", "JWT expired"))
    return dict(claims)


def _legacy_role(api_key: str, secret: str) -> str | None:
    try:
        role = verify(api_key, secret).get("role")
    except Refusal:
        return None
    return role if role in (ANON, SERVICE) else None


def _bearer(headers: Mapping[str, str]) -> str | None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _unreadable_token() -> Refusal:
    details = "None of the keys was able to decode the JWT"
    return _challenged(Refusal(401, "PGRST301", "No suitable key or wrong key type", details=details))


def _challenged(refusal: Refusal) -> Refusal:
    description = f'error="invalid_token", error_description="{refusal.message}"'
    refusal.headers["WWW-Authenticate"] = f"Bearer {description}"
    return refusal


def _signature(signed: str, secret: str) -> str:
    return _encode(hmac.digest(secret.encode(), signed.encode(), hashlib.sha256))


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
