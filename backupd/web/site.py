"""What every handler shares: the view, the workplace, the admins, errands, and links for downloads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from backupd.errors import BackupNotFound, RunLocked
from backupd.model import Backup, DaemonState, Trigger
from backupd.web.activity import Activity, activity_of
from backupd.web.admins import Admins, Visitor
from backupd.web.deeds import Deeds
from backupd.web.errands import Errands
from backupd.web.exposure import Exposure
from backupd.web.signing import LINK_LIFETIME, DownloadLink, Signer
from backupd.web.view import View
from backupd.web.workplace import Workplace


@dataclass(frozen=True, slots=True)
class Downloads:
    """Makes and reads the links that archives are fetched through."""

    signer: Signer
    now: Callable[[], datetime]
    lifetime: timedelta = LINK_LIFETIME

    def link(self, backup_id: str, session_id: str) -> DownloadLink:
        """A link for one backup and one session."""
        return DownloadLink(backup_id, session_id, (self.now() + self.lifetime).replace(microsecond=0))

    def path(self, link: DownloadLink, archive: str) -> str:
        """Its path and query."""
        return self.signer.path(link, archive)


@dataclass(frozen=True, slots=True)
class Site:
    """The parts behind the pages. `stopping` is set when the daemon stops: streams end then."""

    view: View
    place: Callable[[], Workplace]
    admins: Admins
    errands: Errands
    downloads: Downloads
    exposure: Exposure
    stopping: threading.Event = field(default_factory=threading.Event)

    def activity(self, state: DaemonState | None = None, last: Backup | None = None) -> Activity | None:
        """What is under way now. Raises CatalogError."""
        state = state or self.view.state()
        errand = self.errands.current
        if state.operation is None and errand is None:
            return None
        last = last or self.view.catalog().last_completed()
        return activity_of(state, errand, self.view.now(), last, self._type(state.backup_id))

    def backup(self, backup_id: str) -> Backup:
        """The backup with exactly this id. Raises BackupNotFound."""
        missing = BackupNotFound("there is no such backup", hint="It may have been deleted; the audit log tells.")
        try:
            found = self.view.catalog().backup(backup_id)
        except BackupNotFound as error:
            raise missing from error
        if found.backup_id != backup_id:
            raise missing
        return found

    def deeds(self, visitor: Visitor, address: str, trigger: Trigger) -> Deeds:
        """What this visitor can have done."""
        return Deeds(self.place(), self.errands, self.admins, visitor, address, trigger)

    def require_idle(self) -> None:
        """Raise RunLocked while a run is under way: an errand could only fail."""
        operation = self.view.state().operation
        if operation is not None:
            raise RunLocked(f"a {operation} is under way", hint="Wait for it to end, then try again.")

    def _type(self, backup_id: str | None) -> str | None:
        if backup_id is None:
            return None
        try:
            return str(self.view.catalog().backup(backup_id).type)
        except BackupNotFound:
            return None
