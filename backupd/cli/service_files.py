"""The files that make backupd a service, filled in for one machine: what goes where, and what keeps it from working."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from backupd.config import example_toml
from backupd.errors import BackupdError, ConfigError

OLDEST_SYSTEMD = 252
"""The units find secrets in /etc/credstore, which older ones do not know."""

_PACKAGE = Path(__file__).parent.parent
_INSTALLED, _CHECKOUT = _PACKAGE / "systemd", _PACKAGE.parent / "systemd"
_SHIPPED_EXECUTABLE = "/opt/backupd/bin/backupd"
_SHIPPED_STORE = "/srv/backupd"
_PLAIN_PATH = re.compile(r"/[\w./+-]+", re.ASCII)
_PLAIN_NAME = re.compile(r"[a-z0-9][\w.-]*", re.ASCII | re.IGNORECASE)
HIDDEN = {
    "/home": "in a home directory, which the service cannot see",
    "/root": "in a home directory, which the service cannot see",
    "/run/user": "in a home directory, which the service cannot see",
    "/tmp": "among temporary files, which the service cannot see",  # noqa: S108 - to refuse it
    "/var/tmp": "among temporary files, which the service cannot see",  # noqa: S108 - to refuse it
}
"""Where `ProtectHome=` and `PrivateTmp=` let nothing be seen."""
_ETC = Path("/etc")
_PUBLIC_FILE, _PUBLIC_DIRECTORY, _PRIVATE_DIRECTORY = 0o644, 0o755, 0o700


@dataclass(frozen=True, slots=True)
class Wanted:
    """The service to install: which program, for which of several projects, with archives where."""

    executable: Path
    instance: str | None = None
    store: Path | None = None

    def __post_init__(self) -> None:
        """Raise ConfigError for what systemd would read as something else."""
        if self.instance is not None and not _PLAIN_NAME.fullmatch(self.instance):
            raise ConfigError(
                f"{self.instance!r} is no name for an instance", hint="Use letters, digits, `-`, `_` and `.`: shop"
            )
        for what, path in (("the store", self.store), ("the program", self.executable)):
            if path is not None and not _PLAIN_PATH.fullmatch(str(path)):
                raise ConfigError(
                    f"{what} cannot be at {str(path)!r} in a unit file",
                    hint="Use an absolute path of letters, digits, `-`, `_`, `.`, `+` and `/`.",
                )

    @property
    def name(self) -> str:
        """What `systemctl` calls it."""
        return f"backupd@{self.instance}" if self.instance else "backupd"

    @property
    def config_file(self) -> Path:
        """The configuration of this service."""
        return _ETC / "backupd" / f"{self.instance or 'backupd'}.toml"

    @property
    def key_file(self) -> Path:
        """Where the project's secret key goes."""
        return _ETC / "credstore" / f"{self.name}.SUPABASE_SECRET_KEY"


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file to write. One that people edit (`theirs`) is written only where there is none."""

    path: Path
    text: str
    theirs: bool = False

    def verb(self, root: Path) -> str:
        """What would be done with it below `root`: write, replace, leave unchanged, or leave because it is theirs."""
        file = below(root, self.path)
        if not file.exists():
            return "write"
        if self.theirs:
            return "leave"
        return "unchanged" if file.read_text(encoding="utf-8") == self.text else "replace"


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that is going to be done, in this order."""

    directories: tuple[tuple[Path, int], ...]
    files: tuple[PlannedFile, ...]
    commands: tuple[tuple[str, ...], ...]


def plan_service(wanted: Wanted, *, store_exists: bool = False) -> Plan:
    """Plan the installation of a service. An existing store is left to its owner."""
    files = [_unit(wanted), PlannedFile(wanted.config_file, example_toml(), theirs=True)]
    commands: list[tuple[str, ...]] = []
    if wanted.store is not None:
        sysusers = _ETC / "sysusers.d" / "backupd.conf"
        files += [_store_drop_in(wanted, wanted.store), PlannedFile(sysusers, shipped("sysusers.conf"))]
        commands.append(("systemd-sysusers", str(sysusers)))
        if not store_exists:
            owned = ("-m", "0700", "-o", "backupd", "-g", "backupd")
            commands.append(("install", "-d", *owned, str(wanted.store)))
    commands.append(("systemctl", "daemon-reload"))
    directories = ((wanted.config_file.parent, _PUBLIC_DIRECTORY), (wanted.key_file.parent, _PRIVATE_DIRECTORY))
    return Plan(directories, tuple(files), tuple(commands))


def write(plan: Plan, root: Path) -> None:
    """Make the directories and files of a plan below `root`. Raises BackupdError when one cannot be made."""
    umask = os.umask(0o022)  # the service reads the configuration as somebody else, whatever root's umask is
    try:
        for directory, mode in plan.directories:
            below(root, directory).parent.mkdir(parents=True, exist_ok=True)
            below(root, directory).mkdir(mode=mode, exist_ok=True)
        for file in plan.files:
            if file.verb(root) in ("write", "replace"):
                _write_whole(below(root, file.path), file.text)
    except OSError as error:
        raise BackupdError(
            f"{error.filename} cannot be written: {error.strerror}", hint="Mend that and run install-service again."
        ) from error
    finally:
        os.umask(umask)


def below(root: Path, path: Path) -> Path:
    """An absolute path, as seen from outside of `root`."""
    return root / path.relative_to("/")


def shipped(name: str) -> str:
    """The text of one of the shipped files: beside the modules in a wheel, at the top of a checkout."""
    directory = _INSTALLED if _INSTALLED.is_dir() else _CHECKOUT
    return (directory / name).read_text(encoding="utf-8")


def unreachable(paths: tuple[Path, ...], hidden: Mapping[str, str] = HIDDEN) -> Iterator[str]:
    """Say of each path that the service could not use, why: where it is, or the mode of a directory above it."""
    for path in dict.fromkeys(place for given in paths for place in (given, given.resolve())):
        reason = next((words for place, words in hidden.items() if path.is_relative_to(place)), None)
        if reason is not None:
            yield f"{path} is {reason}"
        elif (closed := next((place for place in (path, *path.parents) if not _is_open(place)), None)) is not None:
            yield f"{path} cannot be used by the service: others may not enter {closed}"


def _is_open(path: Path) -> bool:
    return bool(path.stat().st_mode & 0o001)


def _unit(wanted: Wanted) -> PlannedFile:
    name = "backupd@.service" if wanted.instance else "backupd.service"
    text = shipped(name).replace(f"ExecStart={_SHIPPED_EXECUTABLE} ", f"ExecStart={wanted.executable} ")
    return PlannedFile(_ETC / "systemd" / "system" / name, text)


def _store_drop_in(wanted: Wanted, store: Path) -> PlannedFile:
    text = shipped("store.conf").replace(_SHIPPED_STORE, str(store))
    return PlannedFile(_ETC / "systemd" / "system" / f"{wanted.name}.service.d" / "store.conf", text)


def _write_whole(file: Path, text: str) -> None:
    """Write beside it and rename: systemd never reads half a unit."""
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            opened.write(text)
            os.fchmod(opened.fileno(), _PUBLIC_FILE)
        Path(temporary).replace(file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
