"""The gateway's process: an HTTP listener, a key check, and PostgREST's dialect behind it.

Started by `gateway.start_gateway`, which writes one line of JSON with the configuration to its standard input, reads
one line with the port from its standard output, and then holds the pipe. Further lines revoke and reinstate keys.
When the pipe closes the process ends, so that nothing is left when the one that started it was killed.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any, TextIO

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from backupd.sandbox.answers import Answer, KeyRejected, Refusal
from backupd.sandbox.auth import Auth, SandboxUser
from backupd.sandbox.database import Database, Settings
from backupd.sandbox.keys import KeyCheck, ProjectKeys, TokenCheck
from backupd.sandbox.rest import Call, Rest

PREFIX = "/rest/v1"
AUTH_PREFIX = "/auth/v1"
_METHODS = ["GET", "HEAD", "POST", "PATCH", "PUT", "DELETE"]
_KEEP_ALIVE_SECONDS = 75  # as the web server in front of a real project
_DEEPEST_JSON = 20_000


def make_app(rest: Rest, check: KeyCheck | TokenCheck, prefix: str, auth: Auth | None = None) -> Starlette:
    """The gateway as an ASGI application; with Auth where there are users."""

    async def endpoint(request: Request) -> Response:
        call = Call(
            method=request.method,
            path=request.path_params["path"],
            query_string=request.url.query,
            headers=_headers(request),
            body=await request.body(),
        )
        return _response(call, await run_in_threadpool(_answer, rest, check, call))

    async def elsewhere(_: Request) -> Response:
        return Response('{"message":"no Route matched with those values"}', 404, media_type="application/json")

    return Starlette(
        routes=[
            *([_auth_route(auth, check)] if auth else []),
            Route(prefix + "/{path:path}", endpoint, methods=_METHODS),
            Route("/{path:path}", elsewhere, methods=_METHODS),
        ]
    )


def _headers(request: Request) -> Mapping[str, str]:
    """Header names in lower case; what comes twice is joined, as HTTP allows."""
    return {name: ", ".join(request.headers.getlist(name)) for name in request.headers}


def _answer(rest: Rest, check: KeyCheck | TokenCheck, call: Call) -> Answer:
    try:
        return rest.answer(call, check.caller(call.headers))
    except (Refusal, KeyRejected) as refusal:
        return refusal.answer()


def _auth_route(auth: Auth, check: KeyCheck | TokenCheck) -> Route:
    async def endpoint(request: Request) -> Response:
        path, body = request.path_params["path"], await request.body()
        call = Call(request.method, path, request.url.query, _headers(request), body)
        return _response(call, await run_in_threadpool(_authenticated, auth, check, call))

    return Route(AUTH_PREFIX + "/{path:path}", endpoint, methods=_METHODS)


def _authenticated(auth: Auth, check: KeyCheck | TokenCheck, call: Call) -> Answer:
    try:
        return auth.answer(call.method, call.path, call.query_string, call.body, check.caller(call.headers))
    except (Refusal, KeyRejected) as refusal:
        return refusal.answer()


def _response(call: Call, answer: Answer) -> Response:
    body = b"" if call.method == "HEAD" else answer.body
    response = Response(body, answer.status, headers=answer.headers)
    if answer.content_type:
        response.headers["Content-Type"] = answer.content_type
    return response


def _listener(port: int) -> socket.socket:
    """A socket that asyncio knows for TCP: without the protocol's number it would leave a delay of 40 ms on."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(128)
    return listener


def main(control: TextIO, out: TextIO, leave: Callable[[int], Any]) -> None:
    """Serve until `control` ends, then `leave(0)`."""
    sys.setrecursionlimit(_DEEPEST_JSON)  # a deeply nested row is PostgreSQL's to refuse, not ours
    config = json.loads(control.readline())
    settings = Settings(**{**config["settings"], "schemas": tuple(config["settings"]["schemas"])})
    keys = ProjectKeys(**config["keys"])
    bare = config["bare"]
    check = TokenCheck(keys, settings.anon_role) if bare else KeyCheck(keys)
    users = [SandboxUser(**user) for user in config["users"]]
    auth = Auth(users, keys.jwt_secret) if users else None
    app = make_app(Rest(Database(config["database_url"], settings), settings), check, "" if bare else PREFIX, auth)
    listener = _listener(config["port"])
    server = uvicorn.Server(
        uvicorn.Config(
            app, lifespan="off", access_log=False, log_level="warning", timeout_keep_alive=_KEEP_ALIVE_SECONDS
        )
    )
    _say(out, {"port": listener.getsockname()[1]})
    threading.Thread(target=_obey, args=(control, out, check, leave), daemon=True).start()
    server.run(sockets=[listener])


def _obey(control: TextIO, out: TextIO, check: KeyCheck | TokenCheck, leave: Callable[[int], Any]) -> None:
    for line in control:
        command = json.loads(line)
        if isinstance(check, KeyCheck):
            (check.revoke if command["do"] == "revoke" else check.reinstate)(command["key"])
        _say(out, {"done": command["do"]})
    leave(0)


def _say(out: TextIO, document: Mapping[str, object]) -> None:
    out.write(json.dumps(document) + "\n")
    out.flush()


if __name__ == "__main__":
    # Leaving at once, without waiting for requests: whoever asked is gone, and PostgreSQL rolls back.
    main(sys.stdin, sys.stdout, os._exit)
