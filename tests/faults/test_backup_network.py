"""A backup through a bad network and a bad server: the right rows, or a message that says what happened."""

from __future__ import annotations

import email.utils
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backupd.archive.reader import ArchiveReader
from backupd.errors import KeyRefused, ProjectError, ProjectUnreachable
from backupd.model import Backup, Status, TableStatus
from backupd.sandbox.postgres import Postgres
from tests.support.faults import (
    Call,
    Cut,
    Drip,
    Duplicate,
    Endless,
    Exchange,
    Fault,
    GzipBomb,
    Hang,
    RedirectLoop,
    Request,
    WrongLength,
    answer,
    close_after,
    html_page,
    lose_answer,
    lose_request,
    reset_after,
)
from tests.support.processes import SampleProject, sample_project
from tests.support.projects import QUICK, back_up, open_project
from tests.support.proxy import FaultProxy, Match, all_of, method, path, query
from tests.support.wire import Framing

NUMBERS = 400
TABLES = f"""
create table numbers (id bigint primary key, filling text);
insert into numbers select n, repeat('x', 200) from generate_series(1, {NUMBERS}) n;
create table aa (id bigint primary key); insert into aa values (1), (2);
create table bb (id bigint primary key); insert into bb values (1), (2);
create table cc (id bigint primary key); insert into cc values (1), (2);
"""
SLOW = """
create function nap(id bigint) returns text immutable cost 10000 language plpgsql as
  'begin perform pg_sleep(0.004); return null; end';
create view slow as select id, nap(id) as nap from numbers where id <= 150;
"""
TIMED_OUT = answer(500, body='{"code": "57014", "message": "canceling statement due to statement timeout"}')
HASTY = replace(QUICK, read_seconds=1.0, request_seconds=2.0, attempts=2)


@pytest.fixture(scope="module")
def shared(postgres: Postgres) -> Iterator[SampleProject]:
    """One project for the tests that do not change it."""
    with sample_project(postgres, TABLES) as running:
        yield running


@pytest.fixture
def own(postgres: Postgres) -> Iterator[SampleProject]:
    """A project of the test's own, to be changed."""
    with sample_project(postgres, TABLES) as running:
        yield running


@dataclass
class Attempt:
    """A backup through a proxy, and what is in its archive."""

    project: SampleProject
    proxy: FaultProxy
    directory: Path

    def __call__(self, **settings: Any) -> Backup:
        """Take a backup with small pages, unless told otherwise."""
        chosen = {"page_rows": 50, "patience": QUICK, **settings}
        with open_project(self.proxy.url, self.project.gateway.keys.secret, **chosen) as project:
            return back_up(project, self.directory)

    @property
    def stored(self) -> list[str]:
        """Everything in the store."""
        return [file.name for file in (self.directory / "archives").glob("*")]

    def ids(self, backup: Backup, table: str = "numbers") -> list[int]:
        """The keys of a table's rows, as archived."""
        with (self.directory / "archives" / str(backup.archive)).open("rb") as file, ArchiveReader(file) as reader:
            found = next(one for one in reader.manifest.tables if str(one.table.name) == table)
            return [json.loads(row)["id"] for row in reader.rows(found)]


@pytest.fixture
def attempt(shared: SampleProject, tmp_path: Path) -> Iterator[Attempt]:
    """A backup of the shared project."""
    with FaultProxy(shared.gateway.project_url) as proxy:
        yield Attempt(shared, proxy, tmp_path)


@pytest.fixture
def own_attempt(own: SampleProject, tmp_path: Path) -> Iterator[Attempt]:
    """A backup of a project that may be changed."""
    with FaultProxy(own.gateway.project_url) as proxy:
        yield Attempt(own, proxy, tmp_path)


def pages_of(table: str) -> Match:
    """Requests for rows of a table, less those that only count."""
    return all_of(method("GET"), path(f"/rest/v1/{table}"), query("select", "*"), lambda request: limit_of(request) > 0)


def limit_of(request: Request) -> int:
    """How many rows were asked for."""
    return int(dict(request.query).get("limit", "0"))


def larger_than(rows: int) -> Match:
    """Pages of `numbers` of more rows than that."""
    return all_of(pages_of("numbers"), lambda request: limit_of(request) > rows)


def status_of(backup: Backup, table: str) -> TableStatus:
    """How one table came out."""
    return next(one.status for one in backup.tables if one.name == table)


