"""Settings: what can be set, where it is looked for, and every problem with it said at once.

Two variables are enough: `SUPABASE_URL` and `SUPABASE_SECRET_KEY`. Everything else has a default and can be set in
`backupd.toml` or as `BACKUPD_<SECTION>__<NAME>`. The environment is a parameter here, never read from the process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from backupd.config.options import AdminRule, Option, Secret, project_url
from backupd.config.settings import OPTIONS, PROJECT_KEYS, PROJECT_URLS, ProjectSettings, ScheduleSettings
from backupd.config.sources import Problems, find_file, local_zone, read_file, read_key, read_variables
from backupd.errors import ConfigError

__all__ = [
    "OPTIONS",
    "PROJECT_KEYS",
    "AdminRule",
    "Config",
    "Option",
    "ProjectSettings",
    "ScheduleSettings",
    "Secret",
    "example_toml",
    "load_config",
]

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that was set, checked. `origins` says for each option where its value came from."""

    values: Mapping[str, Any]
    origins: Mapping[str, str]
    state_directory: Path
    store_url: str
    key: Secret | None
    key_origin: str | None
    local_zone: ZoneInfo
    warnings: tuple[str, ...] = ()
    file: Path | None = None

    def project(self) -> ProjectSettings:
        """Give the settings of the project. Raises ConfigError when the URL or the key is not set."""
        url = self.values["project.url"]
        missing = [
            *([] if url else ["SUPABASE_URL is not set"]),
            *([] if self.key else ["SUPABASE_SECRET_KEY is not set"]),
        ]
        if not url or not self.key:
            raise ConfigError(
                " and ".join(missing),
                hint="Both are in the Supabase dashboard: Project Settings → Data API, and API Keys. "
                "`backupd demo` needs neither.",
            )
        own = self.section("project")
        return ProjectSettings(**{**own, "key": self.key, "platform": own["platform"] or urlsplit(url).netloc})

    def schedule(self) -> ScheduleSettings:
        """When the daemon does what."""
        own = self.section("schedule")
        return ScheduleSettings(**{**own, "timezone": own["timezone"] or self.local_zone})

    def section(self, name: str) -> dict[str, Any]:
        """The values of one section, by name."""
        return {option.name: self.values[option.key] for option in OPTIONS if option.section == name}

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """Everything that must never be shown."""
        given = [self.values[option.key] for option in OPTIONS if option.secret and self.values[option.key]]
        texts = [text for value in given for text in ([value] if isinstance(value, str) else value)]
        return (*([self.key] if self.key else []), *(Secret(text) for text in texts))


def load_config(
    environ: Mapping[str, str], path: Path | None = None, *, overrides: Mapping[str, Any] | None = None
) -> Config:
    """Read the configuration file and the environment.

    `overrides` are values from the command line, by option key; they win. Raises ConfigError that lists every
    problem: unknown keys and variables, wrong types and values, files that cannot be read.
    """
    problems = Problems()
    file = find_file(environ, path)
    values = {option.key: option.default for option in OPTIONS}
    origins = dict.fromkeys(values, "default")
    layers = (
        (str(file), read_file(file, problems) if file else {}),
        ("environment", _variables(environ, problems)),
        ("command line", dict(overrides or {})),
    )
    for origin, layer in layers:
        values.update(layer)
        origins.update(dict.fromkeys(layer, origin))
    key = read_key(environ, problems)
    state_directory = _state_directory(environ, values["state.directory"])
    problems.raise_if_any()
    return Config(
        values=values,
        origins=origins,
        state_directory=state_directory,
        store_url=values["store.url"] or (state_directory / "archives").as_uri(),
        key=key.secret if key else None,
        key_origin=key.origin if key else None,
        local_zone=local_zone(environ),
        warnings=tuple(_warnings(values)),
        file=file,
    )


def example_toml() -> str:
    """Write the configuration file with every option, its explanation and its default, all commented out."""
    lines = ["# backupd.toml: everything here is optional; SUPABASE_URL and SUPABASE_SECRET_KEY are enough."]
    section = None
    for option in OPTIONS:
        if option.section != section:
            section = option.section
            lines += ["", f"[{section}]"]
        lines += [f"# {option.help}", f"# {option.name} = {option.example}"]
    return "\n".join(lines) + "\n"


def _variables(environ: Mapping[str, str], problems: Problems) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in reversed(PROJECT_URLS):
        if given := environ.get(name, "").strip():
            found.update(problems.collect(name, "project.url", project_url, given))
    return {**found, **read_variables(environ, problems)}


def _state_directory(environ: Mapping[str, str], configured: str | None) -> Path:
    if configured:
        return Path(configured).expanduser().absolute()
    if given := environ.get("STATE_DIRECTORY"):
        return Path(given.split(":")[0])
    data_home = environ.get("XDG_DATA_HOME") or str(Path(environ.get("HOME", "/")) / ".local" / "share")
    return Path(data_home) / "backupd"


def _warnings(values: Mapping[str, Any]) -> list[str]:
    url = values["project.url"]
    if url and url.startswith("http://") and urlsplit(url).hostname not in _LOOPBACK:
        return [f"{url} is not encrypted: whoever listens on the way reads the key and every row"]
    return []
