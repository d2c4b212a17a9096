"""`backupd config`: what is set, and where it came from."""

from __future__ import annotations

import json
from datetime import time
from typing import Any

import click
from rich.table import Table as Grid
from rich.text import Text

from backupd.cli.entrance import Entrance, json_option
from backupd.config import OPTIONS, Option, example_toml
from backupd.config.options import WEEKDAYS, weekday_and_time


@click.command()
@click.option("--example", is_flag=True, help="Print a configuration file with every option explained.")
@json_option
@click.pass_obj
def config(entrance: Entrance, example: bool) -> None:
    """Show every setting and where it came from.

    Settings come from the file, then from BACKUPD_<SECTION>__<NAME> variables, then from the command line. Secrets
    come from SUPABASE_SECRET_KEY, from the file SUPABASE_SECRET_KEY_FILE names, or from a systemd credential.
    """
    if example:
        click.echo(example_toml(), nl=False)
        return
    found = entrance.config
    effective = {option.key: _plain(option, found.values[option.key]) for option in OPTIONS}
    effective |= {
        "store.url": found.store_url,
        "state.directory": str(found.state_directory),
        "schedule.timezone": str(found.schedule().timezone),
    }
    if entrance.as_json:
        entrance.show_json(
            {
                "file": str(found.file) if found.file else None,
                "settings": {key: {"value": value, "from": found.origins[key]} for key, value in effective.items()},
                "key": "set" if found.key else None,
                "warnings": list(found.warnings),
            }
        )
        return
    grid = Grid(box=None, pad_edge=False, header_style="dim")
    for title in ("setting", "value", "from"):
        grid.add_column(title)
    for option in OPTIONS:
        value = effective[option.key]
        shown = "–" if value is None else json.dumps(value, ensure_ascii=False)
        grid.add_row(option.key, Text(shown), Text(found.origins[option.key], style="dim"))
    grid.add_row("the project's key", "set" if found.key else Text("not set", style="yellow"), "")
    entrance.console.print(grid)
    entrance.console.print(f"[dim]file: {found.file or 'none'}[/]")


def _plain(option: Option, value: Any) -> Any:
    """A value as JSON can hold it; a secret only says that it is set."""
    if option.secret:
        return "set" if value else None
    if option.parse is weekday_and_time:
        day, clock = value
        return f"{WEEKDAYS[day]} {clock:%H:%M}"
    if isinstance(value, time):
        return f"{value:%H:%M}"
    return value
