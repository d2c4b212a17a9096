"""`backupd monitoring`: write out what Prometheus, Alertmanager and Grafana need."""

from __future__ import annotations

from pathlib import Path

import click
from rich.text import Text

from backupd.cli.entrance import Entrance, json_option
from backupd.monitoring import FILES, write_out


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace files that are there and differ.")
@json_option
@click.pass_obj
def monitoring(entrance: Entrance, directory: Path, force: bool) -> None:
    r"""Write a scrape configuration, alert rules and a dashboard to DIR.

    \b
    Files:
      prometheus.yml          how Prometheus scrapes this daemon and loads the rules
      alerts.yml              the alert rules
      alertmanager.yml        an example of who is told of what
      grafana-dashboard.json  for Dashboards, New, Import in Grafana

    Files that are there and differ stay as they are, unless --force is given. Needs no configuration.
    """
    written = write_out(directory, force=force)
    if entrance.as_json:
        entrance.show_json({"directory": str(directory), "written": [path.name for path in written]})
        return
    for path in (directory / name for name in FILES):
        mark, word = (("✓", "green"), "") if path in written else (("=", "dim"), "  (was there)")
        entrance.console.print(Text.assemble(mark, f" {path}", (word, "dim")))
    entrance.console.print("\nTry it: promtool check config", Text(str(directory / "prometheus.yml")))
