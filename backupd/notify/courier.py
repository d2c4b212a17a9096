"""Hands a message to the child process that sends it, and waits for so long and no longer."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from backupd.notify.events import Event
from backupd.notify.failures import DeliveryFailure, redacted

_PASSED_ON = frozenset(
    {
        *("PATH", "HOME", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR"),
        *("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LD_LIBRARY_PATH"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    }
)
"""What the child may see of the environment, in capitals or not: never the project's key."""


@dataclass(frozen=True, slots=True)
class Courier:
    """Sends messages through apprise, in a child process that lives for one message.

    `timeout_seconds` is for the whole of it, whatever the number of addresses, which are tried side by side. `environ`
    is the process environment, of which the child gets only what it needs to reach the network.
    """

    environ: Mapping[str, str]
    timeout_seconds: float
    executable: str = sys.executable

    def send(self, event: Event, urls: Sequence[str]) -> tuple[DeliveryFailure, ...]:
        """Send the event to each address; give the ones it did not reach. Never raises."""
        if not urls:
            return ()
        try:
            outcomes, otherwise = self._deliver(_request(event, urls, self.timeout_seconds))
        except OSError as error:
            outcomes, otherwise = {}, f"the sending process could not be started: {error.strerror}"
        return tuple(_failures(urls, outcomes, otherwise))

    def _deliver(self, request: bytes) -> tuple[dict[int, str | None], str]:
        """The outcome of each address the child is done with, and what is to be said of the others."""
        with subprocess.Popen(  # noqa: S603 our own module, by the interpreter that runs us
            [self.executable, "-P", "-m", "backupd.notify"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={name: value for name, value in self.environ.items() if name.upper() in _PASSED_ON},
            # Ctrl-C at a terminal is for the parent, which still has to hear how this ended.
            start_new_session=True,
        ) as child:
            try:
                answer, _ = child.communicate(request, timeout=self.timeout_seconds)
            except subprocess.TimeoutExpired:
                child.kill()
                answer, _ = child.communicate()
                return _outcomes(answer), f"no answer within {self.timeout_seconds:g} s"
        return _outcomes(answer), f"the sending process ended early, with exit code {child.returncode}"


def _request(event: Event, urls: Sequence[str], timeout_seconds: float) -> bytes:
    request = {
        "urls": list(urls),
        "kind": event.kind,
        "title": event.title,
        "body": event.body,
        "timeout_seconds": timeout_seconds,
    }
    return json.dumps(request).encode()


def _outcomes(answer: bytes) -> dict[int, str | None]:
    """The problem with each address that was dealt with, None for none.

    A line cut short tells nothing, nor does what a service's own code may have printed.
    """
    outcomes: dict[int, str | None] = {}
    for line in answer.splitlines():
        try:
            outcome = json.loads(line)
        except ValueError:
            continue
        if isinstance(outcome, dict) and "index" in outcome:
            outcomes[outcome["index"]] = outcome["problem"]
    return outcomes


def _failures(urls: Sequence[str], outcomes: Mapping[int, str | None], otherwise: str) -> Iterator[DeliveryFailure]:
    for index, url in enumerate(urls):
        problem = outcomes.get(index, otherwise)
        if problem is not None:
            yield DeliveryFailure(_target(index, url), redacted(problem, url))


def _target(index: int, url: str) -> str:
    """Which address it is: its number in the settings, and its scheme, which is no secret."""
    scheme, found, _ = url.partition("://")
    return f"notify.urls, {f'{scheme} ' if found else ''}(number {index + 1})"
