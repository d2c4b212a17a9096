"""Messages through apprise: a real child process and a real HTTP server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backupd.notify import Event, EventKind, Notifier, NotifySettings, Origin, trial
from backupd.notify.courier import Courier
from tests.support.http_recorder import Recorder, http_recorder

EVENT = Event(EventKind.FAILED, "Backup failed: Car Audio", "Why: no answer\n\nWhat to do: wait", "b7f3c2a1")
SECRET = "5ecret70ken"


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    """A server that takes messages."""
    with http_recorder() as running:
        yield running


def notifier(*urls: str, timeout_seconds: float = 20, **environ: str) -> Notifier:
    """A notifier in this process's environment, and whatever is added to it."""
    return Notifier(NotifySettings(urls=urls, timeout_seconds=timeout_seconds), environ={**os.environ, **environ})


def messengers() -> list[int]:
    """The ids of this process's living children that send messages; others may belong to a whole session of tests."""
    listed = [path.read_text().split() for path in Path("/proc/self/task").glob("*/children")]
    pids = [int(pid) for pids in listed for pid in pids]
    return [pid for pid in pids if "backupd.notify" in Path(f"/proc/{pid}/cmdline").read_text()]


def test_notify_reaches_a_webhook_with_title_and_body(recorder: Recorder) -> None:
    """The message arrives as it was written."""
    assert notifier(f"json://127.0.0.1:{recorder.port}/{SECRET}").notify(EVENT) == ()
    (request,) = recorder.received
    message = json.loads(request.body)
    assert request.target == f"/{SECRET}"
    assert (message["title"], message["message"], message["type"]) == (EVENT.title, EVENT.body, "failure")


def test_notify_refused_by_the_service_gives_the_reason_without_the_address(recorder: Recorder) -> None:
    """The status tells what went wrong; the token stays secret."""
    recorder.answers.append((403, "no"))
    (failure,) = notifier(f"json://127.0.0.1:{recorder.port}/{SECRET}").notify(EVENT)
    assert failure.target == "notify.urls, json (number 1)"
    assert "403" in failure.reason
    assert SECRET not in str(failure)


def test_notify_service_down_is_a_failure() -> None:
    """Nobody listens on port 9 of the loopback."""
    (failure,) = notifier(f"json://127.0.0.1:9/{SECRET}").notify(EVENT)
    assert "Connection error" in failure.reason
    assert "127.0.0.1" not in failure.reason
    assert SECRET not in str(failure)


def test_notify_address_nobody_understands_spares_the_others(recorder: Recorder) -> None:
    """One bad address is reported by its number, and the good one still gets its message."""
    failures = notifier(f"slck://{SECRET}", f"json://127.0.0.1:{recorder.port}/ok", SECRET).notify(EVENT)
    assert [str(failure) for failure in failures] == [
        "notify.urls, slck (number 1): this is not an address that apprise understands",
        "notify.urls, (number 3): this is not an address that apprise understands",
    ]
    assert recorder.targets == ["/ok"]


def test_notify_hanging_service_is_cut_off_and_spares_the_others(recorder: Recorder) -> None:
    """At the time-out the child is killed; what it had already delivered counts as delivered."""
    hanging = f"json://127.0.0.1:{recorder.port}/hang?rto=60"
    began = time.monotonic()
    failures = notifier(hanging, f"json://127.0.0.1:{recorder.port}/ok", timeout_seconds=4).notify(EVENT)
    assert [str(failure) for failure in failures] == ["notify.urls, json (number 1): no answer within 4 s"]
    assert sorted(recorder.targets) == ["/hang", "/ok"]
    assert time.monotonic() - began < 8
    assert messengers() == []


