"""One request after another: what is retried, how long is waited, and when it ends."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from backupd.errors import Interrupted, KeyRefused, ProjectUnreachable, TableUnreadable
from backupd.log import make_logger
from backupd.model import TableName
from backupd.project.answers import PageTooLarge
from backupd.project.connection import Answer, Connection, Patience
from backupd.project.rows import split_rows
from backupd.project.traffic import Throttle
from tests.support.faults import Endless, GzipBomb, Hang, answer, html_page
from tests.support.proxy import FaultProxy, nth

NOBODY = "http://127.0.0.1:9"
KEY = "sb_secret_0123456789"
PATIENCE = Patience(connect_seconds=2, read_seconds=5, attempts=4, first_pause_seconds=1, longest_pause_seconds=8)
USERS = TableName("public", "users")


@dataclass
class FakeTime:
    """A clock that sleeping moves on."""

    now: float = 1000.0
    slept: list[float] = field(default_factory=list)

    def monotonic(self) -> float:
        """The time."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Pass it."""
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def proxy() -> Iterator[FaultProxy]:
    """A server that answers what the test says; there is nothing behind it."""
    with FaultProxy(NOBODY) as server:
        yield server


def connect(proxy: FaultProxy, clock: FakeTime, **changes: Any) -> Connection:
    """A connection to that server whose pauses take no time."""
    given: dict[str, Any] = {
        "log": make_logger(io.StringIO()),
        "should_stop": lambda: False,
        "patience": PATIENCE,
        "monotonic": clock.monotonic,
        "sleep": clock.sleep,
    }
    return Connection(proxy.url, KEY, **{**given, **changes})


def fetch(connection: Connection, **changes: Any) -> list[bytes]:
    """Ask for the rows of `users`."""

    def rows(answer: Answer) -> list[bytes]:
        return [bytes(row) for row in split_rows(answer.body)]

    try:
        return connection.send(connection.select(USERS).request, "a page of users", rows, **changes)
    finally:
        connection.close()


def test_send_goes_out_under_our_own_name(proxy: FaultProxy) -> None:
    """A browser's User-Agent is refused together with a secret key."""
    proxy.always(do=answer(200, body="[]"))
    fetch(connect(proxy, FakeTime()))
    (request,) = proxy.requests
    assert request.headers["user-agent"].startswith("backupd/")
    assert request.headers["accept-profile"] == "public"
    assert (request.path, request.query) == ("/rest/v1/users", (("select", "*"),))


def test_request_holds_a_secret_key_in_apikey_alone(proxy: FaultProxy) -> None:
    """It is not a JWT: a Bearer token that is none would be refused."""
    connection = connect(proxy, FakeTime())
    headers = connection.select(USERS).request.headers
    connection.close()
    assert headers["apikey"] == KEY
    assert "authorization" not in headers


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 520, 524])
def test_send_after_a_passing_trouble_tries_again(proxy: FaultProxy, status: int) -> None:
    """The second answer is good."""
    proxy.once(do=answer(status, body="try later"))
    proxy.always(do=answer(200, body='[{"id":1}]'))
    connection = connect(proxy, FakeTime())
    assert fetch(connection) == [b'{"id":1}']
    assert connection.traffic.requests == {str(status): 1, "200": 1}
    assert connection.traffic.retries.total() == 1


@pytest.mark.parametrize("body", ["", '[{"id":1},', "[{}] and more", '{"message":"x"}'])
def test_send_after_a_body_that_is_no_page_tries_again(proxy: FaultProxy, body: str) -> None:
    """A cut body may come with a right length and a 200."""
    proxy.once(do=answer(200, body=body))
    proxy.always(do=answer(200, body="[{}]"))
    connection = connect(proxy, FakeTime())
    assert fetch(connection) == [b"{}"]
    assert connection.traffic.retries == {"malformed": 1}


def test_send_that_never_succeeds_says_what_it_wanted_and_what_came(proxy: FaultProxy) -> None:
    """After the last try, in one line."""
    proxy.always(do=html_page())
    with pytest.raises(ProjectUnreachable) as caught:
        fetch(connect(proxy, FakeTime()))
    assert "did not give a page of users in 4 tries: the answer was no good: expected a JSON array" in str(caught.value)
    assert proxy.count() == 4


