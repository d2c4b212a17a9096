"""Tables that cannot be read: why, in words, and what mends it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from backupd.errors import TableUnreadable
from backupd.model import TableName
from backupd.project.answers import GONE, MISSING_GRANT

_PLAIN_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]*\Z")
_ON_SCHEMA = "permission denied for schema"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A table that should be in the backup and cannot be read, with the reason and the remedy."""

    name: TableName
    message: str
    hint: str | None = None


def explain(name: TableName, error: TableUnreadable) -> Unreadable:
    """Say what is wrong with a table and how to mend it; for a missing grant, the very statement to run."""
    if error.code == MISSING_GRANT:
        what = f"USAGE ON SCHEMA {name.schema}" if _ON_SCHEMA in error.message else f"SELECT ON TABLE {sql_name(name)}"
        return Unreadable(name, "the API key may not read it", f"Run in the SQL editor: GRANT {what} TO service_role;")
    if error.code in GONE:
        hint = "Is the name right? A table made a moment ago appears after: notify pgrst, 'reload schema';"
        return Unreadable(name, "no such table in the project", hint)
    return Unreadable(name, error.message, error.hint)


def sql_name(name: TableName) -> str:
    """Write a table's name as SQL wants it, quoted where it must be."""
    parts = (name.schema, name.name)
    return ".".join(part if _PLAIN_IDENTIFIER.match(part) else '"' + part.replace('"', '""') + '"' for part in parts)
