"""Every fault of `tests.support.faults` is seen by a real HTTP client to have its effect."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import httpx
import pytest

from tests.support.faults import (
    Call,
    Delay,
    Drip,
    Duplicate,
    Endless,
    Fault,
    GzipBomb,
    Hang,
    Raw,
    RedirectLoop,
    Request,
    WrongLength,
    answer,
    close_after,
    html_page,
    lose_answer,
    lose_request,
    reset_after,
)
from tests.support.proxy import FaultProxy, ProxyFailed, all_of, method, nth, path, query
from tests.support.wire import Framing

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # spares every client the loading of the certificates
BODY = b'[{"id": 1}, {"id": 2}]' * 50


@dataclass
class Target:
    """A server that answers every GET with BODY, and what it was asked."""

    url: str
    asked: list[str] = field(default_factory=list)
    connections: set[int] = field(default_factory=set)
    closed: threading.Event = field(default_factory=threading.Event)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    target: ClassVar[Target]

    def do_GET(self) -> None:
        self._note()
        self.send_response(200)
        if self.path.startswith("/chunked"):
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY))
            return
        if self.path.startswith("/closing"):
            self.send_header("Connection", "close")
        if self.path.startswith("/silent"):
            self.close_connection = True
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(BODY)

    do_HEAD = do_GET  # noqa: N815 - the name the base class looks up

    def do_POST(self) -> None:
        self._note()
        received = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(201)
        self.send_header("Content-Length", str(len(received)))
        self.end_headers()
        self.wfile.write(received)

    def finish(self) -> None:
        super().finish()
        self.connection.shutdown(socket.SHUT_RDWR)
        self.target.closed.set()

    def _note(self) -> None:
        self.target.asked.append(f"{self.command} {self.path}")
        self.target.connections.add(self.client_address[1])

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Keep the test's output clean."""


