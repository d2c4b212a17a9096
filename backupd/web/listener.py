"""Serves an application in a thread of its own, beside the daemon's loop."""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import dataclass
from typing import Any

import uvicorn

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


class Listener:
    """One HTTP listener. `start` returns when it takes connections, `stop` when it no longer does."""

    def __init__(self, app: Any, address: Address) -> None:
        self._asked = address
        self._socket: socket.socket | None = None
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                lifespan="off",
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
        """Begin to listen. Raises BackupdError when the address is taken or not ours."""
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

    def stop(self) -> None:
        """Take no more connections, and let go of those there are within seconds."""
        self._server.should_exit = True
        self._thread.join(_STOP_SECONDS + 1)

    def _serve(self) -> None:
        self._server.run(sockets=[self._socket] if self._socket else None)
