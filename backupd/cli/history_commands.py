"""`backupd list`, `show`, `pin`: what backups there are."""

from __future__ import annotations

import click
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from backupd.cli.documents import backup_document
from backupd.cli.entrance import Entrance, json_option
from backupd.cli.words import MARKS, age, instant, number, plural, size
from backupd.model import Backup, BackupType, Status

_TYPE_COLOURS = {BackupType.MANUAL: "blue", BackupType.AUTOMATIC: "magenta"}
ID_HELP = "Its id, the beginning of its id, or `latest`."


@click.command(name="list")
@click.option("--type", "backup_type", type=click.Choice([str(kind) for kind in BackupType]), help="Only this type.")
@click.option("--status", type=click.Choice([str(status) for status in Status]), help="Only this status.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="At most so many.")
@json_option
@click.pass_obj
def list_backups(entrance: Entrance, backup_type: str | None, status: str | None, limit: int) -> None:
    """List the backups, newest first."""
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


def _listing(entrance: Entrance, backups: tuple[Backup, ...]) -> Grid:
    grid = Grid(box=None, pad_edge=False, header_style="dim")
    for title in ("id", "created", "type", "status"):
        grid.add_column(title, no_wrap=True)
    for title in ("tables", "rows", "size"):
        grid.add_column(title, justify="right", no_wrap=True)
    grid.add_column("", no_wrap=True)
    now = entrance.clock()
    for backup in backups:
        mark, colour = MARKS[backup.status]
        grid.add_row(
            backup.backup_id[:8],
            f"{instant(backup.created_at)}  [dim]{age(backup.created_at, now)}[/]",
            Text(str(backup.type), style=_TYPE_COLOURS[backup.type]),
            Text(f"{mark} {backup.status}", style=colour),
            number(len(backup.tables)),
            number(backup.total_rows),
            size(backup.size_bytes) if backup.archive else "–",
            Text(", ".join(_notes(backup)), style="dim"),
        )
    return grid


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
    backup = entrance.catalog.backup(id)
    if entrance.as_json:
        entrance.show_json(backup_document(backup))
    else:
        show_backup(entrance.console, entrance, backup)


def show_backup(console: Console, entrance: Entrance, backup: Backup) -> None:
    """Print a backup and what is inside."""
    mark, colour = MARKS[backup.status]
    console.print(
        Text.assemble(("backup ", "dim"), (backup.backup_id, "bold"), "  ", (f"{mark} {backup.status}", colour))
    )
    facts = {
        "project": f"{backup.platform} · {backup.project}",
        "created": f"{instant(backup.created_at)} ({age(backup.created_at, entrance.clock())})",
        "type": f"{backup.type}, by {backup.trigger}" + (", pinned" if backup.pinned else ""),
        "archive": f"{backup.archive} · {size(backup.size_bytes)}" if backup.archive else "none was published",
        "sha256": backup.sha256,
        "verified": instant(backup.verified_at) if backup.verified_at else "not yet: `backupd verify`",
        "missing": f"from the store since {instant(backup.missing_since)}" if backup.missing_since else None,
        "error": backup.error,
    }
    for name, value in facts.items():
        if value:
            console.print(Text.assemble((f"{name:<9} ", "dim"), value))
    console.print()
    if backup.tables:
        console.print(_tables(backup))
    for warning in backup.warnings:
        console.print(Text.assemble(("! ", "yellow"), warning))


def _tables(backup: Backup) -> Grid:
    grid = Grid(box=None, pad_edge=False, header_style="dim", show_footer=True, footer_style="dim")
    grid.add_column("table", footer=plural(len(backup.tables), "table"))
    grid.add_column("rows", justify="right", footer=number(backup.total_rows))
    grid.add_column("size", justify="right", footer=size(sum(table.bytes for table in backup.tables)))
    grid.add_column("walked by")
    grid.add_column("sha256")
    grid.add_column("")
    for table in backup.tables:
        mark, colour = MARKS[table.status]
        note = Text(f"{mark} {table.status}: {table.message}" if table.message else mark, style=colour)
        checksum = table.sha256[:12] if table.sha256 else "–"
        grid.add_row(table.name, number(table.rows), size(table.bytes), str(table.paging or "–"), checksum, note)
    return grid


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