@pytest.fixture
def target() -> Iterator[Target]:
    """A running server, and what it has been asked."""

    class Handler(_Handler):
        pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Handler.target = Target(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield Handler.target
        server.shutdown()
        thread.join()


@pytest.fixture
def proxy(target: Target) -> Iterator[FaultProxy]:
    """A proxy in front of the target, with nothing planned."""
    with FaultProxy(target.url) as running:
        yield running


@pytest.fixture
def client(proxy: FaultProxy) -> Iterator[httpx.Client]:
    """A client of the proxy."""
    with httpx.Client(base_url=proxy.url, timeout=10, verify=NO_TLS) as running:
        yield running


def read_raw(proxy: FaultProxy, request: bytes = b"GET /rows HTTP/1.1\r\nHost: x\r\n\r\n") -> bytes:
    """All the bytes of one connection, up to its orderly end."""
    with socket.create_connection(("127.0.0.1", int(proxy.url.rpartition(":")[2])), timeout=10) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_proxy_nothing_planned_passes_the_answer_on(client: httpx.Client) -> None:
    """Status, headers and body are the target's."""
    got = client.get("/rows?a=1")
    assert (got.status_code, got.content, got.headers["Content-Length"]) == (200, BODY, str(len(BODY)))


def test_proxy_chunked_answer_stays_chunked(client: httpx.Client) -> None:
    """The framing is the target's too."""
    got = client.get("/chunked")
    assert (got.content, got.headers["Transfer-Encoding"]) == (BODY, "chunked")


def test_proxy_head_request_gets_headers_alone(client: httpx.Client) -> None:
    """A HEAD has the length of the body and no body, and the connection goes on."""
    assert client.head("/rows").headers["Content-Length"] == str(len(BODY))
    assert client.get("/rows").content == BODY


@pytest.mark.parametrize("content", [b"", b"x" * 300_000, iter([b"one", b"two"])], ids=["empty", "large", "chunked"])
def test_proxy_request_body_reaches_the_target(client: httpx.Client, content: bytes | Iterator[bytes]) -> None:
    """What is posted arrives, however it was framed."""
    expected = b"onetwo" if not isinstance(content, bytes) else content
    assert client.post("/rows", content=content).content == expected


def test_proxy_many_requests_share_one_connection_to_each_side(client: httpx.Client, target: Target) -> None:
    """Connections are kept alive towards the client and the target."""
    for _ in range(20):
        client.get("/rows")
    assert len(target.connections) == 1


def test_proxy_requests_one_after_another_are_never_in_flight_together(proxy: FaultProxy, client: httpx.Client) -> None:
    """A request is under way until its answer is sent, and no longer."""
    for _ in range(3):
        client.get("/rows")
    assert proxy.most_in_flight == 1


def test_proxy_target_that_closes_is_asked_again_on_a_new_connection(client: httpx.Client, target: Target) -> None:
    """An answer with `Connection: close` does not break the next request."""
    assert [client.get("/closing").content for _ in range(3)] == [BODY] * 3
    assert len(target.connections) == 3


def test_proxy_target_that_closed_unannounced_is_asked_again_on_a_new_connection(
    client: httpx.Client, target: Target
) -> None:
    """A connection that the target has dropped in the meantime is not used."""
    for _ in range(2):
        assert client.get("/silent").content == BODY
        assert target.closed.wait(10)
        target.closed.clear()
    assert len(target.connections) == 2


def test_proxy_target_that_is_not_there_resets_the_client(client: httpx.Client) -> None:
    """A dead target looks like one."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    with FaultProxy(url) as proxy, pytest.raises(httpx.NetworkError):
        httpx.get(proxy.url, verify=NO_TLS)


def test_proxy_plan_is_asked_in_order_and_used_up(proxy: FaultProxy, client: httpx.Client) -> None:
    """A rule deals with as many requests as it was given, after those it lets by; then the next rule is asked."""
    proxy.once(when=path("/a"), after=1, do=answer(500))
    proxy.times(2, when=path("/a"), after=1, do=answer(503))
    proxy.always(when=all_of(method("GET"), query("x", "a b")), do=answer(418))
    assert [client.get("/a").status_code for _ in range(5)] == [200, 500, 503, 503, 200]
    assert [client.get(at).status_code for at in ("/b?x=a%20b", "/b?x=c", "/b?x=a+b&y=")] == [418, 200, 418]


def test_proxy_nth_counts_all_requests(proxy: FaultProxy, client: httpx.Client) -> None:
    """The number of a request is its place among all."""
    proxy.always(when=nth(2, 4), do=answer(503))
    assert [client.get(f"/{n}").status_code for n in range(1, 6)] == [200, 503, 200, 503, 200]


def test_proxy_cleared_plan_passes_everything_on(proxy: FaultProxy, client: httpx.Client) -> None:
    """A fault can end."""
    proxy.always(do=answer(503))
    assert client.get("/rows").status_code == 503
    proxy.clear()
    assert client.get("/rows").status_code == 200


def test_proxy_requests_are_recorded_without_keys(proxy: FaultProxy, client: httpx.Client) -> None:
    """Tests can assert on what was asked; a failing assertion shows no key."""
    client.post("/rows?a=1&b=x%20y&c=", content=b"12345", headers={"apikey": "k", "Authorization": "k", "Prefer": "p"})
    (seen,) = proxy.requests
    assert (seen.number, seen.method, seen.path, seen.body_bytes) == (1, "POST", "/rows", 5)
    assert seen.query == (("a", "1"), ("b", "x y"), ("c", ""))
    assert seen.headers["prefer"] == "p"
    assert not {"apikey", "authorization"} & set(seen.headers)
    assert (proxy.count(path("/rows")), proxy.count(path("/other"))) == (1, 0)


def test_proxy_waiting_for_a_request_that_does_not_come_times_out(proxy: FaultProxy, client: httpx.Client) -> None:
    """Waiting is bounded, and says what did come."""
    client.get("/rows")
    with pytest.raises(TimeoutError, match="GET /rows"):
        proxy.wait_for(path("/other"), seconds=0.01)


@pytest.mark.parametrize("reset", [True, False])
def test_cut_body_shows_what_came_before(proxy: FaultProxy, client: httpx.Client, reset: bool) -> None:
    """The head and so many bytes arrive, then the connection ends: by a reset, or in order."""
    proxy.once(do=reset_after(100) if reset else close_after(100))
    pieces: list[bytes] = []
    with client.stream("GET", "/rows") as got, pytest.raises(httpx.ReadError if reset else httpx.RemoteProtocolError):
        pieces.extend(got.iter_raw())
    assert (got.status_code, b"".join(pieces)) == (200, BODY[:100])
    assert client.get("/rows").content == BODY


def test_cut_at_zero_sends_the_head_alone(proxy: FaultProxy, client: httpx.Client) -> None:
    """A reset can come right after the headers."""
    proxy.once(do=reset_after(0))
    with client.stream("GET", "/rows") as got, pytest.raises(httpx.ReadError):
        got.read()
    assert got.headers["Content-Length"] == str(len(BODY))


def test_cut_of_a_part_sends_that_part(proxy: FaultProxy, client: httpx.Client) -> None:
    """A float is a part of the body; an understated length makes the cut look whole."""
    proxy.once(do=close_after(0.5, Framing.SENT_LENGTH))
    assert client.get("/rows").content == BODY[: len(BODY) // 2]


def test_cut_without_a_length_cannot_be_told(proxy: FaultProxy, client: httpx.Client) -> None:
    """A body that ends with its connection is taken for whole by the client."""
    proxy.once(do=close_after(10, Framing.UNTIL_CLOSE))
    assert client.get("/rows").content == BODY[:10]


def test_cut_chunked_body_lacks_its_last_chunk(proxy: FaultProxy, client: httpx.Client) -> None:
    """A chunked body that was cut is noticed by the client."""
    proxy.once(do=close_after(10, Framing.CHUNKED))
    with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked"):
        client.get("/rows")


@pytest.mark.parametrize(("fault", "asked"), [(lose_request(), 0), (lose_answer(), 1)])
def test_lost_exchange_resets_before_any_answer(
    proxy: FaultProxy, client: httpx.Client, target: Target, fault: Fault, asked: int
) -> None:
    """The client sees the same; the target has done what was asked, or has not."""
    proxy.once(do=fault)
    with pytest.raises(httpx.ReadError):
        client.post("/rows", content=b"x")
    assert len(target.asked) == asked


def test_answer_replaces_the_target(proxy: FaultProxy, client: httpx.Client, target: Target) -> None:
    """Status, headers and body are the test's, on a connection that lives on."""
    proxy.once(do=answer(429, headers={"Retry-After": "7"}, body="slow down"))
    got = client.get("/rows")
    assert (got.status_code, got.headers["Retry-After"], got.text) == (429, "7", "slow down")
    assert (client.get("/rows").content, len(target.asked)) == (BODY, 1)


def test_answer_to_a_head_has_no_body(proxy: FaultProxy) -> None:
    """The length is announced, the body is not sent."""
    proxy.once(do=answer(200, body="12345"))
    raw = read_raw(proxy, b"HEAD /rows HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert raw == b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"


def test_html_page_is_a_200(proxy: FaultProxy, client: httpx.Client) -> None:
    """A sign-in page in place of rows."""
    proxy.once(do=html_page())
    got = client.get("/rows")
    assert (got.status_code, got.headers["Content-Type"]) == (200, "text/html")


def test_raw_bytes_are_not_http(proxy: FaultProxy, client: httpx.Client) -> None:
    """Garbage reaches the client as it is."""
    proxy.always(do=Raw(b"\x00\xffnot http\r\n\r\n"))
    assert read_raw(proxy) == b"\x00\xffnot http\r\n\r\n"
    with pytest.raises(httpx.RemoteProtocolError):
        client.get("/rows")


def test_redirect_loop_never_arrives(proxy: FaultProxy) -> None:
    """A client that follows redirects gives up."""
    proxy.always(do=RedirectLoop())
    with (
        httpx.Client(follow_redirects=True, max_redirects=5, verify=NO_TLS) as client,
        pytest.raises(httpx.TooManyRedirects),
    ):
        client.get(f"{proxy.url}/rows")
    assert proxy.count(path("/rows")) == 6


def test_duplicate_sends_the_body_twice(proxy: FaultProxy, client: httpx.Client) -> None:
    """The doubled body is well framed."""
    proxy.once(do=Duplicate())
    assert client.get("/chunked").content == BODY * 2


def test_wrong_length_too_small_cuts_the_body(proxy: FaultProxy, client: httpx.Client) -> None:
    """The client stops at the length it was told."""
    proxy.once(do=WrongLength(by=-5))
    assert client.get("/rows").content == BODY[:-5]


def test_wrong_length_too_large_ends_early(proxy: FaultProxy, client: httpx.Client) -> None:
    """The client waits for bytes that never come."""
    proxy.once(do=WrongLength(by=5))
    with pytest.raises(httpx.RemoteProtocolError):
        client.get("/rows")


def test_drip_takes_its_time(proxy: FaultProxy, client: httpx.Client) -> None:
    """The body arrives whole, at the rate asked for."""
    proxy.once(do=Drip(bytes_per_second=len(BODY) * 5))
    started = time.monotonic()
    assert client.get("/rows").content == BODY
    assert time.monotonic() - started >= 0.15


def test_delay_does_not_hold_up_other_requests(proxy: FaultProxy, client: httpx.Client) -> None:
    """Forty requests of 50 ms on eight connections overlap."""
    proxy.always(do=Delay(0.05))
    started = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        bodies = list(pool.map(lambda _: client.get("/rows").content, range(40)))
    elapsed = time.monotonic() - started
    assert bodies == [BODY] * 40
    assert proxy.most_in_flight > 4
    assert elapsed >= 5 * 0.05


def test_call_happens_before_the_request_is_forwarded(proxy: FaultProxy, client: httpx.Client, target: Target) -> None:
    """A test can change the world between two pages."""
    called: list[tuple[Request, int]] = []
    proxy.once(when=nth(2), do=Call(lambda request: called.append((request, len(target.asked)))))
    assert [client.get("/rows").content for _ in range(3)] == [BODY] * 3
    assert [(request.number, asked) for request, asked in called] == [(2, 1)]


def test_call_that_raises_fails_the_test(target: Target) -> None:
    """A broken callback is not taken for a fault of the network."""
    proxy = FaultProxy(target.url)
    proxy.once(do=Call(lambda request: 1 // (request.number - 1)))
    with pytest.raises(ProxyFailed, match="ZeroDivisionError"), proxy:
        _ask_briefly(proxy.url)


@pytest.mark.parametrize("after", [None, 7, 0.5])
def test_hang_ends_with_its_release(proxy: FaultProxy, client: httpx.Client, after: int | float | None) -> None:
    """The answer comes when the test says so."""
    proxy.once(do=Hang(after=after))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.get, "/rows")
        proxy.wait_for(path("/rows"))
        with pytest.raises(TimeoutError):
            waiting.result(0.1)
        proxy.release()
        assert waiting.result(10).content == BODY


def test_hang_ends_with_the_proxy(target: Target) -> None:
    """Leaving the context waits for nobody."""
    with ThreadPoolExecutor(1) as pool:
        with FaultProxy(target.url) as proxy:
            proxy.always(do=Hang())
            waiting = pool.submit(httpx.get, proxy.url, timeout=30, verify=NO_TLS)
            proxy.wait_for()
        with pytest.raises(httpx.TransportError):
            waiting.result(10)


def test_endless_body_goes_on(proxy: FaultProxy, client: httpx.Client) -> None:
    """Far more than any page arrives, and the client decides when it has had enough."""
    proxy.once(do=Endless())
    received = 0
    with client.stream("GET", "/rows") as got:
        for piece in got.iter_bytes():
            received += len(piece)
            if received > 5_000_000:
                break
    assert received > 5_000_000
    assert client.get("/rows").content == BODY


def test_gzip_bomb_unpacks_to_its_size(proxy: FaultProxy, client: httpx.Client) -> None:
    """A few kilobytes become many megabytes."""
    proxy.once(do=GzipBomb(8 << 20))
    with client.stream("GET", "/rows") as got:
        unpacked = sum(map(len, got.iter_bytes()))
        assert (unpacked, got.num_bytes_downloaded < 20_000) == (8 << 20, True)


@pytest.mark.parametrize("fault", [reset_after(10), close_after(10), lose_answer(), Raw(b"x"), Endless(), Hang()])
def test_fault_on_one_connection_leaves_others_alone(proxy: FaultProxy, fault: Fault) -> None:
    """Only the request that was chosen suffers."""
    proxy.always(when=path("/bad"), do=fault)
    good: Callable[[int], httpx.Response] = lambda _: httpx.get(f"{proxy.url}/good", verify=NO_TLS)  # noqa: E731 - typed for map
    with ThreadPoolExecutor(5) as pool:
        bad = pool.submit(_ask_briefly, f"{proxy.url}/bad")
        answers = list(pool.map(good, range(8)))
        assert bad.result(10) is None
    assert [got.content for got in answers] == [BODY] * 8


def _ask_briefly(url: str) -> bytes | None:
    """The body, or None when it did not come whole within half a second."""
    try:
        with httpx.stream("GET", url, timeout=0.5, verify=NO_TLS) as got:
            until = time.monotonic() + 0.5
            pieces = [piece for piece in got.iter_raw() if time.monotonic() < until or _give_up()]
            return b"".join(pieces)
    except (httpx.TransportError, _GaveUp):
        return None


class _GaveUp(Exception):
    pass


def _give_up() -> bool:
    raise _GaveUp


def test_proxy_is_quick_enough_for_thousands_of_requests(proxy: FaultProxy, client: httpx.Client) -> None:
    """A thousand small requests on four connections all come through."""
    with ThreadPoolExecutor(4) as pool:
        statuses = set(pool.map(lambda number: client.get(f"/rows?n={number}").status_code, range(1000)))
    assert (statuses, proxy.count()) == ({200}, 1000)
