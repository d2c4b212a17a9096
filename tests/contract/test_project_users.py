"""Signing the project's users in: against the sandbox's Auth, and the real Supabase client against it too."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx
import pytest
from supabase import Client, ClientOptions, create_client
from supabase_auth.errors import AuthApiError

from backupd.config import AdminRule, ProjectSettings, Secret
from backupd.errors import KeyRefused, ProjectUnreachable
from backupd.project import Users
from backupd.sandbox.auth import SandboxUser
from backupd.sandbox.gateway import Gateway, GatewayOptions, start_gateway
from backupd.sandbox.postgres import Postgres
from tests.support.sandbox import make_database

ADA = SandboxUser("ada@example.org", "analytical engine", {"role": "admin", "teams": ["ops", "dev"]})
BOB = SandboxUser("bob@example.org", "nothing special")
SQL = f"""
create table profiles (id uuid primary key, is_admin boolean, role text);
insert into profiles values ('{ADA.user_id}', true, 'owner'), ('{BOB.user_id}', false, null);
"""

MakeUsers = Callable[..., Users]


@pytest.fixture(scope="module")
def gateway(postgres: Postgres) -> Iterator[Gateway]:
    """A project with two users and a table that says who is an admin."""
    with start_gateway(make_database(postgres, SQL), GatewayOptions(users=(ADA, BOB))) as running:
        yield running


@pytest.fixture
def make_users(gateway: Gateway) -> Iterator[MakeUsers]:
    """`make_users(rule, key=…)`."""
    made: list[Users] = []

    def make(place: str, name: str, value: str, key: str = "") -> Users:
        secret = Secret(key or gateway.keys.secret)
        settings = ProjectSettings(url=gateway.project_url, key=secret, platform="Test")
        made.append(Users(settings, AdminRule(place, name, value)))
        return made[-1]

    yield make
    for users in made:
        users.close()


@pytest.mark.parametrize(
    ("rule", "ada", "bob"),
    [
        (("app_metadata", "role", "admin"), True, False),
        (("app_metadata", "teams", "ops"), True, False),
        (("app_metadata", "teams", "nobody"), False, False),
        (("app_metadata", "provider", "email"), True, True),
        (("profiles", "is_admin", "true"), True, False),
        (("profiles", "is_admin", "false"), False, True),
        (("profiles", "role", "owner"), True, False),
        (("profiles", "role", "null"), False, False),
    ],
)
def test_users_are_admins_as_the_rule_says(
    make_users: MakeUsers, rule: tuple[str, str, str], ada: bool, bob: bool
) -> None:
    """At signing in and later: by a claim, one of a list, or a column."""
    users = make_users(*rule)
    found = [users.sign_in(one.email, one.password) for one in (ADA, BOB)]
    assert [user and user.is_admin for user in found] == [ada, bob]
    assert [users.is_admin(one.user_id) for one in (ADA, BOB)] == [ada, bob]


@pytest.mark.parametrize(("email", "password"), [(ADA.email, "wrong"), ("nobody@example.org", "x"), ("", "")])
def test_users_with_a_wrong_password_are_nobody(make_users: MakeUsers, email: str, password: str) -> None:
    """None, not an error: it happens every day."""
    assert make_users("app_metadata", "role", "admin").sign_in(email, password) is None


def test_users_that_are_gone_are_no_admins(make_users: MakeUsers) -> None:
    """A deleted user's session ends."""
    gone = "00000000-0000-4000-8000-000000000000"
    assert make_users("app_metadata", "role", "admin").is_admin(gone) is False
    assert make_users("profiles", "is_admin", "true").is_admin(gone) is False


def test_users_by_a_rule_without_its_table_cannot_be_told(make_users: MakeUsers) -> None:
    """An error that names the rule, never an admission."""
    with pytest.raises(ProjectUnreachable, match=r"absent\.is_admin = true"):
        make_users("absent", "is_admin", "true").sign_in(ADA.email, ADA.password)


def test_users_of_a_project_that_refuses_the_key_cannot_be_told(make_users: MakeUsers) -> None:
    """It says that it is the key, not the password."""
    with pytest.raises(KeyRefused):
        make_users("app_metadata", "role", "admin", key="sb_secret_of_another_project").sign_in(ADA.email, "x")


def test_users_of_a_project_that_is_away_cannot_be_told() -> None:
    """And the message says how to get in all the same."""
    settings = ProjectSettings(url="http://127.0.0.1:9", key=Secret("sb_secret_x"), platform="Test")
    users = Users(settings, AdminRule("app_metadata", "role", "admin"))
    with pytest.raises(ProjectUnreachable) as caught:
        users.sign_in(ADA.email, ADA.password)
    users.close()
    assert "login-link" in (caught.value.hint or "")


def test_sandbox_auth_signs_the_real_client_in(gateway: Gateway) -> None:
    """The Supabase client itself, as a web page would use it."""
    with httpx.Client() as http:
        client = real_client(gateway, http)
        answer = client.auth.sign_in_with_password({"email": ADA.email, "password": ADA.password})
        assert answer.user is not None
        assert answer.user.app_metadata["role"] == "admin"
        assert client.auth.get_user() is not None


def test_sandbox_auth_refuses_the_real_client_a_wrong_password(gateway: Gateway) -> None:
    """In Auth's words."""
    with httpx.Client() as http, pytest.raises(AuthApiError, match="Invalid login credentials"):
        real_client(gateway, http).auth.sign_in_with_password({"email": ADA.email, "password": "wrong"})


def real_client(gateway: Gateway, http: httpx.Client) -> Client:
    """The Supabase client of a web page."""
    options = ClientOptions(auto_refresh_token=False, persist_session=False)
    options.httpx_client = http
    return create_client(gateway.project_url, gateway.keys.publishable, options)
