"""What a `FaultProxy` can do to an answer: frozen values, each with the one coroutine that does it."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Protocol

from tests.support.wire import Framing, Headers, Message, chunk, encode_head, framing_headers, without_framing

_DRIPS_PER_SECOND = 20
_BOMB_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Request:
    """A request the proxy has seen. `number` counts from 1 over all requests; headers hold no key, token or cookie."""

    number: int
    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    body_bytes: int


class Exchange(Protocol):
    """One request and what is sent back for it."""

    @property
    def request(self) -> Request:
        """The request, without its keys."""

    async def fetch(self) -> Message:
        """Forward the request to the target and read the whole answer."""

    async def send(self, data: bytes) -> None:
        """Send bytes to the client; returns when the kernel has them all."""

    async def released(self) -> None:
        """Wait until the test calls `FaultProxy.release`, or the proxy ends."""

    def close(self) -> None:
        """End the connection in order (FIN) when this exchange is over."""

    def reset(self) -> None:
        """End the connection at once (RST)."""


class Fault(Protocol):
    """Something to do with a request instead of passing it on and its answer back."""

    async def play(self, exchange: Exchange) -> None:
        """Do it. An exchange that is neither closed nor reset leaves the connection open for the next request."""


@dataclass(frozen=True, slots=True)
class Pass:
    """The target's answer as it came, framed as it was."""

    async def play(self, exchange: Exchange) -> None:
        """Forward both ways."""
        answer = await exchange.fetch()
        if exchange.request.method == "HEAD":
            await exchange.send(encode_head(answer.start, answer.headers))
        else:
            await _send_answer(exchange, answer, answer.body, answer.framing)


@dataclass(frozen=True, slots=True)
class Delay:
    """Wait, then do something else. Other requests are not held up."""

    seconds: float
    then: Fault = field(default_factory=Pass)

    async def play(self, exchange: Exchange) -> None:
        """Wait before the request is forwarded."""
        await asyncio.sleep(self.seconds)
        await self.then.play(exchange)


@dataclass(frozen=True, slots=True)
class Call:
    """Call a function of the test with the request, then do something else: to change the database between pages."""

    function: Callable[[Request], object]
    then: Fault = field(default_factory=Pass)

    async def play(self, exchange: Exchange) -> None:
        """Call it in a thread, before the request is forwarded."""
        await asyncio.to_thread(self.function, exchange.request)
        await self.then.play(exchange)


@dataclass(frozen=True, slots=True)
class Vanish:
    """End the connection without a byte of an answer; with `forward`, after the target has done what was asked."""

    forward: bool
    reset: bool = True

    async def play(self, exchange: Exchange) -> None:
        """Let the request get through or not, then end."""
        if self.forward:
            await exchange.fetch()
        _end(exchange, reset=self.reset)


@dataclass(frozen=True, slots=True)
class Cut:
    """Send the head and a part of the body, then end. `at` is a number of bytes, or as a float a part of the body."""

    at: int | float
    framing: Framing = Framing.LENGTH
    reset: bool = False

    async def play(self, exchange: Exchange) -> None:
        """Send what comes before the cut."""
        answer = await exchange.fetch()
        await _send_answer(exchange, answer, answer.body[: _position(self.at, answer.body)], self.framing)
        _end(exchange, reset=self.reset)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the test's own; the target never sees the request."""

    status: int = 200
    headers: Headers = ()
    body: bytes = b""

    async def play(self, exchange: Exchange) -> None:
        """Send it with a right `Content-Length`."""
        body = b"" if exchange.request.method == "HEAD" else self.body
        headers = (*self.headers, ("Content-Length", str(len(self.body))))
        await exchange.send(encode_head(_start(self.status), headers) + body)


@dataclass(frozen=True, slots=True)
class Raw:
    """Bytes sent as they are instead of an HTTP answer, then the end."""

    data: bytes

    async def play(self, exchange: Exchange) -> None:
        """Send them and close."""
        await exchange.send(self.data)
        exchange.close()


@dataclass(frozen=True, slots=True)
class RedirectLoop:
    """A redirect to the very address that was asked for."""

    status: int = 307

    async def play(self, exchange: Exchange) -> None:
        """Send the client round."""
        await Answer(self.status, (("Location", exchange.request.path),)).play(exchange)


@dataclass(frozen=True, slots=True)
class Duplicate:
    """The target's body twice, in one well-formed answer."""

    async def play(self, exchange: Exchange) -> None:
        """Send it with the length of both."""
        answer = await exchange.fetch()
        await _send_answer(exchange, answer, answer.body * 2, Framing.SENT_LENGTH)


@dataclass(frozen=True, slots=True)
class WrongLength:
    """The target's whole body under a `Content-Length` that is `by` bytes too large, or below 0 too small."""

    by: int

    async def play(self, exchange: Exchange) -> None:
        """Send all of it and close."""
        answer = await exchange.fetch()
        headers = (*without_framing(answer.headers), ("Content-Length", str(len(answer.body) + self.by)))
        await exchange.send(encode_head(answer.start, headers) + answer.body)
        exchange.close()


