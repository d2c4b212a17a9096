"""Who gets in: nobody without a session, and nothing is done that one of our own pages did not ask for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.routing import Mount, Route

from backupd.model import Status
from backupd.web.admins import ABSOLUTE_LIMIT, IDLE_LIMIT, csrf_token
from backupd.web.intake import MOST_BODY_BYTES, SAFE_METHODS, is_open, safe_path
from tests.support.admin_site import EMAIL, PASSWORD, TOKEN, AdminSite, FakeUsers, csrf_of, press, sign_in

SECRETS = ("car-audio", "payments", "Car Audio", "xyz.supabase", "697,221", "00000001", "697221")
OPEN = {"/healthz", "/health", "/metrics", "/static", "/login", "/login/link", "/download/{backup_id}/{archive}"}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[AdminSite]:
    """A site with one backup."""
    site = AdminSite(tmp_path)
    site.put(1)
    yield site
    site.close()


def addresses(site: AdminSite) -> list[tuple[str, str]]:
    """Every method and path of the route table, filled in with the backup there is."""
    found = []
    for route in site.app().routes:
        assert isinstance(route, Route | Mount)
        path = re.sub(r"\{backup_id\}", "00000001-0000", route.path).replace("{archive}", "car-audio_1.zip")
        methods = (route.methods or set()) if isinstance(route, Route) else {"GET"}
        found += [(method, path.replace("{name}", "daily_backup")) for method in methods]
    return sorted(found)


def test_routes_open_to_anybody_are_these_and_no_others(site: AdminSite) -> None:
    """A new route that is open without having been meant to be is found here."""
    routes = [route for route in site.app().routes if isinstance(route, Route | Mount)]
    assert {
        route.path for route in routes if is_open(f"{route.path}/" if isinstance(route, Mount) else route.path)
    } == OPEN


def test_every_route_without_a_session_gives_no_byte_of_data(site: AdminSite) -> None:
    """401, or a redirect to the door; the route table itself is walked."""
    client = site.client()
    walked = [(method, path) for method, path in addresses(site) if not is_open(path) and path != "/static"]
    assert len(walked) > 30
    for method, path in walked:
        answer = client.request(method, path)
        assert answer.status_code in (401, 303), (method, path, answer.status_code)
        assert not [word for word in SECRETS if word in answer.text], (method, path)
        assert answer.status_code == 401 or answer.headers["location"].startswith("/login")
    assert site.asked == []


@pytest.mark.parametrize("path", ["/nowhere", "/api/v1/nowhere", "/backups/../audit", "//audit", "/audit/", "/Audit"])
def test_unknown_paths_without_a_session_are_refused_as_known_ones_are(site: AdminSite, path: str) -> None:
    """A stranger does not learn which addresses exist."""
    assert site.client().get(path).status_code in (401, 303)


def test_every_unsafe_route_without_the_csrf_token_does_nothing(site: AdminSite) -> None:
    """403 for a missing token, a wrong one, and that of another session."""
    client = site.signed_in()
    other = csrf_token("another session's token")
    for method, path in addresses(site):
        if method in SAFE_METHODS or is_open(path):
            continue
        for token in (None, "wrong", other):
            answer = client.request(method, path, data={"csrf": token} if token else None)
            assert answer.status_code == 403, (method, path, token)
    assert site.asked == []
    assert site.catalog.backup("00000001-0000").pinned is False
    assert client.get("/").status_code == 200, "and the session still holds"


def test_csrf_refusals_are_in_the_audit_log(site: AdminSite) -> None:
    """An admin can see that somebody tried."""
    client = site.signed_in()
    client.post("/backups", data={"type": "manual"})
    newest = site.catalog.audit.entries(limit=1)[0]
    assert (newest.outcome, newest.detail) == ("refused", "CSRF: POST /backups")


def test_request_from_another_site_is_refused_even_with_the_token(site: AdminSite) -> None:
    """The browser says where it comes from."""
    client = site.signed_in()
    answer = client.post("/backups", data={"csrf": csrf_of(client, "/")}, headers={"Origin": "https://evil.example"})
    assert (answer.status_code, site.asked) == (403, [])


def test_request_through_a_proxy_may_name_the_base_url(site: AdminSite) -> None:
    """Behind a proxy the host differs from what the browser sees."""
    site.base_url = "https://backups.example.org"
    client = site.client()
    page = client.get("/login")
    cookie = page.cookies["backupd_form"]
    answer = client.post(
        "/login",
        data={"csrf": csrf_token(cookie), "token": TOKEN},
        headers={"Origin": "https://backups.example.org", "Cookie": f"backupd_form={cookie}"},
    )
    assert answer.status_code == 303
    assert "Secure" in answer.headers["set-cookie"]


def test_session_cookie_is_for_this_site_and_no_script(site: AdminSite) -> None:
    """HttpOnly and SameSite=Strict; Secure is left out on plain loopback, where it would lock the admin out."""
    cookie = sign_in(site.client(), token=TOKEN).headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Secure" not in cookie


def test_session_token_is_not_in_the_catalog(site: AdminSite) -> None:
    """Whoever reads the catalog cannot use it."""
    client = site.signed_in()
    token = client.cookies["backupd_session"]
    assert all(token.encode() not in file.read_bytes() for file in site.directory.glob("catalog.sqlite*"))


def test_session_planted_before_signing_in_is_worth_nothing(site: AdminSite) -> None:
    """Signing in makes a new token (no session fixation)."""
    client = site.client()
    client.cookies.set("backupd_session", "planted-by-somebody-else")
    sign_in(client, token=TOKEN)
    thief = site.browser(str(client.base_url))
    thief.cookies.set("backupd_session", "planted-by-somebody-else")
    assert thief.get("/").status_code == 303


def test_session_replayed_after_signing_out_is_refused(site: AdminSite) -> None:
    """The server forgets it, not only the browser."""
    client = site.signed_in()
    token = client.cookies["backupd_session"]
    assert press(client, "/", "/logout").headers["location"] == "/login"
    client.cookies.set("backupd_session", token)
    assert client.get("/").status_code == 303


@pytest.mark.parametrize("pause", [IDLE_LIMIT + timedelta(minutes=1), ABSOLUTE_LIMIT + timedelta(minutes=1)])
def test_session_not_used_for_long_is_over(site: AdminSite, pause: timedelta) -> None:
    """Idle for too long."""
    client = site.signed_in()
    site.now += pause
    assert client.get("/").status_code == 303


def test_session_in_constant_use_ends_at_last(site: AdminSite) -> None:
    """However busy, after a week one signs in again."""
    client = site.signed_in()
    begun = site.now
    while site.now - begun <= ABSOLUTE_LIMIT:
        assert client.get("/audit").status_code == 200
        site.now += IDLE_LIMIT - timedelta(minutes=1)
    assert client.get("/audit").status_code == 303


def test_session_of_a_token_that_was_changed_is_over(site: AdminSite) -> None:
    """A new token in the configuration throws out who came in with the old one."""
    client = site.signed_in()
    site.token = "another-token-altogether"
    assert client.get("/").status_code == 303


def test_session_of_a_user_who_is_no_admin_any_more_is_over(site: AdminSite) -> None:
    """The rule is looked at again and again."""
    site.users = FakeUsers()
    client = site.client()
    assert sign_in(client, email=EMAIL, password=PASSWORD).status_code == 303
    site.users.is_admin_now = False
    site.now += timedelta(minutes=6)
    assert client.get("/").status_code == 303


def test_session_of_a_user_lasts_while_the_project_is_away(site: AdminSite) -> None:
    """That is when somebody needs the backups."""
    site.users = FakeUsers()
    client = site.client()
    sign_in(client, email=EMAIL, password=PASSWORD)
    site.users.away = True
    site.now += timedelta(minutes=6)
    assert client.get("/").status_code == 200


def test_every_other_session_can_be_ended(site: AdminSite) -> None:
    """One button for a lost laptop."""
    client = site.signed_in()
    other = site.browser(str(client.base_url))
    sign_in(other, token=TOKEN)
    press(client, "/audit", "/sessions/end-others")
    assert (client.get("/").status_code, other.get("/").status_code) == (200, 303)


@pytest.mark.parametrize("fields", [{"token": "wrong"}, {"token": ""}, {"email": EMAIL, "password": "wrong"}, {}])
def test_wrong_credentials_get_no_session(site: AdminSite, fields: dict[str, str]) -> None:
    """401, and the page to try again."""
    site.users = FakeUsers()
    client = site.client()
    answer = sign_in(client, **fields)
    assert answer.status_code == 401
    assert "backupd_session" not in client.cookies


def test_user_who_is_no_admin_is_told_the_same_as_a_stranger(site: AdminSite) -> None:
    """The answer does not tell whether the password was right."""
    site.users = FakeUsers(is_admin_now=False)
    client = site.client()
    right = sign_in(client, email=EMAIL, password=PASSWORD)
    wrong = sign_in(client, email=EMAIL, password="wrong")
    assert [
        words in page.text for page in (right, wrong) for words in ("Wrong email or password, or not an admin.",)
    ] == [True, True]


def test_a_thousand_failed_logins_are_refused_and_leave_the_daemon_healthy(site: AdminSite) -> None:
    """429 with the time to wait; the audit log holds the first few and is not flooded."""
    client = site.client()
    csrf = csrf_of(client, "/login")
    codes = [client.post("/login", data={"csrf": csrf, "token": f"guess {n}"}).status_code for n in range(1000)]
    assert (codes[:10], set(codes[10:])) == ([401] * 10, {429})
    right = client.post("/login", data={"csrf": csrf, "token": TOKEN})
    assert (right.status_code, int(right.headers["retry-after"]) > 60) == (429, True)
    assert client.get("/healthz").status_code == 200
    assert site.catalog.audit.count() == 10


def test_one_account_guessed_at_from_many_addresses_is_closed_too(site: AdminSite) -> None:
    """The account has a limit of its own."""
    site.users = FakeUsers()
    site.app()
    assert site.site is not None
    admins = site.site.admins
    for n in range(20):
        with pytest.raises(Exception, match="Wrong email"):
            admins.sign_in_with_password(EMAIL, "guess", f"203.0.113.{n}")
    with pytest.raises(Exception, match="Too many attempts"):
        admins.sign_in_with_password(EMAIL.upper(), PASSWORD, "198.51.100.1")


def test_login_form_without_its_cookie_is_refused(site: AdminSite) -> None:
    """Nobody can sign somebody else's browser in from another site."""
    client = site.client()
    csrf = csrf_of(client, "/login")
    client.cookies.clear()
    assert client.post("/login", data={"csrf": csrf, "token": TOKEN}).status_code == 403


