"""A daemon inside the test's process: real catalog, store, archives; time, signals and project are the test's."""

from __future__ import annotations

import io
import json
import queue
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any, cast
from zoneinfo import ZoneInfo

from backupd.catalog import Catalog
from backupd.daemon import DAILY_BACKUP, WEEKLY_CLEANUP, Daemon, Services, Signals, Surroundings
from backupd.drill import DrillSettings
from backupd.errors import BackupdError, ExitCode, Interrupted
from backupd.figures import Figures, LiveFigures
from backupd.log import make_logger
from backupd.metrics import Metrics
from backupd.model import Count, OnProgress, Progress, ShouldStop, SlotRecord, Table, TableStatus
from backupd.notify import DeliveryFailure, Event, Notifier, NotifySettings, Origin
from backupd.project import Discovery, KeyKind, Project, TableOutcome
from backupd.retention import Policy
from backupd.runner import Runner
from backupd.sdnotify import ServiceManager
from backupd.slots import RetryPolicy, Timetable
from backupd.store import DirectoryStore
from tests.support.archives import make_table
from tests.support.processes import wait_until

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
"""A Sunday, at noon."""


class Time:
    """A clock and a monotonic clock that go as the test says."""

    def __init__(self, now: datetime = NOON) -> None:
        self.now = now
        self.seconds = 1000.0

    def clock(self) -> datetime:
        """The present instant."""
        return self.now

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return self.seconds

    def go_on(self, span: timedelta) -> None:
        """Let so much time pass."""
        self.now += span
        self.seconds += span.total_seconds()


class QueuedSignals(Signals):
    """Signals that the test puts in. The loop turns at least every few milliseconds."""

    def __init__(self) -> None:
        super().__init__()
        self._queue: queue.Queue[int | None] = queue.Queue()
        self.turns = 0

    def hold(self) -> None:
        """Nothing to hold."""

    def next(self, seconds: float) -> int | None:
        """What the test sent."""
        self.turns += 1
        try:
            return self._queue.get(timeout=min(seconds, 0.005))
        except queue.Empty:
            return None

    def wake(self) -> None:
        """Let the loop turn."""
        self._queue.put(None)

    def exit_now(self, code: int) -> None:
        """A test process does not exit; that the daemon would have is an error of the test."""
        raise AssertionError(f"the daemon left a hanging worker behind, with exit code {code}")

    def exit_at_next(self, code: int) -> None:
        """A test process does not exit."""

    def send(self, number: int) -> None:
        """Send a signal."""
        self._queue.put(number)


class _Lane:
    """One table of a fake project, page by page."""

    def __init__(self, rows: Sequence[bytes], outcome: TableOutcome, before_page: Callable[[], object]) -> None:
        self._rows, self.outcome, self._before_page = rows, outcome, before_page

    def __iter__(self) -> Iterator[Sequence[bytes]]:
        for row in self._rows:
            self._before_page()
            yield [row]


