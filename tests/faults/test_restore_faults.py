"""Restores that meet trouble: a target that dies, a revoked key, refused rows, a damaged archive."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from backupd.errors import ArchiveError, ExitCode
from backupd.model import Backup, Progress
from backupd.project import Project
from backupd.restore import (
    Choice,
    Mode,
    NotConfirmed,
    Outcome,
    RestoreBlocked,
    RestoreReport,
    RestoreStopped,
)
from backupd.sandbox.gateway import Gateway, start_gateway
from backupd.sandbox.postgres import Postgres
from tests.support.faults import Answer, Call, Fault, Pass, answer, lose_answer, lose_request
from tests.support.processes import Backupd, finish, wait_until
from tests.support.projects import back_up, open_project
from tests.support.proxy import FaultProxy, Match, all_of, method, path
from tests.support.restores import dump, execute, only_tables, plan_of, restore, witness
from tests.support.sandbox import make_database

DDL = """
create table clubs (id int primary key, name text not null);
create table cars (id int primary key, club int references clubs, email text, notes text);
create table tunes (id int primary key, car int not null references cars);
create table log (at int, line text);
"""
DATA = """
insert into clubs select n, 'club ' || n from generate_series(1, 20) n;
insert into cars select n, 1 + n % 20, 'e' || n, repeat('x', 1500) from generate_series(1, 3000) n;
insert into tunes select n, 1 + n % 3000 from generate_series(1, 300) n;
insert into log select n % 100, repeat('y', 1500) || n % 700 from generate_series(1, 3000) n;
"""


@dataclass(frozen=True)
class Source:
    """A backup in a store, and what was in its project."""

    directory: Path
    backup: Backup
    rows: dict[str, list[str]]

    def copied_to(self, directory: Path) -> Source:
        """The same with a store of its own, to be damaged or to keep its own journal."""
        (directory / "archives").mkdir()
        for file in (self.directory / "archives").iterdir():
            (directory / "archives" / file.name).write_bytes(file.read_bytes())
        (directory / "catalog.db").write_bytes((self.directory / "catalog.db").read_bytes())
        return replace(self, directory=directory)


@dataclass(frozen=True)
class Target:
    """A project to restore into, behind a proxy that a test can plan faults for."""

    url: str
    gateway: Gateway
    proxy: FaultProxy
    source: Source

    def open(self) -> Project:
        """The project as a client sees it, through the proxy."""
        return open_project(self.proxy.url, self.gateway.keys.secret)

    def restore(self, **choice: Any) -> RestoreReport:
        """Restore the source's backup into it."""
        with self.open() as project:
            return restore(project, self.source.directory, self.source.backup, **choice)

    def stopped(self, **choice: Any) -> RestoreStopped:
        """The same, which must stop half-way."""
        with pytest.raises(RestoreStopped) as caught:
            self.restore(**choice)
        return caught.value

    def dumped(self) -> dict[str, list[str]]:
        """What is in it, by table."""
        return only_tables(dump(self.url))


