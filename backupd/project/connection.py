"""One connection to the project: sends a query, and hands back either the raw body or an error that says what to do.

Queries are built with the Supabase client and sent with its session and headers, but the body is taken as bytes:
the client's own `execute()` decodes numbers to floats and loses digits.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol, TypeVar
from urllib.parse import quote

import httpx
import structlog
from supabase import Client, ClientOptions, create_client
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_random_exponential

from backupd import __version__
from backupd.errors import Interrupted, ProjectUnreachable
from backupd.model import ShouldStop, TableName
from backupd.project.answers import NOT_THE_PROJECT, PageTooLarge, Transient, error_of
from backupd.project.keys import require_full_sight
from backupd.project.rows import MalformedPage
from backupd.project.traffic import Throttle, Traffic

USER_AGENT = f"backupd/{__version__}"
Parsed = TypeVar("Parsed")

LARGEST_ANSWER_BYTES = 16 << 20
"""An answer that grows beyond this is cut off, so that memory stays bounded."""

_LARGEST_DOCUMENT_BYTES = 256 << 20
_PAGE_BYTES = 4 << 20
_PAGE_SECONDS = 10.0
_LONGEST_WAIT_SECONDS = 300.0
_PIECE_SECONDS = 0.2


class Request(Protocol):
    """A query as the Supabase client builds it (`postgrest.base_request_builder.RequestConfig`)."""

    http_method: str
    path: Any
    headers: httpx.Headers
    params: httpx.QueryParams


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the project is waited for. Times in seconds."""

    connect_seconds: float = 10.0
    read_seconds: float = 60.0
    request_seconds: float = 900.0
    attempts: int = 7
    first_pause_seconds: float = 0.5
    longest_pause_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A good answer: its status, headers, and body to the byte."""

    status: int
    headers: httpx.Headers
    body: bytes | bytearray

    @property
    def counted_rows(self) -> int | None:
        """The total in `Content-Range: 0-99/672114`, None for `*`."""
        _, _, total = self.headers.get("Content-Range", "").rpartition("/")
        return int(total) if total.isdecimal() else None


class Connection:
    """Sends queries to one project, again and again where that makes sense, and counts what it cost."""

    def __init__(
        self,
        url: str,
        key: str,
        *,
        log: structlog.typing.FilteringBoundLogger,
        should_stop: ShouldStop,
        patience: Patience,
        max_bytes_per_second: int | None = None,
        connections: int = 4,
        traffic: Traffic | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.key_kind = require_full_sight(key)
        self.host = httpx.URL(url).netloc.decode()
        self.traffic = traffic if traffic is not None else Traffic()
        self._log = log
        self._should_stop = should_stop
        self._patience = patience
        self._throttle = Throttle(max_bytes_per_second, monotonic=monotonic)
        self._monotonic = monotonic
        self._sleep = sleep
        self._http = httpx.Client(
            http2=False,  # long runs over HTTP/2 die with GOAWAY (supabase-py 1064)
            timeout=httpx.Timeout(patience.read_seconds, connect=patience.connect_seconds, pool=None),
            limits=httpx.Limits(max_connections=connections + 1, max_keepalive_connections=connections + 1),
            headers={"User-Agent": USER_AGENT},
        )
        self.client = supabase_client(url, key, self._http)
        self._clients: dict[str, Any] = {}
        self._rest_url = str(self.client.postgrest.base_url).rstrip("/")

    def close(self) -> None:
        """Close the connections to the project."""
        self._http.close()

    def stopping_also(self, condition: ShouldStop) -> Connection:
        """The same connection for somebody who must stop in one more case."""
        stop = self._should_stop
        one = copy.copy(self)
        one._should_stop = lambda: stop() or condition()  # noqa: SLF001 - it is one of us
        return one

    @property
    def page_bytes(self) -> int:
        """How large a page should be: little enough to come within seconds where the rate is capped."""
        return self._throttle.bytes_within(_PAGE_SECONDS, _PAGE_BYTES)

    def select(self, name: TableName, columns: str = "*", *, count: Any = None) -> Any:
        """Begin a query; the builders of the Supabase client change type from call to call, hence Any.

        The client would take a `/`, `%`, `?` or `..` in a table's name for a part of the address.
        """
        query: Any = self._client_of(name.schema).table("t").select(columns, count=count)
        query.request.path = f"{self._rest_url}/{quote(name.name, safe='').replace('.', '%2E')}"
        return query

    def _client_of(self, schema: str) -> Any:
        """The part of the Supabase client that asks one schema. Kept: making one takes longer than building a query."""
        client = self._clients.get(schema)
        if client is None:
            client = self._clients[schema] = self.client.schema(schema)
        return client

    def document(self, schema: str, parse: Callable[[Answer], Parsed], *, attempts: int | None = None) -> Parsed:
        """Ask for the OpenAPI document of `schema`, and parse it."""
        headers = self._headers()
        headers.update({"Accept": "application/openapi+json", "Accept-Profile": schema})
        request = self._http.build_request("GET", f"{self._rest_url}/", headers=headers)
        sending = self._again(f"the list of tables in {schema}", attempts)
        parsed: Parsed = sending(self._send_once, request, parse, _LARGEST_DOCUMENT_BYTES)
        return parsed

    def fetch(self, path: str, subject: str, parse: Callable[[Answer], Parsed], *, attempts: int) -> Parsed:
        """Ask another service of the project, such as `auth/v1/settings`, with the same key."""
        request = self._http.build_request("GET", f"{self.client.supabase_url}{path}", headers=self._headers())
        parsed: Parsed = self._again(subject, attempts)(self._send_once, request, parse, LARGEST_ANSWER_BYTES)
        return parsed

    def _headers(self) -> httpx.Headers:
        return httpx.Headers(self.client.postgrest.headers)

    def send(
        self,
        query: Request,
        subject: str,
        parse: Callable[[Answer], Parsed],
        *,
        most_bytes: int = LARGEST_ANSWER_BYTES,
        attempts: int | None = None,
    ) -> Parsed:
        """Send a query built with the Supabase client, and parse its answer.

        `subject` is what is being read, for messages. A MalformedPage out of `parse` counts as a broken connection.
        Raises PageTooLarge when the body exceeds `most_bytes`, StatementTimeout when the server ran out of time,
        TableUnreadable, KeyRefused, ProjectUnreachable when it came to no good end in `attempts`, and Interrupted.
        """
        request = self._http.build_request(
            query.http_method, str(query.path), params=query.params, headers=query.headers
        )
        parsed: Parsed = self._again(subject, attempts)(self._send_once, request, parse, most_bytes)
        return parsed

    def _again(self, subject: str, attempts: int | None) -> Retrying:
        """Retry what raises Transient: growing random pauses, `Retry-After` where the server names one."""
        wait = wait_random_exponential(self._patience.first_pause_seconds, self._patience.longest_pause_seconds)

        def pause(state: RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            asked = error.retry_after_seconds if isinstance(error, Transient) else None
            return wait(state) if asked is None else min(asked, _LONGEST_WAIT_SECONDS)

        def give_up(state: RetryCallState) -> NoReturn:
            error = state.outcome.exception() if state.outcome else None
            raise ProjectUnreachable(
                f"{self.host} did not give {subject} in {state.attempt_number} tries: {error}",
                hint=getattr(error, "hint", None),
            ) from error

        return Retrying(
            retry=retry_if_exception_type(Transient),
            wait=pause,
            stop=stop_after_attempt(attempts or self._patience.attempts),
            sleep=self._pause,
            before_sleep=lambda state: self._note_retry(state, subject),
            retry_error_callback=give_up,
        )

    def _send_once(self, request: httpx.Request, parse: Callable[[Answer], Parsed], most_bytes: int) -> Parsed:
        """Send a request once. Raises Transient for whatever may be better the next time."""
        self._stop_if_asked()
        try:
            response = self._http.send(request, stream=True)
            try:
                body = self._receive(response, most_bytes)
            finally:
                self.traffic.received(response.num_bytes_downloaded)
                response.close()
        except (httpx.TransportError, httpx.DecodingError) as error:
            self.traffic.answered(type(error).__name__)
            raise Transient.from_network(error, self.host) from error
        self.traffic.answered(str(response.status_code))
        if response.status_code in (200, 206):
            try:
                return parse(Answer(response.status_code, response.headers, body))
            except MalformedPage as error:
                # A web site, or a page for signing in to a network, answers 200 as well.
                hint = None if "json" in response.headers.get("Content-Type", "") else NOT_THE_PROJECT
                raise Transient(f"the answer was no good: {error}", reason="malformed", hint=hint) from error
        raise error_of(response.status_code, response.headers, body, self.host)

    def _receive(self, response: httpx.Response, most_bytes: int) -> bytearray:
        body = bytearray()  # joining a list of chunks would hold a wide row twice
        deadline = self._monotonic() + self._patience.request_seconds
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > most_bytes:
                raise PageTooLarge(f"the answer is larger than {most_bytes >> 20} MiB")
            if self._monotonic() > deadline:
                message = f"the answer was still dripping in after {self._patience.request_seconds:.0f} s"
                raise Transient(message, reason="too_slow")
            self._stop_if_asked()
            pause = self._throttle.pause_for(len(chunk))
            deadline += pause  # the time we take ourselves is not the server's fault
            self._pause(pause)
        return body

    def _pause(self, seconds: float) -> None:
        """Sleep, but in small pieces: a run that is told to stop stops."""
        until = self._monotonic() + seconds
        while (left := until - self._monotonic()) > 0:
            self._stop_if_asked()
            self._sleep(min(left, _PIECE_SECONDS))

    def _stop_if_asked(self) -> None:
        if self._should_stop():
            raise Interrupted("interrupted while reading the project; nothing was published")

    def _note_retry(self, state: RetryCallState, subject: str) -> None:
        error = state.outcome.exception() if state.outcome else None
        reason = error.reason if isinstance(error, Transient) else "unknown"
        self.traffic.retried(reason)
        pause = round(state.next_action.sleep, 2) if state.next_action else 0.0
        self._log.warning(
            "request.retried",
            subject=subject,
            reason=reason,
            error=str(error),
            attempt=state.attempt_number,
            pause=pause,
        )


def supabase_client(url: str, key: str, http: httpx.Client) -> Client:
    """The Supabase client over our own connections; it keeps no session and refreshes none."""
    options = ClientOptions(auto_refresh_token=False, persist_session=False, headers={"User-Agent": USER_AGENT})
    options.httpx_client = http
    client = create_client(url, key, options)
    if key.startswith("sb_"):
        # Not a JWT: it belongs in `apikey` alone.
        client.postgrest.headers.pop("Authorization", None)
    return client