@dataclass
class FakeProject:
    """A project of one table. `trouble` is raised at discovery, `lacking` makes the table come out short.

    `before_page` is called before each page with what asks whether the run must stop.
    """

    rows: list[bytes] = field(default_factory=lambda: [b'{"id":1}', b'{"id":2}'])
    trouble: Exception | None = None
    lacking: str | None = None
    before_page: Callable[[ShouldStop], object] = lambda _: None
    host: str = "xyz.supabase.co"
    opened: int = 0
    should_stop: ShouldStop = lambda: False

    def open(self, should_stop: ShouldStop) -> Project:
        """What `Services.open_project` is."""
        self.should_stop = should_stop
        self.opened += 1
        return cast("Project", self)

    def __enter__(self) -> FakeProject:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to close."""

    def discover(self, last_time: Sequence[str] = ()) -> Discovery:  # noqa: ARG002 - the product's signature
        """One table, or the trouble."""
        if self.trouble is not None:
            raise self.trouble
        return Discovery((make_table("users"),), documents=(("public", b'{"swagger": "2.0"}'),))

    @contextmanager
    def read(self, tables: Sequence[Table], *, on_count: OnProgress) -> Iterator[list[_Lane]]:
        """The rows of the table."""
        status = TableStatus.INCOMPLETE if self.lacking else TableStatus.COMPLETED
        count = Count(len(self.rows), exact=True)
        outcome = TableOutcome(status, None, count, count, self.lacking)
        on_count(Progress("reading", "users", 0, len(self.rows)))

        def before_page() -> None:
            self.before_page(self.should_stop)
            if self.should_stop():
                raise Interrupted("interrupted while reading the project; nothing was published")

        yield [_Lane(self.rows, outcome, before_page) for _ in tables]


class Ears(Notifier):
    """A notifier that only listens. `deaf` lets everything fail, `hold` holds everything up until it is set."""

    def __init__(self) -> None:
        super().__init__(NotifySettings(), environ={})
        self.events: list[Event] = []
        self.pings: list[tuple[str, str]] = []
        self.deaf = False
        self.hold = threading.Event()
        self.hold.set()

    @property
    def kinds(self) -> list[str]:
        """The kinds of the messages, in order."""
        return [str(event.kind) for event in self.events]

    def notify(self, event: Event) -> tuple[DeliveryFailure, ...]:
        """Hear a message."""
        self.hold.wait(20)
        self.events.append(event)
        return self._answer("notify.urls")

    def ping_started(self, run_id: str) -> tuple[DeliveryFailure, ...]:
        """Hear a start."""
        self.hold.wait(20)
        self.pings.append(("start", run_id))
        return self._answer("notify.ping_url")

    def ping_succeeded(self, run_id: str, body: str = "") -> tuple[DeliveryFailure, ...]:  # noqa: ARG002 - ditto
        """Hear a success."""
        self.pings.append(("success", run_id))
        return self._answer("notify.ping_url")

    def ping_failed(self, run_id: str, body: str = "") -> tuple[DeliveryFailure, ...]:  # noqa: ARG002 - ditto
        """Hear a failure."""
        self.pings.append(("fail", run_id))
        return self._answer("notify.ping_url")

    def _answer(self, target: str) -> tuple[DeliveryFailure, ...]:
        return (DeliveryFailure(target, "not reached"),) if self.deaf else ()


class Room:
    """Everything around one daemon; also the `Parts` it is built from. Change what is there before `living`."""

    def __init__(self, directory: Path, environ: Mapping[str, str] | None = None) -> None:
        self.time = Time()
        self.signals = QueuedSignals()
        self.project = FakeProject()
        self.ears = Ears()
        self.lines = io.StringIO()
        self.directory = directory
        self.manager = ServiceManager(environ or {})
        self.metrics = Metrics(lambda: Figures(NO_FIGURES, None))
        self.trouble: BackupdError | None = None
        self.catalog = Catalog.open(directory / "catalog.sqlite")
        self.changes: dict[str, Any] = {}
        self.code: ExitCode | None = None
        self.reached = threading.Event()
        self.released = threading.Event()

    def build(self) -> Services:
        """See `Parts.build`."""
        if self.trouble is not None:
            raise self.trouble
        log = make_logger(self.lines)
        zone = ZoneInfo("UTC")
        services = Services(
            log=log,
            catalog=self.catalog,
            store=DirectoryStore(self.directory / "archives"),
            runner=Runner(self.directory, self.catalog, clock=self.time.clock, log=log),
            key_kind=KeyKind.SECRET,
            open_project=self.project.open,
            platform="Test",
            origin=Origin("Test", self.project.host, "here"),
            notifier=self.ears,
            policy=Policy(),
            drill=DrillSettings(),
            drill_reports=self.directory / "drills",
            timetables={DAILY_BACKUP: Timetable(time(2), zone), WEEKLY_CLEANUP: Timetable(time(3), zone, 6)},
            retry=RetryPolicy(),
            catch_up=True,
            stale_after=timedelta(hours=26),
            deadline_seconds=3600,
            stall_seconds=600,
        )
        return replace(services, **self.changes)

    def catalog_is_replaced(self) -> bool:
        """See `Parts.catalog_is_replaced`."""
        return False

    def with_new_catalog(self) -> Services:
        """See `Parts.with_new_catalog`."""
        return self.build()

    def settle(self, *jobs: str) -> None:
        """Let nothing be missed: the last slot of these jobs, or of both, counts as run."""
        for job in jobs or (DAILY_BACKUP, WEEKLY_CLEANUP):
            self.catalog.save_slot(SlotRecord(job, self.time.now, 1, self.time.now, settled=True))

    @property
    def log(self) -> list[dict[str, Any]]:
        """The log lines so far."""
        return [json.loads(line) for line in self.lines.getvalue().splitlines()]

    def events(self, name: str, **fields: object) -> list[dict[str, Any]]:
        """The log lines of an event whose fields have these values."""
        return [line for line in self.log if line["event"] == name and fields.items() <= line.items()]

    def wait_for(self, name: str, *, count: int = 1, **fields: object) -> None:
        """Wait until the event was logged so often."""
        try:
            wait_until(lambda: len(self.events(name, **fields)) >= count, f"{count} {name} {fields}", seconds=10)
        except AssertionError as error:
            raise AssertionError(f"{error}; the log:\n{self.lines.getvalue()}") from None

    def hold_backups(self) -> None:
        """Let every backup hang at a page, whoever asks it to stop, until `released` is set, or the test ends.

        `reached` is set when one does.
        """

        def hang(_: ShouldStop) -> None:
            self.reached.set()
            self.released.wait(20)

        self.project.before_page = hang

    def turn(self) -> None:
        """Wait until the loop has turned at least once from begin to end."""
        seen = self.signals.turns
        wait_until(lambda: self.signals.turns >= seen + 2, "the loop turns")

    def back_up(self, daemon: Daemon, count: int = 1) -> None:
        """Ask for a backup and wait until so many have ended in all."""
        self.signals.send(signal.SIGUSR1)
        wait_until(lambda: len(self.ended()) >= count and daemon.state().operation is None, "the backup ends")

    def ended(self) -> list[dict[str, Any]]:
        """The log lines of backups that ended, well or not."""
        return self.events("run.finished", operation="backup") + self.events("run.failed", operation="backup")

    @property
    def surroundings(self) -> Surroundings:
        """What the daemon is given of the world."""
        return Surroundings(
            self.directory,
            self.time.clock,
            self.manager,
            self.metrics,
            signals=self.signals,
            monotonic=self.time.monotonic,
            jitter=lambda: 0.0,
        )

    @contextmanager
    def living(self) -> Iterator[Daemon]:
        """A daemon that lives while the block lasts, begun when it is ready; stopped in order at its end."""
        daemon = Daemon(self, self.surroundings)
        thread = threading.Thread(target=lambda: setattr(self, "code", daemon.run()), name="daemon-under-test")
        thread.start()
        try:
            self.wait_for("daemon.started")
            yield daemon
        finally:
            self.released.set()
            self.ears.hold.set()
            self.signals.send(signal.SIGTERM)
            thread.join(20)
            self.catalog.close()
            assert not thread.is_alive(), self.lines.getvalue()


NO_FIGURES = LiveFigures("", None, None, None, {}, None, {}, {}, 0, None, False)
