"""The shipped dashboard as tests look at it: its panels, and its queries as Grafana would send them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.support.monitoring import SHIPPED

DASHBOARD: dict[str, Any] = json.loads((SHIPPED / "grafana-dashboard.json").read_text())


@dataclass(frozen=True, slots=True)
class Query:
    """One query of a panel or of the annotations."""

    of: str
    ref: str
    expression: str

    def __str__(self) -> str:
        return f"{self.of} {self.ref}".strip()

    def sent(self, instance: str) -> str:
        """The expression with the variables filled in, as for a time range of an hour."""
        values = {
            "$instance": instance,
            "$included": "5000000000",
            "$__rate_interval": "1m",
            "$__interval": "1d",
            "$__range": "1h",
        }
        text = self.expression
        for variable, value in values.items():
            text = text.replace(variable, value)
        return text


def panels() -> list[dict[str, Any]]:
    """Every panel, also those in rows that are folded up; not the rows themselves."""
    return [panel for panel in _all(DASHBOARD["panels"]) if panel["type"] != "row"]


def queries() -> list[Query]:
    """Every query of the panels."""
    return [
        Query(panel["title"], target["refId"] if len(panel["targets"]) > 1 else "", target["expr"])
        for panel in panels()
        for target in panel["targets"]
    ]


def annotation_queries() -> list[Query]:
    """Every query of the annotations."""
    return [Query(one["name"], "", one["expr"]) for one in DASHBOARD["annotations"]["list"] if "expr" in one]


def _all(found: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for panel in found:
        yield panel
        yield from _all(panel.get("panels", []))