def message_of(backup: Backup, table: str) -> str:
    """What is said of one table."""
    return str(next(one.message for one in backup.tables if one.name == table))


def assert_only_numbers_suffered(backup: Backup) -> None:
    """The backup is partial, and every other table is whole."""
    assert backup.status is Status.PARTIAL
    others = {one.name: (one.status, one.rows) for one in backup.tables if one.name != "numbers"}
    assert others == dict.fromkeys(("aa", "bb", "cc"), (TableStatus.COMPLETED, 2))


@pytest.mark.parametrize(
    "fault",
    [
        lose_request(),
        lose_answer(),
        reset_after(0),
        reset_after(0.5),
        close_after(0),
        close_after(0.01),
        close_after(0.5),
        close_after(0.99),
        close_after(0.5, Framing.CHUNKED),
        close_after(0.99, Framing.CHUNKED),
        close_after(0.5, Framing.UNTIL_CLOSE),
        close_after(-1, Framing.UNTIL_CLOSE),
        Cut(0.5, Framing.SENT_LENGTH),
        Cut(-1, Framing.SENT_LENGTH),
        Duplicate(),
        WrongLength(5),
        WrongLength(-5),
        html_page(),
        answer(200, body=""),
        answer(200, body="null"),
        answer(200, body='{"message": "all is well"}'),
        answer(200, body="[1, 2, 3]"),
        answer(503, body="upstream connect error"),
        answer(502, headers={"Content-Type": "text/html"}, body="<html>Bad gateway</html>"),
        answer(521, body="Web server is down"),
        answer(408),
    ],
    ids=str,
)
def test_backup_with_a_page_that_came_badly_once_asks_again_and_is_complete(attempt: Attempt, fault: Fault) -> None:
    """One bad answer in the middle of a table costs a request, never a row."""
    attempt.proxy.once(when=pages_of("numbers"), after=2, do=fault)
    backup = attempt()
    assert backup.status is Status.COMPLETED
    assert attempt.ids(backup) == list(range(1, NUMBERS + 1))


def test_backup_through_a_burst_of_errors_is_complete(attempt: Attempt) -> None:
    """Every other answer is an error, whatever was asked."""
    attempt.proxy.always(when=lambda request: request.number % 2 == 1, do=answer(503))
    backup = attempt(patience=replace(QUICK, attempts=20))
    assert backup.status is Status.COMPLETED
    assert attempt.ids(backup) == list(range(1, NUMBERS + 1))


def test_backup_below_a_row_cap_smaller_than_the_page_is_complete(postgres: Postgres, tmp_path: Path) -> None:
    """A short page is not the end."""
    with sample_project(postgres, TABLES, max_rows=7) as project, FaultProxy(project.gateway.project_url) as proxy:
        attempt = Attempt(project, proxy, tmp_path)
        backup = attempt(page_rows=100)
        assert backup.status is Status.COMPLETED
        assert attempt.ids(backup) == list(range(1, NUMBERS + 1))


@pytest.mark.parametrize("most", [1, 7, 40])
def test_backup_where_larger_pages_time_out_is_complete_and_seldom_tries(attempt: Attempt, most: int) -> None:
    """The page is halved until it fits; a larger one is tried again now and then, and not all the time."""
    attempt.proxy.always(when=larger_than(most), do=TIMED_OUT)
    backup = attempt(page_rows=200)
    assert backup.status is Status.COMPLETED
    assert attempt.ids(backup) == list(range(1, NUMBERS + 1))
    refused, pages = attempt.proxy.count(larger_than(most)), attempt.proxy.count(pages_of("numbers"))
    assert refused <= 8 + pages // 8


def test_backup_after_a_time_out_grows_its_pages_again(attempt: Attempt) -> None:
    """One bad moment does not make the rest of the table slow."""
    attempt.proxy.times(2, when=larger_than(10), do=TIMED_OUT)
    attempt(page_rows=40)
    limits = [limit_of(request) for request in attempt.proxy.requests if pages_of("numbers")(request)]
    assert limits[2] == 10
    assert limits[-1] > 10