def test_send_pauses_longer_and_longer_but_never_beyond_the_cap(proxy: FaultProxy) -> None:
    """Full jitter below 1, 2 and 4 seconds."""
    proxy.always(do=answer(503))
    clock = FakeTime()
    with pytest.raises(ProjectUnreachable):
        fetch(connect(proxy, clock))
    assert 0 < sum(clock.slept) <= 7
    assert max(clock.slept) <= 0.2 + 1e-9


def test_send_told_to_retry_after_waits_as_long(proxy: FaultProxy) -> None:
    """The server knows better."""
    proxy.once(do=answer(429, headers={"Retry-After": "17"}))
    proxy.always(do=answer(200, body="[]"))
    clock = FakeTime()
    fetch(connect(proxy, clock))
    assert sum(clock.slept) == pytest.approx(17)


def test_send_told_to_retry_after_a_day_waits_five_minutes(proxy: FaultProxy) -> None:
    """A night is not to be spent on one answer."""
    proxy.once(do=answer(503, headers={"Retry-After": "86400"}))
    proxy.always(do=answer(200, body="[]"))
    clock = FakeTime()
    fetch(connect(proxy, clock))
    assert sum(clock.slept) == pytest.approx(300)


def test_send_told_to_stop_while_it_waits_stops_at_once(proxy: FaultProxy) -> None:
    """SIGTERM does not wait for a `Retry-After`; and an interruption is not retried."""
    proxy.always(do=answer(429, headers={"Retry-After": "120"}))
    clock = FakeTime()
    with pytest.raises(Interrupted):
        fetch(connect(proxy, clock, should_stop=lambda: sum(clock.slept) >= 1))
    assert sum(clock.slept) <= 1.3
    assert proxy.count() == 1


def test_send_told_to_stop_before_it_begins_asks_nothing(proxy: FaultProxy) -> None:
    """Not one more request."""
    with pytest.raises(Interrupted):
        fetch(connect(proxy, FakeTime(), should_stop=lambda: True))
    assert proxy.requests == ()


def test_send_told_to_stop_while_a_body_comes_stops(proxy: FaultProxy) -> None:
    """A page may be large."""
    proxy.always(do=Endless())
    with pytest.raises(Interrupted):
        fetch(connect(proxy, FakeTime(), should_stop=iter([False, False, True]).__next__))


def test_stopping_also_stops_one_user_of_a_connection_alone(proxy: FaultProxy) -> None:
    """Others go on."""
    proxy.always(do=answer(200, body="[]"))
    connection = connect(proxy, FakeTime())
    abandoned = threading.Event()
    one = connection.stopping_also(abandoned.is_set)
    abandoned.set()
    with pytest.raises(Interrupted):
        one.send(one.select(USERS).request, "x", lambda answer: answer.status)
    assert fetch(connection) == []


@pytest.mark.parametrize("fault", [Endless(), GzipBomb(200 << 20)], ids=["endless", "bomb"])
def test_send_with_an_answer_beyond_memory_cuts_it_off(proxy: FaultProxy, fault: Any) -> None:
    """Whatever the server sends, memory is bounded; and it is not asked again for the same."""
    proxy.always(do=fault)
    with pytest.raises(PageTooLarge, match="larger than 16 MiB"):
        fetch(connect(proxy, FakeTime()))
    assert proxy.count() == 1


def test_send_refused_by_the_server_is_not_tried_again(proxy: FaultProxy) -> None:
    """A key does not become right by asking twice."""
    proxy.always(do=answer(401, body='{"message":"Invalid API key"}'))
    with pytest.raises(KeyRefused):
        fetch(connect(proxy, FakeTime()))
    assert proxy.count() == 1


def test_send_about_a_table_gone_is_not_tried_again(proxy: FaultProxy) -> None:
    """The database's last word."""
    proxy.always(do=answer(404, body='{"code":"PGRST205","message":"gone"}'))
    with pytest.raises(TableUnreadable):
        fetch(connect(proxy, FakeTime()))
    assert proxy.count() == 1


