"""A restore on the terminal: the plan before, the outcome after."""

from __future__ import annotations

from collections.abc import Iterable

from rich.text import Text

from backupd.cli.columns import columns
from backupd.cli.terminal import Terminal
from backupd.cli.words import MARKS, caution, duration, instant, number, plural
from backupd.model import Backup
from backupd.restore import Mode, Obstacle, Outcome, Plan, PlannedTable, RestoreReport, TableReport

_MODES = {Mode.EMPTY: "into empty tables", Mode.MERGE: "merged by primary key"}
_OUTCOMES = {
    Outcome.RESTORED: "ok",
    Outcome.WRITTEN: "warning",
    Outcome.DIFFERENT: "problem",
    Outcome.BLOCKED: "problem",
    Outcome.BEGUN: "warning",
    Outcome.UNTOUCHED: "warning",
}


def show_plan(console: Terminal, backup: Backup, plan: Plan) -> None:
    """What will be written, in order, and what stands in the way."""
    what = f"{backup.backup_id[:8]} of {plan.source}, {instant(backup.created_at)}"
    console.print(Text.assemble("\n  Restore ", what, " → ", (plan.target, "bold"), f", {_MODES[plan.mode]}\n"))
    if plan.tables:
        lines = ([str(one.name), number(one.archived.rows), _now(one), _how(one)] for one in plan.tables)
        console.print(columns(["table", "rows", "in the target", "how"], lines, right={"rows", "in the target"}))
        console.print(Text(f"{plural(len(plan.tables), 'table')}, {plural(plan.rows, 'row')}\n"))
    for one in plan.obstacles:
        _show_obstacle(console, one, "problem", "cannot be restored")
    for one in plan.left_out:
        _show_obstacle(console, one, "warning", "is left out")
    if plan.dependents:
        console.print(caution(f"not chosen, but refer to what is restored: {_names(plan.dependents)}"))
    if plan.needed:
        console.print(caution(f"not chosen, but must be there already: {_names(plan.needed)}"))
    for sentence in plan.cautions:
        console.print(caution(sentence))
    console.print()


def show_outcome(console: Terminal, report: RestoreReport) -> None:
    """What became of it, what differs, and what is left to do."""
    for one in report.tables:
        if one.outcome not in (Outcome.RESTORED, Outcome.UNTOUCHED):
            _show_table(console, one)
    seconds = (report.finished_at - report.started_at).total_seconds()
    mark, colour = MARKS["ok" if report.ok else "problem"]
    rows = sum(one.rows - len(one.refused or {}) for one in report.tables)
    facts = [plural(len(report.tables), "table"), plural(rows, "row"), _proof(report), duration(seconds)]
    word = "restored" if report.ok else "not restored in full"
    console.print(Text.assemble("  ", (mark, colour), (f" {word}   ", colour), " · ".join(facts), style="bold"))
    if report.refused_file:
        console.print(caution(f"the rows that were refused are in {report.refused_file}"))
    if report.sql:
        console.print(Text(f"\n  Now run this in the SQL editor of {report.plan.target} ({report.sql_file}):\n"))
        console.print(Text(report.sql))


def _now(one: PlannedTable) -> str:
    return "?" if one.rows_now is None else number(one.rows_now)


def _how(one: PlannedTable) -> str:
    if one.whole:
        return "in one request: its rows refer to each other"
    if one.deferred:
        return f"in two passes: {', '.join(one.deferred)} at the end"
    return "by primary key" if one.key else "no primary key: one request after another"


def _show_obstacle(console: Terminal, one: Obstacle, kind: str, words: str) -> None:
    mark, colour = MARKS[kind]
    console.print(Text.assemble("  ", (mark, colour), f" {one.name} {words}: {one.why}"))
    if one.remedy:
        console.print(Text(f"      {one.remedy}", style="dim"))


def _show_table(console: Terminal, one: TableReport) -> None:
    mark, colour = MARKS[_OUTCOMES[one.outcome]]
    console.print(Text.assemble("  ", (mark, colour), f" {one.name}: {_said(one)}"))
    if one.remedy:
        console.print(Text(f"      {one.remedy}", style="dim"))
    for row, why in sorted((one.refused or {}).items()):
        console.print(Text(f"      row {row + 1} was refused: {why}"))
    if one.comparison is not None:
        for sample in one.comparison.samples:
            console.print(Text(f"      {sample}"))


def _said(one: TableReport) -> str:
    match one.outcome:
        case Outcome.BLOCKED:
            return f"{one.why} ({number(one.rows)} of {plural(one.archived, 'row')} written)"
        case Outcome.DIFFERENT:
            return f"not as it was: {one.comparison}"
        case Outcome.BEGUN:
            return f"{number(one.rows)} of {plural(one.archived, 'row')} written"
    return "written, and not read back"


def _proof(report: RestoreReport) -> str:
    if report.ok:
        return "every row read back and equal"
    bad = sum(one.outcome is not Outcome.RESTORED for one in report.tables)
    return f"{plural(bad, 'table')} not read back and equal"


def _names(names: Iterable[object]) -> str:
    return ", ".join(map(str, names))