@dataclass(frozen=True, slots=True)
class Drip:
    """The target's body at so many bytes a second."""

    bytes_per_second: int

    async def play(self, exchange: Exchange) -> None:
        """Send the head, then piece by piece, waiting before each."""
        answer = await exchange.fetch()
        headers = (*without_framing(answer.headers), ("Content-Length", str(len(answer.body))))
        await exchange.send(encode_head(answer.start, headers))
        step = max(1, self.bytes_per_second // _DRIPS_PER_SECOND)
        for position in range(0, len(answer.body), step):
            await asyncio.sleep(step / self.bytes_per_second)
            await exchange.send(answer.body[position : position + step])


@dataclass(frozen=True, slots=True)
class Hang:
    """Say nothing until released: before the request is forwarded, or `after` so many bytes of the body."""

    after: int | float | None = None

    async def play(self, exchange: Exchange) -> None:
        """Once released, go on as if nothing had been."""
        if self.after is None:
            await exchange.released()
            await Pass().play(exchange)
            return
        answer = await exchange.fetch()
        position = _position(self.after, answer.body)
        await _send_answer(exchange, answer, answer.body[:position], Framing.LENGTH)
        await exchange.released()
        await exchange.send(answer.body[position:])


@dataclass(frozen=True, slots=True)
class Endless:
    """A 200 whose body starts well and never ends."""

    start: bytes = b"["
    block: bytes = b'{"id": 1},\n' * 1000

    async def play(self, exchange: Exchange) -> None:
        """Send blocks until the client or the proxy goes away."""
        await exchange.send(_json_head(Framing.CHUNKED) + chunk(self.start))
        while True:
            await exchange.send(chunk(self.block))


@dataclass(frozen=True, slots=True)
class GzipBomb:
    """A small gzip body that unpacks to `size_bytes` of white space, in whole mebibytes."""

    size_bytes: int

    async def play(self, exchange: Exchange) -> None:
        """Pack it while it is sent, in a thread so that other connections go on."""
        await exchange.send(_json_head(Framing.CHUNKED, ("Content-Encoding", "gzip")))
        pieces = _gzip_spaces(self.size_bytes)
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            await exchange.send(chunk(piece))
        await exchange.send(chunk(b""))


def answer(status: int, *, headers: Mapping[str, str] | None = None, body: bytes | str = b"") -> Answer:
    """An answer of the test's own, its headers and body in the handiest types."""
    return Answer(status, tuple((headers or {}).items()), body.encode() if isinstance(body, str) else body)


def html_page() -> Answer:
    """What a captive portal or a maintenance page says: 200 and HTML."""
    return answer(200, headers={"Content-Type": "text/html"}, body="<!doctype html><title>Sign in</title>")


def reset_after(at: int | float, framing: Framing = Framing.LENGTH) -> Cut:
    """A reset (RST) after so much of the body; `reset_after(0)` comes right after the headers."""
    return Cut(at, framing, reset=True)


def close_after(at: int | float, framing: Framing = Framing.LENGTH) -> Cut:
    """An orderly end (FIN) after so much of the body."""
    return Cut(at, framing)


def lose_request() -> Vanish:
    """A reset before the target has seen the request."""
    return Vanish(forward=False)


def lose_answer() -> Vanish:
    """A reset after the target has done what was asked: the client cannot know."""
    return Vanish(forward=True)


async def _send_answer(exchange: Exchange, answer: Message, body: bytes, framing: Framing) -> None:
    """Send a head that fits `answer.body` under that framing, and `body`, which may be less."""
    headers = without_framing(answer.headers) + framing_headers(framing, len(answer.body), len(body))
    payload = body
    if framing is Framing.CHUNKED:
        payload = (chunk(body) if body else b"") + (chunk(b"") if body == answer.body else b"")
    await exchange.send(encode_head(answer.start, headers) + payload)
    if framing is Framing.UNTIL_CLOSE:
        exchange.close()


def _end(exchange: Exchange, *, reset: bool) -> None:
    if reset:
        exchange.reset()
    else:
        exchange.close()


def _position(at: int | float, body: bytes) -> int:
    return at if isinstance(at, int) else int(len(body) * at)


def _start(status: int) -> str:
    phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else "Unknown"
    return f"HTTP/1.1 {status} {phrase}"


def _json_head(framing: Framing, *headers: tuple[str, str]) -> bytes:
    described = (("Content-Type", "application/json"), *headers, *framing_headers(framing, 0, 0))
    return encode_head(_start(200), described)


def _gzip_spaces(size_bytes: int) -> Iterator[bytes]:
    packer = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    block = b" " * _BOMB_BLOCK_BYTES
    for _ in range(size_bytes // _BOMB_BLOCK_BYTES):
        if piece := packer.compress(block):
            yield piece
    yield packer.flush()
