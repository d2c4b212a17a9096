"""What Prometheus, Alertmanager and Grafana need to watch backupd: files, written out to where they are wanted."""

from __future__ import annotations

import tempfile
from importlib.resources import files
from pathlib import Path

from backupd.errors import BackupdError

FILES = ("prometheus.yml", "alerts.yml", "alertmanager.yml", "grafana-dashboard.json")
"""The files there are: a scrape configuration, alert rules, an example of who to tell, and a dashboard."""

_READABLE_BY_ALL = 0o644


class WillNotOverwrite(BackupdError):
    """A file of that name is there and says something else: somebody may have made it their own."""


def write_out(directory: Path, *, force: bool = False) -> tuple[Path, ...]:
    """Write the files to `directory`, made when it is not there, and return those that were not there as they are.

    A file that differs is replaced only with `force`; without it nothing at all is written and WillNotOverwrite names
    every such file. Raises BackupdError when the directory cannot be written to.
    """
    try:
        return _write_out(directory, force=force)
    except OSError as error:
        raise BackupdError(
            f"{error.filename or directory} cannot be written: {error.strerror}",
            hint="Name a directory that this user may write to.",
        ) from error


def _write_out(directory: Path, *, force: bool) -> tuple[Path, ...]:
    wanted = {directory / name: (files(__name__) / name).read_bytes() for name in FILES}
    differing = [path for path, content in wanted.items() if not _is(path, content)]
    in_the_way = [path for path in differing if path.exists()]
    if in_the_way and not force:
        names = ", ".join(path.name for path in in_the_way)
        raise WillNotOverwrite(
            f"{directory} has other versions of {names}; nothing was written",
            hint="Name another directory and compare, or give --force to replace them.",
        )
    directory.mkdir(parents=True, exist_ok=True)
    for path in differing:
        _replace(path, wanted[path])
    return tuple(differing)


def _is(path: Path, content: bytes) -> bool:
    return path.exists() and path.read_bytes() == content


def _replace(path: Path, content: bytes) -> None:
    """Write whole or not at all: Prometheus may be reading the old one."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        temporary = Path(file.name)
        try:
            file.write(content)
            file.flush()
            temporary.chmod(_READABLE_BY_ALL)
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
