"""Who is signed in, and the one-time links that sign somebody in. Only hashes of their tokens are kept."""

from __future__ import annotations

import hashlib
import sqlite3
from dataclasses import dataclass, replace
from datetime import datetime

from backupd.catalog.database import Database
from backupd.catalog.rows import instant_to_text


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who is signed in.

    `who` is what people call them; `way` is how they came in: `token`, `link` or `supabase`. `proof` is what has to
    hold still for the session to live on: the user's id at Supabase, or the fingerprint of the admin token.
    `checked_at` is when that was last looked at.
    """

    session_id: str
    who: str
    way: str
    proof: str
    address: str
    created_at: datetime
    seen_at: datetime
    checked_at: datetime


def token_hash(token: str) -> str:
    """What is kept of a token: whoever reads the catalog cannot use it."""
    return hashlib.sha256(token.encode()).hexdigest()


class Sessions:
    """Sessions and login links. A change is on the disk when its method returns. Any method may raise CatalogError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, session: Session) -> None:
        """Record somebody who has just signed in."""
        with self._database.write() as connection:
            connection.execute(
                "INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    session.session_id,
                    session.who,
                    session.way,
                    session.proof,
                    session.address,
                    instant_to_text(session.created_at),
                    instant_to_text(session.seen_at),
                    instant_to_text(session.checked_at),
                ),
            )

    def find(self, session_id: str) -> Session | None:
        """The session with this id, however old; None when there is none (any more)."""
        with self._database.read() as connection:
            row = connection.execute("SELECT * FROM sessions WHERE session_id = ?", (session_id,)).fetchone()
            return None if row is None else _session(row)

    def touch(self, session: Session, *, seen_at: datetime, checked_at: datetime | None = None) -> Session:
        """Note that somebody was here, and when their right to be was last looked at."""
        touched = replace(session, seen_at=seen_at, checked_at=checked_at or session.checked_at)
        with self._database.write() as connection:
            connection.execute(
                "UPDATE sessions SET seen_at = ?, checked_at = ? WHERE session_id = ?",
                (instant_to_text(touched.seen_at), instant_to_text(touched.checked_at), session.session_id),
            )
        return touched

    def end(self, session_id: str) -> None:
        """Let nobody use this session again. Ending what has ended is no error."""
        with self._database.write() as connection:
            connection.execute("DELETE FROM sessions WHERE session_id = ?", (session_id,))

    def end_others(self, session_id: str) -> int:
        """End every session but this one; gives how many."""
        with self._database.write() as connection:
            return connection.execute("DELETE FROM sessions WHERE session_id <> ?", (session_id,)).rowcount

    def count(self) -> int:
        """How many sessions there are, those included that have expired and were not swept away yet."""
        with self._database.read() as connection:
            return int(connection.execute("SELECT count(*) FROM sessions").fetchone()[0])

    def sweep(self, *, created_before: datetime, seen_before: datetime, now: datetime) -> None:
        """Remove sessions and links that have expired."""
        with self._database.write() as connection:
            connection.execute(
                "DELETE FROM sessions WHERE created_at < ? OR seen_at < ?",
                (instant_to_text(created_before), instant_to_text(seen_before)),
            )
            connection.execute("DELETE FROM login_links WHERE expires_at < ?", (instant_to_text(now),))

    def offer_link(self, token: str, expires_at: datetime) -> None:
        """Let whoever brings this token sign in once, until then."""
        with self._database.write() as connection:
            connection.execute(
                "INSERT INTO login_links VALUES (?, ?)", (token_hash(token), instant_to_text(expires_at))
            )

    def take_link(self, token: str, now: datetime) -> bool:
        """Use a link up. False when it was used before, has expired, or never was."""
        with self._database.write() as connection:
            taken = connection.execute(
                "DELETE FROM login_links WHERE token_hash = ? AND expires_at >= ?",
                (token_hash(token), instant_to_text(now)),
            )
            return taken.rowcount == 1


def _session(row: sqlite3.Row) -> Session:
    return Session(
        session_id=row["session_id"],
        who=row["who"],
        way=row["way"],
        proof=row["proof"],
        address=row["address"],
        created_at=datetime.fromisoformat(row["created_at"]),
        seen_at=datetime.fromisoformat(row["seen_at"]),
        checked_at=datetime.fromisoformat(row["checked_at"]),
    )
