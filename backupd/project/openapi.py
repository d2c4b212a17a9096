"""The project's OpenAPI document: which tables it lists, their columns, keys and references."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from backupd.model import Column, ForeignKey, Table, TableName
from backupd.project.rows import MalformedPage

_PRIMARY_KEY = "This is a Primary Key.<pk/>"
_FOREIGN_KEY = re.compile(r"This is a Foreign Key to `.*`\.<fk table='(.*)' column='(.*)'/>")


@dataclass(frozen=True, slots=True)
class Listing:
    """What one schema lists: its tables, the views that can only be read, and the document to the byte."""

    schema: str
    tables: tuple[Table, ...]
    views: tuple[Table, ...]
    document: bytes

    @property
    def referenced(self) -> frozenset[TableName]:
        """Tables that some foreign key points to, whether they are listed or not."""
        return frozenset(TableName(self.schema, key.table) for table in self.tables for key in table.foreign_keys)


def parse_listing(schema: str, body: bytes | bytearray) -> Listing:
    """Read an OpenAPI 2 document as PostgREST writes it. Raises MalformedPage when it is not one."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        message = "the OpenAPI document is not JSON"
        raise MalformedPage(message) from error
    if not isinstance(document, dict):
        message = "the OpenAPI document is not an object"
        raise MalformedPage(message)
    definitions = _members(document.get("definitions"))
    paths = _members(document.get("paths"))
    tables: list[Table] = []
    views: list[Table] = []
    for name in sorted(definitions):
        found = views if _is_read_only(paths.get(f"/{name}")) else tables
        found.append(_table(schema, name, definitions[name]))
    return Listing(schema, tuple(tables), tuple(views), bytes(body))


def _members(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_read_only(path: object) -> bool:
    """A view nobody can write through has only GET; a table always has POST."""
    return isinstance(path, dict) and "get" in path and not path.keys() & {"post", "patch", "delete"}


def _table(schema: str, name: str, definition: object) -> Table:
    definition = _members(definition)
    properties = _members(definition.get("properties"))
    required = definition.get("required")
    required = frozenset(required) if isinstance(required, list) else frozenset()
    columns: list[Column] = []
    primary_key: list[str] = []
    foreign_keys: list[ForeignKey] = []
    for column, property_ in properties.items():
        described = _members(property_)
        columns.append(Column(column, str(described.get("format", "")), column in required))
        notes = _notes(described.get("description"))
        if _PRIMARY_KEY in notes:
            primary_key.append(column)
        foreign_keys.extend(
            ForeignKey(column, *match.groups()) for note in notes if (match := _FOREIGN_KEY.fullmatch(note))
        )
    return Table(TableName(schema, name), tuple(columns), tuple(primary_key), tuple(foreign_keys))


def _notes(description: object) -> list[str]:
    """PostgREST's own lines of a column's description: they follow the owner's comment, after the last `Note:`."""
    if not isinstance(description, str) or "Note:\n" not in description:
        return []
    return description.rpartition("Note:\n")[2].split("\n")
