"""The gateway answers as PostgREST 14.17 did: eighty recorded conversations, replayed in their order."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from backupd.sandbox.driver import connect
from backupd.sandbox.gateway import Gateway
from backupd.sandbox.keys import SERVICE, sign
from backupd.sandbox.postgres import Postgres
from tests.support.sandbox import gateways, make_database

_HERE = Path(__file__).parent.parent / "data" / "postgrest_recordings"
_RECORDINGS: list[dict[str, Any]] = json.loads((_HERE / "recordings.json").read_text())
_OPENAPI = [recording for recording in _RECORDINGS if recording["name"].startswith("openapi")]
_REQUESTS = [recording for recording in _RECORDINGS if recording not in _OPENAPI]
_READS = [recording for recording in _REQUESTS if recording["response"]["status"] < 300]
_REFUSALS = [recording for recording in _REQUESTS if recording["response"]["status"] >= 400]

# Content-Location, an echo of the request in PostgREST's own encoding, is the one header that the gateway leaves out.
_HEADERS = ("Content-Range", "Preference-Applied", "Content-Type", "Content-Profile", "WWW-Authenticate")

# The embedded PostgreSQL is built without libxml and cannot read a value of type xml. As text it prints the same.
_XML, _XML_AS_TEXT = "c_xml xml", "c_xml text"


@dataclass(frozen=True)
class Replay:
    """What the gateway answered to each recorded request, by name."""

    answers: dict[str, httpx.Response]


@pytest.fixture(scope="module")
def replay(postgres: Postgres) -> Replay:
    """All requests, sent one after another: later ones see what earlier ones wrote."""
    url = make_database(postgres, grants=False)
    with connect(url) as connection:
        connection.execute((_HERE / "schema.sql").read_text().replace(_XML, _XML_AS_TEXT).encode())
        connection.execute(b"analyze")  # the recorded planner's counts knew the tables' sizes
    with gateways() as start:
        settings = {"schemas": ("public", "extra"), "max_rows": 5, "statement_timeout_ms": 300}
        gateway = start(url, bare=True, anon_role=SERVICE, **settings)
        with httpx.Client(base_url=gateway.rest_url) as client:
            return Replay({recording["name"]: _send(client, gateway, recording) for recording in _RECORDINGS})


def _send(client: httpx.Client, gateway: Gateway, recording: dict[str, Any]) -> httpx.Response:
    request = recording["request"]
    path = quote(request["path"], safe="%/?&=:,.*()@!$';+-_~")
    secrets = {"Bearer <anon>": gateway.keys.jwt_secret, "Bearer <bad>": "another secret"}
    headers = {
        name: f"Bearer {sign({'role': 'anon'}, secrets[value])}" if value in secrets else value
        for name, value in request["headers"].items()
    }
    return client.request(request["method"], path, headers=headers, content=(request.get("body") or "").encode())


def _each(recordings: list[dict[str, Any]]) -> Callable[..., Any]:
    return pytest.mark.parametrize("recording", recordings, ids=[recording["name"] for recording in recordings])


@_each(_RECORDINGS)
def test_gateway_recorded_request_answers_with_the_recorded_status(recording: dict[str, Any], replay: Replay) -> None:
    """The HTTP status is PostgREST's."""
    assert replay.answers[recording["name"]].status_code == recording["response"]["status"]


@_each(_RECORDINGS)
def test_gateway_recorded_request_answers_with_the_recorded_headers(recording: dict[str, Any], replay: Replay) -> None:
    """The headers a client steers by are PostgREST's, and absent where PostgREST sends none."""
    answered = replay.answers[recording["name"]].headers
    recorded = recording["response"]["headers"]
    assert {name: answered.get(name) for name in _HEADERS} == {name: recorded.get(name) for name in _HEADERS}


@_each(_READS)
def test_gateway_recorded_success_answers_with_the_recorded_bytes(recording: dict[str, Any], replay: Replay) -> None:
    """Every digit, escape and separator of a body is PostgREST's."""
    assert replay.answers[recording["name"]].content == recording["response"]["body"].encode()


@_each(_REFUSALS)
def test_gateway_recorded_refusal_answers_with_the_recorded_code(recording: dict[str, Any], replay: Replay) -> None:
    """An error carries PostgREST's code; its wording varies between versions."""
    assert replay.answers[recording["name"]].json()["code"] == json.loads(recording["response"]["body"])["code"]


@_each(_OPENAPI)
@pytest.mark.parametrize("part", ["definitions", "paths", "parameters", "info"])
def test_gateway_openapi_part_is_the_recorded_one(recording: dict[str, Any], part: str, replay: Replay) -> None:
    """Columns with types, keys and defaults, the verbs of each path, and the title are PostgREST's."""
    recorded = json.loads(recording["response"]["body"])
    if "types" in recorded["definitions"]:
        recorded["definitions"]["types"]["properties"]["c_xml"]["format"] = "text"
    assert replay.answers[recording["name"]].json()[part] == recorded[part]


@_each(_OPENAPI)
def test_gateway_openapi_columns_keep_the_order_of_the_table(recording: dict[str, Any], replay: Replay) -> None:
    """A table's columns are listed in the order they have in the table."""
    recorded = json.loads(recording["response"]["body"])["definitions"]
    answered = replay.answers[recording["name"]].json()["definitions"]
    assert {name: list(answered[name]["properties"]) for name in answered} == {
        name: list(recorded[name]["properties"]) for name in recorded
    }
