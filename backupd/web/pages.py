"""The pages of an admin: dashboard, one backup, cleanup, drills, audit; and what their buttons do."""

from __future__ import annotations

from typing import Any, cast

from starlette.requests import Request
from starlette.responses import Response

from backupd.drill.report import read_reports
from backupd.model import Backup, BackupType, Status, Trigger
from backupd.retention import Action
from backupd.web.admins import Visitor
from backupd.web.board import make_board, zone_of
from backupd.web.deeds import Deeds, require_archive
from backupd.web.historian import Wanted, read_history_view
from backupd.web.intake import redirect_to
from backupd.web.notes import read_note
from backupd.web.refusals import Refusal
from backupd.web.site import Site
from backupd.web.templating import render

_MOST_DECISIONS = 200
_AUDIT_ROWS = 50


class AdminPages:
    """Handlers. Each is given a request whose visitor has been recognised."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def dashboard(self, request: Request) -> Response:
        """How everything stands, and the history."""
        site = self._site
        standing = site.view.standing()
        catalog, place = site.view.catalog(), site.place()
        activity = site.activity(standing.state, standing.last_success)
        board = make_board(catalog, standing, place, activity, site.view.free_bytes())
        history = read_history_view(catalog, Wanted.read(request.query_params), zone_of(place.timetables))
        return self._render(request, "dashboard.html", board=board, history=history, here="/")

    def backup(self, request: Request) -> Response:
        """One backup with its tables."""
        backup = self._backup(request)
        site = self._site
        activity = site.activity()
        mine = activity if activity and activity.backup_id == backup.backup_id else None
        ending = site.errands.ending("verify", backup.backup_id)
        return self._render(request, "backup.html", backup=backup, activity=mine, ending=ending, now=site.view.now())

    def create(self, request: Request) -> Response:
        """Begin a backup: by hand, or as the nightly job does."""
        kind = request.state.form.get("type", "manual")
        if kind not in list(BackupType):
            raise Refusal(400, "A backup is manual or automatic.")
        asked = self._deeds(request).back_up(BackupType(kind))
        note = "joined" if asked.joined else "begun" if kind == BackupType.MANUAL else "tested"
        return redirect_to(f"/?note={note}&backup={asked.backup_id}")

    def verify(self, request: Request) -> Response:
        """Begin to read an archive back."""
        backup = self._backup(request)
        self._require_idle()
        self._deeds(request).verify(backup)
        return redirect_to(f"/backups/{backup.backup_id}?note=verifying")

    def pin(self, request: Request) -> Response:
        """Pin a backup, or take the pin off."""
        backup = self._backup(request)
        pinned = request.state.form.get("pinned") == "yes"
        self._deeds(request).pin(backup, pinned)
        return redirect_to(f"/backups/{backup.backup_id}?note={'pinned' if pinned else 'unpinned'}")

    def confirm_delete(self, request: Request) -> Response:
        """Ask before deleting, by name."""
        backup = self._backup(request)
        catalog = self._site.view.catalog()
        last = catalog.last_completed()
        is_last = last is not None and last.backup_id == backup.backup_id
        only = sum(number for (_, status), number in catalog.statistics().counts.items() if status is Status.COMPLETED)
        return self._render(request, "delete.html", backup=backup, is_last=is_last, is_only=only == 1)

    def delete(self, request: Request) -> Response:
        """Delete a backup for good."""
        self._deeds(request).delete(self._backup(request))
        return redirect_to("/?note=deleted")

    def download(self, request: Request) -> Response:
        """Hand out a link that holds for a few minutes, and follow it."""
        backup = self._backup(request)
        archive = require_archive(backup)
        site, visitor = self._site, _visitor(request)
        link = site.downloads.link(backup.backup_id, visitor.session.session_id)
        site.admins.note(visitor.who, "download", request.state.address, backup_id=backup.backup_id, detail=archive)
        path = site.downloads.path(link, archive)
        if site.place().store.presigned_url(archive, 1) is None:
            return redirect_to(path)
        # The archive is elsewhere, and our policy lets no form lead there, not even by a redirect: a link may.
        return self._render(request, "ready.html", backup=backup, path=path)

    def preview_cleanup(self, request: Request) -> Response:
        """What a cleanup would do now, and why."""
        report = self._deeds(request).preview()
        gone = {backup.backup_id for backup in report.deleted}
        going = [one for one in report.decisions if one.action is Action.DELETE and one.backup.backup_id in gone]
        staying = [one for one in report.decisions if one.backup.backup_id not in gone]
        activity = self._site.activity()
        return self._render(
            request,
            "cleanup.html",
            report=report,
            going=going,
            staying=staying[:_MOST_DECISIONS],
            staying_count=len(staying),
            activity=activity if activity and activity.operation == "cleanup" else None,
            ending=self._site.errands.ending("cleanup"),
            now=self._site.view.now(),
            here="/cleanup",
        )

    def clean_up(self, request: Request) -> Response:
        """Delete what has expired."""
        self._require_idle()
        self._deeds(request).clean_up()
        return redirect_to("/cleanup?note=cleaning")

    def drills(self, request: Request) -> Response:
        """What the last rehearsed restores have shown."""
        drills = read_reports(self._site.place().drill_reports)
        return self._render(request, "drills.html", drills=drills, here="/drills")

    def audit(self, request: Request) -> Response:
        """Who did what."""
        log = self._site.view.catalog().audit
        page = Wanted.read(request.query_params).page
        total, offset = log.count(), (page - 1) * _AUDIT_ROWS
        return self._render(
            request,
            "audit.html",
            entries=log.entries(limit=_AUDIT_ROWS, offset=offset),
            page=page,
            total=total,
            has_more=offset + _AUDIT_ROWS < total,
            sessions=self._site.view.catalog().sessions.count(),
            here="/audit",
        )

    def end_others(self, request: Request) -> Response:
        """Sign everybody else out."""
        self._site.admins.end_others(_visitor(request), request.state.address)
        return redirect_to("/audit?note=alone")

    def _render(self, request: Request, template: str, **values: Any) -> Response:
        note = read_note(request.query_params)
        return render(template, visitor=_visitor(request), note=note, **values)

    def _backup(self, request: Request) -> Backup:
        """The one whose whole id is in the path: a link must mean the same tomorrow."""
        return self._site.backup(request.path_params["backup_id"])

    def _deeds(self, request: Request) -> Deeds:
        return self._site.deeds(_visitor(request), request.state.address, Trigger.WEB)

    def _require_idle(self) -> None:
        self._site.require_idle()


def _visitor(request: Request) -> Visitor:
    return cast("Visitor", request.state.visitor)
