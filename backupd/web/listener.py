"""Serves an application in a thread of its own, beside the daemon's loop."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from backupd.errors import BackupdError

_START_SECONDS = 10.0
_STOP_SECONDS = 2
_POLL_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen. `host` is a name or an address; port 0 takes any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Transport:
    """How the listener speaks: with TLS when it is given a certificate and key, and whose word it takes on clients.

    `head_seconds`: how long a request's head may take to come. `stalled_seconds`: how long a client may take nothing of
    what it is sent; whoever downloads can go on from there later.
    """

    certificate: str | None = None
    key: str | None = None
    trusted_proxies: tuple[str, ...] = ()
    head_seconds: float = 10.0
    stalled_seconds: float = 30.0


class PatientProtocol(H11Protocol):
    """HTTP whose patience ends: whoever sends no whole request head, or takes nothing of an answer, is let go."""

    head_seconds = 10.0
    stalled_seconds = 30.0
    _patience: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._patience = self.loop.call_later(self.head_seconds, self._lose_patience)

    def data_received(self, data: bytes) -> None:
        """Take in what came; while it is no whole request head, patience runs out."""
        super().data_received(data)
        if not self._waits_for_head():
            self._stop_waiting()
        elif self._patience is None:
            self._patience = self.loop.call_later(self.head_seconds, self._lose_patience)

    def pause_writing(self) -> None:
        """The client does not take what it is sent: begin to wait for it to go on."""
        super().pause_writing()
        self._stalled = self.loop.call_later(self.stalled_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """The client goes on."""
        super().resume_writing()
        self._end_stall()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._stop_waiting()
        self._end_stall()
        super().connection_lost(exc)

    def _waits_for_head(self) -> bool:
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return cycle is None or cycle.response_complete

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _end_stall(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _lose_patience(self) -> None:
        self._patience = None
        if self._waits_for_head():
            self.transport.abort()


def _patient(transport: Transport) -> type[PatientProtocol]:
    limits = {"head_seconds": transport.head_seconds, "stalled_seconds": transport.stalled_seconds}
    return type("Patient", (PatientProtocol,), limits)


class Listener:
    """One HTTP listener. `start` returns when it takes connections, `stop` when it no longer does.

    `on_stop` is called first when it stops: whatever goes on for long, such as a stream, has to end then.
    """

    def __init__(
        self,
        app: Any,
        address: Address,
        *,
        transport: Transport | None = None,
        on_stop: Callable[[], None] = lambda: None,
    ) -> None:
        self._asked = address
        self._on_stop = on_stop
        self._transport = transport = transport or Transport()
        self._socket: socket.socket | None = None
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                http=_patient(transport),
                ws="none",
                lifespan="off",
                proxy_headers=bool(transport.trusted_proxies),
                forwarded_allow_ips=list(transport.trusted_proxies),
                ssl_certfile=transport.certificate,
                ssl_keyfile=transport.key,
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=30,
                timeout_graceful_shutdown=_STOP_SECONDS,
                h11_max_incomplete_event_size=32 << 10,
                limit_concurrency=200,
            )
        )
        self._thread = threading.Thread(target=self._serve, name="listener", daemon=True)

    @property
    def address(self) -> Address:
        """Where it listens: with the port it got."""
        port = self._socket.getsockname()[1] if self._socket else self._asked.port
        return Address(self._asked.host, port)

    def start(self) -> None:
        """Begin to listen. Raises BackupdError when the address is taken or not ours, or for a bad certificate."""
        self._check_certificate()
        try:
            family, _, _, _, place = socket.getaddrinfo(
                self._asked.host, self._asked.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            # Named, so that asyncio knows it for TCP and turns off the delay that costs every answer 40 ms.
            self._socket = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind(place)
        except OSError as error:
            raise BackupdError(
                f"cannot listen on {self._asked}: {error.strerror or error}",
                hint="Is another daemon running? Set web.listen to another address or port.",
            ) from error
        self._thread.start()
        deadline = time.monotonic() + _START_SECONDS
        while not self._server.started:
            if time.monotonic() > deadline or not self._thread.is_alive():
                raise BackupdError(f"the listener on {self._asked} did not start")
            time.sleep(_POLL_SECONDS)

    def _check_certificate(self) -> None:
        """Say now what is wrong with it; in its thread the server could only die of it."""
        certificate, key = self._transport.certificate, self._transport.key
        if certificate is None:
            return
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
        except (OSError, ssl.SSLError) as error:
            raise BackupdError(
                f"TLS cannot be spoken with web.tls_certificate {certificate}: {error.strerror or error}",
                hint="Both it and web.tls_key must be PEM files that belong together and that this user may read.",
            ) from error

    def stop(self) -> None:
        """Take no more connections, and let go of those there are within seconds."""
        self._on_stop()
        self._server.should_exit = True
        self._thread.join(_STOP_SECONDS + 1)

    def _serve(self) -> None:
        self._server.run(sockets=[self._socket] if self._socket else None)