@pytest.fixture(scope="module")
def shared(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Source:
    """One backup for the module."""
    directory = tmp_path_factory.mktemp("source")
    url = make_database(postgres, DDL + DATA)
    with start_gateway(url) as gateway, open_project(gateway.project_url, gateway.keys.secret) as project:
        backup = back_up(project, directory)
    return Source(directory, backup, only_tables(dump(url)))


@pytest.fixture
def source(shared: Source, tmp_path: Path) -> Source:
    """The backup in a store of this test's own."""
    return shared.copied_to(tmp_path)


@pytest.fixture
def target(postgres: Postgres, source: Source) -> Iterator[Target]:
    """An empty project with the source's tables."""
    yield from make_target(postgres, source, DDL)


def make_target(postgres: Postgres, source: Source, ddl: str) -> Iterator[Target]:
    """A project with these tables."""
    url = make_database(postgres, ddl)
    with start_gateway(url) as gateway, FaultProxy(gateway.project_url) as proxy:
        yield Target(url, gateway, proxy, source)


@pytest.fixture
def target_with(postgres: Postgres, source: Source) -> Iterator[Callable[[str], Target]]:
    """`target_with(ddl)` gives an empty project with other tables."""
    running: list[Iterator[Target]] = []

    def make(ddl: str) -> Target:
        running.append(make_target(postgres, source, ddl))
        return next(running[-1])

    yield make
    for one in running:
        for _ in one:
            pass


def write_to(table: str) -> Match:
    """Matches requests that write rows of a table."""
    return all_of(method("POST"), path(f"/rest/v1/{table}"))


def refuse(code: str, status: int = 400) -> Fault:
    """An error as PostgREST words it."""
    body = json.dumps({"code": code, "message": f"because of {code}", "details": None, "hint": None})
    return answer(status, headers={"Content-Type": "application/json"}, body=body)


def outcomes(report: RestoreReport) -> dict[str, Outcome]:
    """How each table came out."""
    return {str(one.name): one.outcome for one in report.tables}


def test_target_that_dies_half_way_is_told_and_gone_on_with(target: Target) -> None:
    """The message says what is there; the next run writes the rest, and no row twice."""
    target.proxy.always(when=write_to("log"), do=lose_request())
    stopped = target.stopped()
    assert "stopped half-way" in stopped.message
    assert "1 table is complete, 3 tables are untouched" in stopped.message
    assert "Run the same command again" in (stopped.hint or "")
    assert stopped.exit_code is ExitCode.PARTIAL
    target.proxy.clear()
    report = target.restore()
    assert report.ok
    assert report.is_resumed
    assert target.dumped() == target.source.rows


def test_target_that_dies_within_a_table_goes_on_behind_what_it_has(target: Target) -> None:
    """A table with a key: what was acknowledged is not even sent again."""
    target.proxy.always(when=write_to("cars"), do=lose_request(), after=3)
    assert "cars has" in target.stopped().message
    target.proxy.clear()
    sent_before = target.proxy.count(write_to("cars"))
    assert target.restore().ok
    assert 0 < target.proxy.count(write_to("cars")) - sent_before < 5
    assert target.dumped() == target.source.rows


@pytest.mark.parametrize(
    "fault", [lose_answer(), lose_request(), answer(503), answer(429, headers={"Retry-After": "0"})]
)
def test_lost_answer_about_rows_without_a_key_writes_none_twice(target: Target, fault: Fault) -> None:
    """The rows may be there or not: the target is asked before anything is sent again."""
    target.proxy.once(when=write_to("log"), do=fault, after=1)
    assert target.restore().ok
    assert target.dumped() == target.source.rows


def test_lost_answer_about_rows_with_a_key_writes_none_twice(target: Target) -> None:
    """Sent again at once: a row that is there stays as it is."""
    target.proxy.times(2, when=write_to("cars"), do=lose_answer())
    assert target.restore().ok
    assert target.dumped() == target.source.rows


def test_table_without_a_key_interrupted_between_answer_and_journal_goes_on(target: Target) -> None:
    """What is in the target counts, not what was noted: the first rows of the archive are there, the rest follows."""
    target.proxy.times(20, when=write_to("log"), do=lose_answer(), after=1)
    target.proxy.always(when=all_of(method("HEAD"), path("/rest/v1/log")), do=answer(500))
    target.proxy.always(when=all_of(method("GET"), path("/rest/v1/log")), do=answer(500), after=3)
    stopped = target.stopped()
    assert "log has" in stopped.message
    target.proxy.clear()
    assert target.restore().ok
    assert target.dumped() == target.source.rows


def test_table_without_a_key_that_somebody_else_wrote_to_is_not_touched_again(target: Target) -> None:
    """Rows nobody can tell apart are never guessed about."""
    target.proxy.always(when=write_to("log"), do=lose_request(), after=1)
    target.stopped()
    target.proxy.clear()
    execute(target.url, "insert into log values (7, 'from elsewhere')")
    rows = len(target.dumped()["public.log"])
    report = target.restore()
    blocked = next(one for one in report.tables if str(one.name) == "log")
    assert blocked.outcome is Outcome.BLOCKED
    assert "rows that are not those which were written to it" in (blocked.why or "")
    assert len(target.dumped()["public.log"]) == rows


def test_key_revoked_half_way_says_so_and_what_is_there(target: Target) -> None:
    """With a new key it goes on."""
    secret = target.gateway.keys.secret
    target.proxy.once(when=write_to("tunes"), do=Call(lambda _: target.gateway.revoke(secret)))
    stopped = target.stopped()
    assert "refused the API key" in stopped.message
    assert "3 tables are complete, 1 table is untouched" in stopped.message
    target.gateway.reinstate(secret)
    assert target.restore().ok
    assert target.dumped() == target.source.rows


def test_interrupted_restore_says_so_and_goes_on(target: Target) -> None:
    """Between two requests, whatever the table."""
    seen: list[Progress] = []

    def should_stop() -> bool:
        return any(one.table == "log" and one.stage == "restoring" for one in seen)

    stopped = target.stopped(watched_by=witness(seen.append, should_stop))
    assert stopped.exit_code is ExitCode.INTERRUPTED
    assert "interrupted. In 127.0.0.1" in stopped.message
    assert target.restore().ok
    assert target.dumped() == target.source.rows


@pytest.mark.parametrize("sql", ["truncate clubs, cars, tunes, log", "delete from clubs where id > 7"])
def test_target_emptied_between_two_runs_is_begun_anew(target: Target, sql: str) -> None:
    """The journal knows of rows that are gone: then it is the journal that is wrong."""
    target.proxy.always(when=write_to("log"), do=lose_request())
    target.stopped()
    target.proxy.clear()
    execute(target.url, sql)
    assert target.restore().ok
    assert target.dumped() == target.source.rows


def test_read_only_target_stops_before_anything_is_written(target: Target) -> None:
    """A full disk makes a project read-only."""
    target.proxy.always(when=method("POST"), do=refuse("25006", 405))
    stopped = target.stopped()
    assert "before anything was written: the target is read-only" in stopped.message
    assert stopped.exit_code is ExitCode.FAILED


def test_row_that_violates_a_unique_index_is_set_aside_and_kept(target: Target) -> None:
    """One row is refused, 2,999 are written; the report names it, and a file holds it."""
    execute(target.url, "create unique index on cars ((nullif(id, 17) % 2991))")
    report = target.restore()
    cars = next(one for one in report.tables if str(one.name) == "cars")
    assert cars.outcome is Outcome.DIFFERENT
    assert cars.refused is not None
    assert all("23505" in why for why in cars.refused.values())
    assert cars.comparison is not None
    assert cars.comparison.missing == len(cars.refused) > 0
    kept = [json.loads(line) for line in Path(str(report.refused_file)).read_text().splitlines()]
    assert [one["content"]["id"] for one in kept if one["table"] == "cars"] == [n + 1 for n in sorted(cars.refused)]
    assert not report.ok


def test_dangling_reference_in_the_archive_costs_that_row_alone(target: Target) -> None:
    """The club of some cars is not there; nothing else is held up."""
    target.proxy.once(
        when=write_to("tunes"), do=Call(lambda _: execute(target.url, "delete from cars where id in (5, 6)"))
    )
    report = target.restore()
    tunes = next(one for one in report.tables if str(one.name) == "tunes")
    assert tunes.refused is not None
    assert sorted(tunes.refused) == [3, 4]
    assert "is not present in table" in tunes.refused[3]
    assert outcomes(report) == {
        "clubs": Outcome.RESTORED,
        "log": Outcome.RESTORED,
        "cars": Outcome.DIFFERENT,
        "tunes": Outcome.DIFFERENT,
    }


def test_table_whose_every_row_is_refused_is_given_up_and_others_go_on(target: Target) -> None:
    """A check that the archive's rows do not meet is not a matter of single rows."""
    execute(target.url, "alter table cars add check (id < 0)")
    report = target.restore()
    cars, tunes = (next(one for one in report.tables if str(one.name) == name) for name in ("cars", "tunes"))
    assert "refuses row after row" in (cars.why or "")
    assert tunes.why == "it waits for cars"
    assert outcomes(report)["log"] is Outcome.RESTORED
    assert target.dumped()["public.cars"] == []


def test_missing_grant_names_the_statement_and_goes_on_after_it(target: Target) -> None:
    """What can be written is written; afterwards the rest is."""
    execute(target.url, "revoke insert on cars from service_role")
    report = target.restore()
    cars = next(one for one in report.tables if str(one.name) == "cars")
    assert cars.remedy == 'GRANT SELECT, INSERT, UPDATE ON TABLE "public"."cars" TO service_role;'
    assert outcomes(report)["log"] is Outcome.RESTORED
    execute(target.url, cars.remedy)
    assert target.restore().ok
    assert target.dumped() == target.source.rows


def test_identity_always_is_answered_with_the_sql_before_and_after(target_with: Callable[[str], Target]) -> None:
    """The column is opened for the restore, and closed again in the end."""
    target = target_with(
        DDL.replace("clubs (id int primary key", "clubs (id int generated always as identity primary key")
    )
    report = target.restore()
    clubs = next(one for one in report.tables if str(one.name) == "clubs")
    assert clubs.remedy == 'ALTER TABLE "public"."clubs" ALTER COLUMN "id" SET GENERATED BY DEFAULT;'
    execute(target.url, clubs.remedy)
    report = target.restore()
    assert report.ok
    assert 'ALTER TABLE "public"."clubs" ALTER COLUMN "id" SET GENERATED ALWAYS;' in report.sql
    execute(target.url, report.sql)
    execute(target.url, "insert into clubs (name) values ('the next one')")
    assert "21\tthe next one" in target.dumped()["public.clubs"]


def test_trigger_that_changes_rows_is_found_out_by_the_comparison(target: Target) -> None:
    """The report names the column and both values."""
    execute(
        target.url,
        "create function shout() returns trigger language plpgsql as $$ begin new.name := upper(new.name);"
        " return new; end $$; create trigger shout before insert on clubs for each row execute function shout();",
    )
    report = target.restore()
    clubs = next(one for one in report.tables if str(one.name) == "clubs")
    assert clubs.comparison is not None
    assert (clubs.comparison.missing, clubs.comparison.different, clubs.comparison.extra) == (0, 20, 0)
    assert str(clubs.comparison.samples[0]) == 'different in name: id=2: name is "CLUB 2", was "club 2"'


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("create table tunes", "create table tunez", "tunes: in the target no such table in the project"),
        (", email text", "", "cars: the target's table lacks email"),
        ("create table log (at int, line text);", "create table log (at int, line text); insert into log values (1);",
         "log: the target's table has 1 row"),
    ],
)  # fmt: skip
def test_target_that_cannot_take_everything_is_not_written_to(
    target_with: Callable[[str], Target], before: str, after: str, words: str
) -> None:
    """What stands in the way is said first."""
    target = target_with(DDL.replace(before, after))
    rows = target.dumped()
    with pytest.raises(RestoreBlocked) as caught:
        target.restore()
    assert words in caught.value.message
    assert target.proxy.count(method("POST")) == 0
    assert target.dumped() == rows