def test_notify_child_shows_no_secret_and_blocks_no_signal(recorder: Recorder) -> None:
    """Neither the arguments nor the environment hold an address or the project's key, and signals get through."""
    seen: list[str] = []

    def look_at_children() -> None:
        for pid in messengers():
            seen.extend(Path(f"/proc/{pid}/{name}").read_text() for name in ("cmdline", "environ", "status"))

    recorder.on_request = look_at_children
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})
    try:
        url = f"json://127.0.0.1:{recorder.port}/{SECRET}"
        assert notifier(url, SUPABASE_SECRET_KEY=SECRET, NOTIFY_SOCKET="/run/x").notify(EVENT) == ()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    cmdline, environ, status = seen
    assert "backupd.notify" in cmdline
    assert SECRET not in cmdline + environ
    assert "NOTIFY_SOCKET" not in environ
    assert "SigBlk:\t0000000000000000" in status


def test_notify_without_interpreter_is_a_failure_not_a_crash() -> None:
    """A child that cannot be started is told like any other failure."""
    (failure,) = Courier({}, 5, executable="/nonexistent/python").send(EVENT, [f"json://127.0.0.1:9/{SECRET}"])
    assert failure.reason == "the sending process could not be started: No such file or directory"


def test_notify_child_that_dies_is_a_failure() -> None:
    """A child that ends without a word has delivered nothing."""
    (failure,) = Courier({}, 5, executable="/bin/false").send(EVENT, [f"json://127.0.0.1:9/{SECRET}"])
    assert failure.reason == "the sending process ended early, with exit code 1"


def test_notify_child_with_strange_output_delivered_only_what_it_says(tmp_path: Path) -> None:
    """A line that was cut short, or that some service printed, is no proof of delivery."""
    child = tmp_path / "child"
    child.write_text(
        '#!/bin/sh\necho hello\necho 7\necho \'{"index": 1, "problem": null}\'\nprintf \'{"index": 0, "pro\''
    )
    child.chmod(0o700)
    failures = Courier({}, 5, executable=str(child)).send(EVENT, ["json://a/b", "json://c/d"])
    assert [failure.target for failure in failures] == ["notify.urls, json (number 1)"]


def test_notify_child_does_not_import_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Started in a directory that anyone can write to, the child still runs backupd's own code."""
    impostor = tmp_path / "backupd" / "notify"
    impostor.mkdir(parents=True)
    (impostor.parent / "__init__.py").touch()
    (impostor / "__init__.py").touch()
    (impostor / "__main__.py").write_text('print(\'{"index": 0, "problem": null}\')')
    monkeypatch.chdir(tmp_path)
    assert len(notifier(f"slck://{SECRET}").notify(EVENT)) == 1


def test_notify_test_message_is_sent_whatever_is_wanted(recorder: Recorder) -> None:
    """`on` does not silence the message that shows whether messages arrive."""
    settings = NotifySettings(urls=(f"json://127.0.0.1:{recorder.port}/x",), on=frozenset())
    assert Notifier(settings, environ=os.environ).notify(trial(Origin("Car Audio", "xyz", "box1"))) == ()
    assert recorder.targets == ["/x"]


def test_child_that_stumbles_over_a_message_says_so_for_each_address() -> None:
    """An error while sending is reported for the address it befell, in place of a traceback for nobody."""
    request = {
        "urls": ["json://127.0.0.1:9/a"] * 2,
        "kind": "unheard of",
        "title": "",
        "body": "",
        "timeout_seconds": 9,
    }
    ended = subprocess.run(
        [sys.executable, "-m", "backupd.notify"], input=json.dumps(request).encode(), capture_output=True, check=True
    )
    outcomes = [json.loads(line) for line in ended.stdout.splitlines()]
    assert sorted(outcome["index"] for outcome in outcomes) == [0, 1]
    assert {outcome["problem"] for outcome in outcomes} == {"sending failed with KeyError('unheard of')"}


def test_child_without_parent_ends_by_itself(recorder: Recorder) -> None:
    """Nobody is left to kill it, and still it does not hang on for ever."""
    request = {
        "urls": [f"json://127.0.0.1:{recorder.port}/hang?rto=60"],
        "kind": "test",
        "title": "t",
        "body": "b",
        "timeout_seconds": 1,
    }
    ended = subprocess.run(
        [sys.executable, "-m", "backupd.notify"], input=json.dumps(request).encode(), timeout=30, check=False
    )
    assert ended.returncode == -signal.SIGALRM
