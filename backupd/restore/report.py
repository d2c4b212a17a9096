"""What became of a restore, table by table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from backupd.errors import BackupdError, ExitCode, Interrupted
from backupd.model import Status, TableName
from backupd.restore.compare import Comparison
from backupd.restore.plan import Obstacle, Plan
from backupd.words import plural


class Outcome(StrEnum):
    """How one table came out.

    `restored`: read back and equal; `written`: not read back yet; `different`: read back and not equal; `blocked`: it
    cannot be written as things are; `begun`: some of its rows are there; `untouched`: nothing was written.
    """

    RESTORED = "restored"
    WRITTEN = "written"
    DIFFERENT = "different"
    BLOCKED = "blocked"
    BEGUN = "begun"
    UNTOUCHED = "untouched"


@dataclass(frozen=True, slots=True)
class TableReport:
    """One table. `rows` are the archive's that are dealt with, `refused` those of them that the target did not take.

    `remedy` is a sentence or the SQL to run.
    """

    name: TableName
    outcome: Outcome
    archived: int
    rows: int = 0
    refused: Mapping[int, str] | None = None
    comparison: Comparison | None = None
    why: str | None = None
    remedy: str | None = None


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """What became of a restore. `sql` is what to run afterwards; the files are None where nothing went into them."""

    plan: Plan
    tables: tuple[TableReport, ...]
    started_at: datetime
    finished_at: datetime
    sql: str
    is_resumed: bool = False
    stopped: str | None = None
    sql_file: str | None = None
    refused_file: str | None = None

    @property
    def ok(self) -> bool:
        """Whether every table was restored, read back and found equal."""
        return self.stopped is None and all(table.outcome is Outcome.RESTORED for table in self.tables)

    @property
    def status(self) -> Status:
        """How the run of it ended, for the record: `partial` when something did not come out equal."""
        return Status.COMPLETED if self.ok else Status.PARTIAL

    @property
    def wrote_anything(self) -> bool:
        """Whether the target is not as it was."""
        return any(table.rows for table in self.tables)

    def state(self) -> str:
        """What state the target is in, in one sentence."""
        groups = {
            "is complete": (Outcome.RESTORED, Outcome.WRITTEN, Outcome.DIFFERENT),
            "cannot be written": (Outcome.BLOCKED,),
            "is untouched": (Outcome.UNTOUCHED,),
        }
        parts = [
            f"{one.name} has {one.rows:,} of {plural(one.archived, 'row')}"
            for one in self.tables
            if one.outcome is Outcome.BEGUN
        ]
        for words, outcomes in groups.items():
            count = sum(one.outcome in outcomes for one in self.tables)
            if count:
                parts.append(f"{plural(count, 'table')} {words if count == 1 else _of_several(words)}")
        return f"In {self.plan.target}: {', '.join(parts)}"


def _of_several(words: str) -> str:
    return words.replace("is ", "are ", 1) if words.startswith("is ") else words


class RestoreStopped(BackupdError):
    """A restore ended in the middle. The message says what state the target is in; `report` says it in full."""

    def __init__(self, error: BackupdError, report: RestoreReport) -> None:
        super().__init__(_message(error, report), hint=_hint(error, report))
        self.report = report
        is_half_done = report.wrote_anything and not isinstance(error, Interrupted)
        self.exit_code = ExitCode.PARTIAL if is_half_done else error.exit_code


def _message(error: BackupdError, report: RestoreReport) -> str:
    what = "interrupted" if isinstance(error, Interrupted) else error.message
    if not report.wrote_anything:
        return f"the restore stopped before anything was written: {what}"
    return f"the restore stopped half-way: {what}. {report.state()}"


def _hint(error: BackupdError, report: RestoreReport) -> str:
    again = "Run the same command again: it goes on where it stopped, and no row is written twice."
    own = error.hint if not isinstance(error, Interrupted) else None
    return (
        " ".join(filter(None, (own, again if report.wrote_anything else None))) or "Nothing in the target was changed."
    )


def report_document(report: RestoreReport) -> dict[str, Any]:
    """The report as `restore --json` prints it and as it is kept. Instants in UTC."""
    return {
        **plan_document(report.plan),
        "ok": report.ok,
        "stopped": report.stopped,
        "resumed": report.is_resumed,
        "started_at": _instant(report.started_at),
        "finished_at": _instant(report.finished_at),
        "tables": [_table_document(one) for one in report.tables],
        "sql_to_run": report.sql,
        "sql_file": report.sql_file,
        "refused_rows_file": report.refused_file,
    }


def plan_document(plan: Plan) -> dict[str, Any]:
    """The plan as `restore --dry-run --json` prints it."""
    return {
        "backup_id": plan.backup_id,
        "source": plan.source,
        "target": plan.target,
        "mode": str(plan.mode),
        "total_rows": plan.rows,
        "tables": [
            {
                "name": str(one.name),
                "rows": one.archived.rows,
                "rows_in_target": one.rows_now,
                "key": list(one.key),
                "second_pass": list(one.deferred),
                "in_one_request": one.whole,
            }
            for one in plan.tables
        ],
        "obstacles": [_obstacle_document(one) for one in plan.obstacles],
        "left_out": [_obstacle_document(one) for one in plan.left_out],
        "not_chosen_but_refer_to_it": [str(name) for name in plan.dependents],
        "not_chosen_but_referred_to": [str(name) for name in plan.needed],
        "cautions": list(plan.cautions),
    }


def _obstacle_document(one: Obstacle) -> dict[str, Any]:
    return {"name": str(one.name), "why": one.why, "remedy": one.remedy}


def _table_document(one: TableReport) -> dict[str, Any]:
    comparison = one.comparison
    return {
        "name": str(one.name),
        "outcome": str(one.outcome),
        "rows_in_archive": one.archived,
        "rows_written": one.rows - len(one.refused or {}),
        "refused": [{"row": number + 1, "why": why} for number, why in sorted((one.refused or {}).items())],
        "comparison": None
        if comparison is None
        else {
            "rows_in_target": comparison.found,
            "missing": comparison.missing,
            "different": comparison.different,
            "extra": comparison.extra,
            "samples": [str(sample) for sample in comparison.samples],
            "unreadable": comparison.unreadable,
        },
        "why": one.why,
        "remedy": one.remedy,
    }


def _instant(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
