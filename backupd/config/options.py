"""One option: its place, its type, its default, and the sentence that explains it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, time
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_HOST = re.compile(r"[A-Za-z0-9_.:-]+")
_RULE = re.compile(r"(?P<place>[A-Za-z_]\w*)\.(?P<name>[A-Za-z_]\w*)\s*=\s*(?P<value>\S(?:.*\S)?)", re.ASCII)
_LEAST_TOKEN_CHARACTERS = 16
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

Parse = Callable[[object], Any]
"""Turns a value as TOML gives it into a setting. Raises ValueError that says what is allowed."""


class Secret:
    """A value that does not show itself: not in a log, not in a traceback, not when printed."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def __repr__(self) -> str:
        return "Secret(…)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def reveal(self) -> str:
        """Give the value, to whoever sends it on."""
        return self._value


@dataclass(frozen=True, slots=True)
class Option:
    """A setting in `backupd.toml` under `[section]`, or in the environment as `BACKUPD_<SECTION>__<NAME>`."""

    section: str
    name: str
    parse: Parse
    default: Any
    help: str
    example: str
    takes_text: bool = False
    secret: bool = False

    @property
    def key(self) -> str:
        """How people name it: `project.page_rows`."""
        return f"{self.section}.{self.name}"

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return f"BACKUPD_{self.section}__{self.name}".upper()

    def parse_variable(self, text: str) -> Any:
        """Read the value from an environment variable: TOML, or plain text, or words separated by commas."""
        if self.takes_text:
            return self.parse(text)
        try:
            value: object = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = [part.strip() for part in text.split(",") if part.strip()]
        others: tuple[object, ...] = (text,) if isinstance(value, list) else ([value], text)
        try:
            return self.parse(value)
        except ValueError:
            for other in others:
                with suppress(ValueError):
                    return self.parse(other)
            raise


def text(value: object) -> str:
    """Any text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        message = "must be a text in quotes"
        raise ValueError(message)
    return value.strip()


def texts(value: object) -> tuple[str, ...]:
    """A list of texts."""
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        message = 'must be a list of texts, such as ["users", "profiles"]'
        raise ValueError(message)
    return tuple(value)


def some_texts(value: object) -> tuple[str, ...]:
    """A list of at least one text."""
    if not (items := texts(value)):
        message = "must not be empty"
        raise ValueError(message)
    return items


def keys_by_table(value: object) -> dict[str, tuple[str, ...]]:
    """A table that gives the key columns of tables."""
    if not isinstance(value, dict):
        message = 'must be a table such as { my_view = ["id"] }'
        raise ValueError(message)
    return {name: some_texts(columns) for name, columns in value.items()}


def flag(value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        message = "must be true or false"
        raise ValueError(message)
    return value


def whole(least: int, most: int) -> Parse:
    """A whole number from `least` to `most`."""

    def parse(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            message = f"must be a whole number from {least:,} to {most:,}"
            raise ValueError(message)
        return value

    return parse


def choices(*allowed: str) -> Parse:
    """A list of words out of `allowed`."""

    def parse(value: object) -> tuple[str, ...]:
        found = texts(value)
        if unknown := [word for word in found if word not in allowed]:
            message = f"must be some of {', '.join(allowed)}, without {', '.join(unknown)}"
            raise ValueError(message)
        return found

    return parse


def local_time(value: object) -> time:
    """A time of day such as `02:00`."""
    try:
        return datetime.strptime(text(value), "%H:%M").time()  # noqa: DTZ007 - a time of day has no zone
    except ValueError as error:
        message = 'must be a time of day such as "02:00"'
        raise ValueError(message) from error


def weekday_and_time(value: object) -> tuple[int, time]:
    """A day of the week and a time such as `sunday 03:00`; Monday is 0."""
    day, _, clock = text(value).partition(" ")
    if day.lower() not in WEEKDAYS:
        message = 'must be a day and a time such as "sunday 03:00"'
        raise ValueError(message)
    return WEEKDAYS.index(day.lower()), local_time(clock or None)


def weekday_and_time_or_off(value: object) -> tuple[int, time] | None:
    """A day of the week and a time, None for `off`."""
    return None if value == "off" else weekday_and_time(value)


def zone(value: object) -> ZoneInfo:
    """A time zone by its name, such as `Europe/Berlin`."""
    try:
        return ZoneInfo(text(value))
    except (ZoneInfoNotFoundError, OSError, ValueError) as error:
        message = 'must be the name of a time zone such as "Europe/Berlin" or "UTC"'
        raise ValueError(message) from error


def address(value: object) -> tuple[str, int] | None:
    """A host and a port such as `127.0.0.1:8787` or `[::1]:8787`; None for `off`."""
    given = text(value)
    if given == "off":
        return None
    host, _, port = given.rpartition(":")
    if not host or not port.isdecimal() or not 0 <= int(port) <= 65535:
        message = 'must be a host and a port such as "127.0.0.1:8787", or "off"'
        raise ValueError(message)
    return host.strip("[]"), int(port)


def base_url(value: object) -> str:
    """Where the pages are for whoever looks at them: scheme and host, perhaps a port."""
    given = text(value).rstrip("/")
    parts = urlsplit(given)
    if parts.scheme not in ("http", "https") or not _HOST.fullmatch(parts.netloc) or parts.path or parts.query:
        message = "must look like https://backups.example.org"
        raise ValueError(message)
    return given


def admin_token(value: object) -> str:
    """A text that nobody guesses."""
    given = text(value)
    if len(given) < _LEAST_TOKEN_CHARACTERS or not given.isascii() or not given.isprintable() or " " in given:
        message = f"must be at least {_LEAST_TOKEN_CHARACTERS} plain characters without spaces: openssl rand -hex 24"
        raise ValueError(message)
    return given


@dataclass(frozen=True, slots=True)
class AdminRule:
    """Which users of the project are admins: `place.name` has to be `value`.

    `place` is `app_metadata`, or a table of the project that has a row for each user.
    """

    place: str
    name: str
    value: str

    def __str__(self) -> str:
        return f"{self.place}.{self.name} = {self.value}"


def admin_rule(value: object) -> AdminRule:
    """A rule such as `app_metadata.role = admin` or `profiles.is_admin = true`."""
    found = _RULE.fullmatch(text(value))
    if found is None:
        message = 'must look like "app_metadata.role = admin" or "profiles.is_admin = true"'
        raise ValueError(message)
    return AdminRule(found["place"], found["name"], found["value"])


def project_url(value: object) -> str:
    """The URL of a Supabase project: scheme and host alone."""
    given = text(value).rstrip("/")
    try:
        parts = urlsplit(given)
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError as error:
        message = f"is not a URL ({error})"
        raise ValueError(message) from error
    if parts.scheme not in ("http", "https") or not _HOST.fullmatch(parts.hostname or "") or not port_is_fine:
        message = "must look like https://abcd.supabase.co"
        raise ValueError(message)
    if parts.path or parts.query or parts.fragment or parts.username:
        message = f"must be the project URL alone, such as {parts.scheme}://{parts.hostname}"
        raise ValueError(message)
    return given
