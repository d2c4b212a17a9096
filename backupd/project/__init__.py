"""The Supabase project that is backed up: its tables and keys, pages of rows out, rows in."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from threading import Event

import structlog

from backupd.config import ProjectSettings
from backupd.errors import KeyRefused, ProjectError, ProjectUnreachable
from backupd.model import Count, OnProgress, ShouldStop, Table, TableName, ignore_progress, never_stop
from backupd.project.answers import TRANSIENT_STATUSES
from backupd.project.connection import Answer, Connection, Patience
from backupd.project.discovery import Discovery, discover
from backupd.project.heaps import Overlap, find_overlaps
from backupd.project.keys import KeyKind, key_kind, require_full_sight
from backupd.project.openapi import Listing, parse_listing
from backupd.project.probing import ServiceAnswer, TableMeasure, ask_services, measure, row_cap, server_time
from backupd.project.reading import TableOutcome, read_table
from backupd.project.side_by_side import Lane, side_by_side
from backupd.project.surveying import TargetTable, survey
from backupd.project.traffic import Traffic
from backupd.project.unreadable import Unreadable
from backupd.project.users import User, Users
from backupd.project.walking import Readers, Rows, count_rows
from backupd.project.writing import Insertion, RowsRefused, TooMuchAtOnce, Unanswered, WritingConnection

__all__ = [
    "TRANSIENT_STATUSES",
    "Discovery",
    "Insertion",
    "KeyKind",
    "Lane",
    "Patience",
    "Project",
    "Rows",
    "RowsRefused",
    "ServiceAnswer",
    "TableMeasure",
    "TableOutcome",
    "TargetTable",
    "TooMuchAtOnce",
    "Traffic",
    "Unanswered",
    "Unreadable",
    "User",
    "Users",
    "key_kind",
    "require_full_sight",
]

_FIRST_ATTEMPTS = 3
"""Tries for the first requests of a run: a wrong URL should be said soon."""


class Project:
    """A Supabase project, reached through its Data API with a key that sees every row.

    Raises KeyRefused at once for a key that does not.
    """

    def __init__(
        self,
        settings: ProjectSettings,
        *,
        log: structlog.typing.FilteringBoundLogger,
        should_stop: ShouldStop = never_stop,
        patience: Patience | None = None,
        traffic: Traffic | None = None,
    ) -> None:
        self._settings = settings
        self._connection = WritingConnection(
            settings.url,
            settings.key.reveal(),
            log=log,
            should_stop=should_stop,
            patience=patience or Patience(),
            max_bytes_per_second=settings.max_bytes_per_second,
            connections=settings.concurrency,
            traffic=traffic,
        )
        self.host = self._connection.host
        self.key_kind = self._connection.key_kind
        self.traffic = self._connection.traffic

    def __enter__(self) -> Project:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def discover(self, last_time: Collection[str] = ()) -> Discovery:
        """Find out which tables there are to back up; `last_time` names those of the last completed backup.

        Raises KeyRefused, ProjectUnreachable, ProjectError when there is nothing to back up, and Interrupted.
        """
        listings = [self._listing(schema) for schema in self._settings.schemas]
        return discover(self._connection, self._settings, listings, last_time)

    @contextmanager
    def read(
        self,
        tables: Sequence[Table],
        *,
        on_count: OnProgress = ignore_progress,
        among: Sequence[Table] | None = None,
    ) -> Iterator[list[Lane[Rows, TableOutcome]]]:
        """Read `tables` side by side, `project.concurrency` at a time; gives a lane for each, to be taken in order.

        The one that is taken is read in as many key ranges at a time, once it is seen to be large.

        `on_count` is told how many rows to expect of a table before its first page comes. A row that a table only
        shows because another of `among` (without it, of `tables`) inherits from it is left to that other.
        """
        abandoned = Event()
        connection = self._connection.stopping_also(abandoned.is_set)
        overlaps = find_overlaps(connection, tables if among is None else among)
        taken = [Event() for _ in tables]
        at_once = self._settings.concurrency
        reads = [
            partial(self._read_one, connection, table, overlaps.get(table.name), on_count, Readers(at_once, now.is_set))
            for table, now in zip(tables, taken, strict=True)
        ]
        with side_by_side(reads, at_once, abandoned, taken) as lanes:
            yield lanes

    def survey(self, names: Sequence[TableName]) -> dict[TableName, TargetTable]:
        """Ask whether tables of these names could be written into, and what is in them now.

        Raises KeyRefused, ProjectUnreachable and Interrupted; whatever concerns one table is in its entry.
        """
        listings = {schema: self._listing_or_error(schema) for schema in sorted({name.schema for name in names})}
        return survey(self._connection, names, listings, self._settings.concurrency)

    def insert(self, insertion: Insertion, rows: Sequence[bytes]) -> None:
        """Write `rows`, each the exact JSON text of an object: all of them or, when this raises, none.

        Safe to call from several threads. Raises RowsRefused, TooMuchAtOnce, KeyRefused, ProjectUnreachable,
        Interrupted, and Unanswered for rows without a key, which may be there or not.
        """
        self._connection.insert(insertion, rows)

    def count(self, table: Table) -> Count | None:
        """How many rows a table has, None when the project does not say. Raises TableUnreadable."""
        return count_rows(self._connection, table)

    def services(self) -> tuple[ServiceAnswer, ...]:
        """Ask Auth and Storage whether they take the key as well."""
        return ask_services(self._connection)

    def measure(self, table: Table) -> TableMeasure:
        """Count a table's rows and take the time. Raises TableUnreadable."""
        return measure(self._connection, table)

    def row_cap(self, table: Table) -> int:
        """How many rows of `table` the server gives when asked for a whole page."""
        return row_cap(self._connection, table, self._settings.page_rows)

    def time(self) -> datetime | None:
        """What time it is at the project, None when it does not say."""
        return self._connection.document(
            self._settings.schemas[0], lambda answer: server_time(answer.headers), attempts=_FIRST_ATTEMPTS
        )

    def _read_one(
        self,
        connection: Connection,
        table: Table,
        overlap: Overlap | None,
        on_count: OnProgress,
        readers: Readers,
    ) -> Generator[Rows, None, TableOutcome]:
        without = overlap.heaps if overlap else ()
        outcome = yield from read_table(
            connection,
            table,
            page_rows=self._settings.page_rows,
            without=without,
            on_count=on_count,
            readers=readers,
        )
        if overlap is None:
            return outcome
        return replace(outcome, warning="; ".join(filter(None, (overlap.warning, outcome.warning))))

    def _listing_or_error(self, schema: str) -> Listing | ProjectError:
        try:
            return self._listing(schema)
        except (KeyRefused, ProjectUnreachable):
            raise
        except ProjectError as error:
            return error

    def _listing(self, schema: str) -> Listing:
        def parse(answer: Answer) -> Listing:
            return parse_listing(schema, answer.body)

        return self._connection.document(schema, parse, attempts=_FIRST_ATTEMPTS)
