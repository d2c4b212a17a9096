"""The admin's pages over a real catalog, store and listener, with a daemon that notes what it is asked for."""

from __future__ import annotations

import re
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from io import StringIO
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx
from starlette.applications import Starlette

from backupd.catalog import Catalog
from backupd.config import Secret
from backupd.errors import ProjectUnreachable
from backupd.figures import Figures
from backupd.log import make_logger
from backupd.metrics import Metrics
from backupd.model import Backup, BackupType, DaemonState, Trigger
from backupd.project import KeyKind, Traffic, User
from backupd.retention import Policy
from backupd.runner import Runner
from backupd.slots import Timetable
from backupd.store import DirectoryStore
from backupd.web import (
    Address,
    Admins,
    Admission,
    Asked,
    Downloads,
    Errands,
    Exposure,
    Listener,
    Pages,
    Signer,
    Site,
    Sources,
    View,
    Workplace,
    make_app,
)
from backupd.web.limits import Attempts
from tests.support.pages import NOW, backup

TOKEN = "correct-horse-battery-staple"
EMAIL, PASSWORD = "ada@example.org", "analytical engine"


@dataclass
class FakeUsers:
    """A directory of one user, as the project's Auth would answer."""

    is_admin_now: bool = True
    away: bool = False

    def sign_in(self, email: str, password: str) -> User | None:
        """See `Users.sign_in`."""
        self._answer()
        return User("user-1", email, self.is_admin_now) if (email, password) == (EMAIL, PASSWORD) else None

    def is_admin(self, user_id: str) -> bool:
        """See `Users.is_admin`."""
        self._answer()
        return user_id == "user-1" and self.is_admin_now

    def _answer(self) -> None:
        if self.away:
            raise ProjectUnreachable("Auth cannot be reached: ConnectError", hint="backupd login-link")


@dataclass
class AdminSite:
    """Everything behind the pages; a test changes what it needs before it asks."""

    directory: Path
    now: datetime = NOW
    token: str | None = TOKEN
    users: FakeUsers | None = None
    joins: str | None = None
    base_url: str | None = None
    state: DaemonState = field(
        default_factory=lambda: DaemonState(
            started_at=NOW - timedelta(days=2),
            ticked_at=NOW,
            next_runs={"daily_backup": NOW + timedelta(hours=14), "weekly_cleanup": NOW + timedelta(days=6)},
        )
    )
    asked: list[tuple[BackupType, Trigger]] = field(default_factory=list)
    log: StringIO = field(default_factory=StringIO)
    by_address: Attempts | None = None
    by_account: Attempts | None = None
    closing: ExitStack = field(default_factory=ExitStack)
    site: Site | None = None

    def __post_init__(self) -> None:
        """Make what is real."""
        self.catalog_file = self.directory / "catalog.sqlite"
        self.store = DirectoryStore(self.directory / "archives")
        self.catalog = self.closing.enter_context(Catalog.open(self.catalog_file))

    def put(self, number: int, hours_ago: float = 1, content: bytes = b"PK archive", **changes: object) -> Backup:
        """Record a backup whose archive is in the store."""
        made = backup(number, hours_ago, **{"size_bytes": len(content), "sha256": f"{number:064x}", **changes})  # type: ignore[arg-type]
        if made.archive is not None:
            source = self.directory / "source"
            source.write_bytes(content)
            self.store.put(made.archive, source)
        self.catalog.save(made)
        return made

    def app(self) -> Starlette:
        """The application."""
        log = make_logger(self.log, level="info")
        metrics = Metrics(lambda: self._figures(view))
        view = View(
            Sources(
                catalog_file=self.catalog_file,
                clock=lambda: self.now,
                log=log,
                daemon=lambda: self.state,
                store=lambda: self.store,
                key_kind=lambda: KeyKind.SECRET,
                stale_after=lambda: timedelta(hours=26),
                traffic=Traffic(),
                count_catalog_error=metrics.catalog_errors.inc,
            )
        )
        admins = Admins(
            view.catalog,
            lambda: Admission(Secret(self.token) if self.token else None, self.users),
            clock=lambda: self.now,
            log=lambda: log,
            by_address=self.by_address,
            by_account=self.by_account,
        )
        self.site = Site(
            view=view,
            place=self._place,
            admins=admins,
            errands=Errands(clock=lambda: self.now, log=lambda: log),
            downloads=Downloads(Signer(b"key of this test"), lambda: self.now),
            exposure=Exposure("127.0.0.1", 8787, base_url=self.base_url),
        )
        self.closing.callback(view.close)
        self.closing.callback(self.site.errands.close, 5)
        return make_app(Pages(view, metrics), self.site)

    def client(self, app: Starlette | None = None) -> httpx.Client:
        """A browser in front of the pages, served by a real listener; follows no redirects."""
        app = app or self.app()
        assert self.site is not None
        listener = Listener(app, Address("127.0.0.1", 0), on_stop=self.site.stopping.set)
        listener.start()
        self.closing.callback(listener.stop)
        return self.browser(f"http://{listener.address}")

    def browser(self, url: str) -> httpx.Client:
        """Another browser, with cookies of its own."""
        return self.closing.enter_context(httpx.Client(base_url=url, timeout=20))

    def signed_in(self) -> httpx.Client:
        """A browser whose admin has signed in with the token."""
        client = self.client()
        assert sign_in(client, token=TOKEN).status_code == 303
        return client

    def close(self) -> None:
        """End everything."""
        self.closing.close()

    def _figures(self, view: View) -> Figures:
        return view.figures()

    def _place(self) -> Workplace:
        runner = Runner(self.directory, self.catalog, clock=lambda: self.now, log=make_logger(self.log))
        return Workplace(
            catalog=self.catalog,
            store=self.store,
            runner=runner,
            policy=Policy(),
            timetables={
                "daily_backup": Timetable(time(2), ZoneInfo("UTC")),
                "weekly_cleanup": Timetable(time(3), ZoneInfo("UTC"), 6),
            },
            drill_reports=self.directory / "drills",
            platform="Car Audio Competition Platform",
            project="xyz.supabase.co",
            request_backup=self._request,
            clock=lambda: self.now,
            log=make_logger(self.log),
        )

    def _request(self, kind: BackupType, trigger: Trigger) -> Asked:
        if self.joins is not None:
            return Asked(self.joins, joined=True)
        self.asked.append((kind, trigger))
        return Asked("11111111-0000-4000-8000-000000000000", joined=False)


def csrf_of(client: httpx.Client, path: str) -> str:
    """The token that a page puts into its forms."""
    found = re.search(r'name="csrf" value="([^"]+)"', client.get(path).text)
    assert found is not None, f"{path} has no form"
    return found[1]


def sign_in(client: httpx.Client, **fields: str) -> httpx.Response:
    """Fill in the form to sign in, and send it."""
    return client.post("/login", data={"csrf": csrf_of(client, "/login"), **fields})


def press(client: httpx.Client, page: str, action: str, **fields: str) -> httpx.Response:
    """Press a button of a page."""
    return client.post(action, data={"csrf": csrf_of(client, page), **fields})
