"""The child process that sends one message through apprise and ends.

It is the only place that imports apprise: its 55 MB go when the child does, and a service that hangs hangs the child.
One JSON document comes in on stdin, so that no address shows in an argument list or an environment; a line of JSON
goes out for each address as soon as it is done with.
"""

from __future__ import annotations

import json
import math
import signal
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed

import apprise

_TYPES = {
    "failed": apprise.NotifyType.FAILURE,
    "partial": apprise.NotifyType.WARNING,
    "stale": apprise.NotifyType.FAILURE,
    "recovered": apprise.NotifyType.SUCCESS,
    "test": apprise.NotifyType.INFO,
}


def main() -> None:
    """Send what stdin asks for, and report each address."""
    request = json.load(sys.stdin)
    _end_by_itself(request["timeout_seconds"])
    with ThreadPoolExecutor(max_workers=len(request["urls"])) as senders:
        sending = {senders.submit(_send, url, request): index for index, url in enumerate(request["urls"])}
        for done in as_completed(sending):
            crash = done.exception()
            problem = done.result() if crash is None else f"sending failed with {crash!r}"
            sys.stdout.write(json.dumps({"index": sending[done], "problem": problem}) + "\n")
            sys.stdout.flush()


def _end_by_itself(timeout_seconds: float) -> None:
    """Do not outlive the time-out by much, even when the parent, which enforces it, is gone.

    The parent blocks signals in its threads, and a child inherits that mask.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(math.ceil(timeout_seconds) + 1)


def _send(url: str, request: dict[str, str]) -> str | None:
    """What went wrong, None when the service took the message."""
    asset = apprise.AppriseAsset(app_id="backupd", app_desc="backupd", app_url="", async_mode=False)
    service = apprise.Apprise.instantiate(url, asset=asset)
    if service is None:
        return "this is not an address that apprise understands"
    sender = apprise.Apprise(service, asset=asset)
    result = sender.notify(
        title=request["title"],
        body=request["body"],
        body_format=apprise.NotifyFormat.TEXT,
        notify_type=_TYPES[request["kind"]],
    )
    return None if result else _reasons(entry.message for entry in result.logs())


def _reasons(messages: Iterable[str]) -> str:
    return " ".join(messages) or "the service did not take the message"


if __name__ == "__main__":
    main()
