"""What every request goes through: headers on the way out, a bounded body on the way in, and who it comes from."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backupd.errors import BackupdError
from backupd.web.admins import Admins, TooManyAttempts, Visitor
from backupd.web.headers import HEADERS
from backupd.web.refusals import Refusal, as_refusal, refusal_page

MOST_BODY_BYTES = 64 << 10
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

OPEN_PATHS = frozenset({"/healthz", "/health", "/metrics", "/login", "/login/link"})
OPEN_PREFIXES = ("/static/", "/download/")
"""What needs no session: it shows nothing, or asks for something else. Whatever is not named here needs one."""

_BODY_SECONDS = 10.0
_MOST_FIELDS = 40

_FOR_EVER = "public, max-age=31536000, immutable"
_ONE_YEAR_SECONDS = 365 * 24 * 3600


def is_open(path: str) -> bool:
    """Whether a path may be asked for by anybody."""
    return path in OPEN_PATHS or path.startswith(OPEN_PREFIXES)


class Intake:
    """Wraps the application: nothing reaches a route that is not on the open list without a session that holds.

    An unsafe request needs its session's CSRF token as well, in the header `X-CSRF-Token` or the field `csrf`; a bearer
    token does not, since no browser sends one by itself. The visitor is in `request.state.visitor`, the form in
    `request.state.form`, the body in `request.state.body`.
    """

    def __init__(self, app: ASGIApp, admins: Admins, *, cookie: str, base_url: str) -> None:
        self._app = app
        self._admins = admins
        self._cookie = cookie
        self._host = urlsplit(base_url).netloc
        self._headers = dict(HEADERS)
        if base_url.startswith("https://"):
            self._headers["Strict-Transport-Security"] = f"max-age={_ONE_YEAR_SECONDS}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer it here."""
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        sending = self._with_headers(request, send)
        try:
            await self._admit(request)
        except BackupdError as error:
            await refusal_page(request, as_refusal(error))(scope, receive, sending)
        except ClientDisconnect:
            return
        else:
            await self._app(scope, receive, sending)

    async def _admit(self, request: Request) -> None:
        state = request.state
        state.address = request.client.host if request.client else "unknown"
        state.visitor, state.form, state.body = None, {}, b""
        visitor = None
        if not is_open(request.url.path):
            visitor = await run_in_threadpool(self._recognise, request)
        if request.method not in SAFE_METHODS:
            state.body = await _body(request)
            state.form = _form(request, state.body)
            _check_origin(request, self._host)
        if visitor is not None:
            await run_in_threadpool(self._check_csrf, request, visitor)
        state.visitor = visitor

    def _recognise(self, request: Request) -> Visitor:
        """Whoever sent the request. Raises Refusal for whoever is nobody."""
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        address = request.state.address
        if scheme.lower() == "bearer" and request.url.path.startswith("/api/"):
            try:
                visitor = self._admins.recognise_bearer(bearer.strip(), address)
            except TooManyAttempts as error:
                raise Refusal(429, error.message, retry_after=error.wait_seconds) from error
        else:
            visitor = self._admins.recognise(request.cookies.get(self._cookie, ""), address)
        if visitor is None:
            raise Refusal(401, "Sign in first.")
        return visitor

    def _check_csrf(self, request: Request, visitor: Visitor) -> None:
        """Raises Refusal for an unsafe request that another site could have made the browser send."""
        if request.method in SAFE_METHODS or visitor.csrf is None:
            return
        given = request.headers.get("x-csrf-token") or request.state.form.get("csrf", "")
        if not visitor.accepts(given):
            what = f"{request.method} {request.url.path}"[:200]
            self._admins.note(visitor.who, "request", request.state.address, detail=f"CSRF: {what}", refused=True)
            raise Refusal(
                403,
                "This request did not come from one of our pages, or the page is from before you signed in.",
                hint="Go back, load the page again, and repeat what you did.",
            )

    def _with_headers(self, request: Request, send: Send) -> Send:
        own = self._headers
        if request.url.path.startswith("/static/"):
            # Our pages ask for these under an address that changes with their content.
            own = {**own, "Cache-Control": _FOR_EVER if request.url.query else "no-cache"}

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in own.items():
                    headers.setdefault(name, value)
            await send(message)

        return sending


async def _body(request: Request) -> bytes:
    """The body, if it is small and comes soon. Raises Refusal."""
    announced = request.headers.get("content-length", "0")
    if not announced.isdecimal() or int(announced) > MOST_BODY_BYTES:
        raise Refusal(413, "The request is too large.")
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for block in request.stream():
                body += block
                if len(body) > MOST_BODY_BYTES:
                    raise Refusal(413, "The request is too large.")
    except TimeoutError as error:
        raise Refusal(408, "The request took too long to come.") from error
    return bytes(body)


def _form(request: Request, body: bytes) -> Mapping[str, str]:
    """The fields of a form as browsers send it; of a field that comes twice, the last."""
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return {}
    try:
        fields = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError as error:
        raise Refusal(400, "The form cannot be read.") from error
    return dict(fields)


def _check_origin(request: Request, host: str) -> None:
    """A browser says where an unsafe request comes from; another site is refused whatever else it brings."""
    origin = request.headers.get("origin")
    if origin is None or urlsplit(origin).netloc in (host, request.headers.get("host")):
        return
    raise Refusal(403, "This request comes from another site.")


def redirect_to(path: str) -> Response:
    """After something was done: look at this page, by GET."""
    return Response(status_code=303, headers={"Location": path})


def safe_path(path: str) -> str:
    """A path of ours to go on to after signing in; `/` for whatever could lead elsewhere."""
    parts = urlsplit(path)
    is_ours = path.startswith("/") and not path.startswith(("//", "/\\")) and not parts.netloc and not parts.scheme
    printable = path.isprintable() and path.isascii() and "\\" not in path
    return path if is_ours and printable and not path.startswith("/login") else "/"
