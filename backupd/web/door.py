"""Signing in and out."""

from __future__ import annotations

import hmac
import secrets
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from backupd.errors import ProjectError
from backupd.web.admins import ABSOLUTE_LIMIT, NotSignedIn, TooManyAttempts, csrf_token
from backupd.web.intake import redirect_to, safe_path
from backupd.web.refusals import Refusal
from backupd.web.site import Site
from backupd.web.templating import render

_FORM_COOKIE = "backupd_form"
_FORM_SECONDS = 3600


class Door:
    """The pages where somebody comes in. A form here is bound to the browser by a cookie: nobody is a session yet."""

    def __init__(self, site: Site, cookie: str) -> None:
        self._site = site
        self._cookie = cookie

    def form(self, request: Request) -> Response:
        """The page to sign in at; who is signed in already goes on."""
        visitor = self._site.admins.recognise(request.cookies.get(self._cookie, ""), request.state.address)
        ahead = safe_path(request.query_params.get("next", "/"))
        return redirect_to(ahead) if visitor else self._show(request, ahead)

    def sign_in(self, request: Request) -> Response:
        """Sign in with a token, or with email and password."""
        form = request.state.form
        self._require_our_form(request)
        ahead = safe_path(form.get("next", "/"))
        admins, address = self._site.admins, request.state.address
        try:
            if "token" in form:
                token = admins.sign_in_with_token(form["token"], address)
            else:
                token = admins.sign_in_with_password(form.get("email", ""), form.get("password", ""), address)
        except TooManyAttempts as error:
            page = self._show(request, ahead, error.message, 429)
            page.headers["Retry-After"] = str(max(1, round(error.wait_seconds)))
            return page
        except NotSignedIn as error:
            return self._show(request, ahead, error.message, 401)
        except ProjectError as error:
            words = f"{error.message}. {error.hint or ''}".strip()
            return self._show(request, ahead, words[:1].upper() + words[1:], 503)
        return self._welcome(ahead, token)

    def link(self, request: Request) -> Response:
        """The page of a one-time link. It signs in at a click: what merely looks at links must not use them up."""
        token = request.query_params.get("token", "")
        return self._link_page(request, token, None if token else "This link is not whole.", 200 if token else 400)

    def follow(self, request: Request) -> Response:
        """Sign in with a one-time link."""
        self._require_our_form(request)
        try:
            token = self._site.admins.sign_in_with_link(request.state.form.get("token", ""), request.state.address)
        except TooManyAttempts as error:
            return self._link_page(request, "", error.message, 429)
        except NotSignedIn as error:
            return self._link_page(request, "", error.message, 401)
        return self._welcome("/", token)

    def sign_out(self, request: Request) -> Response:
        """End the session here and in the browser."""
        self._site.admins.sign_out(request.state.visitor, request.state.address)
        response = redirect_to("/login")
        response.delete_cookie(self._cookie, httponly=True, samesite="strict", secure=self._site.exposure.secure)
        response.headers["Clear-Site-Data"] = '"cache"'
        return response

    def _show(self, request: Request, ahead: str, problem: str | None = None, status: int = 200) -> Response:
        email = request.state.form.get("email", "")[:200]
        admission = self._site.admins.admission
        values = {"admission": admission, "problem": problem, "next": ahead, "email": email}
        return self._with_form(request, "login.html", status, **values)

    def _link_page(self, request: Request, token: str, problem: str | None, status: int) -> Response:
        return self._with_form(request, "link.html", status, token=token, problem=problem)

    def _with_form(self, request: Request, template: str, status: int, **values: Any) -> Response:
        secret = request.cookies.get(_FORM_COOKIE) or secrets.token_urlsafe(24)
        page = render(template, status, visitor=None, csrf=csrf_token(secret), **values)
        self._set_cookie(page, _FORM_COOKIE, secret, _FORM_SECONDS)
        return page

    def _require_our_form(self, request: Request) -> None:
        secret = request.cookies.get(_FORM_COOKIE, "")
        given = request.state.form.get("csrf", "")
        if not secret or not hmac.compare_digest(csrf_token(secret).encode(), given.encode()):
            raise Refusal(403, "This page has been open for too long, or cookies are off.", hint="Load it again.")

    def _welcome(self, ahead: str, token: str) -> Response:
        response = redirect_to(ahead)
        self._set_cookie(response, self._cookie, token, int(ABSOLUTE_LIMIT.total_seconds()))
        response.delete_cookie(_FORM_COOKIE, httponly=True, samesite="strict", secure=self._site.exposure.secure)
        return response

    def _set_cookie(self, response: Response, name: str, value: str, seconds: int) -> None:
        secure = self._site.exposure.secure
        response.set_cookie(name, value, max_age=seconds, httponly=True, samesite="strict", secure=secure)