def test_link_signs_in_once_and_never_again(site: AdminSite) -> None:
    """Looking at it does not use it up; using it does."""
    site.catalog.sessions.offer_link("a-link", site.now + timedelta(minutes=10))
    client = site.client()
    page = "/login/link?token=a-link"
    assert client.get(page).status_code == client.get(page).status_code == 200
    assert press(client, page, "/login/link", token="a-link").status_code == 303
    assert client.get("/").status_code == 200
    second = site.browser(str(client.base_url))
    assert press(second, page, "/login/link", token="a-link").status_code == 401


def test_link_that_is_too_old_signs_nobody_in(site: AdminSite) -> None:
    """Ten minutes, no more."""
    site.catalog.sessions.offer_link("a-link", site.now + timedelta(minutes=10))
    site.now += timedelta(minutes=11)
    client = site.client()
    assert press(client, "/login/link?token=a-link", "/login/link", token="a-link").status_code == 401


def test_link_works_while_the_address_is_locked_out(site: AdminSite) -> None:
    """An owner whom somebody else has locked out comes in this way."""
    client = site.client()
    csrf = csrf_of(client, "/login")
    for _ in range(12):
        client.post("/login", data={"csrf": csrf, "token": "guess"})
    site.catalog.sessions.offer_link("a-link", site.now + timedelta(minutes=10))
    assert press(client, "/login/link?token=a-link", "/login/link", token="a-link").status_code == 303


