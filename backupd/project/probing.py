"""What the doctor asks the project: does each service take the key, how many rows come at a time, what time is it."""

from __future__ import annotations

import email.utils
import time
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx

from backupd.errors import KeyRefused, ProjectError
from backupd.model import Table
from backupd.project.connection import Answer, Connection
from backupd.project.paging import quote_name
from backupd.project.rows import split_rows
from backupd.project.walking import count_rows

_SERVICES = {"Auth": "auth/v1/settings", "Storage": "storage/v1/bucket"}
_PROBE_ATTEMPTS = 2


@dataclass(frozen=True, slots=True)
class ServiceAnswer:
    """Whether one service of the project takes the key; `refusal` says why not."""

    name: str
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class TableMeasure:
    """How many rows a table has, and how long the server took to count them. Seconds."""

    table: Table
    rows: int | None
    exact: bool
    seconds: float


def ask_services(connection: Connection) -> tuple[ServiceAnswer, ...]:
    """Ask each service beside the Data API for something harmless: they have been seen to treat one key differently."""
    return tuple(_ask(connection, name, path) for name, path in _SERVICES.items())


def _ask(connection: Connection, name: str, path: str) -> ServiceAnswer:
    try:
        connection.fetch(path, f"an answer from {name}", _status, attempts=_PROBE_ATTEMPTS)
    except KeyRefused as error:
        return ServiceAnswer(name, error.message.replace("Data API", name))
    except ProjectError:
        return ServiceAnswer(name, f"no answer at /{path}; a project without {name} has none")
    return ServiceAnswer(name)


def _status(answer: Answer) -> int:
    return answer.status


def server_time(headers: httpx.Headers) -> datetime | None:
    """The instant in an answer's `Date` header."""
    try:
        moment = email.utils.parsedate_to_datetime(headers.get("Date", ""))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def measure(connection: Connection, table: Table) -> TableMeasure:
    """Count a table's rows and take the time. Raises TableUnreadable."""
    began = time.monotonic()
    counted = count_rows(connection, table)
    seconds = time.monotonic() - began
    return TableMeasure(table, counted.rows if counted else None, bool(counted and counted.exact), seconds)


def row_cap(connection: Connection, table: Table, page_rows: int) -> int:
    """How many rows the server gives when asked for `page_rows` of them."""
    plain = (column.name for column in table.columns if quote_name(column.name) == column.name)
    request = connection.select(table.name, next(plain, "*")).limit(page_rows).request
    return connection.send(request, f"a page of {table.name}", lambda answer: len(split_rows(answer.body)))
