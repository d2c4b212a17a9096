"""The JSON API: what the pages show and do, for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from backupd.catalog import HistoryQuery
from backupd.errors import RunLocked
from backupd.model import Backup, BackupType, Status, Trigger
from backupd.web.api_document import api_document
from backupd.web.board import jobs
from backupd.web.deeds import Deeds, require_archive
from backupd.web.documents import (
    backup_document,
    backups_document,
    cleanup_document,
    instant,
    run_document,
    whole_backup_document,
)
from backupd.web.refusals import Refusal
from backupd.web.site import Site

PREFIX = "/api/v1"
MOST_ROWS = 200
DAILY_BACKUP, WEEKLY_CLEANUP = "daily_backup", "weekly_cleanup"


class Api:
    """Handlers. Each is given a request whose visitor has been recognised, by session or by bearer token."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def document(self, _: Request) -> Response:
        """The OpenAPI document."""
        return JSONResponse(api_document(self._site.exposure.url))

    def status(self, _: Request) -> Response:
        """How things stand."""
        site = self._site
        standing = site.view.standing()
        activity = site.activity(standing.state, standing.last_success)
        last, statistics, state = standing.last_success, site.view.catalog().statistics(), standing.health.state
        return JSONResponse(
            {
                "state": str(state),
                "reasons": [
                    {"state": str(one.state), "text": one.text, "remedy": one.remedy} for one in standing.health.reasons
                ],
                "started_at": instant(standing.state.started_at),
                "last_success": backup_document(last) if last else None,
                "activity": activity.document() if activity else None,
                "next_runs": {name: instant(at) for name, at in standing.state.next_runs.items()},
                "backups": statistics.total,
                "size_bytes": statistics.total_size_bytes,
            }
        )

    def backups(self, request: Request) -> Response:
        """Backups, newest first, a page at a time."""
        query = request.query_params
        limit = _whole(query, "limit", 50, MOST_ROWS)
        wanted = HistoryQuery(
            type=_choice(query, "type", BackupType),
            status=_choice(query, "status", Status),
            limit=limit,
            after=query.get("after"),
        )
        if wanted.after is not None:
            self._site.backup(wanted.after)
        return JSONResponse(backups_document(self._site.view.catalog().history(wanted), limit))

    def backup(self, request: Request) -> Response:
        """One backup with its tables."""
        return JSONResponse(whole_backup_document(self._backup(request)))

    def create(self, request: Request) -> Response:
        """Have a backup taken. While one is under way: 409 with its id, or join it when asked to."""
        wanted = _object(request, {"type": str, "join": bool})
        kind = wanted.get("type", "manual")
        if kind not in list(BackupType):
            raise Refusal(422, "`type` must be manual or automatic.")
        return self._begin(request, BackupType(kind), join=bool(wanted.get("join", False)))

    def delete(self, request: Request) -> Response:
        """Delete a backup for good."""
        backup = self._backup(request)
        return JSONResponse({"deleted": backup.backup_id, "freed_bytes": self._deeds(request).delete(backup)})

    def verify(self, request: Request) -> Response:
        """Begin to read an archive back; 202, and `verified_at` tells when it has been found right."""
        backup = self._backup(request)
        self._require_idle()
        self._deeds(request).verify(backup)
        return JSONResponse({"backup_id": backup.backup_id, "operation": "verify"}, 202)

    def verification(self, request: Request) -> Response:
        """How the last verification of a backup ended."""
        backup = self._backup(request)
        ending = self._site.errands.ending("verify", backup.backup_id)
        return JSONResponse(
            {
                "backup_id": backup.backup_id,
                "verified_at": instant(backup.verified_at),
                "last": {"at": instant(ending.at), "ok": ending.well, "words": ending.words, "problems": ending.details}
                if ending
                else None,
            }
        )

    def pin(self, request: Request) -> Response:
        """Pin a backup, or take the pin off."""
        backup = self._backup(request)
        wanted = _object(request, {"pinned": bool})
        if "pinned" not in wanted:
            raise Refusal(422, "`pinned` must be true or false.")
        self._deeds(request).pin(backup, wanted["pinned"])
        return JSONResponse(whole_backup_document(self._site.backup(backup.backup_id)))

    def download(self, request: Request) -> Response:
        """A link that fetches the archive without any other credential, for a few minutes."""
        backup = self._backup(request)
        archive = require_archive(backup)
        site, visitor = self._site, request.state.visitor
        link = site.downloads.link(backup.backup_id, visitor.session.session_id)
        site.admins.note(visitor.who, "download", request.state.address, backup_id=backup.backup_id, detail=archive)
        url = site.exposure.url + site.downloads.path(link, archive)
        return JSONResponse({"url": url, "expires_at": instant(link.expires_at), "size_bytes": backup.size_bytes}, 201)

    def runs(self, request: Request) -> Response:
        """Runs, newest first."""
        query = request.query_params
        limit = _whole(query, "limit", 50, MOST_ROWS)
        found = self._site.view.catalog().runs(operation=query.get("operation"), limit=limit)
        return JSONResponse({"runs": [run_document(run) for run in found]})

    def jobs(self, _: Request) -> Response:
        """The jobs, the next one first."""
        found = jobs(self._site.place().timetables, self._site.view.state().next_runs)
        listed = [{"name": one.name, "schedule": one.words, "next_run_at": instant(one.next_at)} for one in found]
        return JSONResponse({"jobs": listed})

    def run_job(self, request: Request) -> Response:
        """Run a job now, as it would be at its time."""
        name = request.path_params["name"]
        if name == DAILY_BACKUP:
            join = bool(_object(request, {"join": bool}).get("join", False))
            return self._begin(request, BackupType.AUTOMATIC, join=join)
        if name == WEEKLY_CLEANUP:
            self._require_idle()
            self._deeds(request).clean_up()
            return JSONResponse({"operation": "cleanup"}, 202)
        if name in self._site.place().timetables:
            raise Refusal(409, f"{name} runs at its time, or from the command line.", hint="`backupd --help` names it.")
        raise Refusal(404, "There is no job of that name.", hint=f"{PREFIX}/jobs lists them.")

    def preview_cleanup(self, request: Request) -> Response:
        """What a cleanup would do now, with every reason."""
        return JSONResponse(cleanup_document(self._deeds(request).preview()))

    def _begin(self, request: Request, kind: BackupType, *, join: bool) -> Response:
        asked = self._deeds(request).back_up(kind)
        place = f"{PREFIX}/backups/{asked.backup_id}"
        if asked.joined and not join:
            raise Refusal(
                409,
                "A backup is wanted or under way already.",
                hint='Ask again with {"join": true} to be content with that one.',
                more={"backup_id": asked.backup_id},
            )
        answer = {"backup_id": asked.backup_id, "type": str(kind), "joined": asked.joined, "operation": "backup"}
        return JSONResponse(answer, 202, {"Location": place})

    def _backup(self, request: Request) -> Backup:
        return self._site.backup(request.path_params["backup_id"])

    def _deeds(self, request: Request) -> Deeds:
        return self._site.deeds(request.state.visitor, request.state.address, Trigger.API)

    def _require_idle(self) -> None:
        self._site.require_idle()
        if (errand := self._site.errands.current) is not None:
            raise RunLocked(f"a {errand.operation} is under way", hint="Wait for it to end, then try again.")


