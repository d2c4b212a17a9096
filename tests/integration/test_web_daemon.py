"""The pages of a real daemon: what it refuses to serve, what it never shows, and how it ends."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from backupd.errors import ExitCode
from backupd.sandbox.postgres import Postgres
from backupd.web import Address, Listener, Transport
from tests.support.browser import TOKEN, free_port
from tests.support.daemons import daemon
from tests.support.processes import Backupd, SampleProject, sample_project
from tests.support.skips import require_tool

BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def project(postgres: Postgres) -> Iterator[SampleProject]:
    """A small project."""
    with sample_project(postgres) as running:
        yield running


@pytest.fixture
def port() -> int:
    """A free port."""
    return free_port()


@pytest.fixture
def cli(tmp_path: Path, project: SampleProject, port: int) -> Backupd:
    """The program, with its pages on that port."""
    web = {"BACKUPD_WEB__LISTEN": f"127.0.0.1:{port}", "BACKUPD_WEB__ADMIN_TOKEN": TOKEN}
    return Backupd(tmp_path, {**project.environ, **web})


def test_daemon_on_an_open_address_without_tls_does_not_start(cli: Backupd, port: int) -> None:
    """Exit code 78, and the ways out are named."""
    done = cli.having(BACKUPD_WEB__LISTEN=f"0.0.0.0:{port}")("run")
    assert done.code == ExitCode.CONFIGURATION
    assert "web.tls_certificate" in done.said


def test_daemon_shows_neither_key_nor_token_anywhere(cli: Backupd, project: SampleProject, port: int) -> None:
    """Not in a page, the API, the metrics, an error or the log; the planted keys are searched for everywhere."""
    url = f"http://127.0.0.1:{port}"
    with daemon(cli) as running, httpx.Client(base_url=url, headers=BEARER) as client:
        running.back_up()
        backup_id = client.get("/api/v1/backups").json()["backups"][0]["backup_id"]
        paths = ["status", "backups", f"backups/{backup_id}", "runs", "jobs", "cleanup", "openapi.json", "nowhere"]
        shown = [client.get(f"/api/v1/{path}").text for path in paths]
        link = cli("login-link").out.strip()
        page = client.get(link)
        form = {"csrf": page.text.split('name="csrf" value="')[1].split('"')[0], "token": link.rpartition("=")[2]}
        assert client.post("/login/link", data=form).status_code == 303
        pages = ["/", "/audit", "/cleanup", f"/backups/{backup_id}", f"/backups/{backup_id}/delete", "/nowhere"]
        shown += [client.get(path).text for path in [*pages, "/metrics", "/health", "/login"]]
        client.post("/login", data={"csrf": "x", "token": TOKEN})
        running.stop()
        shown.append(running.text)
    for secret in (project.gateway.keys.secret, TOKEN):
        assert secret not in "".join(shown)


def test_daemon_stops_at_once_while_somebody_watches(cli: Backupd, port: int) -> None:
    """An open stream does not hold the end up."""
    with daemon(cli) as running:
        with httpx.stream("GET", f"http://127.0.0.1:{port}/api/v1/events", headers=BEARER) as stream:
            next(stream.iter_lines())
            begun = time.monotonic()
            assert running.stop() == 0
        assert time.monotonic() - begun < 5


def test_reload_with_another_token_takes_it(cli: Backupd, port: int, tmp_path: Path) -> None:
    """SIGHUP is enough to lock the old one out."""
    file = tmp_path / "backupd.toml"
    file.write_text(f'[web]\nadmin_token = "{TOKEN}"\n')
    with daemon(cli.having(BACKUPD_WEB__ADMIN_TOKEN=None, BACKUPD_CONFIG=str(file))) as running:
        url = f"http://127.0.0.1:{port}/api/v1/status"
        assert httpx.get(url, headers=BEARER).status_code == 200
        file.write_text('[web]\nadmin_token = "another-token-altogether"\n')
        running.send(1)
        running.wait_for("config.reloaded")
        assert httpx.get(url, headers=BEARER).status_code == 401
        assert httpx.get(url, headers={"Authorization": "Bearer another-token-altogether"}).status_code == 200


def test_login_link_names_the_base_url(cli: Backupd) -> None:
    """What the browser sees, behind a proxy."""
    done = cli.having(BACKUPD_WEB__BASE_URL="https://backups.example.org")("login-link", "--json")
    assert done.document["url"].startswith("https://backups.example.org/login/link?token=")


def test_login_link_without_pages_says_so(cli: Backupd) -> None:
    """web.listen is off."""
    done = cli.having(BACKUPD_WEB__LISTEN="off")("login-link")
    assert (done.code, "web.listen" in done.err) == (ExitCode.CONFIGURATION, True)


def test_daemon_speaks_tls_when_given_a_certificate(cli: Backupd, port: int, tmp_path: Path) -> None:
    """With cookies that insist on it."""
    require_tool("openssl", "openssl")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    made = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    subprocess.run([*made, *subject, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    tls = {"BACKUPD_WEB__TLS_CERTIFICATE": str(certificate), "BACKUPD_WEB__TLS_KEY": str(key)}
    trust = ssl.create_default_context(cafile=str(certificate))
    with daemon(cli.having(**tls)), httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=trust) as client:
        answer = client.get("/login")
        assert "Secure" in answer.headers["set-cookie"]
        assert "max-age" in answer.headers["strict-transport-security"]


def test_daemon_with_a_certificate_that_is_none_says_so(cli: Backupd, tmp_path: Path) -> None:
    """At the start, by name."""
    (tmp_path / "cert.pem").write_text("not a certificate")
    place = str(tmp_path / "cert.pem")
    done = cli.having(BACKUPD_WEB__TLS_CERTIFICATE=place, BACKUPD_WEB__TLS_KEY=place)("run")
    assert (done.code, "TLS cannot be spoken" in done.err) == (ExitCode.FAILED, True)


WHOLE = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(("first", "then"), [(b"", b""), (b"", b"GET / HTTP/1.1\r\nX-Slow: "), (WHOLE, b"GET /b HT")])
def test_client_that_does_not_finish_its_request_is_let_go(first: bytes, then: bytes) -> None:
    """Whether it has sent nothing, half of a first request, or half of a second one."""

    async def answer(_: object, __: object, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    listener = Listener(answer, Address("127.0.0.1", 0), transport=Transport(head_seconds=0.2))
    listener.start()
    try:
        with socket.create_connection(("127.0.0.1", listener.address.port), timeout=10) as client:
            client.sendall(first)
            if first:
                assert client.recv(4096).startswith(b"HTTP/1.1 204")
            client.sendall(then)
            assert _received(client) == b""
    finally:
        listener.stop()


def test_viewer_that_takes_nothing_is_dropped() -> None:
    """A stream that nobody reads ends, and with it everything that is kept for it."""
    dropped = threading.Event()

    async def stream(_: object, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(1000):
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
        dropped.set()

    listener = Listener(stream, Address("127.0.0.1", 0), transport=Transport(stalled_seconds=0.3))
    listener.start()
    try:
        with socket.create_connection(("127.0.0.1", listener.address.port), timeout=10) as client:
            client.sendall(WHOLE)
            assert dropped.wait(10)
    finally:
        listener.stop()


def _received(client: socket.socket) -> bytes:
    try:
        return client.recv(4096)
    except ConnectionResetError:
        return b""
