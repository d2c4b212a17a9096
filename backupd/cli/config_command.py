"""`backupd config`: what is set, and where it came from."""

from __future__ import annotations

import json
from datetime import time
from typing import Any

import click
from rich.text import Text

from backupd.cli.columns import columns
from backupd.cli.entrance import Entrance, json_option
from backupd.cli.words import caution
from backupd.config import OPTIONS, AdminRule, Option, example_toml
from backupd.config.options import WEEKDAYS, weekday_and_time, weekday_and_time_or_off


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
                "key": {"value": "set" if found.key else None, "from": found.key_origin},
                "warnings": list(found.warnings),
            }
        )
        return
    rows: list[tuple[str | Text, ...]] = []
    for key, value in effective.items():
        shown = "–" if value is None else json.dumps(value, ensure_ascii=False)
        rows.append((key, shown, Text(found.origins[key], style="dim")))
    key_shown = "set" if found.key else Text("not set", style="yellow")
    rows.append(("the project's key", key_shown, Text(found.key_origin or "", style="dim")))
    entrance.console.print(columns(("setting", "value", "from"), rows))
    entrance.console.print(Text(f"file: {found.file or 'none'}", style="dim"))
    for warning in found.warnings:
        entrance.console.print(caution(warning))


def _plain(option: Option, value: Any) -> Any:
    """A value as JSON can hold it; a secret only says that it is set."""
    if option.secret:
        return "set" if value else None
    if option.parse in (weekday_and_time, weekday_and_time_or_off):
        if value is None:
            return "off"
        day, clock = value
        return f"{WEEKDAYS[day]} {clock:%H:%M}"
    if isinstance(value, AdminRule):
        return str(value)
    if isinstance(value, time):
        return f"{value:%H:%M}"
    return value
