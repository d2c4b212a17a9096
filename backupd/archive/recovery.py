"""RECOVERY.md: how to read and restore one archive with and without backupd."""

from __future__ import annotations

from collections.abc import Iterator

from backupd.archive.names import archive_name
from backupd.archive.order import LoadOrder, load_order
from backupd.archive.psql import psql_script
from backupd.model import ArchivedTable, Manifest, TableName, TableStatus

_ABSENCES = """\
## What is not inside

Rows only. The archive was read through the project's API, and these do not come that way:

- the definitions of tables, indexes, constraints, views, functions, triggers, types and extensions
- row level security policies, roles and grants
- users of Supabase Auth and their password hashes
- the objects of Supabase Storage
- tables of schemas that were not read, or that the key had no grant for

Tables were read one request after another while the project was in use: a row written during the backup may be there
in one table and not yet in another.
"""

_FILES = """\
## How a table file is made

UTF-8 text: one JSON array, with `[` alone on the first line, `]` alone on the last, and one row a line between. Each
row is the text the server sent, with every digit. One change was made: a line break between the parts of a value of
type `json`, where it is only white space, became a space. Rows are in no special order.

Two things JSON does not show: a `json` or `jsonb` value that is the word `null` looks like SQL's NULL and comes back as
that, and an array whose first index is not 1 comes back with 1.

In file names, characters that file systems object to are percent-encoded, and a name that differs from another only in
its capitals has a checksum at its end. `manifest.json` says which file is which table.

## How to check it

`backupd verify` compares everything. Without it, `unzip -t` checks every file's CRC, and `sha256sum` of an unpacked
table file gives the `sha256` in `manifest.json`.
"""

_BACKUPD = """\
## How to restore it with backupd

Into a Supabase project, with nothing but its URL and a secret key:

1. Create the tables in the project, empty, from your migrations.
2. Put the archive into the store of a backupd (by default `~/.local/share/backupd/archives`) and let it be found:
   `backupd rescan`
3. `export BACKUPD_RESTORE_URL=https://abcd.supabase.co BACKUPD_RESTORE_KEY_FILE=/path/to/a/file/with/the/key`
4. See what it would do: `backupd restore {backup_id} --dry-run`
5. Do it: `backupd restore {backup_id} --confirm abcd.supabase.co`

When it is interrupted, the same command goes on where it stopped. In the end it prints the SQL that the API has no
words for: sequences that must go on after the highest value, and identity columns.
"""

_PSQL = """\
## How to restore it with psql

1. Create the tables in the target database, empty, from your migrations.
2. Unpack the archive and go to the folder that holds this file.
3. Take the script out of this file: `sed -n '/^```sql$/,/^```$/p' RECOVERY.md | sed '/^```/d' > restore.sql`
4. Read it, then run it: `psql "$DATABASE_URL" -f restore.sql`

It runs as one transaction: all of it happens, or nothing. Compare the numbers psql prints (`INSERT 0 …`) with the list
above. Things to know before:

- A generated column cannot be written: take its name out of both column lists of its table.
- Triggers of the target fire for each row. To keep them and foreign keys quiet, take the two dashes off the line
  `-- set session_replication_role = replica;`; the role must be allowed to (`postgres` is, on Supabase).
- PostgreSQL cannot take apart a row whose `json` column holds `\\u0000` or half a surrogate pair, and stops with an
  error that shows the row. Such a row has to be loaded by hand.

```sql
{script}
```
"""

_PYTHON = """\
## How to read it with Python

Without losing a digit, one row at a time:

```python
import decimal, json, zipfile

with zipfile.ZipFile({archive!r}) as archive, archive.open({file!r}) as lines:
    for line in lines:
        if line not in (b"[\\n", b"]\\n"):
            row = json.loads(line.rstrip(b",\\n"), parse_float=decimal.Decimal)
            print(row)
```
"""


def recovery_text(manifest: Manifest) -> str:
    """Markdown for whoever finds this archive and nothing else; made from the manifest alone."""
    sections = (
        "\n".join(_heading(manifest)) + "\n",
        "\n".join(_contents(manifest)) + "\n",
        _ABSENCES,
        _FILES,
        _BACKUPD.format(backup_id=_plain(manifest.backup_id)),
        _python(manifest),
        _PSQL.format(script="\n".join(psql_script(manifest))),
        "\n".join(_order(manifest)) + "\n",
    )
    return "\n".join(sections)


def _heading(manifest: Manifest) -> Iterator[str]:
    yield f"# How to recover {_plain(manifest.platform)}"
    yield ""
    yield f"This archive is the {manifest.type} backup {_code(manifest.backup_id)} of the Supabase project"
    yield f"{_code(manifest.project)}, begun at {manifest.created_at:%Y-%m-%d %H:%M:%S} UTC and made by"
    yield f"{_plain(manifest.generator)}. Its status is **{manifest.status}**. `backupd restore` writes it into a"
    yield "project and compares every row afterwards. It can be read and restored with stock tools as well, as told"
    yield "here; `backupd rescan`, `backupd show` and `backupd verify` list and check it."


def _contents(manifest: Manifest) -> Iterator[str]:
    tables = _amount(len(manifest.tables_backed_up), "table")
    yield f"## What is inside: {tables}, {_amount(manifest.total_rows, 'row')}"
    yield ""
    yield from (_content(archived) for archived in manifest.tables)
    yield "- `manifest.json`: the same list for programs, with row counts, checksums, column types and keys"
    yield "- `schema.json`, if it is there: the project's own description of its API (OpenAPI), as it answered"
    if manifest.warnings:
        yield ""
        yield "Warnings of this backup:"
        yield ""
        yield from (f"- {_plain(warning)}" for warning in manifest.warnings)


def _content(archived: ArchivedTable) -> str:
    name = _code(str(archived.table.name))
    note = f" ({_plain(archived.message)})" if archived.message else ""
    if archived.file is None:
        return f"- {name}: **not in this archive**{note}"
    short = "" if archived.status is TableStatus.COMPLETED else ", **incomplete**"
    return f"- {name}: {_amount(archived.rows, 'row')}{short} in {_code(archived.file)}{note}"


def _python(manifest: Manifest) -> str:
    name = archive_name(manifest.platform, manifest.type, manifest.created_at, manifest.backup_id)
    file = next((archived.file for archived in manifest.tables if archived.file is not None), "tables/…")
    return _PYTHON.format(archive=name, file=file)


def _order(manifest: Manifest) -> Iterator[str]:
    order = load_order(archived.table for archived in manifest.tables if archived.file is not None)
    yield "## In which order"
    yield ""
    yield "Tables that others refer to come first, by the foreign keys the project's API shows. The script does so:"
    yield ""
    yield from (f"{number}. {_code(str(name))}" for number, name in enumerate(order.tables, 1))
    yield from _knots(order)


def _knots(order: LoadOrder) -> Iterator[str]:
    if order.self_references:
        yield ""
        yield f"These refer to themselves: {_names(order.self_references)}. One `insert` for the whole table, as above,"
        yield "is right for them; row by row is not."
    if order.cycles:
        yield ""
        yield "These refer to each other in a ring, so no order is right, and the script switches foreign keys off with"
        yield "`session_replication_role` (which needs a role that may):"
        yield ""
        yield from (f"- {_names(cycle)}" for cycle in order.cycles)


def _names(names: tuple[TableName, ...]) -> str:
    return ", ".join(_code(str(name)) for name in names)


def _amount(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _plain(text: str) -> str:
    """On one line, whatever a server put into it."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def _code(text: str) -> str:
    return "`" + _plain(text).replace("`", "\\x60") + "`"
