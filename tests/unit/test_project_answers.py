"""What an answer that is not good means: the exception, and the words."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from backupd.errors import KeyRefused, ProjectError, ProjectUnreachable, TableUnreadable
from backupd.project.answers import (
    TRANSIENT_STATUSES,
    ColumnRefused,
    StatementTimeout,
    Transient,
    error_of,
)

HOST = "xyz.supabase.co"


def error(status: int, body: object = b"", *, code: str = "", message: str = "it is so", **headers: str) -> Exception:
    """The exception for an answer; with a code its body is PostgREST's."""
    if code:
        body = {"code": code, "message": message, "details": None, "hint": "a hint"}
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return error_of(status, httpx.Headers(headers), text, HOST)


@pytest.mark.parametrize("status", sorted(TRANSIENT_STATUSES))
def test_error_of_a_passing_trouble_is_transient(status: int) -> None:
    """Time-outs, rate limits, and proxies whose server is away."""
    found = error(status, {"message": "later"})
    assert isinstance(found, Transient)
    assert str(found) == f"answered {status} later"
    assert found.reason == ("rate_limited" if status == 429 else f"status_{status}")


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (500, "08006"),
        (500, "40001"),
        (500, "40P01"),
        (503, "53300"),
        (500, "55P03"),
        (503, "57P01"),
        (500, "XX000"),
        (503, "PGRST001"),
        (503, "PGRST002"),
        (504, "PGRST003"),
    ],
)
def test_error_of_trouble_with_connections_or_locks_is_transient(status: int, code: str) -> None:
    """The database may be fine in a moment."""
    assert isinstance(error(status, code=code), Transient)


@pytest.mark.parametrize(("status", "code"), [(500, "58030"), (500, "XX001"), (500, "22012"), (400, "22P02")])
def test_error_of_the_databases_last_word_concerns_the_table(status: int, code: str) -> None:
    """Asking again would give the same; the other tables can be read."""
    found = error(status, code=code)
    assert type(found) is TableUnreadable
    assert (found.message, found.code) == (f"it is so ({code})", code)


@pytest.mark.parametrize("status", [401, 403])
def test_error_of_a_missing_grant_goes_by_the_code(status: int) -> None:
    """401 or 403 depends on the token: neither means that the key is refused."""
    found = error(status, code="42501", message="permission denied for table hidden")
    assert type(found) is TableUnreadable
    assert found.code == "42501"


@pytest.mark.parametrize("code", ["PGRST205", "42P01"])
def test_error_of_an_unknown_table_concerns_the_table(code: str) -> None:
    """A table that is gone does not stop the others."""
    found = error(404, code=code)
    assert type(found) is TableUnreadable
    assert found.code == code


@pytest.mark.parametrize("code", ["42703", "42883", "PGRST100", "PGRST204"])
def test_error_of_an_unknown_column_is_a_refused_column(code: str) -> None:
    """The walk then tries another way."""
    assert isinstance(error(400, code=code), ColumnRefused)


@pytest.mark.parametrize("code", ["57014", "54000", "53200", "53400"])
def test_error_of_a_query_too_large_asks_for_fewer_rows(code: str) -> None:
    """Out of time and out of memory have the same remedy."""
    assert isinstance(error(500, code=code), StatementTimeout)


def test_error_of_a_row_beyond_what_the_server_can_build_asks_for_fewer_rows() -> None:
    """PostgreSQL says so without a code of its own."""
    found = error(500, code="XX000", message="invalid memory alloc request size 1073741824")
    assert isinstance(found, StatementTimeout)


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(
    "body", [{"message": "Invalid API key", "hint": "x"}, {"code": "PGRST301", "message": "Invalid API key"}, b""]
)
def test_error_of_a_refused_key_names_the_service_and_the_host(status: int, body: object) -> None:
    """The whole run ends with it."""
    found = error(status, body)
    assert isinstance(found, KeyRefused)
    assert found.message.startswith(f"the Data API of {HOST} refused the API key: {status}")


def test_error_of_a_firewalls_page_is_not_a_refused_key() -> None:
    """Somebody in front of the project answered, with a page for people: its title says who."""
    found = error(
        403, b"<!DOCTYPE html>\n<html><head><title>Attention Required! | Cloudflare</title></head>" + b"x" * 999
    )
    assert isinstance(found, ProjectUnreachable)
    assert found.message == f"{HOST} does not answer like a Supabase project: 403 Attention Required! | Cloudflare"


@pytest.mark.parametrize("status", [402, 540])
def test_error_of_a_paused_or_restricted_project_says_what_to_do(status: int) -> None:
    """Only its owner can help."""
    found = error(status, {"message": "exceed_egress_quota"})
    assert isinstance(found, ProjectUnreachable)
    assert "dashboard" in str(found.hint)
    assert found.message == f"{HOST} is paused or restricted: {status} exceed_egress_quota"


def test_error_of_a_schema_that_is_not_exposed_names_those_that_are() -> None:
    """PostgREST's hint lists them."""
    found = error(406, code="PGRST106")
    assert type(found) is ProjectError
    assert found.hint == "a hint. Set project.schemas accordingly."


@pytest.mark.parametrize("status", [414, 431])
def test_error_of_a_key_too_long_for_a_url_concerns_the_table(status: int) -> None:
    """A text key may have thousands of characters, and appears several times."""
    assert type(error(status)) is TableUnreadable


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, {"message": "no Route matched with those values"}),
        (404, b"<html><title>404 Not Found</title>"),
        (302, b""),
        (418, b"[" * 100_000),
        (400, b"\xff\xfe"),
    ],
)
def test_error_of_a_stranger_says_that_it_is_not_a_project(status: int, body: object) -> None:
    """The URL is probably wrong."""
    found = error(status, body)
    assert isinstance(found, ProjectUnreachable)
    assert "does not answer like a Supabase project" in found.message
    assert len(found.message) < 400


def test_error_of_a_long_message_shows_its_beginning() -> None:
    """One or two lines for a person."""
    found = error(400, code="22P02", message="x" * 10_000)
    assert len(str(found)) < 300


def retry_after(value: str) -> float | None:
    """What a 429 with this header asks for."""
    found = error(429, **{"Retry-After": value})
    assert isinstance(found, Transient)
    return found.retry_after_seconds


@pytest.mark.parametrize(("value", "seconds"), [("7", 7.0), ("0", 0.0), ("", None), ("soon", None), ("-1", None)])
def test_retry_after_in_seconds_is_taken(value: str, seconds: float | None) -> None:
    """What is not a number of seconds or a date says nothing."""
    assert retry_after(value) == seconds


def test_retry_after_as_a_date_is_the_time_until_then() -> None:
    """The other form of the header."""
    seconds = retry_after(format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True))
    assert seconds is not None
    assert 80 < seconds <= 90


def test_retry_after_a_date_in_the_past_is_at_once() -> None:
    """Never a negative pause."""
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0


@pytest.mark.parametrize(
    ("raised", "reason"),
    [
        (httpx.ConnectError("refused"), "connect"),
        (httpx.ConnectTimeout(""), "connect"),
        (httpx.ReadTimeout(""), "timeout"),
        (httpx.RemoteProtocolError("peer closed"), "network"),
        (httpx.ReadError(""), "network"),
    ],
)
def test_transient_from_the_network_has_words_and_a_reason(raised: Exception, reason: str) -> None:
    """Also where the library says nothing."""
    found = Transient.from_network(raised, HOST)
    assert found.reason == reason
    assert not str(found).endswith("()")
    assert (found.hint is not None) == (reason == "connect")
