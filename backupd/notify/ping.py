"""Dead-man pings: whoever watches the URL raises the alarm when they stop coming."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from backupd.notify.failures import DeliveryFailure, redacted

if TYPE_CHECKING:
    import httpx

_TRIES = 2
_PAUSE_SECONDS = 1.0
_LONGEST_BODY_BYTES = 10_000
_TARGET = "notify.ping_url"


class PingSignal(StrEnum):
    """What a ping says; the value is what is added to the path of the URL. The protocol is that of healthchecks.io."""

    START = "/start"
    SUCCESS = ""
    FAIL = "/fail"


@dataclass(frozen=True, slots=True)
class Pinger:
    """Pings one URL. `timeout_seconds` is for each of at most two tries; `user_agent` says who pings."""

    url: str
    timeout_seconds: float
    user_agent: str
    wait: Callable[[float], object] = time.sleep

    def send(self, signal: PingSignal, run_id: str, body: str) -> tuple[DeliveryFailure, ...]:
        """Ping; give what went wrong if the ping did not arrive. Never raises.

        `run_id` lets the receiver pair a start with its end; `body` is shown beside the ping.
        """
        problem = self._try(signal, run_id, body)
        for _ in range(_TRIES - 1):
            if problem is None or not problem.is_transient:
                break
            self.wait(_PAUSE_SECONDS)
            problem = self._try(signal, run_id, body)
        if problem is None:
            return ()
        return (DeliveryFailure(_TARGET, redacted(problem.reason, self.url)),)

    def _try(self, signal: PingSignal, run_id: str, body: str) -> _Problem | None:
        # Not needed by a command that sends no pings, and slow to import.
        import httpx

        # httpx logs the address of each request at INFO, and this one is a secret.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        try:
            # Half for the connection, half for the answer.
            with httpx.Client(http2=False, timeout=self.timeout_seconds / 2) as client:
                return self._post(client, ping_url(self.url, signal, run_id), body)
        except httpx.TimeoutException:
            return _Problem(f"no answer within {self.timeout_seconds:g} s", is_transient=True)
        except httpx.TransportError as error:
            return _Problem(f"not reached: {error}", is_transient=True)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError) as error:
            return _Problem(f"cannot be used: {error}", is_transient=False)

    def _post(self, client: httpx.Client, url: str, body: str) -> _Problem | None:
        content = body.encode(errors="replace")[:_LONGEST_BODY_BYTES]
        with client.stream("POST", url, content=content, headers={"User-Agent": self.user_agent}) as answer:
            if not answer.is_success:
                is_transient = answer.status_code >= 500 or answer.status_code == 429
                return _Problem(f"answered {answer.status_code}", is_transient=is_transient)
            return _problem_in(next(answer.iter_bytes(), b""))


@dataclass(frozen=True, slots=True)
class _Problem:
    """Why a ping did not arrive, and whether another try may do better."""

    reason: str
    is_transient: bool


def ping_url(base: str, signal: PingSignal, run_id: str) -> str:
    """The URL of one ping: the signal added to the path, `rid` to the query, and what was there kept."""
    parts = urlsplit(base)
    query = f"{parts.query}&rid={_rid(run_id)}" if parts.query else f"rid={_rid(run_id)}"
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/") + signal, query, ""))


def _problem_in(answer: bytes) -> _Problem | None:
    """healthchecks.io says 200 also to a ping that it throws away: `OK (not found)`, `OK (rate limited)`."""
    if answer.startswith(b"OK ("):
        return _Problem(f"the ping was not accepted: {answer[:80].decode(errors='replace')}", is_transient=False)
    return None


def _rid(run_id: str) -> uuid.UUID:
    """The receiver wants a UUID: the run's id if it is one, else one that is always the same for that id."""
    try:
        return uuid.UUID(run_id)
    except ValueError:
        return uuid.uuid5(uuid.NAMESPACE_OID, run_id)
