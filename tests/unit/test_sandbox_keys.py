"""The key check: who a request comes from, as Supabase's gateway decides it."""

from __future__ import annotations

import time

import pytest

from backupd.sandbox.answers import KeyRejected, Refusal
from backupd.sandbox.keys import Caller, KeyCheck, ProjectKeys, TokenCheck, make_keys, sign, verify

KEYS = make_keys()


def _caller(**headers: str) -> Caller:
    return KeyCheck(KEYS).caller({name.replace("_", "-"): value for name, value in headers.items()})


@pytest.mark.parametrize(
    ("key", "role", "privileged"),
    [
        (KEYS.secret, "service_role", True),
        (KEYS.publishable, "anon", False),
        (KEYS.service_role, "service_role", True),
        (KEYS.anon, "anon", False),
    ],
    ids=["secret", "publishable", "legacy service_role", "legacy anon"],
)
def test_key_of_the_project_gives_its_role(key: str, role: str, privileged: bool) -> None:
    """Each kind of key stands for one role, with and without the same key as bearer token."""
    alone, repeated = _caller(apikey=key), _caller(apikey=key, authorization=f"Bearer {key}")
    assert (alone.role, alone.privileged) == (repeated.role, repeated.privileged) == (role, privileged)


@pytest.mark.parametrize(
    "key",
    ["", "sb_secret_unknown", make_keys().secret, make_keys().service_role, sign({"role": "owner"}, KEYS.jwt_secret)],
    ids=["none", "unknown", "another project's", "another project's token", "a role that is no key's"],
)
def test_key_that_is_not_the_projects_is_rejected(key: str) -> None:
    """Missing and foreign keys do not get through."""
    with pytest.raises(KeyRejected) as caught:
        _caller(apikey=key)
    assert caught.value.answer().status == 401


def test_bearer_token_of_a_user_gives_the_users_role() -> None:
    """A signed token beside a key decides the role, and brings its claims."""
    token = sign({"role": "authenticated", "sub": "u1"}, KEYS.jwt_secret)
    caller = _caller(apikey=KEYS.publishable, authorization=f"Bearer {token}")
    assert (caller.role, caller.claims["sub"], caller.privileged) == ("authenticated", "u1", False)


@pytest.mark.parametrize(
    "token",
    [KEYS.publishable, "nonsense", sign({"role": "anon"}, "another secret")],
    ids=["another key", "nonsense", "signed with another secret"],
)
def test_bearer_token_that_is_neither_the_key_nor_signed_is_refused(token: str) -> None:
    """A key that is not a token is only good as a bearer when it repeats the apikey."""
    with pytest.raises(Refusal) as caught:
        _caller(apikey=KEYS.secret, authorization=f"Bearer {token}")
    assert (caught.value.status, caught.value.code) == (401, "PGRST301")


def test_bearer_token_expired_is_refused() -> None:
    """A token whose time is over is named as such."""
    token = sign({"role": "authenticated", "exp": int(time.time()) - 3600}, KEYS.jwt_secret)
    with pytest.raises(Refusal, match="JWT expired"):
        _caller(apikey=KEYS.anon, authorization=f"Bearer {token}")


def test_secret_key_from_a_browser_is_rejected() -> None:
    """A secret key with a browser's User-Agent is taken for a leak."""
    with pytest.raises(KeyRejected, match="in browser"):
        _caller(apikey=KEYS.secret, user_agent="Mozilla/5.0 (X11; Linux x86_64)")


def test_publishable_key_from_a_browser_is_accepted() -> None:
    """Browsers are what publishable keys are for."""
    assert _caller(apikey=KEYS.publishable, user_agent="Mozilla/5.0").role == "anon"


@pytest.mark.parametrize("key", [KEYS.secret, KEYS.service_role], ids=["secret", "legacy"])
def test_key_revoked_is_rejected_until_reinstated(key: str) -> None:
    """A revoked key is unknown; reinstated it works as before."""
    check = KeyCheck(KEYS)
    check.revoke(key)
    with pytest.raises(KeyRejected, match="Invalid API key"):
        check.caller({"apikey": key})
    check.reinstate(key)
    assert check.caller({"apikey": key}).role == "service_role"


def test_token_check_without_a_token_gives_the_fixed_role() -> None:
    """PostgREST alone knows no keys: without a token everybody is its anonymous role."""
    assert TokenCheck(KEYS, "service_role").caller({}) == Caller("service_role", {}, privileged=True)


def test_token_check_with_a_token_gives_its_role() -> None:
    """A token decides the role."""
    assert TokenCheck(KEYS, "service_role").caller({"authorization": f"bearer {KEYS.anon}"}).role == "anon"


@pytest.mark.parametrize("token", ["", "a.b", "a.b.c", ".."])
def test_verify_malformed_token_is_refused(token: str) -> None:
    """Text that is no token is refused, not an error of ours."""
    with pytest.raises(Refusal):
        verify(token, KEYS.jwt_secret)


def test_keys_of_two_projects_differ() -> None:
    """No project's key opens another's."""
    other: ProjectKeys = make_keys()
    assert not {other.secret, other.publishable, other.service_role, other.anon} & {
        KEYS.secret,
        KEYS.publishable,
        KEYS.service_role,
        KEYS.anon,
    }
