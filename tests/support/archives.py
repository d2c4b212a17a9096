"""Builders of manifests and archives for tests."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from backupd.archive.writer import ArchiveWriter
from backupd.model import (
    ArchivedTable,
    BackupType,
    Column,
    Count,
    ForeignKey,
    Manifest,
    Paging,
    Status,
    Table,
    TableName,
    TableStatus,
    Trigger,
)

CREATED_AT = datetime(2026, 11, 22, 15, 24, 29, tzinfo=UTC)
BACKUP_ID = "b7f3c2a1-0000-4000-8000-000000000000"

USERS = Table(
    name=TableName("public", "users"),
    columns=(Column("id", "bigint", required=True), Column("email", "text"), Column("boss", "bigint")),
    primary_key=("id",),
    foreign_keys=(ForeignKey("boss", "users", "id"),),
)


def make_table(name: str, *, schema: str = "public", **changes: Any) -> Table:
    """A table with two columns and a key, unless told otherwise."""
    table = Table(TableName(schema, name), (Column("id", "bigint", required=True), Column("v", "text")), ("id",))
    return replace(table, **changes)


def make_archived(table: Table = USERS, **changes: Any) -> ArchivedTable:
    """A completed table of two rows."""
    archived = ArchivedTable(
        table=table,
        status=TableStatus.COMPLETED,
        file=f"tables/{table.name.schema}/{table.name.name}.json",
        rows=2,
        bytes=40,
        sha256="0" * 64,
        paging=Paging.KEY,
        count_before=Count(2, exact=True),
        count_after=Count(2, exact=True),
    )
    return replace(archived, **changes)


def make_manifest(*tables: ArchivedTable, **changes: Any) -> Manifest:
    """A completed manual backup of these tables."""
    manifest = Manifest(
        backup_id=BACKUP_ID,
        created_at=CREATED_AT,
        finished_at=CREATED_AT.replace(minute=25),
        type=BackupType.MANUAL,
        trigger=Trigger.CLI,
        status=Status.COMPLETED,
        platform="Car Audio Competition Platform",
        project="xyz.supabase.co",
        generator="backupd 0.1.0",
        tables=tables,
    )
    return replace(manifest, **changes)


def write_archive(tables: Mapping[Table, Sequence[bytes]], **changes: Any) -> tuple[bytes, Manifest]:
    """A whole archive with these rows, and its manifest."""
    file = io.BytesIO()
    writer = ArchiveWriter(file, created_at=CREATED_AT)
    writer.add("schema.json", b'{"swagger": "2.0"}')
    archived = [_write_table(writer, table, rows) for table, rows in tables.items()]
    manifest = make_manifest(*archived, **changes)
    writer.finish(manifest)
    return file.getvalue(), manifest


def _write_table(writer: ArchiveWriter, table: Table, rows: Sequence[bytes]) -> ArchivedTable:
    with writer.table(table.name) as member:
        member.write(rows)
    count = Count(member.rows, exact=True)
    return make_archived(
        table,
        file=member.file,
        rows=member.rows,
        bytes=member.bytes,
        sha256=member.sha256,
        count_before=count,
        count_after=count,
    )


def repacked(data: bytes, changes: Mapping[str, bytes | None]) -> bytes:
    """The same ZIP made anew with some members replaced, added, or left out where None stands."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new:
        members = {name: old.read(name) for name in old.namelist()} | dict(changes)
        for name, text in members.items():
            if text is not None:
                new.writestr(name, text)
    return file.getvalue()
