"""The JSON API does what its OpenAPI document says, whatever it is sent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from starlette.routing import Route

from backupd.model import Status
from backupd.runner import hold_lock
from backupd.web.api import PREFIX
from backupd.web.api_document import api_document
from backupd.web.limits import Attempts
from tests.support.admin_site import TOKEN, AdminSite
from tests.support.pages import NOW, backup
from tests.support.processes import wait_until

BEARER = {"Authorization": f"Bearer {TOKEN}"}
_EXAMPLES = 12


@pytest.fixture
def site(tmp_path: Path) -> Iterator[AdminSite]:
    """A site with three backups, one of them failed."""
    site = AdminSite(tmp_path, by_address=Attempts(1_000_000, 60))
    for number in (1, 2):
        site.put(number, hours_ago=number)
    site.put(3, hours_ago=3, status=Status.FAILED)
    yield site
    site.close()


@pytest.fixture
def api(site: AdminSite) -> httpx.Client:
    """A program with the bearer token."""
    client = site.client()
    client.headers.update(BEARER)
    return client


def operations() -> list[str]:
    """Every operation of the document, the stream excepted: it has no end."""
    paths = api_document("http://127.0.0.1")["paths"]
    return sorted(
        f"{method.upper()} {path}"
        for path, members in paths.items()
        for method in members
        if method != "parameters" and path != "/events"
    )


@pytest.mark.parametrize("mode", GenerationMode)
@pytest.mark.parametrize("operation", operations())
def test_api_does_what_its_document_says(api: httpx.Client, operation: str, mode: GenerationMode) -> None:
    """Right and wrong values alike: status, headers, schema, and never a 500."""
    method, _, path = operation.partition(" ")
    found: Any = schemathesis.openapi.from_dict(api.get(f"{PREFIX}/openapi.json").json())[path][method]
    place = f"{str(api.base_url).rstrip('/')}{PREFIX}"
    try:
        cases = found.as_strategy(generation_mode=mode)
    except Unsatisfiable:
        return

    @given(case=cases)
    @settings(max_examples=_EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    def send(case: Any) -> None:
        case.call_and_validate(place, headers=BEARER, timeout=10)

    send()


def test_api_document_names_every_route(site: AdminSite) -> None:
    """And no route that is not there."""
    routes = [route for route in site.app().routes if isinstance(route, Route) and route.path.startswith(PREFIX)]
    served = {
        f"{method} {route.path.removeprefix(PREFIX)}"
        for route in routes
        for method in (route.methods or set()) - {"HEAD"}
    }
    assert served == {*operations(), "GET /events"}


def test_api_list_goes_on_where_it_was_while_new_backups_come(site: AdminSite, api: httpx.Client) -> None:
    """The cursor is a backup, not a number: nothing is shown twice and nothing left out."""
    first = api.get(f"{PREFIX}/backups", params={"limit": 2}).json()
    site.catalog.save(backup(9, hours_ago=0))
    second = api.get(f"{PREFIX}/backups", params={"limit": 2, "after": first["next_after"]}).json()
    ids = [one["backup_id"][:8] for one in (*first["backups"], *second["backups"])]
    assert (ids, second["next_after"]) == (["00000001", "00000002", "00000003"], None)


def test_api_create_while_one_runs_answers_409_with_its_id(site: AdminSite, api: httpx.Client) -> None:
    """So that whoever asked can watch that one."""
    site.joins = "22222222-0000"
    answer = api.post(f"{PREFIX}/backups")
    assert (answer.status_code, answer.json()["backup_id"]) == (409, "22222222-0000")


def test_api_create_while_one_runs_joins_it_when_asked_to(site: AdminSite, api: httpx.Client) -> None:
    """202, with the id of the one it joined."""
    site.joins = "22222222-0000"
    answer = api.post(f"{PREFIX}/backups", json={"join": True})
    assert (answer.status_code, answer.json()["joined"], answer.json()["backup_id"]) == (202, True, "22222222-0000")


def test_api_run_now_of_the_daily_job_is_automatic(site: AdminSite, api: httpx.Client) -> None:
    """As the timetable would."""
    answer = api.post(f"{PREFIX}/jobs/daily_backup/run")
    assert (answer.status_code, [str(kind) for kind, _ in site.asked]) == (202, ["automatic"])


def test_api_download_link_fetches_the_archive(api: httpx.Client) -> None:
    """Without any other credential."""
    url = httpx.URL(api.post(f"{PREFIX}/backups/00000001-0000/download").json()["url"])
    answer = httpx.get(f"{str(api.base_url).rstrip('/')}{url.raw_path.decode()}")
    assert (answer.status_code, answer.content) == (200, b"PK archive")


def test_api_verify_tells_how_it_ended(site: AdminSite, api: httpx.Client) -> None:
    """The archive of this test is none, and the answer says so."""
    place = f"{PREFIX}/backups/00000001-0000/verification"
    assert api.post(place).status_code == 202
    wait_until(lambda: api.get(place).json()["last"], "the outcome of the verification")
    assert api.get(place).json()["last"]["ok"] is False


def test_api_delete_while_a_run_holds_the_lock_is_409(site: AdminSite, api: httpx.Client) -> None:
    """And the backup stays."""
    with hold_lock(site.directory / "lock"):
        assert api.delete(f"{PREFIX}/backups/00000001-0000").status_code == 409
    assert site.store.size("car-audio_1.zip") is not None


def test_api_events_tell_of_progress_and_end_when_the_daemon_stops(site: AdminSite, api: httpx.Client) -> None:
    """The first event is the state as it is; stopping ends the stream instead of being held up by it."""
    site.state = replace(site.state, operation="backup", running_since=NOW)
    with api.stream("GET", f"{PREFIX}/events") as stream:
        lines = stream.iter_lines()
        assert next(lines) == "event: state"
        assert json.loads(next(lines).removeprefix("data: "))["activity"]["operation"] == "backup"
        assert site.site is not None
        site.site.stopping.set()
        assert list(lines) == [""]
