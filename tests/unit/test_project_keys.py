"""Kinds of API keys, and those that see every row."""

from __future__ import annotations

import base64
import json

import pytest

from backupd.errors import ExitCode, KeyRefused
from backupd.project.keys import KeyKind, key_kind, require_full_sight


def jwt(claims: object) -> str:
    """A JWT with these claims, not signed."""
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"eyJhbGciOiJIUzI1NiJ9.{payload}.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("sb_secret_abc_def", KeyKind.SECRET),
        ("sb_publishable_abc_def", KeyKind.PUBLISHABLE),
        (jwt({"role": "service_role"}), KeyKind.LEGACY_SERVICE_ROLE),
        (jwt({"role": "anon"}), KeyKind.LEGACY_ANON),
        (jwt({"role": "authenticated", "sub": "1"}), KeyKind.LEGACY_ANON),
        (jwt({"sub": "1"}), KeyKind.UNKNOWN),
        (jwt({"role": 7}), KeyKind.UNKNOWN),
        (jwt(["service_role"]), KeyKind.UNKNOWN),
        ("a.é.c", KeyKind.UNKNOWN),
        ("a.b.c", KeyKind.UNKNOWN),
        ("service_role", KeyKind.UNKNOWN),
        ("", KeyKind.UNKNOWN),
    ],
)
def test_key_kind_is_told_by_how_the_key_looks(key: str, kind: KeyKind) -> None:
    """By its prefix, or by the role a JWT claims."""
    assert key_kind(key) is kind


@pytest.mark.parametrize("key", ["sb_secret_abc", jwt({"role": "service_role"})])
def test_require_full_sight_of_a_key_that_sees_every_row_gives_its_kind(key: str) -> None:
    """Secret keys and the legacy service_role key bypass row level security."""
    assert require_full_sight(key) is key_kind(key)


@pytest.mark.parametrize("key", ["sb_publishable_abc", jwt({"role": "anon"})])
def test_require_full_sight_of_a_public_key_refuses_it_and_says_why(key: str) -> None:
    """A backup with such a key would be silently short."""
    with pytest.raises(KeyRefused, match="silently hide rows") as caught:
        require_full_sight(key)
    assert "sb_secret_" in str(caught.value.hint)
    assert caught.value.exit_code is ExitCode.CONFIGURATION


def test_require_full_sight_of_something_else_never_shows_it() -> None:
    """It may be a secret all the same, with a character missing."""
    with pytest.raises(KeyRefused) as caught:
        require_full_sight("b_secret_0123456789")
    assert "0123456789" not in f"{caught.value.message} {caught.value.hint}"
