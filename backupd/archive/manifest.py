"""The manifest and its sidecar: what an archive says of itself, to JSON and back."""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from backupd.archive.fields import LARGEST_NUMBER, Fields, shortened
from backupd.archive.names import archive_name, collision_key, member_name
from backupd.errors import ArchiveError
from backupd.model import (
    ArchivedTable,
    BackupType,
    Column,
    Count,
    ForeignKey,
    Manifest,
    Paging,
    Sidecar,
    Status,
    Table,
    TableName,
    TableStatus,
    Trigger,
)

__all__ = [
    "FORMAT",
    "MANIFEST_LIMIT_BYTES",
    "SIDECAR_SUFFIX",
    "archive_name",
    "collision_key",
    "manifest_from_json",
    "manifest_to_json",
    "member_name",
    "sidecar_from_json",
    "sidecar_to_json",
]

FORMAT = 1
"""The archive format this backupd writes, and the newest it reads."""

SIDECAR_SUFFIX = ".manifest.json"
"""The sidecar of `x.zip` is `x.zip.manifest.json`."""

MANIFEST_LIMIT_BYTES = 256 * 1024 * 1024
"""A larger manifest or sidecar is refused unread."""

_BACKUP_VERSION = "1.0"
_CONSISTENCY = "per-request"
_BACKUP_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_DANGEROUS = re.compile(r'[\x00-\x1f\x7f-\x9f\ud800-\udfff\\:*?"<>|]')
_NAME_LIMIT_BYTES = 255


def manifest_to_json(manifest: Manifest) -> bytes:
    """The manifest as `manifest.json` holds it: indented UTF-8 with a stable order of keys, ending in a line break."""
    return _to_json(_manifest_values(manifest))


def manifest_from_json(data: bytes, *, member: str = "manifest.json") -> Manifest:
    """The manifest in `data`; `member` is how errors call it.

    Raises ArchiveError, naming the field, for whatever is not a manifest of format 1; for a newer format by name.
    """
    return _manifest(_top(data, member))


def sidecar_to_json(sidecar: Sidecar) -> bytes:
    """The manifest with the archive's name, size and checksum, in the form of `manifest_to_json`."""
    archive = {"name": sidecar.archive, "size_bytes": sidecar.size_bytes, "sha256": sidecar.sha256}
    return _to_json({**_manifest_values(sidecar.manifest), "archive": archive})


def sidecar_from_json(data: bytes, *, member: str = "sidecar") -> Sidecar:
    """The sidecar in `data`; `member` is how errors call it. Raises ArchiveError as `manifest_from_json` does."""
    fields = _top(data, member)
    manifest, archive = _manifest(fields), fields.child("archive")
    return Sidecar(manifest, _archive_name(archive), archive.number("size_bytes"), archive.sha256("sha256"))