def test_backup_of_rows_nobody_can_read_in_time_is_partial_and_says_how_to_help(attempt: Attempt) -> None:
    """Even one row takes too long: the setting to change is in the message."""
    attempt.proxy.always(when=pages_of("numbers"), do=TIMED_OUT)
    backup = attempt()
    assert_only_numbers_suffered(backup)
    assert "statement timeout" in message_of(backup, "numbers")
    assert "alter role service_role set statement_timeout" in message_of(backup, "numbers")


def test_backup_of_a_slow_view_gets_below_the_servers_own_time_out(postgres: Postgres, tmp_path: Path) -> None:
    """The database itself cancels what takes longer than 150 ms, and every row comes all the same."""
    options = {"statement_timeout_ms": 150}
    with (
        sample_project(postgres, TABLES + SLOW, **options) as project,
        FaultProxy(project.gateway.project_url) as proxy,
    ):
        attempt = Attempt(project, proxy, tmp_path)
        backup = attempt(tables=("slow",), keys={"slow": ("id",)}, page_rows=100)
        assert attempt.ids(backup, "slow") == list(range(1, 151))
        assert proxy.count(pages_of("slow")) > 5


def in_three_seconds() -> str:
    """A moment as HTTP writes it, in whole seconds."""
    return email.utils.format_datetime(datetime.now(UTC) + timedelta(seconds=3), usegmt=True)


@dataclass(frozen=True)
class AskLater:
    """A 429 that says when to ask again, reckoned from the moment it is sent."""

    retry_after: Callable[[], str]

    async def play(self, exchange: Exchange) -> None:
        """Refuse."""
        await answer(429, headers={"Retry-After": self.retry_after()}).play(exchange)


