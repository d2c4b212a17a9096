"""The alert rules and the examples, by the tools of those who wrote the formats."""

from __future__ import annotations

import re
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped] # comes with apprise

from tests.support.monitoring import KNOWN_METRICS, SHIPPED
from tests.support.skips import require_tool

CASES = sorted((Path(__file__).parent / "rules").glob("*.yml"))
ELSEWHERE = {"up", "process_start_time_seconds", "backupd_drill_last_success_timestamp_seconds"}
"""What rules may also ask for: Prometheus's own, the standard ones, and drills, which not everybody has."""


def rules() -> list[dict[str, Any]]:
    """Every alert rule."""
    groups = yaml.safe_load((SHIPPED / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def asked(command: list[str | Path]) -> subprocess.CompletedProcess[str]:
    """Run a tool and give what it said."""
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def expectations() -> dict[str, set[bool]]:
    """For each alert: whether a test sees it firing (True), and whether one sees it silent (False)."""
    seen: dict[str, set[bool]] = defaultdict(set)
    for file in CASES:
        for test in yaml.safe_load(file.read_text())["tests"]:
            for case in test.get("alert_rule_test", []):
                seen[case["alertname"]].add(bool(case["exp_alerts"]))
    return seen


@pytest.mark.parametrize(
    "arguments",
    [
        ("promtool", "check", "rules", "alerts.yml"),
        ("promtool", "check", "config", "prometheus.yml"),
        ("amtool", "check-config", "alertmanager.yml"),
    ],
    ids=lambda arguments: arguments[-1],
)
def test_shipped_file_is_accepted_by_its_checker(arguments: tuple[str, ...]) -> None:
    """What somebody copies works."""
    require_tool(arguments[0], {"promtool": "prometheus"}.get(arguments[0], "prometheus-alertmanager"))
    done = asked([*arguments[:-1], SHIPPED / arguments[-1]])
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", CASES, ids=lambda file: file.stem)
def test_alerts_fire_and_stay_silent_as_told(file: Path) -> None:
    """Each case of the file, with the words that people then read."""
    require_tool("promtool", "prometheus")
    done = asked(["promtool", "test", "rules", file])
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", sorted({rule["alert"] for rule in rules()}))
def test_alert_is_seen_firing_and_silent(name: str) -> None:
    """No alert goes untested, neither way."""
    assert expectations()[name] == {True, False}


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: f"{rule['alert']}-{rule['labels']['severity']}")
def test_alert_tells_what_it_means_and_what_to_do(rule: dict[str, Any]) -> None:
    """A severity that the Alertmanager example knows, a summary, a description, a runbook under its own name."""
    assert rule["labels"] in ({"severity": "critical"}, {"severity": "warning"})
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"README.md#alert-{rule['alert'].lower()}"


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: f"{rule['alert']}-{rule['labels']['severity']}")
def test_alert_asks_only_for_metrics_that_there_are(rule: dict[str, Any]) -> None:
    """A rule on a name that was misspelt would be silent for ever."""
    names = set(re.findall(r"\b(?:backupd|process|python)_\w+|\bup\b", rule["expr"]))
    assert names
    assert names <= KNOWN_METRICS | ELSEWHERE
