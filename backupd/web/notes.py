"""What a page says after something was done: known words under a short name, so that an address can carry no others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence, its tone (`good` or `bad`), and a link where there is more to see.

    A `passing` one is worth saying only until what it tells of has ended.
    """

    words: str
    tone: str = "good"
    path: str | None = None
    link: str = "See it"
    passing: bool = False


_NOTES = {
    "begun": Note("The backup has begun."),
    "tested": Note("The nightly job runs now, as it will at night: type automatic."),
    "joined": Note("A backup was already under way: you are watching that one."),
    "pinned": Note("Pinned: it never expires."),
    "unpinned": Note("Unpinned: it expires when its time is over."),
    "deleted": Note("Deleted."),
    "verifying": Note("Verification has begun: every byte is read back.", passing=True),
    "cleaning": Note("Cleanup has begun.", passing=True),
    "alone": Note("Every other session has ended."),
}


def read_note(query: Mapping[str, str]) -> Note | None:
    """The note an address asks for, None for a name that is not known."""
    found = _NOTES.get(query.get("note", ""))
    backup_id = query.get("backup", "")
    is_id = bool(backup_id) and len(backup_id) <= 64 and backup_id.replace("-", "").isalnum() and backup_id.isascii()
    return replace(found, path=f"/backups/{backup_id}") if found and is_id else found
