"""HTTP/1.1 as bytes, just enough for a proxy on loopback: read a message whole, write a head and a body."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

Headers = tuple[tuple[str, str], ...]

LONGEST_HEAD_BYTES = 1 << 20
BODYLESS_STATUSES = frozenset({204, 304})


class Framing(StrEnum):
    """How an answer says where its body ends."""

    LENGTH = "length"
    """`Content-Length` of the whole body, whatever part of it is then sent."""
    SENT_LENGTH = "sent_length"
    """`Content-Length` of what is sent: a cut body that looks whole."""
    CHUNKED = "chunked"
    """`Transfer-Encoding: chunked`, with the last chunk only when the body is whole."""
    UNTIL_CLOSE = "until_close"
    """Neither: the body ends with the connection, and a cut cannot be told from an end."""


@dataclass(frozen=True, slots=True)
class Message:
    """A request or an answer: its first line, headers in order, and the body without its framing."""

    start: str
    headers: Headers
    body: bytes = b""
    framing: Framing = Framing.LENGTH

    def header(self, name: str) -> str | None:
        """The first value of a header, by name in any case."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    @property
    def keeps_connection(self) -> bool:
        """Whether its sender means to go on using the connection."""
        return (self.header("Connection") or "keep-alive").lower() != "close" and "HTTP/1.0" not in self.start


async def read_request(reader: asyncio.StreamReader) -> Message | None:
    """The next request of a connection; None when the client has closed it."""
    try:
        head = await _read_head(reader)
    except asyncio.IncompleteReadError:
        return None
    body, _ = await _read_body(reader, head, ends_with_connection=False)
    return Message(head.start, head.headers, body)


async def read_answer(reader: asyncio.StreamReader, method: str) -> Message:
    """The answer to a request of that method, read to its end. Raises `asyncio.IncompleteReadError` when cut."""
    head = await _read_head(reader)
    if method == "HEAD" or status_of(head) in BODYLESS_STATUSES:
        return head
    body, framing = await _read_body(reader, head, ends_with_connection=True)
    return Message(head.start, head.headers, body, framing)


def status_of(answer: Message) -> int:
    """The status code of an answer."""
    return int(answer.start.split(" ", 2)[1])


def encode_head(start: str, headers: Iterable[tuple[str, str]]) -> bytes:
    """A first line and headers, up to and with the empty line."""
    lines = [start, *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def without_framing(headers: Headers) -> Headers:
    """Headers less those that say where the body ends."""
    return tuple(
        (name, value) for name, value in headers if name.lower() not in {"content-length", "transfer-encoding"}
    )


def framing_headers(framing: Framing, whole_bytes: int, sent_bytes: int) -> Headers:
    """The header that announces a body of `whole_bytes` of which `sent_bytes` will be sent."""
    match framing:
        case Framing.LENGTH:
            return (("Content-Length", str(whole_bytes)),)
        case Framing.SENT_LENGTH:
            return (("Content-Length", str(sent_bytes)),)
        case Framing.CHUNKED:
            return (("Transfer-Encoding", "chunked"),)
        case Framing.UNTIL_CLOSE:
            return (("Connection", "close"),)


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body; of no data, the last one."""
    return b"%x\r\n%b\r\n" % (len(data), data)


async def _read_head(reader: asyncio.StreamReader) -> Message:
    start, *lines = (await reader.readuntil(b"\r\n\r\n"))[:-4].decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return Message(start, tuple((name.strip(), value.strip()) for name, _, value in pairs))


async def _read_body(
    reader: asyncio.StreamReader, head: Message, *, ends_with_connection: bool
) -> tuple[bytes, Framing]:
    if (head.header("Transfer-Encoding") or "").lower() == "chunked":
        return await _read_chunks(reader), Framing.CHUNKED
    length = head.header("Content-Length")
    if length is not None:
        return await reader.readexactly(int(length)), Framing.LENGTH
    return (await reader.read() if ends_with_connection else b""), Framing.UNTIL_CLOSE


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    parts = []
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readuntil(b"\r\n")
    return b"".join(parts)
