"""Where settings come from: the file, the environment, secret files and systemd credentials."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from backupd.config.options import Option, Secret
from backupd.config.settings import OPTIONS, PROJECT_KEYS
from backupd.errors import ConfigError

_PREFIX = "BACKUPD_"
_CONFIG_VARIABLE = "BACKUPD_CONFIG"
_TEST_PREFIX = "BACKUPD_TEST_"
_OF_ONE_COMMAND = frozenset({"BACKUPD_RESTORE_URL", "BACKUPD_RESTORE_KEY", "BACKUPD_RESTORE_KEY_FILE"})
_LOOKS_SECRET = re.compile(r"(?<=://)[^/@\s]*(?=@)|sb_secret_\S*|\beyJ[\w-]+\.\S*")
_SECRET_WORDS = ("key", "token", "password", "secret")
_LONGEST_SHOWN = 60
_MOST_SECRET_BYTES = 64 << 10
_IN_A_HEADER = re.compile(r"[\w.+/=~-]+", re.ASCII)


class Problems:
    """Collects what is wrong, so that a person mends everything in one go."""

    def __init__(self) -> None:
        self._found: list[str] = []

    def add(self, where: str, what: str) -> None:
        """Note that `where` (an option, a variable, a file) is wrong, and what is allowed."""
        self._found.append(f"{where} {what}")

    def collect(
        self, where: str, key: str, parse: Callable[[Any], Any], given: object, *, secret: bool = False
    ) -> dict[str, Any]:
        """Parse a value; an empty dict and a noted problem when it is not allowed."""
        try:
            return {key: parse(given)}
        except ValueError as error:
            if secret:
                self.add(where, "is set to something that is not allowed; it " + str(error))
                return {}
            # Someone may have put the key, or a password, where the URL belongs.
            words = _LOOKS_SECRET.sub("[redacted]", str(given))
            shown = words if len(words) <= _LONGEST_SHOWN else f"{words[:_LONGEST_SHOWN]}…"
            self.add(where, f"is {shown!r}; it {error}")
            return {}

    def raise_if_any(self) -> None:
        """Raise ConfigError with everything that was noted."""
        if not self._found:
            return
        hint = "`backupd config --example` shows every option."
        if len(self._found) == 1:
            raise ConfigError(f"the configuration has a problem: {self._found[0]}", hint=hint)
        lines = "".join(f"\n  {line}" for line in self._found)
        raise ConfigError(f"the configuration has {len(self._found)} problems:{lines}", hint=hint)


def find_file(environ: Mapping[str, str], path: Path | None) -> Path | None:
    """Find the configuration file: the one asked for, which must exist, or the first of the usual places."""
    asked = path or (Path(environ[_CONFIG_VARIABLE]) if environ.get(_CONFIG_VARIABLE) else None)
    if asked is not None:
        if not asked.is_file():
            raise ConfigError(
                f"there is no configuration file {asked}",
                hint="Leave out --config and BACKUPD_CONFIG to use the defaults, or make one: "
                "backupd config --example > backupd.toml",
            )
        return asked
    config_home = environ.get("XDG_CONFIG_HOME") or str(Path(environ.get("HOME", "/")) / ".config")
    usual = (Path("/etc/backupd/backupd.toml"), Path(config_home) / "backupd" / "backupd.toml")
    return next((file for file in usual if file.is_file()), None)


def read_file(file: Path, problems: Problems) -> dict[str, Any]:
    """Read the settings of a TOML file, by option key."""
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}", hint="Check its owner and mode.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{file} is not valid TOML: {error}", hint="Texts go in quotes; `backupd config --example` shows how."
        ) from error
    by_key = {option.key: option for option in OPTIONS}
    found: dict[str, Any] = {}
    for section, members in document.items():
        if not isinstance(members, dict):
            problems.add(f"{file}: {section}", _unknown(section, by_key))
            continue
        for name, given in members.items():
            key = f"{section}.{name}"
            if key in by_key:
                option = by_key[key]
                found.update(problems.collect(f"{file}: {key}", key, option.parse, given, secret=option.secret))
            else:
                problems.add(f"{file}: {key}", _unknown(key, by_key))
    return found


def read_variables(environ: Mapping[str, str], problems: Problems) -> dict[str, Any]:
    """Read the `BACKUPD_…` variables, by option key."""
    by_variable = {option.variable: option for option in OPTIONS}
    files = {f"{option.variable}_FILE" for option in OPTIONS if option.secret}
    known_otherwise = {_CONFIG_VARIABLE, *_OF_ONE_COMMAND, *files}
    found = _secret_settings(environ, problems)
    for name, given in sorted(environ.items()):
        if not name.startswith(_PREFIX) or name.startswith(_TEST_PREFIX) or name in known_otherwise:
            continue
        option = by_variable.get(name)
        if option is None:
            problems.add(name, _unknown(name, by_variable))
        else:
            found.update(problems.collect(name, option.key, option.parse_variable, given, secret=option.secret))
    return found


def _secret_settings(environ: Mapping[str, str], problems: Problems) -> dict[str, Any]:
    """Settings that are secrets, from the file a `_FILE` variable names or from a credential such as `notify_urls`."""
    found: dict[str, Any] = {}
    for option in OPTIONS:
        if not option.secret:
            continue
        secret = read_secret(option.variable, {**environ, option.variable: ""}, problems) or read_secret(
            f"{option.section}_{option.name}", environ, problems
        )
        if secret is not None:
            words = ",".join(secret.reveal().split())
            found.update(problems.collect(option.key, option.key, option.parse_variable, words, secret=True))
    return found


def local_zone(environ: Mapping[str, str], link: Path = Path("/etc/localtime")) -> ZoneInfo:
    """The machine's time zone by name: `TZ`, else what /etc/localtime points to, else UTC."""
    candidates = [environ.get("TZ", "").removeprefix(":"), str(link.resolve()).partition("zoneinfo/")[2]]
    for name in candidates:
        if name:
            try:
                return ZoneInfo(name)
            except (ZoneInfoNotFoundError, OSError, ValueError):
                continue
    return ZoneInfo("UTC")


