"""The recipe of a restore: prove the archive, plan, write in order, read back, compare, report."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from backupd.archive.reader import ArchiveReader
from backupd.catalog import Catalog
from backupd.errors import ArchiveError, BackupdError, ConfigError
from backupd.model import ArchivedTable, Backup, Clock, Manifest, OnProgress, ShouldStop, TableName
from backupd.project import Project
from backupd.restore.compare import Comparison, compare_rows, multiset
from backupd.restore.follow_up import follow_up_sql
from backupd.restore.journal import Journal
from backupd.restore.loading import Surroundings
from backupd.restore.members import members
from backupd.restore.passes import Loading
from backupd.restore.plan import Mode, Obstacle, Plan, PlannedTable, WrongTable, choose_tables, make_plan
from backupd.restore.reading_back import ReadingBack
from backupd.restore.references import Arrangement, arrange
from backupd.restore.report import (
    Outcome,
    RestoreReport,
    RestoreStopped,
    TableReport,
    plan_document,
    report_document,
)
from backupd.store import Store
from backupd.store.disk import in_words
from backupd.verify import verify_stored

__all__ = [
    "Arrangement",
    "Choice",
    "Comparison",
    "Mode",
    "NotConfirmed",
    "Obstacle",
    "Outcome",
    "Plan",
    "PlannedTable",
    "ProvenArchive",
    "RestoreBlocked",
    "RestoreReport",
    "RestoreStopped",
    "TableReport",
    "Witness",
    "WrongTable",
    "arrange",
    "compare_rows",
    "multiset",
    "open_proven",
    "plan_document",
    "plan_restore",
    "report_document",
    "run_restore",
]

_AT_ONCE = 4
_PRIVATE_FILE = 0o600
_PRIVATE_DIRECTORY = 0o700


@dataclass(frozen=True, slots=True)
class Choice:
    """What to restore. Without `tables` all of them; `excluded` ones are taken away.

    `into_source` says that the project the archive came from may be written to.
    """

    mode: Mode = Mode.EMPTY
    tables: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    into_source: bool = False


@dataclass(frozen=True, slots=True)
class Witness:
    """What a run tells the world while it goes on, and how the world tells it to stop."""

    clock: Clock
    on_progress: OnProgress
    should_stop: ShouldStop


@dataclass(frozen=True, slots=True)
class ProvenArchive:
    """An open archive that was read to its last byte and found right."""

    reader: ArchiveReader

    @property
    def manifest(self) -> Manifest:
        """What it says of itself."""
        return self.reader.manifest


class NotConfirmed(ConfigError):
    """The target was not named, or is a project that must not be written to just like that."""


class RestoreBlocked(BackupdError):
    """Something stands in the way of a restore; nothing was written. `plan` says what."""

    def __init__(self, plan: Plan) -> None:
        first, more = plan.obstacles[0], len(plan.obstacles) - 1
        others = f" (and {more} more)" if more else ""
        super().__init__(
            f"nothing was written, because not everything can be restored: {first}{others}",
            hint=f"{first.remedy or ''} `--dry-run` shows the whole plan; --exclude leaves a table out.".strip(),
        )
        self.plan = plan


@contextmanager
def open_proven(store: Store, catalog: Catalog, backup: Backup, witness: Witness) -> Iterator[ProvenArchive]:
    """Read the whole archive of a backup back, and open it.

    Raises ArchiveError when it is damaged or not there, StoreError, CatalogError and Interrupted.
    """
    report = verify_stored(
        store,
        catalog,
        backup,
        clock=witness.clock,
        on_progress=witness.on_progress,
        should_stop=witness.should_stop,
    )
    if not report.ok:
        more = f" (and {len(report.problems) - 1} more)" if len(report.problems) > 1 else ""
        raise ArchiveError(
            f"the archive is not whole, and nothing was written: {report.problems[0]}{more}",
            hint="`backupd verify` shows every problem, `backupd list` the other backups.",
        )
    with store.open(backup.archive or "") as file, ArchiveReader(file) as reader:
        yield ProvenArchive(reader)


def plan_restore(
    project: Project, archive: ProvenArchive, choice: Choice, directory: Path, *, own_project: str | None = None
) -> Plan:
    """Ask the target, and decide what to do. Writes nothing.

    `directory` is where interrupted restores have left their journals. `own_project` is the host of the project that
    is backed up now: like the one the archive came from, it is written to only with `into_source`. Raises
    NotConfirmed, WrongTable, KeyRefused, ProjectUnreachable and Interrupted.
    """
    manifest = archive.manifest
    if project.host in {manifest.project, own_project} and not choice.into_source:
        raise NotConfirmed(
            f"{project.host} is the project that is backed up, and a restore would write into it",
            hint="Restore into another project, or say --into-source when this is what you want.",
        )
    chosen = choose_tables(manifest, choice.tables, choice.excluded)
    survey = project.survey([one.table.name for one in chosen])
    journal = _journal(manifest, project.host, choice.mode, directory)

    def columns_of(archived: ArchivedTable) -> tuple[str, ...]:
        return _columns(archive.reader, archived)

    return make_plan(manifest, chosen, project.host, choice.mode, survey, columns_of, journal.begun)


def run_restore(
    project: Project, archive: ProvenArchive, plan: Plan, directory: Path, witness: Witness, *, confirmed: str
) -> RestoreReport:
    """Carry `plan` out and compare every table with the archive afterwards.

    `confirmed` is the host that a person typed out; `directory` takes the journal, the report, the SQL to run
    afterwards and the rows that were refused. Raises NotConfirmed and RestoreBlocked before anything is written,
    RestoreStopped when the target or the archive fails half-way.
    """
    if confirmed.strip().lower() != plan.target.lower():
        raise NotConfirmed(
            f"the target is {plan.target}, and what was confirmed is {confirmed or 'nothing'}",
            hint=f"--confirm {plan.target} is the way to say that this is the one.",
        )
    if plan.obstacles:
        raise RestoreBlocked(plan)
    with in_words(f"make {directory}"):
        directory.mkdir(mode=_PRIVATE_DIRECTORY, parents=True, exist_ok=True)
    with _journal(archive.manifest, plan.target, plan.mode, directory) as journal:
        return _Restore(project, archive.reader, plan, directory, witness, journal).run()


class _Restore:
    """One restore while it goes on."""

    def __init__(
        self,
        project: Project,
        reader: ArchiveReader,
        plan: Plan,
        directory: Path,
        witness: Witness,
        journal: Journal,
    ) -> None:
        self._plan = plan
        self._directory = directory
        self._witness = witness
        self._journal = journal
        self._started_at = witness.clock()
        self._is_resumed = bool(journal.begun)
        self._stem = f"{plan.backup_id[:8]}_{_safe(plan.target)}_{self._started_at:%Y%m%dT%H%M%SZ}"
        self._back = ReadingBack(project, reader, plan, directory)
        around = Surroundings(project, journal, self._set_aside, _AT_ONCE, witness.on_progress, witness.should_stop)
        self._loading = Loading(plan, reader, around, self._back.rows)
        self._comparisons: dict[TableName, Comparison] = {}

    def run(self) -> RestoreReport:
        """Write, read back, report. Raises RestoreStopped."""
        try:
            self._loading.run()
            self._compare()
        except (BackupdError, OSError) as error:
            failure = error if isinstance(error, BackupdError) else BackupdError(f"the machine refused: {error}")
            report = self._report(stopped=failure.message)
            raise RestoreStopped(failure, report) from error
        report = self._report()
        if not self._loading.blocked:
            self._journal.remove()
        return report

    def _compare(self) -> None:
        written = [one for one in self._plan.tables if one.name in self._loading.loaded]
        for one, comparison in zip(written, self._back.compare(written, self._witness.on_progress), strict=True):
            self._comparisons[one.name] = comparison

    def _report(self, *, stopped: str | None = None) -> RestoreReport:
        tables = tuple(self._table_report(one) for one in self._plan.tables)
        touched = [one.name for one in tables if one.rows or one.outcome is not Outcome.UNTOUCHED]
        report = RestoreReport(
            plan=self._plan,
            tables=tables,
            started_at=self._started_at,
            finished_at=self._witness.clock(),
            sql=follow_up_sql(touched, self._journal.always_identity),
            is_resumed=self._is_resumed,
            stopped=stopped,
            refused_file=str(self._file("refused.jsonl")) if self._file("refused.jsonl").exists() else None,
        )
        if report.sql:
            report = replace(report, sql_file=str(self._file("sql")))
            self._keep("sql", report.sql)
        self._keep("json", json.dumps(report_document(report), ensure_ascii=False, indent=2) + "\n")
        return report

    def _table_report(self, one: PlannedTable) -> TableReport:
        record = self._journal.of(one.name)
        comparison = self._comparisons.get(one.name)
        block = self._loading.blocked.get(one.name)
        return TableReport(
            name=one.name,
            outcome=self._outcome(one, comparison),
            archived=one.archived.rows,
            rows=one.archived.rows if record.loaded else record.rows,
            refused=dict(record.refused) or None,
            comparison=comparison,
            why=block.why if block else None,
            remedy=block.remedy if block else None,
        )

    def _outcome(self, one: PlannedTable, comparison: Comparison | None) -> Outcome:
        if one.name in self._loading.blocked:
            return Outcome.BLOCKED
        if comparison is not None:
            return Outcome.RESTORED if comparison.equal else Outcome.DIFFERENT
        if one.name in self._loading.loaded:
            return Outcome.WRITTEN
        return Outcome.BEGUN if self._journal.of(one.name).rows else Outcome.UNTOUCHED

    def _set_aside(self, name: TableName, number: int, row: bytes, why: str) -> None:
        """Keep a row that the target did not take."""
        facts = json.dumps({"table": str(name), "row": number + 1, "why": why}, ensure_ascii=False).encode()
        line = facts[:-1] + b', "content": ' + row + b"}\n"
        with in_words(f"keep a refused row in {self._directory}"):
            self._append("refused.jsonl", line)

    def _keep(self, suffix: str, text: str) -> None:
        with in_words(f"write the report in {self._directory}"):
            self._append(suffix, text.encode("utf-8", "backslashreplace"))

    def _append(self, suffix: str, data: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        with os.fdopen(os.open(self._file(suffix), flags, _PRIVATE_FILE), "ab") as file:
            file.write(data)

    def _file(self, suffix: str) -> Path:
        return self._directory / f"{self._stem}.{suffix}"


def _journal(manifest: Manifest, target: str, mode: Mode, directory: Path) -> Journal:
    restore = {"backup_id": manifest.backup_id, "target": target, "mode": str(mode)}
    return Journal(directory / f"{manifest.backup_id[:8]}_{_safe(target)}_{mode}.journal", restore)


def _columns(reader: ArchiveReader, archived: ArchivedTable) -> tuple[str, ...]:
    """The names of a table's columns as its rows have them; as the manifest has them where there is no row."""
    first = next(reader.rows(archived), None)
    return tuple(members(first)) if first is not None else tuple(column.name for column in archived.table.columns)


def _safe(host: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]", "-", host)
