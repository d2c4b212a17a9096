"""What is measured: a name and a command line for each, given a project and an empty directory."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from backupd.sandbox.binaries import find_binaries
from tests.benchmarks.data import PAGE_ROWS, BenchProject

BARE = "bare keyset fetch"
COMMAND = "`backupd backup`, verified and published"
RECIPE = "`run_backup` in-process"
USUAL = "`.range()` + `.execute()` + `zipfile` script"
DUMP = "`pg_dump -Fc`"
COPY = "`COPY` as CSV"

_USUAL_ROWS = 200_000
"""Beyond this the usual script takes minutes: each page counts off all rows before it."""


@dataclass(frozen=True, slots=True)
class Order:
    """A command to be measured, with what it finds in its environment."""

    command: Sequence[str]
    environ: Mapping[str, str] = field(default_factory=dict)


Subject = Callable[[BenchProject, Path], Order]


def subjects(rows: int, *, full: bool) -> dict[str, Subject]:
    """What to measure at so many rows, by name; `full` also what takes minutes."""
    wanted: dict[str, Subject] = {BARE: _bare, COMMAND: _command, RECIPE: _recipe}
    if full or rows <= _USUAL_ROWS:
        wanted[USUAL] = _usual
    return {**wanted, DUMP: _dump, COPY: _copy}


def _bare(project: BenchProject, _: Path) -> Order:
    return _module("bare", project.url, project.key, PAGE_ROWS, *project.layout.names)


def _command(project: BenchProject, directory: Path) -> Order:
    environ = {"HOME": str(directory), "SUPABASE_URL": project.url, "SUPABASE_SECRET_KEY": project.key}
    return Order((sys.executable, "-m", "backupd", "backup", "--json"), environ)


def _recipe(project: BenchProject, directory: Path) -> Order:
    return _module("recipe", project.url, project.key, directory)


def _usual(project: BenchProject, directory: Path) -> Order:
    return _module("usual", project.url, project.key, directory / "backup.zip", PAGE_ROWS, *project.layout.names)


def _dump(project: BenchProject, directory: Path) -> Order:
    program = find_binaries() / "pg_dump"
    return Order((str(program), "-Fc", "--file", str(directory / "dump"), project.database_url))


def _copy(project: BenchProject, directory: Path) -> Order:
    program = find_binaries() / "psql"
    copies = [f"\\copy {table} to '{directory / table}.csv' with (format csv)" for table in project.layout.names]
    commands = [part for copy in copies for part in ("--command", copy)]
    return Order((str(program), "--quiet", "--no-psqlrc", *commands, project.database_url))


def _module(name: str, *arguments: object) -> Order:
    return Order((sys.executable, "-m", f"{__package__}.{name}", *map(str, arguments)))
