"""`backupd install-service`: make the daemon a service of this machine, showing first what will be done."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import click
from rich.text import Text

import backupd
from backupd.cli.entrance import Entrance
from backupd.cli.service_files import OLDEST_SYSTEMD, Plan, Wanted, below, plan_service, unreachable, write
from backupd.cli.words import caution
from backupd.errors import BackupdError, ExitCode

_FOR_EVERYBODY = "python3 -m venv /opt/backupd && /opt/backupd/bin/pip install backupd"
_SYSTEMD_IS_HERE = Path("/run/systemd/system")
_MACHINE = Path("/")


@click.command("install-service")
@click.option("--instance", metavar="NAME", help="One of several projects on this machine: backupd@NAME.")
@click.option("--store", metavar="DIR", help="Keep archives in DIR, which is not below the state directory.")
@click.option("--root", metavar="DIR", default="/", help="Write below DIR and run nothing: for packages and images.")
@click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def install_service(
    entrance: Entrance, instance: str | None, store: str | None, root: str, dry_run: bool, yes: bool
) -> ExitCode:
    """Make the daemon a systemd service of this machine.

    Shows every file it will write and every command it will run, asks, and then does it. The project's key is never
    asked for: at the end it says where to put it.
    """
    target = Path(root).absolute()
    wanted = Wanted(find_executable(), instance, Path(store) if store else None)
    store_exists = wanted.store is not None and below(target, wanted.store).exists()
    plan = plan_service(wanted, store_exists=store_exists)
    _show(entrance, plan, target)
    problems = [] if target != _MACHINE else list(_obstacles())
    if dry_run:
        for problem in problems:
            entrance.console.print(caution(f"{problem.message}. {problem.hint}"))
        entrance.console.print("Nothing was done.")
        return ExitCode.OK
    if problems:
        raise problems[0]
    if not yes and not _agreed():
        entrance.console.print("Nothing was done.")
        return ExitCode.FAILED
    write(plan, target)
    if target == _MACHINE:
        _run(plan)
    _show_next(entrance, wanted)
    if store_exists:
        entrance.console.print(caution(f"{store} was there before: see to it that the user backupd may write to it."))
    return ExitCode.OK


def find_executable() -> Path:
    """Find the `backupd` that belongs to this interpreter. Raises BackupdError when there is none."""
    executable = Path(sysconfig.get_path("scripts")) / "backupd"
    if not executable.is_file():
        raise BackupdError(f"there is no {executable} to run as a service", hint=f"Install it: {_FOR_EVERYBODY}")
    return executable.absolute()


def _obstacles() -> Iterator[BackupdError]:
    """What keeps the service from being installed here, or from working."""
    programs = (find_executable(), Path(backupd.__file__).parent, Path(sys.executable), Path(sys.base_prefix))
    words = next(unreachable(programs), None)
    if words is not None:
        yield BackupdError(words, hint=f"Install it for everybody: {_FOR_EVERYBODY}")
    if not _SYSTEMD_IS_HERE.is_dir():
        yield BackupdError(
            "systemd does not run this machine", hint="Let what does run it start `backupd run`, and restart it."
        )
    elif (version := _systemd_version()) < OLDEST_SYSTEMD:
        yield BackupdError(
            f"this is systemd {version}, and the service needs {OLDEST_SYSTEMD} or newer",
            hint="Use a newer system, or a unit of your own that runs `backupd run`.",
        )
    if os.geteuid() != 0:
        yield BackupdError("installing a service needs root", hint=f"sudo {find_executable()} install-service")


def _systemd_version() -> int:
    """Read `systemd 252 (252.39-1~deb12u2)`."""
    said = _ran(("systemctl", "--version")).split()
    return int(said[1]) if len(said) > 1 and said[1].isdecimal() else 0


def _show(entrance: Entrance, plan: Plan, target: Path) -> None:
    console = entrance.console
    for directory, mode in plan.directories:
        if not below(target, directory).is_dir():
            console.print(Text.assemble(("make", "bold"), f" {below(target, directory)} ({mode:04o})"))
    for file in plan.files:
        verb = file.verb(target)
        console.print(Text.assemble((verb, "bold"), f" {below(target, file.path)}"))
        if verb in ("write", "replace"):
            console.print(Text("".join(f"  │ {line}\n" for line in file.text.splitlines()), style="dim"), end="")
    for command in plan.commands if target == _MACHINE else ():
        console.print(Text.assemble(("run", "bold"), f" {shlex.join(command)}"))


def _agreed() -> bool:
    if not sys.stdin.isatty():
        raise click.UsageError(
            "install-service asks first, and nobody is there to answer; --yes does it without asking"
        )
    return click.confirm("Do this?", err=True)


def _run(plan: Plan) -> None:
    for command in plan.commands:
        _ran(command)


def _ran(command: tuple[str, ...]) -> str:
    """What a command said. Raises BackupdError when it failed."""
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 - as shown
    except FileNotFoundError as error:
        raise BackupdError(f"there is no {command[0]} here", hint="It is a part of systemd or coreutils.") from error
    except subprocess.CalledProcessError as error:
        raise BackupdError(
            f"{shlex.join(command)} failed: {error.stderr.strip()}", hint="Mend that and run install-service again."
        ) from error


def _show_next(entrance: Entrance, wanted: Wanted) -> None:
    name = wanted.name
    entrance.console.print(Text.assemble(("✓", "green"), f" {name} is installed. Next:"))
    for line in (
        f"1. set url in {wanted.config_file}, and put the project's secret key where only root reads it:",
        f"   install -m 0600 /dev/stdin {wanted.key_file}    (paste it, Enter, Ctrl-D)",
        f"2. systemctl enable --now {name}",
        f"3. journalctl -fu {name}",
    ):
        entrance.console.print(f"  {line}", markup=False)