def _to_json(values: dict[str, Any]) -> bytes:
    # Half a surrogate pair in a server's message cannot be UTF-8; backslashreplace makes it the JSON escape it was.
    return (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


def _manifest_values(manifest: Manifest) -> dict[str, Any]:
    return {
        "backup_id": manifest.backup_id,
        "created_at": _instant(manifest.created_at),
        "type": manifest.type,
        "tables_backed_up": manifest.tables_backed_up,
        "total_rows": manifest.total_rows,
        "backup_version": _BACKUP_VERSION,
        "platform": manifest.platform,
        "format": manifest.format,
        "status": manifest.status,
        "trigger": manifest.trigger,
        "finished_at": _instant(manifest.finished_at),
        "generator": manifest.generator,
        "project": manifest.project,
        "consistency": _CONSISTENCY,
        "warnings": manifest.warnings,
        "tables": [_table_values(archived) for archived in manifest.tables],
    }


def _table_values(archived: ArchivedTable) -> dict[str, Any]:
    table = archived.table
    return {
        "schema": table.name.schema,
        "name": table.name.name,
        "file": archived.file,
        "rows": archived.rows,
        "bytes": archived.bytes,
        "sha256": archived.sha256,
        "columns": [{"name": c.name, "type": c.type, "required": c.required} for c in table.columns],
        "primary_key": table.primary_key,
        "foreign_keys": [
            {"column": key.column, "table": key.table, "foreign_column": key.foreign_column}
            for key in table.foreign_keys
        ],
        "paging": archived.paging,
        "count_before": _count_values(archived.count_before),
        "count_after": _count_values(archived.count_after),
        "status": archived.status,
        "message": archived.message,
    }


def _count_values(count: Count | None) -> dict[str, Any] | None:
    return None if count is None else {"rows": count.rows, "exact": count.exact}


def _instant(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _top(data: bytes, member: str) -> Fields:
    if len(data) > MANIFEST_LIMIT_BYTES:
        raise ArchiveError(f"{member} is larger than {MANIFEST_LIMIT_BYTES} bytes")
    try:
        values = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise ArchiveError(f"{member} is not valid JSON: {error}") from error
    if not isinstance(values, dict):
        raise ArchiveError(f"{member} is not a JSON object")
    return Fields(member, values)


def _manifest(fields: Fields) -> Manifest:
    manifest = Manifest(
        format=_format(fields),
        backup_id=fields.matching("backup_id", _BACKUP_ID, "up to 64 letters, digits, - and _"),
        created_at=fields.instant("created_at"),
        finished_at=fields.instant("finished_at"),
        type=fields.choice("type", BackupType),
        trigger=fields.choice("trigger", Trigger),
        status=fields.choice("status", Status),
        platform=fields.text("platform"),
        project=fields.text("project"),
        generator=fields.text("generator"),
        tables=tuple(_archived_table(entry) for entry in fields.children("tables")),
        warnings=fields.texts("warnings"),
    )
    _check_unique(fields, manifest)
    _check_totals(fields, manifest)
    return manifest


def _format(fields: Fields) -> int:
    number = fields.number("format")
    if number > FORMAT:
        raise ArchiveError(
            f"{fields.member}: archive format {number} is newer than this backupd reads ({FORMAT})",
            hint="Upgrade backupd, or read the archive as its RECOVERY.md says.",
        )
    if number < FORMAT:
        raise fields.refused("format", f"is {number}; expected {FORMAT}")
    return number


def _check_unique(fields: Fields, manifest: Manifest) -> None:
    names = Counter(archived.table.name for archived in manifest.tables)
    files = Counter(archived.file for archived in manifest.tables if archived.file is not None)
    for twice in (thing for counter in (names, files) for thing, times in counter.items() if times > 1):
        raise fields.refused("tables", f"names {shortened(str(twice))} more than once")


def _check_totals(fields: Fields, manifest: Manifest) -> None:
    if manifest.total_rows > LARGEST_NUMBER:
        raise fields.refused("tables", "hold more rows than any archive could")
    if fields.number("total_rows") != manifest.total_rows:
        raise fields.refused(
            "total_rows", f"is {fields.number('total_rows')}, but the tables say {manifest.total_rows}"
        )
    if fields.texts("tables_backed_up") != manifest.tables_backed_up:
        raise fields.refused("tables_backed_up", "does not name the tables that have a file")


def _archived_table(fields: Fields) -> ArchivedTable:
    archived = ArchivedTable(
        table=_table(fields),
        status=fields.choice("status", TableStatus),
        file=_file(fields) if fields.has("file") else None,
        rows=fields.number("rows"),
        bytes=fields.number("bytes"),
        sha256=fields.sha256("sha256") if fields.has("sha256") else None,
        paging=fields.choice("paging", Paging) if fields.has("paging") else None,
        count_before=_count(fields, "count_before"),
        count_after=_count(fields, "count_after"),
        message=fields.optional_text("message"),
    )
    _check_file(fields, archived)
    return archived


def _check_file(fields: Fields, archived: ArchivedTable) -> None:
    """A table is either in the archive, with a checksum, or it is not, and then it has no rows there."""
    if archived.file is not None:
        if archived.sha256 is None:
            raise fields.refused("sha256", "is missing")
    elif archived.status is TableStatus.COMPLETED:
        raise fields.refused("file", "is missing, although the table is completed")
    elif archived.rows or archived.bytes or archived.sha256:
        raise fields.refused("file", "is missing, although there are rows")


def _table(fields: Fields) -> Table:
    return Table(
        name=TableName(fields.text("schema", empty=False), fields.text("name", empty=False)),
        columns=tuple(
            Column(column.text("name"), column.text("type"), column.flag("required"))
            for column in fields.children("columns")
        ),
        primary_key=fields.texts("primary_key"),
        foreign_keys=tuple(
            ForeignKey(key.text("column"), key.text("table"), key.text("foreign_column"))
            for key in fields.children("foreign_keys")
        ),
    )


def _count(fields: Fields, name: str) -> Count | None:
    if not fields.has(name):
        return None
    count = fields.child(name)
    return Count(count.number("rows"), count.flag("exact"))


def _file(fields: Fields) -> str:
    """A member under `tables/` that cannot lead out of the folder somebody unpacks it in."""
    file = fields.text("file")
    folder, *parts = file.split("/")
    if folder != "tables" or not parts or any(_is_dangerous(part) for part in parts):
        raise fields.refused("file", f"is {shortened(file)}; expected a safe name like tables/public/users.json")
    return file


def _archive_name(fields: Fields) -> str:
    name = fields.text("name")
    if _is_dangerous(name) or "/" in name or name.startswith("."):
        raise fields.refused("name", f"is {shortened(name)}; expected a file name without a folder")
    return name


def _is_dangerous(part: str) -> bool:
    return part in ("", ".", "..") or bool(_DANGEROUS.search(part)) or len(part.encode()) > _NAME_LIMIT_BYTES
