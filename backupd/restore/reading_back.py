"""Reads back what was written and compares it with the archive, row by row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from backupd.archive.reader import ArchiveReader
from backupd.model import OnProgress, Progress, TableStatus
from backupd.project import Lane, Project, Rows, TableOutcome
from backupd.restore.compare import Comparison, Multiset, Spelling, compare_rows
from backupd.restore.plan import Mode, Plan, PlannedTable


class ReadingBack:
    """Compares tables of the target with the archive."""

    def __init__(self, project: Project, reader: ArchiveReader, plan: Plan, directory: Path) -> None:
        self._project = project
        self._reader = reader
        self._plan = plan
        self._directory = directory

    def rows(self, table: PlannedTable) -> Iterator[bytes]:
        """The rows of one table that are in the target now. Raises what reading raises."""
        with self._project.read([table.table], among=self._plan.all_tables) as (lane,):
            for page in lane:
                yield from map(bytes, page)

    def compare(self, tables: Sequence[PlannedTable], on_progress: OnProgress) -> Iterator[Comparison]:
        """The comparison of each of `tables`, in order. Raises what reading raises, and ArchiveError."""
        with self._project.read([one.table for one in tables], among=self._plan.all_tables) as lanes:
            for table, lane in zip(tables, lanes, strict=True):
                yield self._compared(table, lane, on_progress)

    def _compared(self, table: PlannedTable, lane: Lane[Rows, TableOutcome], on_progress: OnProgress) -> Comparison:
        archived, found = Multiset(), Multiset()
        archived.add(self._reader.rows(table.archived))
        for page in _spelled(table, lane):
            found.add(page)
            on_progress(Progress("comparing", str(table.name), found.rows, archived.rows))
        if lane.outcome.status is not TableStatus.COMPLETED:
            return Comparison(archived.rows, found.rows, unreadable=lane.outcome.message or "it came out short")
        if found.value == archived.value:
            return Comparison(archived.rows, found.rows)
        return compare_rows(
            lambda: self._reader.rows(table.archived),
            lambda: Spelling(table.columns).found(self.rows(table)),
            table.key,
            directory=self._directory,
            extra_allowed=self._plan.mode is Mode.MERGE,
        )


def _spelled(table: PlannedTable, pages: Iterable[Rows]) -> Iterator[Iterable[bytes]]:
    spelling = Spelling(table.columns)
    return (spelling.found(map(bytes, page)) for page in pages)
