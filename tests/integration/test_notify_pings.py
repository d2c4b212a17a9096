"""Dead-man pings against a real HTTP server."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator

import pytest

from backupd.notify import Notifier, NotifySettings
from tests.support.http_recorder import Recorder, http_recorder

RUN_ID = "b7f3c2a1-0000-4000-8000-000000000001"
SECRET = "5ecret70ken"


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    """A server that takes pings."""
    with http_recorder() as running:
        yield running


def notifier(url: str, pauses: list[float] | None = None, timeout_seconds: float = 10) -> Notifier:
    """A notifier that pings one URL and does not really pause; the pauses it would make are noted."""
    noted = [] if pauses is None else pauses
    settings = NotifySettings(ping_url=url, timeout_seconds=timeout_seconds)
    return Notifier(settings, environ=os.environ, wait=noted.append)


def test_pings_of_a_run_share_its_id(recorder: Recorder) -> None:
    """Start, success and failure go to the three paths, with the run's id and a user agent."""
    pings = notifier(f"http://127.0.0.1:{recorder.port}/{SECRET}?create=1")
    assert pings.ping_started(RUN_ID) == ()
    assert pings.ping_succeeded(RUN_ID, "completed: 5 tables") == ()
    assert pings.ping_failed(RUN_ID, "failed: é") == ()
    assert recorder.targets == [
        f"/{SECRET}/start?create=1&rid={RUN_ID}",
        f"/{SECRET}?create=1&rid={RUN_ID}",
        f"/{SECRET}/fail?create=1&rid={RUN_ID}",
    ]
    assert [request.body for request in recorder.received] == ["", "completed: 5 tables", "failed: é"]
    assert recorder.received[0].headers["User-Agent"].startswith("backupd/")


@pytest.mark.parametrize("status", [429, 500, 503])
def test_ping_server_error_is_tried_once_more(recorder: Recorder, status: int) -> None:
    """A hiccup of the receiver costs one pause and no alarm."""
    recorder.answers.append((status, "later"))
    pauses: list[float] = []
    assert notifier(f"http://127.0.0.1:{recorder.port}/{SECRET}", pauses).ping_started(RUN_ID) == ()
    assert pauses == [1.0]


def test_ping_server_error_twice_is_a_failure(recorder: Recorder) -> None:
    """After two tries the ping is given up."""
    recorder.answers.extend([(500, ""), (500, "")])
    (failure,) = notifier(f"http://127.0.0.1:{recorder.port}/{SECRET}").ping_failed(RUN_ID)
    assert str(failure) == "notify.ping_url: answered 500"
    assert len(recorder.received) == 2


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((404, "not found"), "answered 404"),
        ((302, ""), "answered 302"),
        ((200, "OK (not found)"), "the ping was not accepted: OK (not found)"),
        ((200, "OK (rate limited)"), "the ping was not accepted: OK (rate limited)"),
    ],
)
def test_ping_that_is_thrown_away_is_a_failure_at_once(
    recorder: Recorder, answer: tuple[int, str], reason: str
) -> None:
    """A wrong address does not get better by trying again; healthchecks.io answers it with 200."""
    recorder.answers.append(answer)
    (failure,) = notifier(f"http://127.0.0.1:{recorder.port}/{SECRET}").ping_started(RUN_ID)
    assert failure.reason == reason
    assert len(recorder.received) == 1


def test_ping_receiver_down_is_a_failure_without_the_address() -> None:
    """Nobody listens on port 9 of the loopback."""
    (failure,) = notifier(f"http://127.0.0.1:9/{SECRET}").ping_started(RUN_ID)
    assert "Connection refused" in failure.reason
    assert SECRET not in str(failure)


def test_ping_receiver_that_hangs_is_given_up(recorder: Recorder) -> None:
    """A run waits for its ping for a moment only."""
    began = time.monotonic()
    (failure,) = notifier(f"http://127.0.0.1:{recorder.port}/hang", timeout_seconds=0.4).ping_started(RUN_ID)
    assert failure.reason == "no answer within 0.4 s"
    assert len(recorder.received) == 2
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("url", [f"ftp://{SECRET}/x", f"http://[{SECRET}", f"{SECRET}", f"http://127.0.0.1:{SECRET}/x"])
def test_ping_address_that_cannot_be_used_is_a_failure_without_it(url: str) -> None:
    """A bad address is told, not raised, and not repeated."""
    (failure,) = notifier(url).ping_started(RUN_ID)
    assert SECRET not in str(failure)


def test_ping_address_is_not_logged(recorder: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    """Httpx would log the address of each request."""
    caplog.set_level(logging.DEBUG)
    assert notifier(f"http://127.0.0.1:{recorder.port}/{SECRET}").ping_started(RUN_ID) == ()
    assert SECRET not in caplog.text


def test_ping_body_that_is_too_long_is_cut(recorder: Recorder) -> None:
    """The receiver shows the beginning; it does not need a whole log."""
    assert notifier(f"http://127.0.0.1:{recorder.port}/{SECRET}").ping_failed(RUN_ID, "x" * 50_000) == ()
    assert len(recorder.received[0].body) == 10_000
