"""Answers to what cannot be done: a page for people, problem+json for programs."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from backupd.cleanup import DeletionRefused
from backupd.errors import (
    BackupdError,
    BackupNotFound,
    CatalogError,
    ProjectError,
    RunLocked,
    StoreError,
)
from backupd.web.templating import render

API = "/api/"

_STATUS: tuple[tuple[type[BackupdError], int], ...] = (
    (BackupNotFound, 404),
    (RunLocked, 409),
    (DeletionRefused, 409),
    (CatalogError, 503),
    (StoreError, 503),
    (ProjectError, 503),
)


class Refusal(BackupdError):
    """A request that is not done, with the HTTP status that says why. `more` goes into the JSON of the answer."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        hint: str | None = None,
        retry_after: float | None = None,
        more: dict[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.retry_after = retry_after
        self.more = more or {}
        self.headers = dict(headers or {})


def as_refusal(error: Exception) -> Refusal:
    """Whatever a handler raised, as an answer. What is no error of ours says nothing of itself."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, BackupdError):
        status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
        return Refusal(status, error.message, hint=error.hint)
    if isinstance(error, HTTPException):
        words = {404: "There is no such page.", 405: "That is not done here this way."}
        message = words.get(error.status_code, HTTPStatus(error.status_code).phrase)
        return Refusal(error.status_code, message, headers=error.headers)
    return Refusal(500, "Something went wrong here, which is a bug in backupd.", hint="The log says more.")


def refusal_page(request: Request, refusal: Refusal) -> Response:
    """The answer: problem+json for the API, the page to sign in at for whoever is nobody, else a page that says why."""
    response = _answer(request, refusal)
    response.headers.update(refusal.headers)
    if refusal.retry_after is not None:
        response.headers["Retry-After"] = str(max(1, round(refusal.retry_after)))
    return response


def _answer(request: Request, refusal: Refusal) -> Response:
    path = request.url.path
    if path.startswith(API):
        headers = {"WWW-Authenticate": "Bearer"} if refusal.status == HTTPStatus.UNAUTHORIZED else {}
        return JSONResponse(_problem(refusal), refusal.status, headers, "application/problem+json")
    if refusal.status == HTTPStatus.UNAUTHORIZED and request.method in {"GET", "HEAD"} and path != "/events":
        query = f"?{request.url.query}" if request.url.query else ""
        ahead = "" if path == "/" else f"?next={quote(path + query, safe='')}"
        return RedirectResponse(f"/login{ahead}", 303)
    visitor = getattr(request.state, "visitor", None)
    title = HTTPStatus(refusal.status).phrase
    return render("error.html", refusal.status, refusal=refusal, title=title, visitor=visitor)


def _problem(refusal: Refusal) -> dict[str, Any]:
    """RFC 9457."""
    hint = {"hint": refusal.hint} if refusal.hint else {}
    title = HTTPStatus(refusal.status).phrase
    return {"title": title, "status": refusal.status, "detail": refusal.message, **hint, **refusal.more}
