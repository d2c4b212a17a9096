"""An archive on its way to an admin: streamed in blocks, resumable, with its length and checksum said before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import BinaryIO

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from backupd.model import Backup
from backupd.store import Store
from backupd.web.deeds import require_archive
from backupd.web.ranges import Span, Unsatisfiable, read_range
from backupd.web.refusals import Refusal
from backupd.web.site import Site

_BLOCK_BYTES = 256 << 10


class Fetching:
    """Answers the links that `Downloads` makes. They need no cookie: the signature says who they were made for."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def fetch(self, request: Request) -> Response:
        """The archive, or the part of it that is asked for; a redirect where the store has links of its own."""
        backup = self._allowed(request)
        archive = require_archive(backup)
        store = self._site.place().store
        lifetime = int(self._site.downloads.lifetime.total_seconds())
        if (elsewhere := store.presigned_url(archive, lifetime)) is not None:
            return RedirectResponse(elsewhere, 302)
        size = store.size(archive)
        if size is None:
            raise Refusal(404, "The archive is missing from the store.", hint="backupd rescan looks again")
        return _answer(request, store, backup, archive, size)

    def _allowed(self, request: Request) -> Backup:
        """The backup the link is for. Raises Refusal for a link that was changed, is over, or whose admin has left."""
        site, query = self._site, request.query_params
        backup_id, session_id = request.path_params["backup_id"], query.get("for", "")
        until, signature = query.get("until", ""), query.get("signature", "")
        link = site.downloads.signer.read(backup_id, session_id, until, signature, site.view.now())
        if link is None or not site.admins.holds(link.session_id):
            raise Refusal(403, "This link does not hold (any more).", hint="Ask for another on the backup's page.")
        backup = site.backup(link.backup_id)
        if request.path_params["archive"] != backup.archive:
            raise Refusal(404, "The backup has no such archive.")
        return backup


def _answer(request: Request, store: Store, backup: Backup, archive: str, size: int) -> Response:
    tag = f'"{backup.sha256 or f"{backup.backup_id}-{size}"}"'
    headers = {
        "ETag": tag,
        "Accept-Ranges": "bytes",
        "Content-Disposition": f'attachment; filename="{archive}"',
        "Cache-Control": "private, no-store",
    }
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    unchanged = request.headers.get("if-range", tag) == tag
    try:
        span = read_range(request.headers.get("range") if unchanged else None, size)
    except Unsatisfiable:
        return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{size}"})
    headers["Content-Length"] = str(span.length)
    if not span.is_whole:
        headers["Content-Range"] = span.content_range
    kind = "application/zip" if archive.endswith(".zip") else "application/octet-stream"
    status = 200 if span.is_whole else 206
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=kind)
    return StreamingResponse(_blocks(store.open(archive), span), status, headers, kind)


def _blocks(file: BinaryIO, span: Span) -> Iterator[bytes]:
    with closing(file):
        file.seek(span.start)
        left = span.length
        while left and (block := file.read(min(_BLOCK_BYTES, left))):
            left -= len(block)
            yield block