@dataclass(frozen=True, slots=True)
class Given:
    """A secret and where it was given: the name of a variable or of a credential."""

    secret: Secret
    origin: str


def read_key(environ: Mapping[str, str], problems: Problems) -> Given | None:
    """Read the project's key from the first place that has one; notes what cannot be a key whatever project it is."""
    directory = environ.get("CREDENTIALS_DIRECTORY")
    if directory and not Path(directory).is_dir():
        problems.add("CREDENTIALS_DIRECTORY", f"names a directory that is not there: {directory}")
    given = next((found for known in PROJECT_KEYS if (found := read_given(known.name, environ, problems))), None)
    if given is not None and not _IN_A_HEADER.fullmatch(given.secret.reveal()):
        problems.add(given.origin, "holds more than a key: white space, quotes, or characters that no key has")
    return given


def read_secret(name: str, environ: Mapping[str, str], problems: Problems) -> Secret | None:
    """Read a secret from wherever it is given."""
    given = read_given(name, environ, problems)
    return given.secret if given else None


def read_given(name: str, environ: Mapping[str, str], problems: Problems) -> Given | None:
    """Read a secret from its variable, the file its `_FILE` variable names, or the systemd credential of its name."""
    if given := environ.get(name, "").strip():
        return Given(Secret(given), name)
    if file := environ.get(f"{name}_FILE"):
        return _secret_from(Path(file), f"{name}_FILE", problems)
    if directory := environ.get("CREDENTIALS_DIRECTORY"):
        for candidate in (Path(directory) / name, Path(directory) / name.lower()):
            if candidate.is_file():
                return _secret_from(candidate, f"the credential {candidate.name}", problems)
    return None


def _secret_from(file: Path, where: str, problems: Problems) -> Given | None:
    try:
        with file.open("rb") as opened:
            value = opened.read(_MOST_SECRET_BYTES).decode().strip()
    except OSError as error:
        problems.add(where, f"cannot be read: {file}: {error.strerror}")
        return None
    except UnicodeDecodeError:
        problems.add(where, f"is not text: {file}")
        return None
    if not value:
        problems.add(where, f"is empty: {file}")
        return None
    return Given(Secret(value), where)


def _unknown(name: str, known: Mapping[str, Option]) -> str:
    if "." in name and any(word in name.rpartition(".")[2].lower() for word in _SECRET_WORDS):
        names = " or ".join(secret.name for secret in PROJECT_KEYS[:2])
        return f"does not go into the file; set {names}, or its _FILE variant, or a systemd credential"
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"is not a setting; did you mean {close[0]}?" if close else "is not a setting"
