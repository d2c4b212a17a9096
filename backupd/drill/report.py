"""What a drill has shown, as text, JSON and a page, and where reports are kept."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from backupd.drill.checking import CommandResult
from backupd.drill.scratch import Dangling, StandIn
from backupd.model import Status
from backupd.words import duration, number, plural

_PRIVATE_DIRECTORY = 0o700
_KEPT_REPORTS = 60


@dataclass(frozen=True, slots=True)
class DrilledTable:
    """One table: rows the archive has, rows the database gave back, and what is wrong with it."""

    name: str
    archived: int
    found: int
    problem: str | None
    stand_ins: tuple[StandIn, ...]


@dataclass(frozen=True, slots=True)
class DrillReport:
    """The whole drill. `damage` is what verification found before anything was loaded."""

    backup_id: str
    archive: str
    started_at: datetime
    finished_at: datetime
    damage: tuple[str, ...]
    tables: tuple[DrilledTable, ...]
    dangling: tuple[Dangling, ...]
    command: CommandResult | None

    @property
    def problems(self) -> tuple[str, ...]:
        """Everything that is wrong, in sentences."""
        return tuple(self._problems())

    @property
    def ok(self) -> bool:
        """Whether this backup can be restored, as far as a rehearsal can tell."""
        return not self.problems

    @property
    def status(self) -> Status:
        """How the run of it ended, for the record."""
        return Status.COMPLETED if self.ok else Status.FAILED

    @property
    def rows(self) -> int:
        """Rows that were loaded and given back."""
        return sum(table.found for table in self.tables)

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.finished_at - self.started_at).total_seconds()

    def _problems(self) -> Iterator[str]:
        yield from (f"the archive is damaged: {damage}" for damage in self.damage)
        yield from (f"{table.name}: {table.problem}" for table in self.tables if table.problem)
        yield from (f"{dangling}: a dangling reference" for dangling in self.dangling)
        if self.command is not None and not self.command.ok:
            ended = "took too long" if self.command.exit_code is None else f"ended with {self.command.exit_code}"
            yield f"the check command {ended}: {self.command.output.splitlines()[-1] if self.command.output else ''}"


def document(report: DrillReport) -> dict[str, Any]:
    """The report as JSON."""
    return {
        "backup_id": report.backup_id,
        "archive": report.archive,
        "ok": report.ok,
        "started_at": report.started_at.isoformat(),
        "finished_at": report.finished_at.isoformat(),
        "seconds": round(report.seconds, 3),
        "rows": report.rows,
        "problems": list(report.problems),
        "tables": [
            {
                "name": table.name,
                "archived": table.archived,
                "found": table.found,
                "problem": table.problem,
                "kept_as_json": [str(stand_in) for stand_in in table.stand_ins],
            }
            for table in report.tables
        ],
        "dangling": [str(dangling) for dangling in report.dangling],
        "command": {
            "command": report.command.command,
            "exit_code": report.command.exit_code,
            "output": report.command.output,
        }
        if report.command
        else None,
    }


def text(report: DrillReport) -> str:
    """The report for a terminal, a mail or a file."""
    verdict = "can be restored" if report.ok else "could NOT be restored as it should"
    loaded = f"{plural(len(report.tables), 'table')}, {plural(report.rows, 'row')}"
    lines = [
        f"Drill of {report.started_at:%Y-%m-%d %H:%M} UTC: backup {report.backup_id[:8]} {verdict}.",
        f"{loaded} loaded into a throwaway PostgreSQL and compared, in {duration(report.seconds)}.",
        "",
    ]
    for table in report.tables:
        mark = "✗" if table.problem else "✓"
        lines.append(f"  {mark} {table.name:<24} {number(table.found):>12} of {plural(table.archived, 'row')}")
        if table.problem:
            lines.append(f"      {table.problem}")
        if table.stand_ins:
            lines.append(f"      kept as JSON, unknown to this PostgreSQL: {', '.join(map(str, table.stand_ins))}")
    lines += [f"  ✗ {dangling}" for dangling in report.dangling]
    if report.command is not None:
        mark = "✓" if report.command.ok else "✗"
        lines.append(f"  {mark} check command: {report.command.command}")
        lines += [f"      {line}" for line in report.command.output.splitlines()[-5:]]
    lines += ["", *(f"✗ {problem}" for problem in report.problems)]
    return "\n".join(lines).rstrip() + "\n"


def page(report: DrillReport) -> str:
    """The report as a page of its own, to be kept or mailed."""
    title = f"Drill of {report.backup_id[:8]}: {'passed' if report.ok else 'failed'}"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{html.escape(title)}</title></head>\n"
        f"<body><h1>{html.escape(title)}</h1>\n<pre>{html.escape(text(report))}</pre></body></html>\n"
    )


def keep(report: DrillReport, directory: Path) -> Path:
    """Keep the report as text, JSON and a page in `directory`; the oldest ones go. Gives the path of the text."""
    directory.mkdir(mode=_PRIVATE_DIRECTORY, parents=True, exist_ok=True)
    stem = f"{report.started_at:%Y%m%dT%H%M%SZ}_{report.backup_id[:8]}"
    (directory / f"{stem}.json").write_text(json.dumps(document(report), ensure_ascii=False, indent=2) + "\n")
    (directory / f"{stem}.html").write_text(page(report))
    kept = directory / f"{stem}.txt"
    kept.write_text(text(report))
    for old in sorted(directory.glob("*.json"))[:-_KEPT_REPORTS]:
        for suffix in (".json", ".html", ".txt"):
            old.with_suffix(suffix).unlink(missing_ok=True)
    return kept


@dataclass(frozen=True, slots=True)
class KeptReport:
    """A report that was kept, as the pages show it."""

    backup_id: str
    ok: bool
    started_at: datetime
    seconds: float
    rows: int
    tables: int
    problems: tuple[str, ...]
    kept_as_json: tuple[str, ...]


def read_reports(directory: Path, *, limit: int = 20) -> tuple[KeptReport, ...]:
    """The reports kept in `directory`, newest first. What is not a whole report is passed over."""
    found = (_kept(file) for file in sorted(directory.glob("*.json"), reverse=True)[:limit])
    return tuple(report for report in found if report is not None)


def _kept(file: Path) -> KeptReport | None:
    try:
        values: dict[str, Any] = json.loads(file.read_bytes())
        return KeptReport(
            backup_id=str(values["backup_id"]),
            ok=bool(values["ok"]),
            started_at=datetime.fromisoformat(values["started_at"]),
            seconds=float(values["seconds"]),
            rows=int(values["rows"]),
            tables=len(values["tables"]),
            problems=tuple(map(str, values["problems"])),
            kept_as_json=tuple(f"{table['name']}.{one}" for table in values["tables"] for one in table["kept_as_json"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
