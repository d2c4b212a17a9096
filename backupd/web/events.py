"""Live progress as server-sent events: one reading for all who watch. The listener lets go of who does not take it."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from backupd.errors import CatalogError
from backupd.web.refusals import Refusal
from backupd.web.site import Site

MOST_VIEWERS = 60
_EVERY_SECONDS = 0.5
_KEEP_ALIVE_SECONDS = 15.0
_CHECK_SECONDS = 15.0
_PAUSE_SECONDS = 0.25


class Pulse:
    """What is going on, read at most twice a second however many watch."""

    def __init__(self, site: Site, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._site = site
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._text = ""

    def text(self) -> str:
        """The state as one line of JSON."""
        with self._lock:
            if self._monotonic() - self._read_at >= _EVERY_SECONDS * 0.8:
                self._text = json.dumps(self._state())
                self._read_at = self._monotonic()
            return self._text

    def _state(self) -> dict[str, Any]:
        try:
            activity = self._site.activity()
            newest = self._site.view.catalog().backups(limit=1)
        except CatalogError:
            return {"activity": None, "newest": None}
        last = newest[0] if newest else None
        return {
            "activity": activity.document() if activity else None,
            "newest": {"backup_id": last.backup_id, "status": str(last.status)} if last else None,
        }


class Events:
    """The handler of the stream."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._pulse = Pulse(site)
        self.viewers = 0

    async def stream(self, request: Request) -> Response:
        """Begin a stream. Raises Refusal when too many watch already."""
        if request.method == "HEAD":
            return Response(media_type="text/event-stream")
        if self.viewers >= MOST_VIEWERS:
            raise Refusal(503, "Too many are watching already.", retry_after=30)
        return _Stream(self, request.state.visitor.session.session_id)

    async def feed(self, session_id: str, send: Callable[[bytes], Awaitable[None]]) -> None:
        """Send what changes, until the daemon stops or the session ends."""
        self.viewers += 1
        try:
            await self._feed(session_id, send)
        finally:
            self.viewers -= 1

    async def _feed(self, session_id: str, send: Callable[[bytes], Awaitable[None]]) -> None:
        said, sent_at, checked_at = "", 0.0, time.monotonic()
        while not self._site.stopping.is_set():
            now = time.monotonic()
            if now - checked_at > _CHECK_SECONDS:
                checked_at = now
                if not await run_in_threadpool(self._holds, session_id):
                    await send(b"event: signed-out\ndata: {}\n\n")
                    return
            text = await run_in_threadpool(self._pulse.text)
            if text != said:
                await send(f"event: state\ndata: {text}\n\n".encode())
                said, sent_at = text, now
            elif now - sent_at > _KEEP_ALIVE_SECONDS:
                await send(b": still here\n\n")
                sent_at = now
            await self._wait()

    async def _wait(self) -> None:
        """Until the next reading, or until the daemon stops: a stream must not hold that up."""
        until = time.monotonic() + _EVERY_SECONDS
        while time.monotonic() < until and not self._site.stopping.is_set():
            await asyncio.sleep(_PAUSE_SECONDS)

    def _holds(self, session_id: str) -> bool:
        try:
            return self._site.admins.holds(session_id)
        except CatalogError:
            return True


class _Stream(Response):
    """A response that goes on. Ends when the client leaves, too."""

    def __init__(self, events: Events, session_id: str) -> None:
        super().__init__(media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._events = events
        self._session_id = session_id

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        """Send events until one side has had enough."""

        async def push(data: bytes) -> None:
            await send({"type": "http.response.body", "body": data, "more_body": True})

        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        feeding = asyncio.ensure_future(self._events.feed(self._session_id, push))
        leaving = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait({feeding, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            feeding.cancel()
            leaving.cancel()
            await asyncio.gather(feeding, leaving, return_exceptions=True)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
