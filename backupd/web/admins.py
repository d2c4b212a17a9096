"""Who is an admin: signing in by token, link or password, and whether a session still holds."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import NoReturn, Protocol

from backupd.catalog import AuditEntry, Catalog, Session, token_hash
from backupd.config import Secret
from backupd.errors import BackupdError, ProjectError
from backupd.log import Logger
from backupd.model import Clock
from backupd.web.limits import Attempts

IDLE_LIMIT = timedelta(hours=8)
ABSOLUTE_LIMIT = timedelta(days=7)

_CHECK_EVERY = timedelta(minutes=5)
_TOUCH_EVERY = timedelta(minutes=1)
_WINDOW_SECONDS = 15 * 60
_MOST_BY_ADDRESS = 10
_MOST_BY_ACCOUNT = 20
_LONGEST_NAME = 200
_TOKEN_ADMIN = "admin token"  # noqa: S105 - what somebody is called who came in with it
_LINK_ADMIN = "login link"
_API = "API token"


class NotSignedIn(BackupdError):
    """Signing in was refused. The message says no more than whoever asks may know."""


class TooManyAttempts(NotSignedIn):
    """This account or address has failed too often lately; `wait_seconds` says for how long it has to wait."""

    def __init__(self, wait_seconds: float) -> None:
        super().__init__(f"Too many attempts. Try again in {max(1, round(wait_seconds / 60))} min.")
        self.wait_seconds = wait_seconds


class Known(Protocol):
    """A user of the project whose password was right."""

    @property
    def user_id(self) -> str:
        """The user's id, which never changes."""

    @property
    def email(self) -> str:
        """What people call the user."""

    @property
    def is_admin(self) -> bool:
        """Whether the rule admits the user."""


class Directory(Protocol):
    """The project's users. Its methods raise ProjectError when the project cannot be asked."""

    def sign_in(self, email: str, password: str) -> Known | None:
        """The user with this email and password; None when they are wrong."""

    def is_admin(self, user_id: str) -> bool:
        """Whether the rule still admits a user."""