def _object(request: Request, fields: Mapping[str, type]) -> dict[str, Any]:
    """The JSON object of a request; nothing at all is an empty one. Raises Refusal for anything else."""
    body = request.state.body
    if not body.strip():
        return {}
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refusal(415, "Send JSON, with Content-Type: application/json.")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, "The body is not JSON.") from error
    if not isinstance(document, dict):
        raise Refusal(422, "The body must be a JSON object.")
    if unknown := sorted(set(document) - set(fields)):
        raise Refusal(422, f"`{unknown[0][:50]}` is not a field here.")
    for name, value in document.items():
        if not isinstance(value, fields[name]):
            words = {bool: "true or false", str: "a text"}[fields[name]]
            raise Refusal(422, f"`{name}` must be {words}.")
    return document


def _whole(query: Mapping[str, str], name: str, usual: int, most: int) -> int:
    given = query.get(name)
    if given is None:
        return usual
    if given.isascii() and given.isdecimal() and len(given) < 6 and 1 <= int(given) <= most:
        return int(given)
    raise Refusal(422, f"`{name}` must be a whole number from 1 to {most}.")


def _choice(query: Mapping[str, str], name: str, kind: Any) -> Any:
    given = query.get(name)
    if given is None:
        return None
    if given not in list(kind):
        raise Refusal(422, f"`{name}` must be one of {', '.join(kind)}.")
    return kind(given)
