"""What goes into the log, and what never does."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from backupd.config import Secret
from backupd.log import Redaction, make_logger

KEY = "hunter2-hunter2"


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """A person sees it."""
        return True


def logged(**fields: Any) -> dict[str, Any]:
    """One event as it is written."""
    stream = io.StringIO()
    make_logger(stream, secrets=[Secret(KEY)]).info("page.received", **fields)
    document: dict[str, Any] = json.loads(stream.getvalue())
    return document


def test_log_for_machines_is_a_json_line_with_level_and_time() -> None:
    """One line, one document, an instant in UTC."""
    document = logged(rows=5, table="müsli")
    assert document["event"] == "page.received"
    assert (document["level"], document["rows"], document["table"]) == ("info", 5, "müsli")
    assert document["timestamp"].endswith("Z")


def test_log_for_a_person_is_a_line_without_braces() -> None:
    """A terminal gets words."""
    stream = Screen()
    make_logger(stream).warning("request.retried", attempt=2)
    assert "request.retried" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


def test_log_without_colours_has_none() -> None:
    """NO_COLOR holds for the log as well."""
    stream = Screen()
    make_logger(stream, colours=False).warning("request.retried", attempt=2)
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize(
    "fields",
    [
        {"message": f"bad header {KEY}"},
        {"headers": {"x": [f"Bearer {KEY}", ("a", KEY)]}},
        {"error": ValueError(f"what is {KEY}?")},
        {"message": "sb_secret_abc_123 is unknown"},
        {"message": "token eyJhbGciOiJIUzI1.eyJyb2xlIjoic2V.c2lnbmF0dXJl refused"},
        {"apikey": "anything"},
        {"Authorization": "anything"},
        {"db_password": "anything"},
        {"access_token": "anything"},
    ],
    ids=str,
)
def test_log_of_a_secret_blots_it_out_by_value_shape_and_name(fields: dict[str, Any]) -> None:
    """However deep it is, and whatever it is called."""
    text = json.dumps(logged(**fields))
    assert "[redacted]" in text
    for secret in (KEY, "sb_secret_abc", "eyJyb2xl", "anything"):
        assert secret not in text


def test_log_of_a_traceback_blots_out_secrets_in_it() -> None:
    """The message of an exception may quote what a library was given."""
    stream = io.StringIO()
    try:
        int(KEY)
    except ValueError:
        make_logger(stream, secrets=[Secret(KEY)]).exception("run.failed")
    assert "Traceback" in stream.getvalue()
    assert KEY not in stream.getvalue()


def test_log_below_the_level_is_not_written() -> None:
    """A command tells what matters, not what it does."""
    stream = io.StringIO()
    make_logger(stream, level="warning").info("run.started")
    assert stream.getvalue() == ""


def test_redaction_leaves_ordinary_words_alone() -> None:
    """Figures, names and the word for a primary key stay."""
    words = {"rows": 5, "table": "keys", "primary": "id", "done": True, "note": None, "monkeys": "3"}
    assert Redaction([Secret(KEY)])(None, "", dict(words)) == words
