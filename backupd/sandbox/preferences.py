"""What a request's headers ask for: Prefer, Range, Accept and the schema profile."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from backupd.sandbox.answers import Refusal


class Body(StrEnum):
    """In which form rows are wanted."""

    NONE = "none"
    ROWS = "rows"
    ONE_ROW = "one row"
    CSV = "csv"


class Resolution(StrEnum):
    """What to do with a row whose key exists."""

    MERGE = "merge-duplicates"
    IGNORE = "ignore-duplicates"


class Counting(StrEnum):
    """How to count the rows that the filters let through."""

    EXACT = "exact"
    PLANNED = "planned"
    ESTIMATED = "estimated"


@dataclass(frozen=True, slots=True)
class Preferences:
    """The `Prefer` header. `returning` is one of `minimal`, `representation`, `headers-only`, or not given."""

    resolution: Resolution | None = None
    missing_default: bool | None = None
    returning: str | None = None
    count: Counting | None = None

    @property
    def wants_rows(self) -> bool:
        """Whether a write shall give back the rows it wrote."""
        return self.returning == "representation"

    def applied(self, *names: str) -> dict[str, str]:
        """The answer's `Preference-Applied`, in PostgREST's order, of those that mean something here."""
        missing = {None: None, True: "default", False: "null"}[self.missing_default]
        given = (
            ("resolution", self.resolution),
            ("missing", missing),
            ("return", self.returning),
            ("count", self.count),
        )
        applied = [f"{name}={value}" for name, value in given if value is not None and name in names]
        return {"Preference-Applied": ", ".join(applied)} if applied else {}


def read_preferences(headers: Mapping[str, str]) -> Preferences:
    """What `Prefer` says; what it says that nobody knows is ignored, as the standard has it."""
    pairs = [item.strip().partition("=") for item in headers.get("prefer", "").split(",")]
    # The first of several wins.
    given = {name.strip(): value.strip() for name, _, value in reversed(pairs)}
    missing = given.get("missing")
    returning = given.get("return")
    return Preferences(
        resolution=Resolution(given["resolution"]) if given.get("resolution") in set(Resolution) else None,
        missing_default=missing == "default" if missing in ("default", "null") else None,
        returning=returning if returning in ("minimal", "representation", "headers-only") else None,
        count=Counting(given["count"]) if given.get("count") in set(Counting) else None,
    )


def wanted_body(headers: Mapping[str, str]) -> Body:
    """The first form in `Accept` that can be had. Raises `Refusal` with `PGRST107` when there is none."""
    accept = headers.get("accept", "*/*")
    for item in accept.split(","):
        media = item.partition(";")[0].strip().lower()
        if media in ("*/*", "application/json", "application/*", "application/vnd.pgrst.array+json", ""):
            return Body.ROWS
        if media == "application/vnd.pgrst.object+json":
            return Body.ONE_ROW
        if media == "text/csv":
            return Body.CSV
    raise Refusal(406, "PGRST107", f"None of these media types are available: {accept}")


def wanted_schema(headers: Mapping[str, str], schemas: Sequence[str], *, reading: bool) -> str:
    """The schema a request speaks of. Raises `Refusal` with `PGRST106` for one that is not exposed."""
    wanted = headers.get("accept-profile" if reading else "content-profile", schemas[0])
    if wanted not in schemas:
        hint = f"Only the following schemas are exposed: {', '.join(schemas)}"
        raise Refusal(406, "PGRST106", f"Invalid schema: {wanted}", hint=hint)
    return wanted


def wanted_range(headers: Mapping[str, str]) -> tuple[int | None, int]:
    """Limit and offset from the `Range` header; no limit without one."""
    found = re.fullmatch(r"(?:items=)?(\d+)-(\d*)", headers.get("range", "").strip())
    if found is None:
        return None, 0
    first, last = int(found[1]), int(found[2]) if found[2] else None
    if last is not None and last < first:
        raise Refusal(
            416,
            "PGRST103",
            "Requested range not satisfiable",
            details="The lower boundary must be lower than or equal to the upper boundary in the Range header.",
        )
    return (None if last is None else last - first + 1), first