@pytest.mark.parametrize("retry_after", [lambda: "1", in_three_seconds], ids=["seconds", "date"])
def test_backup_that_is_told_when_to_ask_again_waits_that_long(
    attempt: Attempt, retry_after: Callable[[], str]
) -> None:
    """`Retry-After` in both its forms is honoured; without it the pause would be a few milliseconds."""
    asked_at: list[float] = []
    attempt.proxy.once(when=pages_of("numbers"), do=Call(lambda _: asked_at.append(time.monotonic())))
    attempt.proxy.once(when=pages_of("numbers"), do=AskLater(retry_after))
    attempt.proxy.once(when=pages_of("numbers"), do=Call(lambda _: asked_at.append(time.monotonic())))
    backup = attempt()
    assert backup.status is Status.COMPLETED
    assert 0.9 < asked_at[1] - asked_at[0] < 30


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (lose_request(), "connection"),
        (close_after(0.5), "connection broke"),
        (html_page(), "no good"),
        (answer(503, body='{"message": "no server"}'), "503"),
        (answer(429), "429"),
        (RedirectLoop(), "307"),
        (Hang(), "timed out"),
        (Hang(after=0.5), "timed out"),
        (Drip(2000), "still dripping"),
        (answer(400, body='{"code": "XX001", "message": "could not read block 7"}'), "could not read block 7"),
        (answer(500, body='{"code": "XX001", "message": "invalid page in block 7"}'), "invalid page in block 7"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_backup_with_a_table_that_always_fails_is_partial_and_the_others_whole(
    attempt: Attempt, fault: Fault, words: str
) -> None:
    """One table's trouble is said with that table, and costs no other a row."""
    attempt.proxy.always(when=pages_of("numbers"), after=2, do=fault)
    began = time.monotonic()
    backup = attempt(patience=HASTY)
    assert time.monotonic() - began < 30
    assert_only_numbers_suffered(backup)
    assert status_of(backup, "numbers") is TableStatus.INCOMPLETE
    assert words in message_of(backup, "numbers")
    assert attempt.ids(backup) == list(range(1, len(attempt.ids(backup)) + 1))
    attempt.proxy.release()


@pytest.mark.parametrize("fault", [Endless(), GzipBomb(1 << 30)], ids=str)
def test_backup_with_a_page_without_end_asks_for_less_and_is_complete(attempt: Attempt, fault: Fault) -> None:
    """A body that grows beyond what a page may have is dropped, long before memory is full."""
    attempt.proxy.once(when=pages_of("numbers"), after=2, do=fault)
    backup = attempt()
    assert backup.status is Status.COMPLETED
    assert attempt.ids(backup) == list(range(1, NUMBERS + 1))


@pytest.mark.parametrize("fault", [Endless(), GzipBomb(1 << 31), RedirectLoop(), Hang(), Drip(500)], ids=str)
def test_backup_of_a_project_that_answers_no_good_at_all_fails_soon(attempt: Attempt, fault: Fault) -> None:
    """Nothing is published, and the time and the memory it takes are bounded."""
    attempt.proxy.always(do=fault)
    began = time.monotonic()
    with pytest.raises(ProjectError):
        attempt(patience=HASTY)
    assert time.monotonic() - began < 30
    assert attempt.stored == []
    attempt.proxy.release()


def test_backup_with_a_table_that_gives_no_answer_to_any_question_is_partial(attempt: Attempt) -> None:
    """Not even how many rows it has: the other tables are read all the same."""
    attempt.proxy.always(when=path("/rest/v1/numbers"), do=lose_request())
    backup = attempt()
    assert_only_numbers_suffered(backup)
    assert status_of(backup, "numbers") is TableStatus.FAILED


def test_backup_with_a_table_that_tells_nothing_of_its_heaps_reads_the_others(attempt: Attempt) -> None:
    """A question about one table that only serves to find doubles does not end the run."""
    attempt.proxy.always(when=path("/rest/v1/aa"), do=lose_request())
    backup = attempt()
    assert [one.name for one in backup.tables if one.status is TableStatus.COMPLETED] == ["bb", "cc", "numbers"]


def test_backup_of_three_tables_in_a_row_without_an_answer_fails(attempt: Attempt) -> None:
    """A project that has gone away is not waited for table by table."""
    for table in ("aa", "bb", "cc"):
        attempt.proxy.always(when=path(f"/rest/v1/{table}"), do=lose_request())
    with pytest.raises(ProjectUnreachable, match=r"did not give .* cc in 3 tries: the connection broke"):
        attempt()
    assert attempt.stored == []


def test_backup_whose_key_is_revoked_in_the_middle_stops_and_publishes_nothing(own_attempt: Attempt) -> None:
    """It is no matter of one table: the service and the key are named, and the run ends."""
    gateway = own_attempt.project.gateway
    revoke = Call(lambda _: gateway.revoke(gateway.keys.secret))
    own_attempt.proxy.once(when=pages_of("numbers"), after=2, do=revoke)
    with pytest.raises(KeyRefused, match=r"the Data API of 127\.0\.0\.1:\d+ refused the (secret|API) key"):
        own_attempt()
    assert own_attempt.stored == []


@pytest.mark.parametrize("configured", [True, False], ids=["configured", "formerly backed up"])
def test_backup_of_a_table_without_its_grant_is_partial_with_the_statement(
    own_attempt: Attempt, configured: bool
) -> None:
    """A table that should be there and cannot be read is never left out silently."""
    own_attempt()
    own_attempt.project.execute("revoke all on numbers from service_role, anon, authenticated")
    backup = own_attempt(**({"tables": ("aa", "bb", "cc", "numbers")} if configured else {}))
    assert_only_numbers_suffered(backup)
    assert status_of(backup, "numbers") is TableStatus.FAILED
    assert "GRANT SELECT ON TABLE public.numbers TO service_role;" in message_of(backup, "numbers")


def test_backup_after_a_table_was_dropped_is_complete_with_a_warning(own_attempt: Attempt) -> None:
    """What is truly gone is no failure, and is said once."""
    own_attempt()
    own_attempt.project.execute("drop table numbers")
    backup = own_attempt()
    assert backup.status is Status.COMPLETED
    assert any("numbers was in the last backup and is gone" in warning for warning in backup.warnings)


def test_backup_of_a_table_dropped_while_it_is_read_is_partial(own_attempt: Attempt) -> None:
    """The rows that came are kept, and the table does not pass for whole."""
    drop = Call(lambda _: own_attempt.project.execute("drop table numbers"))
    own_attempt.proxy.once(when=pages_of("numbers"), after=2, do=drop)
    assert_only_numbers_suffered(own_attempt())


def test_backup_of_a_table_emptied_while_it_is_read_says_so(own_attempt: Attempt) -> None:
    """The rows that were there before are no lie, and the loss is pointed out."""
    empty = Call(lambda _: own_attempt.project.execute("truncate numbers"))
    own_attempt.proxy.once(when=pages_of("numbers"), after=3, do=empty)
    backup = own_attempt()
    assert status_of(backup, "numbers") is TableStatus.COMPLETED
    assert any("numbers: it shrank while it was read" in warning for warning in backup.warnings)