def test_request_that_is_too_much_is_made_smaller(target: Target) -> None:
    """A statement time-out, and a proxy with a limit: halves go through."""
    target.proxy.times(3, when=write_to("cars"), do=refuse("57014", 500))
    target.proxy.times(2, when=write_to("log"), do=Answer(413, body=b"<html>too large</html>"))
    assert target.restore().ok
    assert target.dumped() == target.source.rows


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_damaged_archive_is_refused_before_the_first_row(target: Target, damage: str) -> None:
    """The whole archive is read back first."""
    file = target.source.directory / "archives" / str(target.source.backup.archive)
    data = bytearray(file.read_bytes())
    if damage == "cut":
        del data[-1000:]
    else:
        data[len(data) // 2] ^= 1
    file.chmod(0o600)
    file.write_bytes(data)
    with pytest.raises(ArchiveError, match="nothing was written"):
        target.restore()
    assert target.proxy.count(method("POST")) == 0


def test_project_the_archive_came_from_is_refused_without_the_flag(target: Target) -> None:
    """The one project that still has everything is not written to by mistake."""
    with target.open() as project, pytest.raises(NotConfirmed, match="is the project that is backed up"):
        plan_of(project, target.source.directory, target.source.backup, own_project=project.host)


def test_host_that_was_not_confirmed_is_not_written_to(target: Target) -> None:
    """Typed out, or nothing happens."""
    with target.open() as project, pytest.raises(NotConfirmed, match="what was confirmed is elsewhere"):
        restore(project, target.source.directory, target.source.backup, confirmed="elsewhere")
    assert target.proxy.count(method("POST")) == 0


def test_second_restore_after_the_first_is_refused(target: Target) -> None:
    """Nothing is written over what is there."""
    assert target.restore().ok
    with pytest.raises(RestoreBlocked, match="clubs: the target's table has 20 rows"):
        target.restore()


def test_merge_after_changes_brings_the_archive_back(target: Target) -> None:
    """Changed and deleted rows return, and rows of the target's own stay."""
    assert target.restore(excluded=("log",)).ok
    execute(
        target.url, "update cars set email = 'x' where id < 10; delete from tunes; insert into clubs values (99, 'own')"
    )
    report = target.restore(mode=Mode.MERGE, excluded=("log",))
    assert report.ok
    expected = {**target.source.rows, "public.log": []}
    expected["public.clubs"] = sorted([*expected["public.clubs"], "99\town"])
    assert target.dumped() == expected


def test_choice_of_a_table_names_what_depends_on_it(target: Target) -> None:
    """And what it needs to be there."""
    with target.open() as project:
        plan = plan_of(project, target.source.directory, target.source.backup, tables=("cars",))
    assert [str(name) for name in plan.dependents] == ["tunes"]
    assert [str(name) for name in plan.needed] == ["clubs"]
    assert [str(one.name) for one in plan.tables] == ["cars"]
    assert Choice().mode is Mode.EMPTY


@pytest.mark.parametrize("is_written", [False, True])
def test_killed_process_started_again_writes_the_rest(
    target: Target, source: Source, tmp_path: Path, is_written: bool
) -> None:
    """The installed command, killed while rows without a key are on their way; they arrive all the same, or do not."""
    host = target.proxy.url.removeprefix("http://")
    cli = Backupd(
        tmp_path,
        {
            "BACKUPD_RESTORE_URL": target.proxy.url,
            "BACKUPD_RESTORE_KEY": target.gateway.keys.secret,
            "BACKUPD_STORE__URL": (source.directory / "archives").as_uri(),
        },
    )
    assert cli("rescan").code == ExitCode.OK
    held = threading.Event()
    kill = Call(lambda _: held.wait(30), then=Pass() if is_written else lose_request())
    target.proxy.once(when=write_to("log"), do=kill, after=2)
    with cli.start("restore", "latest", "--confirm", host) as process:
        target.proxy.wait_for(write_to("log"), count=3)
        process.kill()
        finish(process)
    held.set()
    rows = 3 if is_written else 2
    wait_until(lambda: len(target.dumped()["public.log"]) >= rows * 600, "the rows that were on their way")
    done = cli("restore", "latest", "--confirm", host)
    assert done.code == ExitCode.OK, done.said
    assert target.dumped() == source.rows
