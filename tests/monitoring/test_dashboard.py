"""The Grafana dashboard: its shape by Grafana's own types, its queries by Prometheus's own parser."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.monitoring.grafana_types import check_types
from tests.support.dashboard import DASHBOARD, Query, annotation_queries, panels, queries
from tests.support.monitoring import KNOWN_METRICS, SHIPPED
from tests.support.skips import require, require_tool

LATER = {"backupd_drill_last_success_timestamp_seconds", "backupd_drill_last_duration_seconds"}
"""Only there where drills are."""

COLUMNS = 24
FIT_FOR_BOTH_THEMES = re.compile(r"green|orange|yellow|red|blue|purple|text|rgba\(0, 211, 255, 1\)")
"""Colours that Grafana has one of for the dark and one for the light theme; and that of its own annotations."""


def test_every_query_is_understood_by_prometheus(tmp_path: Path) -> None:
    """Parsed by promtool as recording rules; a wrong bracket would be an empty panel with a red corner."""
    require_tool("promtool", "prometheus")
    found = [*queries(), *annotation_queries()]
    recording = [{"record": f"query:{number}", "expr": one.sent("a:1")} for number, one in enumerate(found)]
    rules = tmp_path / "queries.yml"
    rules.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": recording}]}))  # JSON is YAML
    done = subprocess.run(["promtool", "check", "rules", rules], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("query", [*queries(), *annotation_queries()], ids=str)
def test_query_asks_only_for_metrics_that_there_are(query: Query) -> None:
    """And only for the daemon that was chosen, unless it is about all of them."""
    names = set(re.findall(r"\b(?:backupd|process|python)_\w+", query.expression))
    assert names <= KNOWN_METRICS | LATER | {"process_resident_memory_bytes", "process_cpu_seconds_total"}
    if not query.of.startswith(("Every daemon", "Alerts")):
        assert len(re.findall(r'\{instance="\$instance"', query.expression)) == len(
            re.findall(r"\b(?:backupd|process|python)_\w+", query.expression)
        )


def test_every_metric_of_ours_is_shown_or_alerts() -> None:
    """A figure that nobody looks at should not be there."""
    looked_at = (SHIPPED / "alerts.yml").read_text() + " ".join(query.expression for query in queries())
    unseen = {name for name in KNOWN_METRICS if name.startswith("backupd_") and name not in looked_at}
    assert unseen == {"backupd_retention_deleted_total"}, "which is for those who ask, and no sign of trouble"


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_panel_explains_itself(panel: dict[str, Any]) -> None:
    """A title, a sentence or two on what it shows, a unit or a table, the chosen data source."""
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["type"] == "table" or panel["fieldConfig"]["defaults"]["unit"]
    assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}


@pytest.mark.parametrize("panel", [one for one in panels() if one["type"] == "stat"], ids=lambda panel: panel["title"])
def test_figure_without_data_is_not_shown_in_the_colour_of_a_good_one(panel: dict[str, Any]) -> None:
    """Grafana paints nothing at all in the first colour of the thresholds, unless a mapping says otherwise."""
    defaults = panel["fieldConfig"]["defaults"]
    mapped = [one["options"]["result"]["color"] for one in defaults["mappings"] if one["type"] == "special"]
    painted = mapped or [defaults["thresholds"]["steps"][0]["color"]]
    assert painted[0] in {"text", "red"}


def test_panels_have_their_own_ids_and_places() -> None:
    """No panel covers another or sticks out."""
    every = [*DASHBOARD["panels"], *itertools.chain.from_iterable(p.get("panels", []) for p in DASHBOARD["panels"])]
    assert len({panel["id"] for panel in every}) == len(every)
    taken: set[tuple[int, int]] = set()
    for panel in every:
        place = panel["gridPos"]
        cells = set(
            itertools.product(range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"]))
        )
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= COLUMNS
        taken |= cells


def test_colours_suit_the_dark_and_the_light_theme() -> None:
    """Names of Grafana's palette, which has both; no fixed hex value."""
    colours = set(re.findall(r'"(?:color|fixedColor|iconColor)": "([^"]+)"', json.dumps(DASHBOARD)))
    assert [colour for colour in colours if not FIT_FOR_BOTH_THEMES.fullmatch(colour)] == []


def test_dashboard_is_made_of_what_grafana_10_knows() -> None:
    """Read by Grafana's own library and written again, nothing is lost but what belongs to a data source's plugin."""
    require(find_spec("grafana_foundation_sdk") is not None, "Grafana's library", "pip install grafana-foundation-sdk")
    sdk = import_module("grafana_foundation_sdk.models.dashboard")
    encoder = import_module("grafana_foundation_sdk.cog.encoder")
    again = leaves(json.loads(encoder.JSONEncoder().encode(sdk.Dashboard.from_json(DASHBOARD))))
    lost = {path[-1] for path, value in leaves(DASHBOARD) if value not in (None, {}) and (path, value) not in again}
    assert lost == {"builtIn", "step", "tagKeys", "titleFormat"}


def test_dashboard_fits_the_types_of_the_newest_grafana(tmp_path: Path) -> None:
    """Each panel against the types of its kind in `@grafana/schema`: no unknown key, no wrong value."""
    assert check_types(DASHBOARD, tmp_path) == ""


def leaves(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[tuple[str | int, ...], object]]:
    """Every value that is not itself made of others, with the way to it."""
    if isinstance(value, dict) and value:
        return [leaf for key, inner in value.items() for leaf in leaves(inner, (*path, key))]
    if isinstance(value, list):
        return [leaf for number, inner in enumerate(value) for leaf in leaves(inner, (*path, number))]
    return [(path, value)]