@dataclass(frozen=True, slots=True)
class Admission:
    """How somebody may come in: with a token, as a user of the project, or both; None for a way that is not set up."""

    token: Secret | None = None
    directory: Directory | None = None

    @property
    def is_possible(self) -> bool:
        """Whether anybody can sign in at the page. A login link always can be had on the machine itself."""
        return self.token is not None or self.directory is not None


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who has been recognised. `csrf` is what their unsafe requests must bring, None for a bearer token."""

    who: str
    session: Session
    csrf: str | None

    def accepts(self, csrf: str) -> bool:
        """Whether an unsafe request that brings this token came from one of our pages."""
        return self.csrf is None or hmac.compare_digest(self.csrf.encode(), csrf.encode())


class Admins:
    """Recognises admins. Asks for the catalog and the admission anew each time: both may be exchanged."""

    def __init__(
        self,
        catalog: Callable[[], Catalog],
        admission: Callable[[], Admission],
        *,
        clock: Clock,
        log: Callable[[], Logger],
        by_address: Attempts | None = None,
        by_account: Attempts | None = None,
    ) -> None:
        self._catalog = catalog
        self._admission = admission
        self._clock = clock
        self._log = log
        self._by_address = by_address or Attempts(_MOST_BY_ADDRESS, _WINDOW_SECONDS)
        self._by_account = by_account or Attempts(_MOST_BY_ACCOUNT, _WINDOW_SECONDS)

    @property
    def admission(self) -> Admission:
        """How somebody may come in now."""
        return self._admission()

    def recognise(self, token: str, address: str) -> Visitor | None:
        """Whose session this token is, None when it is none or does not hold any more. Raises CatalogError."""
        if not token:
            return None
        sessions = self._catalog().sessions
        session = sessions.find(token_hash(token))
        if session is None:
            return None
        if self._has_expired(session):
            sessions.end(session.session_id)
            return None
        session = self._kept_up(session, address)
        return Visitor(session.who, session, csrf_token(token)) if session is not None else None

    def holds(self, session_id: str) -> bool:
        """Whether a session still is one, for streams and links that outlive the request they came from."""
        session = self._catalog().sessions.find(session_id)
        if session is None:
            # A bearer of the admin token has no session; a link given to it holds while the token does.
            return session_id == self._fingerprint() and session_id != ""
        return not self._has_expired(session)

    def recognise_bearer(self, token: str, address: str) -> Visitor | None:
        """Recognise whoever brings the admin token itself. Raises TooManyAttempts, by address alone."""
        self._check_attempts(address, address)
        expected = self._admission().token
        if expected is None or not _same(token, expected.reveal()):
            self._note_failure(address, address, _API, "a wrong bearer token")
            return None
        now = self._clock()
        session = Session(self._fingerprint(), _API, "token", self._fingerprint(), address, now, now, now)
        return Visitor(_API, session, None)

    def sign_in_with_token(self, given: str, address: str) -> str:
        """Begin a session with the admin token; gives the session's own token. Raises NotSignedIn."""
        self._check_attempts(address, _TOKEN_ADMIN)
        expected = self._admission().token
        if expected is None or not _same(given, expected.reveal()):
            self._refuse(address, _TOKEN_ADMIN, "a wrong token", "That is not the admin token.")
        return self._begin(_TOKEN_ADMIN, "token", self._fingerprint(), address)

    def sign_in_with_link(self, given: str, address: str) -> str:
        """Begin a session with a one-time link; gives the session's own token. Raises NotSignedIn.

        A good link is taken however often others have failed: it is how an owner gets in who is locked out.
        """
        if not self._catalog().sessions.take_link(given, self._clock()):
            self._check_attempts(address, _LINK_ADMIN)
            words = "This link was used already, or its time is over. Make another: backupd login-link"
            self._refuse(address, _LINK_ADMIN, "a link that does not hold", words)
        return self._begin(_LINK_ADMIN, "link", "", address)

    def sign_in_with_password(self, email: str, password: str, address: str) -> str:
        """Begin a session as a user of the project. Raises NotSignedIn, and ProjectError when it cannot be asked.

        A wrong password and a user who is no admin get the same answer: it would tell a stranger who is what.
        """
        name = _plain(email)
        self._check_attempts(address, name.lower())
        directory = self._admission().directory
        user = directory.sign_in(email, password) if directory and email and password else None
        if user is None or not user.is_admin:
            reason = "a wrong email or password" if user is None else "not an admin by the rule"
            self._refuse(address, name, reason, "Wrong email or password, or not an admin.")
        return self._begin(_plain(user.email), "supabase", user.user_id, address)

    def sign_out(self, visitor: Visitor, address: str) -> None:
        """End a session: its token is worth nothing any more."""
        self._catalog().sessions.end(visitor.session.session_id)
        self.note(visitor.who, "sign out", address)

    def end_others(self, visitor: Visitor, address: str) -> int:
        """End every session but the visitor's own; gives how many."""
        ended = self._catalog().sessions.end_others(visitor.session.session_id)
        self.note(visitor.who, "end other sessions", address, detail=f"{ended} ended")
        return ended

    def note(
        self,
        who: str,
        what: str,
        address: str,
        *,
        backup_id: str | None = None,
        detail: str | None = None,
        refused: bool = False,
    ) -> None:
        """Write down who did what, in the audit log and in the log."""
        outcome = "refused" if refused else "done"
        entry = AuditEntry(self._clock(), _plain(who), what, address, outcome, backup_id, detail)
        self._catalog().audit.add(entry)
        tell = self._log().warning if refused else self._log().info
        tell("admin.noted", who=entry.who, what=what, address=address, outcome=outcome, backup_id=backup_id, why=detail)

    def _begin(self, who: str, way: str, proof: str, address: str) -> str:
        """Always a new token: one that somebody planted before is worth nothing."""
        now = self._clock()
        token = secrets.token_urlsafe(32)
        catalog = self._catalog()
        catalog.sessions.sweep(created_before=now - ABSOLUTE_LIMIT, seen_before=now - IDLE_LIMIT, now=now)
        catalog.sessions.begin(Session(token_hash(token), who, way, proof, address, now, now, now))
        self._by_address.succeeded(address)
        self._by_account.succeeded(who.lower())
        self.note(who, "sign in", address, detail=f"by {way}")
        return token

    def _has_expired(self, session: Session) -> bool:
        now = self._clock()
        return now - session.created_at > ABSOLUTE_LIMIT or now - session.seen_at > IDLE_LIMIT

    def _kept_up(self, session: Session, address: str) -> Session | None:
        """Note that the admin is here, and look now and then whether they still are one."""
        now = self._clock()
        if not self._still_admitted(session, due=now - session.checked_at > _CHECK_EVERY):
            self._catalog().sessions.end(session.session_id)
            self.note(session.who, "session", address, detail="no longer an admin", refused=True)
            return None
        if now - session.checked_at > _CHECK_EVERY:
            return self._catalog().sessions.touch(session, seen_at=now, checked_at=now)
        if now - session.seen_at > _TOUCH_EVERY:
            return self._catalog().sessions.touch(session, seen_at=now)
        return session

    def _still_admitted(self, session: Session, *, due: bool) -> bool:
        """Whether what let them in still would. A project that is away throws nobody out: then backups are needed."""
        if session.way == "token":
            return _same(session.proof, self._fingerprint())
        if session.way != "supabase":
            return True
        directory = self._admission().directory
        if directory is None:
            return False
        if not due:
            return True
        try:
            return directory.is_admin(session.proof)
        except ProjectError as error:
            self._log().warning("session.unchecked", who=session.who, error=error.message)
            return True

    def _fingerprint(self) -> str:
        """What a session remembers of the admin token, so that another token ends it."""
        token = self._admission().token
        return hashlib.sha256(b"backupd admin token\n" + token.reveal().encode()).hexdigest() if token else ""

    def _check_attempts(self, address: str, account: str) -> None:
        wait = max(self._by_address.wait_seconds(address), self._by_account.wait_seconds(account.lower()))
        if wait > 0:
            raise TooManyAttempts(wait)

    def _refuse(self, address: str, account: str, reason: str, words: str) -> NoReturn:
        self._note_failure(address, account, account, reason)
        raise NotSignedIn(words)

    def _note_failure(self, address: str, account: str, who: str, reason: str) -> None:
        """Written down until it is too often: whoever guesses on is refused without a word, and fills no disk."""
        self._by_address.failed(address)
        self._by_account.failed(account.lower())
        self.note(who, "sign in", address, detail=reason, refused=True)


def csrf_token(token: str) -> str:
    """What a page puts into its forms: known to whoever has the session's token, and worth nothing without it."""
    return hmac.digest(token.encode(), b"csrf", hashlib.sha256).hex()


def _same(given: str, expected: str) -> bool:
    """Compare in constant time; hashed first, so that the length does not show either."""
    return hmac.compare_digest(hashlib.sha256(given.encode()).digest(), hashlib.sha256(expected.encode()).digest())


def _plain(name: str) -> str:
    """A name from outside as one short printable line."""
    return "".join(letter if letter.isprintable() else "·" for letter in name)[:_LONGEST_NAME] or "nobody"
