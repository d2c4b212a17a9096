"""The routes that need no login: liveness, health, metrics."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from backupd.config import Secret
from backupd.health import HealthState
from backupd.metrics import Metrics
from backupd.web.view import Standing, View
from backupd.words import age, instant, number, size

_HERE = Path(__file__).parent
_TICK_LIMIT = timedelta(minutes=5)
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Pages:
    """Answers the routes that need no login, from a view and the metrics."""

    def __init__(self, view: View, metrics: Metrics, *, metrics_token: Secret | None = None) -> None:
        self._view = view
        self._metrics = metrics
        self._token = metrics_token
        self._templates = _templates()

    def healthz(self, _: Request) -> Response:
        """Liveness: 200 while the loop turns and the worker moves."""
        state = self._view.state()
        if state.hung or self._view.now() - state.ticked_at > _TICK_LIMIT:
            return PlainTextResponse("the loop does not turn\n", 503, _HEADERS)
        return PlainTextResponse("ok\n", headers=_HEADERS)

    def health(self, request: Request) -> Response:
        """How things stand: a page for browsers, JSON otherwise; 503 when unhealthy."""
        standing = self._view.standing()
        code = 503 if standing.health.state is HealthState.UNHEALTHY else 200
        if "text/html" in request.headers.get("accept", ""):
            page = self._templates.get_template("health.html").render(standing=standing)
            return HTMLResponse(page, code, _HEADERS)
        return JSONResponse(health_document(standing), code, _HEADERS)

    def metrics(self, request: Request) -> Response:
        """The metrics, as OpenMetrics where that is asked for."""
        if self._token is not None and not _has_token(request, self._token):
            headers = {**_HEADERS, "WWW-Authenticate": "Bearer"}
            return PlainTextResponse("these metrics need a bearer token\n", 401, headers)
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(self._metrics.registry), headers={**_HEADERS, "Content-Type": content_type})


def make_app(pages: Pages) -> Starlette:
    """The application. Handlers are plain functions: Starlette runs them in its own threads."""
    return Starlette(
        routes=[
            Route("/healthz", pages.healthz),
            Route("/health", pages.health),
            Route("/metrics", pages.metrics),
            Mount("/static", StaticFiles(directory=_HERE / "static")),
        ]
    )


def health_document(standing: Standing) -> dict[str, object]:
    """The health as JSON. No table names, keys or paths."""
    last = standing.last_success
    return {
        "state": str(standing.health.state),
        "reasons": [
            {"state": str(reason.state), "text": reason.text, "remedy": reason.remedy}
            for reason in standing.health.reasons
        ],
        "last_success": {
            "created_at": last.created_at.isoformat(),
            "age_seconds": round((standing.now - last.created_at).total_seconds()),
            "type": str(last.type),
            "size_bytes": last.size_bytes,
            "total_rows": last.total_rows,
            "verified_at": last.verified_at.isoformat() if last.verified_at else None,
        }
        if last
        else None,
        "running": standing.state.operation,
        "next_runs": {name: at.isoformat() for name, at in standing.state.next_runs.items()},
    }


def _has_token(request: Request, token: Secret) -> bool:
    given = request.headers.get("authorization", "").removeprefix("Bearer ")
    return hmac.compare_digest(given.encode(), token.reveal().encode())


def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., str]] = {"number": number, "size": size, "instant": instant, "age": age}
    environment.filters.update(filters)
    return environment
