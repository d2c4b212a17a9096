"""A proxy on loopback that passes HTTP on, and does what a test has planned to chosen requests.

    with FaultProxy(lite.url) as proxy:
        proxy.once(when=nth(3), do=reset_after(100))
        proxy.once(when=path("/rest/v1/users"), after=2, do=close_after(0.5, Framing.CHUNKED))
        proxy.always(when=path("/rest/v1/users"), do=answer(429, headers={"Retry-After": "0"}))
        …
        assert proxy.count(path("/rest/v1/users")) == 4

The plan is asked in the order it was made; a rule that is used up is passed over, and a request no rule wants is
passed on. What can be done to a request is in `tests.support.faults`.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from urllib.parse import parse_qsl, urlsplit

from tests.support.faults import Fault, Pass, Request
from tests.support.wire import (
    LONGEST_HEAD_BYTES,
    Headers,
    Message,
    encode_head,
    read_answer,
    read_request,
    without_framing,
)

Match = Callable[[Request], bool]

_SECRET_HEADERS = frozenset({"apikey", "authorization", "cookie"})
_NO_LINGER = struct.pack("ii", 1, 0)
_FOREVER = -1


def any_request(request: Request) -> bool:
    """Matches every request."""
    return True


def nth(*numbers: int) -> Match:
    """Matches requests by their number over all, from 1."""
    return lambda request: request.number in numbers


def method(name: str) -> Match:
    """Matches requests of a method."""
    return lambda request: request.method == name


def path(exact: str) -> Match:
    """Matches requests for a path, which has no query."""
    return lambda request: request.path == exact


def query(name: str, value: str | None = None) -> Match:
    """Matches requests with a query parameter, of that value when one is given, decoded."""
    return lambda request: any(key == name and value in {None, got} for key, got in request.query)


def all_of(*matches: Match) -> Match:
    """Matches what all of them match."""
    return lambda request: all(match(request) for match in matches)


class ProxyFailed(Exception):
    """The proxy, or a function a test gave it, broke: the test's result means nothing."""


@dataclass(slots=True)
class _Rule:
    """One line of the plan: how many matches to let go by, and how many to deal with after that."""

    when: Match
    do: Fault
    skip: int
    left: int

    def takes(self, request: Request) -> bool:
        """Whether this rule deals with the request; asked once for each, because it counts."""
        if self.left == 0 or not self.when(request):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.left -= self.left > 0
        return True


