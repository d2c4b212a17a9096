"""The psql script in RECOVERY.md: loads every table file with nothing but psql."""

from __future__ import annotations

from collections.abc import Iterator

from backupd.archive.order import load_order
from backupd.model import Manifest, Table, TableName


def psql_script(manifest: Manifest) -> Iterator[str]:
    """The script's lines, to be run in the folder the archive was unpacked in. None is a Markdown fence.

    `json_populate_record` reads each row as the table's own row type: a number goes from its text to `numeric` and is
    never a float. COPY's CSV form with two control characters, which JSON never holds, takes each line as it is.
    """
    files = {archived.table.name: archived for archived in manifest.tables if archived.file is not None}
    order = load_order(archived.table for archived in files.values())
    yield "\\set ON_ERROR_STOP on"
    yield "set client_encoding = 'UTF8';"
    yield "begin;"
    yield f"{'' if order.cycles else '-- '}set session_replication_role = replica;"
    yield "create temporary table backupd_lines (line text) on commit drop;"
    for name in order.tables:
        yield from _load(files[name].table, str(files[name].file))
    yield from _sequences(sorted({name.schema for name in files}))
    yield "commit;"


def _load(table: Table, file: str) -> Iterator[str]:
    target = _qualified(table.name)
    columns = ", ".join(_identifier(column.name) for column in table.columns)
    values = ", ".join(f"r.{_identifier(column.name)}" for column in table.columns)
    yield ""
    yield f"\\copy backupd_lines from '{file}' with (format csv, delimiter E'\\x02', quote E'\\x01', encoding 'UTF8')"
    yield f"insert into {target} {f'({columns}) ' if columns else ''}overriding system value"
    yield f"  select {values or 'r.*'}"
    yield f"  from backupd_lines, json_populate_record(null::{target}, rtrim(line, ',')::json) as r"
    yield "  where line not in ('[', ']');"
    yield "truncate backupd_lines;"


def _sequences(schemas: list[str]) -> Iterator[str]:
    """Sequences are not data of a table: unless they move on, the next insert takes a number that is in use."""
    if not schemas:
        return
    yield ""
    yield "-- let every serial and identity column go on after its highest value"
    yield "select format('select setval(%L, max(%I)) from %s having max(%2$I) is not null',"
    yield "              s.oid::regclass, a.attname, d.refobjid::regclass)"
    yield "  from pg_class s"
    yield "  join pg_depend d on d.objid = s.oid and d.classid = 'pg_class'::regclass and d.deptype in ('a', 'i')"
    yield "    and d.refclassid = 'pg_class'::regclass"
    yield "  join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid"
    yield "  join pg_namespace n on n.oid = s.relnamespace"
    yield f"  where s.relkind = 'S' and n.nspname in ({', '.join(map(_literal, schemas))})"
    yield "\\gexec"


def _qualified(name: TableName) -> str:
    return f"{_identifier(name.schema)}.{_identifier(name.name)}"


def _identifier(name: str) -> str:
    """Quoted for SQL, and on one line that cannot end the script's fence."""
    if name.isprintable() and "`" not in name:
        return '"' + name.replace('"', '""') + '"'
    return 'U&"' + "".join(character if character.isalnum() else f"\\+{ord(character):06X}" for character in name) + '"'


def _literal(text: str) -> str:
    if text.isprintable() and "\\" not in text and "`" not in text:
        return "'" + text.replace("'", "''") + "'"
    return "U&'" + "".join(character if character.isalnum() else f"\\+{ord(character):06X}" for character in text) + "'"
