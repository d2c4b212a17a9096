"""What an admin can have done: back up, verify, pin, delete, clean up. Each is written down with who asked."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from backupd.cleanup import CleanupReport, delete_backup, run_cleanup
from backupd.errors import BackupNotFound, RunLocked
from backupd.model import Backup, BackupType, Status, Trigger
from backupd.verify import VerifyReport, verify_stored
from backupd.web.admins import Admins, Visitor
from backupd.web.errands import Ending, Errand, Errands
from backupd.web.workplace import Asked, Workplace
from backupd.words import plural, size

_MOST_DETAILS = 50


@dataclass(frozen=True, slots=True)
class Deeds:
    """Done for one visitor from one address. Each raises BackupdError for what cannot be done, with nothing done."""

    place: Workplace
    errands: Errands
    admins: Admins
    visitor: Visitor
    address: str
    trigger: Trigger

    def back_up(self, backup_type: BackupType) -> Asked:
        """Have a backup taken, or join the one that is under way."""
        asked = self.place.request_backup(backup_type, self.trigger)
        words = f"joined the backup under way ({backup_type} asked for)" if asked.joined else str(backup_type)
        self._note("create", asked.backup_id, words)
        return asked

    def verify(self, backup: Backup) -> None:
        """Have every byte of an archive read back; how it ended is found in the errands."""
        require_archive(backup)
        self.errands.begin("verify", backup.backup_id, partial(self._verify, backup))
        self._note("verify", backup.backup_id)

    def pin(self, backup: Backup, pinned: bool) -> None:
        """Let a backup never expire, or let it expire again."""
        self.place.catalog.set_pinned(backup.backup_id, pinned)
        self._note("pin" if pinned else "unpin", backup.backup_id)

    def delete(self, backup: Backup) -> int:
        """Delete a backup for good; gives the bytes this freed. Raises DeletionRefused and RunLocked."""
        if (errand := self.errands.current) is not None:
            raise RunLocked(f"a {errand.operation} is under way", hint="Wait for it to end, then try again.")
        place = self.place
        try:
            freed = place.runner.run(
                "delete",
                self.trigger,
                lambda _: delete_backup(place.store, place.catalog, backup),
                backup_id=backup.backup_id,
            )
        except Exception:
            self._note("delete", backup.backup_id, "it could not be done", refused=True)
            raise
        self._note("delete", backup.backup_id, f"{backup.archive or 'no archive'}, {size(freed)} freed")
        return freed

    def clean_up(self) -> None:
        """Have what has expired deleted; how it ended is found in the errands."""
        self.errands.begin("cleanup", None, self._clean_up)
        self._note("cleanup", None)

    def preview(self) -> CleanupReport:
        """What a cleanup would do now, with a reason for each backup."""
        place = self.place
        return run_cleanup(place.store, place.catalog, place.policy, clock=place.clock, dry_run=True)

    def _verify(self, backup: Backup, errand: Errand) -> Ending:
        place = self.place

        def work(_: object) -> VerifyReport:
            return verify_stored(
                place.store,
                place.catalog,
                backup,
                clock=place.clock,
                on_progress=errand.on_progress,
                should_stop=errand.stop.is_set,
            )

        report: VerifyReport = place.runner.run("verify", self.trigger, work, backup_id=backup.backup_id)
        facts = f"{plural(report.tables, 'table')}, {plural(report.rows, 'row')}, {size(report.bytes)}"
        words = f"Every byte was read back and is right: {facts}." if report.ok else "The archive is not what it was."
        problems = tuple(str(problem) for problem in report.problems[:_MOST_DETAILS])
        return Ending("verify", place.clock(), report.ok, words, problems)

    def _clean_up(self, errand: Errand) -> Ending:
        place = self.place

        def work(_: object) -> CleanupReport:
            return run_cleanup(
                place.store, place.catalog, place.policy, clock=place.clock, should_stop=errand.stop.is_set
            )

        report: CleanupReport = place.runner.run("cleanup", self.trigger, work)
        words = f"{plural(len(report.deleted), 'backup')} deleted, {size(report.freed_bytes)} freed."
        refused = tuple(f"{one.backup.backup_id[:8]}: {one.reason}" for one in report.refused[:_MOST_DETAILS])
        return Ending("cleanup", place.clock(), not report.refused, words, refused)

    def _note(self, what: str, backup_id: str | None, detail: str | None = None, *, refused: bool = False) -> None:
        self.admins.note(self.visitor.who, what, self.address, backup_id=backup_id, detail=detail, refused=refused)


def require_archive(backup: Backup) -> str:
    """The name of a backup's archive. Raises BackupNotFound when there is none to read."""
    if backup.archive is None:
        words = "is still in progress" if backup.status is Status.IN_PROGRESS else f"is {backup.status}"
        raise BackupNotFound(f"backup {backup.backup_id[:8]} {words}: it has no archive")
    if backup.missing_since is not None:
        raise BackupNotFound(
            f"the archive of backup {backup.backup_id[:8]} is missing from the store", hint="backupd rescan looks again"
        )
    return backup.archive