class FaultProxy:
    """Stands in front of `target_url` (`http://host:port`) while its context lasts, in a thread of its own.

    Connections are kept alive towards both sides, requests on different connections never wait for each other.
    Leaving the context raises `ProxyFailed` if anything broke that was not meant to.
    """

    def __init__(self, target_url: str) -> None:
        target = urlsplit(target_url)
        self._target = (str(target.hostname), target.port or 80)
        self._rules: list[_Rule] = []
        self._requests: list[Request] = []
        self._failures: list[BaseException] = []
        self._in_flight = 0
        self._most_in_flight = 0
        self._seen = threading.Condition()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="fault-proxy", daemon=True)

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        if not self._ready.wait(10):
            raise ProxyFailed("the proxy did not start within 10 s")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        if self._failures and error is None:
            raise ProxyFailed(f"the proxy broke: {self._failures[0]!r}") from self._failures[0]

    @property
    def url(self) -> str:
        """Where clients find it: `http://127.0.0.1:port`."""
        return f"http://127.0.0.1:{self._port}"

    def once(self, *, do: Fault, when: Match = any_request, after: int = 0) -> None:
        """Plan a fault for one request that matches, letting `after` such requests go by first."""
        self.times(1, do=do, when=when, after=after)

    def times(self, count: int, *, do: Fault, when: Match = any_request, after: int = 0) -> None:
        """Plan a fault for that many requests."""
        with self._seen:
            self._rules.append(_Rule(when, do, after, count))

    def always(self, *, do: Fault, when: Match = any_request, after: int = 0) -> None:
        """Plan a fault for every request that matches from now on."""
        self.times(_FOREVER, do=do, when=when, after=after)

    def clear(self) -> None:
        """Forget the plan: from now on everything is passed on."""
        with self._seen:
            self._rules.clear()

    def release(self) -> None:
        """Let everything go that hangs, and nothing hang from now on."""
        self._loop.call_soon_threadsafe(self._released.set)

    @property
    def requests(self) -> tuple[Request, ...]:
        """Every request seen so far, in order."""
        with self._seen:
            return tuple(self._requests)

    @property
    def most_in_flight(self) -> int:
        """The largest number of requests that were under way at the same time."""
        return self._most_in_flight

    def count(self, when: Match = any_request) -> int:
        """How many requests matched so far."""
        return sum(map(when, self.requests))

    def wait_for(self, when: Match = any_request, *, count: int = 1, seconds: float = 30.0) -> None:
        """Wait until that many requests have matched. Raises `TimeoutError`, naming those that came."""
        with self._seen:
            if not self._seen.wait_for(lambda: sum(map(when, self._requests)) >= count, seconds):
                seen = ", ".join(f"{request.method} {request.path}" for request in self._requests[-20:])
                raise TimeoutError(f"fewer than {count} such requests in {seconds} s; the last ones: {seen}")

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop, self._released = asyncio.Event(), asyncio.Event()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=LONGEST_HEAD_BYTES)
        self._port = int(server.sockets[0].getsockname()[1])
        self._ready.set()
        await self._stop.wait()
        server.close()  # what is still under way is cancelled with the loop

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client connection, request by request."""
        client, target = _Client(writer), _Target(self._target)
        try:
            while not client.over and (incoming := await read_request(reader)) is not None:
                await self._answer(incoming, client, target)
        except (ConnectionError, asyncio.IncompleteReadError):
            client.reset()  # one side went away: so does the other
        except asyncio.CancelledError:
            client.over = True  # the proxy ends; let out, some Python versions would print it as an error
        except Exception as error:  # noqa: BLE001 - handed to the test when the context ends
            self._failures.append(error)
        finally:
            target.drop()
            writer.transport.abort()  # nothing is left to flush: every send has drained

    async def _answer(self, incoming: Message, client: _Client, target: _Target) -> None:
        request, fault = self._note(incoming)
        try:
            await fault.play(_Exchange(request, incoming, client, target, self._released))
        finally:
            self._in_flight -= 1
        client.over = client.over or not incoming.keeps_connection

    def _note(self, incoming: Message) -> tuple[Request, Fault]:
        """Record a request and look up what to do with it."""
        with self._seen:
            request = _describe(incoming, len(self._requests) + 1)
            self._requests.append(request)
            self._in_flight += 1
            self._most_in_flight = max(self._most_in_flight, self._in_flight)
            fault = next((rule.do for rule in self._rules if rule.takes(request)), Pass())
            self._seen.notify_all()
        return request, fault


def _describe(incoming: Message, number: int) -> Request:
    method_name, target, _ = incoming.start.split(" ", 2)
    where = urlsplit(target)
    pairs = tuple(parse_qsl(where.query, keep_blank_values=True))
    headers = {name.lower(): value for name, value in incoming.headers if name.lower() not in _SECRET_HEADERS}
    return Request(number, method_name, where.path, pairs, headers, len(incoming.body))


class _Client:
    """The connection to the client."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.over = False
        writer.transport.set_write_buffer_limits(high=0)  # a drain then means: all of it is with the kernel

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    def reset(self) -> None:
        self.over = True
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self._writer.transport.abort()


class _Target:
    """The connection to the target, opened when first needed and again when the target has closed it."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def fetch(self, request: Message) -> Message:
        reader, writer = await self._open()
        host = f"{self._address[0]}:{self._address[1]}"
        writer.write(encode_head(request.start, _forwarded(request, host)) + request.body)
        return await read_answer(reader, request.start.split(" ", 1)[0])

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is not None and self._streams[0].at_eof():
            self.drop()
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address, limit=LONGEST_HEAD_BYTES)
        return self._streams

    def drop(self) -> None:
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None


def _forwarded(request: Message, host: str) -> Headers:
    """The client's headers with the target's name, a plain length, and a connection that is ours to keep."""
    dropped = {"host", "connection"}
    kept = tuple((name, value) for name, value in without_framing(request.headers) if name.lower() not in dropped)
    length = (("Content-Length", str(len(request.body))),) if request.body or request.header("Content-Length") else ()
    return (("Host", host), *kept, *length)


@dataclass(frozen=True, slots=True)
class _Exchange:
    """What a fault gets to work with."""

    request: Request
    incoming: Message
    client: _Client
    target: _Target
    gate: asyncio.Event

    async def fetch(self) -> Message:
        return await self.target.fetch(self.incoming)

    async def send(self, data: bytes) -> None:
        await self.client.send(data)

    async def released(self) -> None:
        await self.gate.wait()

    def close(self) -> None:
        self.client.over = True

    def reset(self) -> None:
        self.client.reset()