def test_without_any_admin_the_page_tells_how_to_name_one_and_nothing_else(site: AdminSite) -> None:
    """Three ways, and not one byte of data."""
    site.token = None
    page = site.client().get("/", follow_redirects=True)
    assert all(words in page.text for words in ("login-link", "admin_token", "admin_rule"))
    assert not [word for word in SECRETS if word in page.text]
    assert "<form" not in page.text


@pytest.mark.parametrize(
    "path",
    [
        "//evil.example",
        "https://evil.example",
        "/\\evil.example",
        "\\\\evil",
        "javascript:alert(1)",
        "evil",
        "",
        "/login",
    ],
)
def test_redirect_after_signing_in_stays_here(path: str) -> None:
    """Whatever could lead elsewhere leads to the front page."""
    assert safe_path(path) == "/"


def test_redirect_after_signing_in_goes_where_one_wanted_to(site: AdminSite) -> None:
    """A link from a chat leads to its page in the end."""
    client = site.client()
    ahead = client.get("/backups/00000001-0000?a=b").headers["location"]
    assert urlsplit(ahead).path == "/login"
    answer = sign_in(client, token=TOKEN, next="/backups/00000001-0000?a=b")
    assert answer.headers["location"] == "/backups/00000001-0000?a=b"


def test_bearer_token_needs_no_csrf_token(site: AdminSite) -> None:
    """No browser sends it by itself."""
    answer = site.client().post("/api/v1/backups", headers={"Authorization": f"Bearer {TOKEN}"})
    assert (answer.status_code, len(site.asked)) == (202, 1)


