"""Download links: signed for one backup, one session and a few minutes."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlencode

LINK_LIFETIME = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class DownloadLink:
    """What a link lets somebody do: fetch this backup's archive, for as long as this session lives, until then."""

    backup_id: str
    session_id: str
    expires_at: datetime


class Signer:
    """Signs links and reads them back. The key is made anew at every start: links do not outlive the process."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def path(self, link: DownloadLink, archive: str) -> str:
        """The path and query of a link. The archive's name is there for the browser to save the file under."""
        until = int(link.expires_at.timestamp())
        query = urlencode({"for": link.session_id, "until": until, "signature": self._signature(link)})
        return f"/download/{quote(link.backup_id)}/{quote(archive)}?{query}"

    def read(self, backup_id: str, session_id: str, until: str, signature: str, now: datetime) -> DownloadLink | None:
        """The link these parts make, None when they were not signed here or the time is over."""
        if not until.isascii() or not until.isdecimal() or len(until) > 12:
            return None
        link = DownloadLink(backup_id, session_id, datetime.fromtimestamp(int(until), UTC))
        genuine = hmac.compare_digest(self._signature(link).encode(), signature.encode())
        return link if genuine and now < link.expires_at else None

    def _signature(self, link: DownloadLink) -> str:
        until = int(link.expires_at.timestamp())
        signed = "\n".join(("download", link.backup_id, link.session_id, str(until)))
        return hmac.digest(self._key, signed.encode(), hashlib.sha256).hex()
