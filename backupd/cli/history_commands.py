"""`backupd list`, `show`, `pin`: what backups there are."""

from __future__ import annotations

from datetime import datetime
from typing import TypeVar

import click
from rich.text import Text

from backupd.cli.columns import columns
from backupd.cli.documents import backup_document
from backupd.cli.entrance import Entrance, json_option
from backupd.cli.words import MARKS, age, caution, instant, moment, number, place, plural, size
from backupd.model import Backup, BackupType, Status

_Cell = TypeVar("_Cell")
_ROOMY_COLUMNS = 110
_TYPE_COLOURS = {BackupType.MANUAL: "blue", BackupType.AUTOMATIC: "magenta"}
ID_HELP = "Its id, the beginning of its id, or `latest`."


@click.command(name="list")
@click.option("--type", "backup_type", type=click.Choice([str(kind) for kind in BackupType]), help="Only this type.")
@click.option("--status", type=click.Choice([str(status) for status in Status]), help="Only this status.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the newest N.")
@json_option
@click.pass_obj
def list_backups(entrance: Entrance, backup_type: str | None, status: str | None, limit: int | None) -> None:
    """List the backups, newest first."""
    _settle(entrance)
    found = entrance.catalog.backups(
        type=BackupType(backup_type) if backup_type else None,
        status=Status(status) if status else None,
        limit=limit,
        with_tables=True,
    )
    if entrance.as_json:
        entrance.show_json({"backups": [backup_document(backup) for backup in found]})
    elif not found:
        entrance.console.print("No backups yet. `backupd backup` takes one; `backupd rescan` finds those in the store.")
    else:
        entrance.console.print(_listing(entrance, found))


def _settle(entrance: Entrance) -> None:
    """Let no backup pass for one that is in progress when its process has died."""
    if entrance.catalog.backups(status=Status.IN_PROGRESS, limit=1):
        entrance.runner.settle()


def _listing(entrance: Entrance, backups: tuple[Backup, ...]) -> Text:
    now, roomy = entrance.clock(), entrance.console.columns >= _ROOMY_COLUMNS
    titles: tuple[str, ...] = ("id", "created", "", "type", "status", "tables", "rows", "size", "")
    rows = [_row(backup, now) for backup in backups]
    if not roomy:
        # What a narrow terminal has no room for, `show` tells.
        titles, rows = _narrow(titles), [_narrow(row) for row in rows]
    return columns(titles, rows, right={"tables", "rows", "size"})


def _row(backup: Backup, now: datetime) -> tuple[str | Text, ...]:
    mark, colour = MARKS[backup.status]
    return (
        backup.backup_id[:8],
        moment(backup.created_at),
        Text(age(backup.created_at, now), style="dim"),
        Text(str(backup.type), style=_TYPE_COLOURS[backup.type]),
        Text(f"{mark} {backup.status}", style=colour),
        number(len(backup.tables)),
        number(backup.total_rows),
        size(backup.size_bytes) if backup.archive else "–",
        Text(", ".join(_notes(backup)), style="dim"),
    )


def _narrow(cells: tuple[_Cell, ...]) -> tuple[_Cell, ...]:
    """Leave out the age and the number of tables."""
    return (*cells[:2], *cells[3:5], *cells[6:])


def _notes(backup: Backup) -> list[str]:
    return [
        *(["pinned"] if backup.pinned else []),
        *(["missing from the store"] if backup.missing_since else []),
        *(["not verified"] if backup.archive and not backup.verified_at else []),
        *(["being deleted"] if backup.deleting else []),
        *([backup.error] if backup.error else []),
    ]


@click.command(help=f"Show one backup and its tables.\n\nID: {ID_HELP}")
@click.argument("id", default="latest", metavar="[ID]")
@json_option
@click.pass_obj
def show(entrance: Entrance, id: str) -> None:  # noqa: A002 - the name of the argument
    """Show one backup and its tables."""
    _settle(entrance)
    backup = entrance.catalog.backup(id)
    if entrance.as_json:
        entrance.show_json(backup_document(backup))
    else:
        show_backup(entrance, backup)


def show_backup(entrance: Entrance, backup: Backup) -> None:
    """Print a backup and what is inside."""
    console, (mark, colour) = entrance.console, MARKS[backup.status]
    console.print(
        Text.assemble(("backup ", "dim"), (backup.backup_id, "bold"), "  ", (f"{mark} {backup.status}", colour))
    )
    for name, value in _facts(entrance, backup).items():
        if value:
            console.print(Text.assemble((f"{name:<9} ", "dim"), value))
    console.print()
    if backup.tables:
        console.print(_tables(backup))
    for warning in backup.warnings:
        console.print(caution(warning))


def _facts(entrance: Entrance, backup: Backup) -> dict[str, str | None]:
    where = place(entrance.config.store_url, backup.archive) if backup.archive else None
    verified = instant(backup.verified_at) if backup.verified_at else "not yet: `backupd verify`"
    return {
        "project": " · ".join(dict.fromkeys((backup.platform, backup.project))),
        "created": f"{instant(backup.created_at)} ({age(backup.created_at, entrance.clock())})",
        "type": f"{backup.type}, by {backup.trigger}" + (", pinned" if backup.pinned else ""),
        "archive": where or "none was published",
        "size": size(backup.size_bytes) if where else None,
        "sha256": backup.sha256,
        "verified": verified if where else None,
        "missing": f"from the store since {instant(backup.missing_since)}" if backup.missing_since else None,
        "error": backup.error,
    }


def _tables(backup: Backup) -> Text:
    rows: list[tuple[str | Text, ...]] = []
    for table in backup.tables:
        mark, colour = MARKS[table.status]
        note = Text(f"{mark} {table.status}: {table.message}" if table.message else mark, style=colour)
        checksum = table.sha256[:12] if table.sha256 else "–"
        rows.append((table.name, number(table.rows), size(table.bytes), str(table.paging or "–"), checksum, note))
    raw_bytes = size(sum(table.bytes for table in backup.tables))
    totals = (plural(len(backup.tables), "table"), number(backup.total_rows), raw_bytes)
    footer = tuple(Text(total, style="dim") for total in totals)
    titles = ("table", "rows", "size", "walked by", "sha256", "")
    return columns(titles, [*rows, (*footer, "", "", "")], right={"rows", "size"})


@click.command(help=f"Keep a backup whatever its age; --off lets it expire again.\n\nID: {ID_HELP}")
@click.argument("id", metavar="ID")
@click.option("--off", is_flag=True, help="Unpin it.")
@json_option
@click.pass_obj
def pin(entrance: Entrance, id: str, off: bool) -> None:  # noqa: A002 - click's way
    """Keep a backup whatever its age."""
    backup = entrance.catalog.backup(id)
    entrance.catalog.set_pinned(backup.backup_id, not off)
    if entrance.as_json:
        entrance.show_json(backup_document(entrance.catalog.backup(backup.backup_id)))
    else:
        words = "is no longer pinned" if off else "is pinned: no cleanup removes it"
        entrance.console.print(f"{backup.backup_id[:8]} {words}.")