def test_send_to_a_server_that_is_not_there_says_what_to_look_at() -> None:
    """The hint knows about paused projects."""
    with FaultProxy(NOBODY) as gone:
        pass
    with pytest.raises(ProjectUnreachable, match="cannot connect") as caught:
        fetch(connect(gone, FakeTime()), attempts=2)
    assert "paused" in str(caught.value.hint)


def test_send_to_a_server_that_hangs_times_out(proxy: FaultProxy) -> None:
    """In the time that patience says."""
    proxy.always(do=Hang())
    began = time.monotonic()
    with pytest.raises(ProjectUnreachable, match="timed out"):
        fetch(connect(proxy, FakeTime(), patience=Patience(read_seconds=0.2, attempts=1)))
    assert time.monotonic() - began < 5


def test_send_of_an_answer_that_drips_too_long_is_tried_again(proxy: FaultProxy) -> None:
    """Each byte comes in time, the body never does."""
    proxy.always(do=Endless())
    clock = FakeTime()

    def stop() -> bool:
        clock.now += 100
        return False

    with pytest.raises(ProjectUnreachable, match="still dripping in after 900 s"):
        fetch(connect(proxy, clock, should_stop=stop), attempts=2)
    assert proxy.count() == 2


def test_send_slowed_down_by_our_own_cap_is_not_too_slow(proxy: FaultProxy) -> None:
    """The pauses of `max_bytes_per_second` are not the server's fault."""
    row = json.dumps({"t": "x" * 500_000})
    proxy.always(do=answer(200, body=f"[{row}]"))
    clock = FakeTime()
    assert len(fetch(connect(proxy, clock, max_bytes_per_second=250))) == 1
    assert sum(clock.slept) == pytest.approx(2000, rel=0.01)


def test_page_bytes_of_a_capped_connection_come_within_seconds(proxy: FaultProxy) -> None:
    """A server does not wait for a reader for ever."""
    assert connect(proxy, FakeTime(), max_bytes_per_second=1024).page_bytes == 10_240
    assert connect(proxy, FakeTime()).page_bytes == 4 << 20


def test_select_of_an_odd_table_name_is_one_segment_of_the_path(proxy: FaultProxy) -> None:
    """The Supabase client alone would read `/`, `%`, `?` and `..` as parts of the address."""
    connection = connect(proxy, FakeTime())
    paths = [str(connection.select(TableName("public", name)).request.path) for name in ("a/b", "100%", "%41?", "..")]
    connection.close()
    assert [path.rpartition("/v1/")[2] for path in paths] == ["a%2Fb", "100%25", "%2541%3F", "%2E%2E"]


def test_traffic_counts_what_came_over_the_wire(proxy: FaultProxy) -> None:
    """Bytes as egress is billed, requests by code, retries by reason."""
    proxy.once(do=answer(503, body="12345"), when=nth(1))
    proxy.always(do=answer(200, body="[{}]"))
    connection = connect(proxy, FakeTime())
    fetch(connection)
    assert connection.traffic.received_bytes == 9
    assert connection.traffic.requests == {"503": 1, "200": 1}
    assert connection.traffic.retries == {"status_503": 1}


@pytest.mark.parametrize(
    ("header", "rows"),
    [("0-4/12", 12), ("*/0", 0), ("0-4/*", None), ("", None), ("*/*", None), ("nonsense", None), ("0-4/-3", None)],
)
def test_counted_rows_is_the_total_of_the_content_range(header: str, rows: int | None) -> None:
    """And None where the server gives none."""
    assert Answer(200, httpx.Headers({"Content-Range": header} if header else {}), b"").counted_rows == rows


def test_throttle_without_a_rate_never_pauses() -> None:
    """No cap, no pause."""
    assert Throttle(None).pause_for(1 << 40) == 0


def test_throttle_pauses_so_that_the_rate_is_kept_over_all_reads() -> None:
    """What was read is paid for, and time that passed is not paid for twice."""
    clock = FakeTime()
    throttle = Throttle(100, monotonic=clock.monotonic)
    assert throttle.pause_for(50) == pytest.approx(0.5)
    assert throttle.pause_for(50) == pytest.approx(1.0)
    clock.now += 10
    assert throttle.pause_for(100) == pytest.approx(1.0)
