"""A real HTTP server on the loopback that writes down what it is sent and answers, or hangs, as told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Received:
    """One request as it arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: str


@dataclass
class Recorder:
    """What was received, and what to answer: `answers` in turn (status and body), then 200 and `OK`.

    Requests for a path that begins with `/hang` are answered only when the server ends. `on_request` is called, in
    the server's thread, while the client waits.
    """

    port: int = 0
    received: list[Received] = field(default_factory=list)
    answers: list[tuple[int, str]] = field(default_factory=list)
    on_request: Callable[[], None] = lambda: None
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def targets(self) -> list[str]:
        """The path and query of each request, in order."""
        return [request.target for request in self.received]


@contextmanager
def http_recorder() -> Iterator[Recorder]:
    """A recorder that listens on `127.0.0.1:port` until the block ends."""
    recorder = Recorder()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
            recorder.received.append(Received(self.command, self.path, dict(self.headers), body))
            recorder.on_request()
            if self.path.startswith("/hang"):
                recorder.ended.wait(60)
                return
            status, text = recorder.answers.pop(0) if recorder.answers else (200, "OK")
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the base class's name for it
            """Stay silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        recorder.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield recorder
        finally:
            recorder.ended.set()
            server.shutdown()
            thread.join()
