"""The routes: which address is answered by whom."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator
from datetime import timedelta

from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from backupd.config import Secret
from backupd.errors import BackupdError
from backupd.health import HealthState
from backupd.metrics import Metrics
from backupd.web.api import PREFIX, Api
from backupd.web.door import Door
from backupd.web.events import Events
from backupd.web.fetching import Fetching
from backupd.web.headers import HEADERS
from backupd.web.intake import Intake
from backupd.web.pages import AdminPages
from backupd.web.refusals import Refusal, as_refusal, refusal_page
from backupd.web.site import Site
from backupd.web.templating import HERE, TEMPLATES
from backupd.web.view import Standing, View

COOKIE = "backupd_session"

_TICK_LIMIT = timedelta(minutes=5)

Handler = Callable[[Request], Response]


class Pages:
    """Answers the routes that need no login, from a view and the metrics."""

    def __init__(self, view: View, metrics: Metrics, *, metrics_token: Secret | None = None) -> None:
        self._view = view
        self._metrics = metrics
        self._token = metrics_token

    def healthz(self, _: Request) -> Response:
        """Liveness: 200 while the loop turns and the worker moves."""
        state = self._view.state()
        if state.hung or self._view.now() - state.ticked_at > _TICK_LIMIT:
            return PlainTextResponse("the loop does not turn\n", 503, HEADERS)
        return PlainTextResponse("ok\n", headers=HEADERS)

    def health(self, request: Request) -> Response:
        """How things stand: a page for browsers, JSON otherwise; 503 when unhealthy."""
        standing = self._view.standing()
        code = 503 if standing.health.state is HealthState.UNHEALTHY else 200
        if "text/html" in request.headers.get("accept", ""):
            page = TEMPLATES.get_template("health.html").render(standing=standing)
            return HTMLResponse(page, code, HEADERS)
        return JSONResponse(health_document(standing), code, HEADERS)

    def metrics(self, request: Request) -> Response:
        """The metrics, as OpenMetrics where that is asked for."""
        if self._token is not None and not _has_token(request, self._token):
            headers = {**HEADERS, "WWW-Authenticate": "Bearer"}
            return PlainTextResponse("these metrics need a bearer token\n", 401, headers)
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(self._metrics.registry), headers={**HEADERS, "Content-Type": content_type})


def make_app(pages: Pages, site: Site | None = None) -> Starlette:
    """The application; without a site only what is open. Handlers are plain functions, run in Starlette's threads."""
    if site is None:
        return Starlette(routes=list(_open_routes(pages)))
    intake = Middleware(Intake, admins=site.admins, cookie=COOKIE, base_url=site.exposure.url)
    return Starlette(
        routes=[*_open_routes(pages), *_door_routes(site), *_admin_routes(site), *_api_routes(site)],
        middleware=[intake],
        exception_handlers={HTTPException: _refuse, Refusal: _refuse},
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


def _open_routes(pages: Pages) -> Iterator[BaseRoute]:
    yield Route("/healthz", pages.healthz)
    yield Route("/health", pages.health)
    yield Route("/metrics", pages.metrics)
    yield Mount("/static", StaticFiles(directory=HERE / "static"))


def _door_routes(site: Site) -> Iterator[BaseRoute]:
    door, fetching = Door(site, COOKIE), Fetching(site)
    yield _route(site, "/login", GET=door.form, POST=door.sign_in)
    yield _route(site, "/login/link", GET=door.link, POST=door.follow)
    yield _route(site, "/logout", POST=door.sign_out)
    yield _route(site, "/download/{backup_id}/{archive}", GET=fetching.fetch)


def _admin_routes(site: Site) -> Iterator[BaseRoute]:
    pages, events = AdminPages(site), Events(site)
    yield _route(site, "/", GET=pages.dashboard)
    yield _route(site, "/backups", POST=pages.create)
    yield _route(site, "/backups/{backup_id}", GET=pages.backup)
    yield _route(site, "/backups/{backup_id}/verify", POST=pages.verify)
    yield _route(site, "/backups/{backup_id}/pin", POST=pages.pin)
    yield _route(site, "/backups/{backup_id}/download", POST=pages.download)
    yield _route(site, "/backups/{backup_id}/delete", GET=pages.confirm_delete, POST=pages.delete)
    yield _route(site, "/cleanup", GET=pages.preview_cleanup, POST=pages.clean_up)
    yield _route(site, "/drills", GET=pages.drills)
    yield _route(site, "/audit", GET=pages.audit)
    yield _route(site, "/sessions/end-others", POST=pages.end_others)
    yield Route("/events", events.stream, methods=["GET"])
    yield Route(f"{PREFIX}/events", events.stream, methods=["GET"])


def _api_routes(site: Site) -> Iterator[BaseRoute]:
    api, backup = Api(site), f"{PREFIX}/backups/{{backup_id}}"
    yield _route(site, f"{PREFIX}/openapi.json", GET=api.document)
    yield _route(site, f"{PREFIX}/status", GET=api.status)
    yield _route(site, f"{PREFIX}/backups", GET=api.backups, POST=api.create)
    yield _route(site, backup, GET=api.backup, DELETE=api.delete)
    yield _route(site, f"{backup}/verification", GET=api.verification, POST=api.verify)
    yield _route(site, f"{backup}/pin", PUT=api.pin)
    yield _route(site, f"{backup}/download", POST=api.download)
    yield _route(site, f"{PREFIX}/runs", GET=api.runs)
    yield _route(site, f"{PREFIX}/jobs", GET=api.jobs)
    yield _route(site, f"{PREFIX}/jobs/{{name}}/run", POST=api.run_job)
    yield _route(site, f"{PREFIX}/cleanup", GET=api.preview_cleanup)


def _route(site: Site, path: str, **handlers: Handler) -> Route:
    """One address with a handler for each method. HEAD is GET without a body, which the server sees to."""

    async def endpoint(request: Request) -> Response:
        handler = handlers.get(request.method) or handlers["GET"]
        try:
            return await run_in_threadpool(handler, request)
        except Exception as error:  # noqa: BLE001 - the error page: whatever went wrong becomes an answer
            return _failed(site, request, error)

    return Route(path, endpoint, methods=list(handlers))


def _failed(site: Site, request: Request, error: Exception) -> Response:
    """The answer to what went wrong; what is no error of ours is for the log alone."""
    if not isinstance(error, BackupdError):
        site.place().log.critical("page.failed", path=request.url.path, exc_info=error)
    return refusal_page(request, as_refusal(error))


def _refuse(request: Request, error: Exception) -> Response:
    return refusal_page(request, as_refusal(error))


def _has_token(request: Request, token: Secret) -> bool:
    given = request.headers.get("authorization", "").removeprefix("Bearer ")
    return hmac.compare_digest(given.encode(), token.reveal().encode())
