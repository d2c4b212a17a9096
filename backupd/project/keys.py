"""API keys: which kind a key is, and whether it sees every row."""

from __future__ import annotations

import base64
import binascii
import json
from enum import StrEnum

from backupd.errors import KeyRefused

_WHERE = "Supabase dashboard → Project Settings → API Keys"


class KeyKind(StrEnum):
    """The kinds of key a Supabase project hands out, by how they look."""

    SECRET = "secret"  # noqa: S105 - the name of a kind of key
    LEGACY_SERVICE_ROLE = "legacy service_role"
    PUBLISHABLE = "publishable"
    LEGACY_ANON = "legacy anon"
    UNKNOWN = "unknown"


def key_kind(key: str) -> KeyKind:
    """Tell the kind of `key` by its prefix or, for a JWT, by the role it claims."""
    if key.startswith("sb_secret_"):
        return KeyKind.SECRET
    if key.startswith("sb_publishable_"):
        return KeyKind.PUBLISHABLE
    role = _claimed_role(key)
    if role == "service_role":
        return KeyKind.LEGACY_SERVICE_ROLE
    return KeyKind.UNKNOWN if role is None else KeyKind.LEGACY_ANON


def require_full_sight(key: str) -> KeyKind:
    """Return the kind of `key`; raise KeyRefused when row level security would hide rows from it behind a 200."""
    kind = key_kind(key)
    if kind in (KeyKind.PUBLISHABLE, KeyKind.LEGACY_ANON):
        raise KeyRefused(
            f"this is a {kind} key: row level security would silently hide rows from the backup",
            hint=f"Use a secret key (sb_secret_…): {_WHERE}.",
        )
    if kind is KeyKind.UNKNOWN:
        raise KeyRefused(
            "this does not look like a Supabase API key",
            hint=f"A secret key begins with sb_secret_: {_WHERE}. Was it cut off when it was copied?",
        )
    return kind


def _claimed_role(key: str) -> str | None:
    """The `role` claim of a JWT, unverified: the project verifies it, we only tell the kinds apart."""
    parts = key.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return None
    role = claims.get("role") if isinstance(claims, dict) else None
    return role if isinstance(role, str) else None