def test_bearer_token_opens_no_page(site: AdminSite) -> None:
    """It is for the API alone."""
    assert site.client().get("/", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 303


def test_wrong_bearer_token_is_a_problem_and_no_more(site: AdminSite) -> None:
    """problem+json, with how to authenticate."""
    answer = site.client().get("/api/v1/backups", headers={"Authorization": "Bearer wrong"})
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.headers["content-type"] == "application/problem+json"


def test_body_that_is_too_large_is_refused(site: AdminSite) -> None:
    """Announced or not."""
    client = site.signed_in()
    big = b"x" * (MOST_BODY_BYTES + 1)
    assert client.post("/backups", content=big).status_code == 413
    assert client.post("/backups", content=iter([big])).status_code == 413
    assert client.get("/healthz").status_code == 200


def test_headers_that_are_too_large_are_refused(site: AdminSite) -> None:
    """Before anything of ours sees them."""
    client = site.client()
    try:
        status = client.get("/", headers={"X-Large": "x" * (256 << 10)}).status_code
    except httpx.TransportError:
        status = 400
    assert 400 <= status < 500
    assert client.get("/healthz").status_code == 200


def test_name_with_line_breaks_forges_no_line_of_the_log(site: AdminSite) -> None:
    """Every line of the log is still one JSON document, and the audit log shows one line."""
    site.users = FakeUsers()
    sign_in(site.client(), email='a@b.c\r\n{"event": "forged"}', password="x")
    lines = [json.loads(line) for line in site.log.getvalue().splitlines()]
    assert not [line for line in lines if line["event"] == "forged"]
    assert "\n" not in site.catalog.audit.entries()[0].who


def test_secrets_are_in_no_page_and_no_log(site: AdminSite) -> None:
    """Neither the admin token nor a session's is shown anywhere."""
    client = site.signed_in()
    pages = [client.get(path).text for _, path in addresses(site) if path != "/events" and not path.endswith("/events")]
    shown = "".join(pages) + site.log.getvalue()
    assert TOKEN not in shown
    assert client.cookies["backupd_session"] not in shown


def test_pages_carry_the_security_headers(site: AdminSite) -> None:
    """No inline script, no framing, no sniffing, no cache; refusals too."""
    client = site.signed_in()
    for path in ("/", "/audit", "/nowhere", "/api/v1/status", "/login"):
        headers = client.get(path).headers
        assert "script-src 'self'" in headers["content-security-policy"], path
        assert "frame-ancestors 'none'" in headers["content-security-policy"], path
        assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store"), path


def test_pages_have_no_inline_script_or_style(site: AdminSite) -> None:
    """What the policy forbids is not there."""
    site.put(2, status=Status.PARTIAL, hours_ago=3)
    client = site.signed_in()
    for path in ("/", "/audit", "/cleanup", "/backups/00000001-0000", "/backups/00000001-0000/delete", "/nowhere"):
        page = client.get(path).text
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?! src=)", page), path


def test_damaged_catalog_lets_nobody_in_and_says_why(site: AdminSite) -> None:
    """503 in plain words, no traceback, and nobody is taken for an admin."""
    client = site.signed_in()
    site.catalog.close()
    for file in site.directory.glob("catalog.sqlite*"):
        file.unlink()
    site.catalog_file.write_bytes(b"this is not a database, whatever it says" * 100)
    answer = client.get("/")
    assert (answer.status_code, "is not a catalog" in answer.text, "Traceback" in answer.text) == (503, True, False)
