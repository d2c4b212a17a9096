"""Names as SQL wants them: always quoted, because `order` and `user` are table names too."""

from __future__ import annotations

from backupd.model import TableName


def identifier(name: str) -> str:
    """A name of anything."""
    return '"' + name.replace('"', '""') + '"'


def qualified(name: TableName) -> str:
    """A table with its schema."""
    return f"{identifier(name.schema)}.{identifier(name.name)}"


def literal(text: str) -> str:
    """A text."""
    return "'" + text.replace("'", "''") + "'"
