"""Where archives are kept: the protocol, and a directory."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from backupd.errors import ConfigError
from backupd.store.directory import DirectoryStore
from backupd.store.names import check_name
from backupd.store.protocol import Store

__all__ = ["DirectoryStore", "Store", "check_name", "open_store"]

_ALLOWED = "a directory, as file:///absolute/path or as a bare path"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")


def open_store(url: str) -> Store:
    """Open the store that `url` names; a directory that does not exist is made.

    Raises `ConfigError` for what is not the URL of a store, without repeating it: it may hold credentials. Raises
    `StoreError` when the directory cannot be made.
    """
    scheme = _SCHEME.match(url)
    if scheme is None:
        return DirectoryStore(_bare_path(url))
    if scheme[1].lower() != "file":
        raise ConfigError(
            f"the store's URL begins with {scheme[1]}:, and no such store is known", hint=f"use {_ALLOWED}"
        )
    return DirectoryStore(_path_of(url))


def _bare_path(text: str) -> Path:
    if not text or "\0" in text:
        raise ConfigError("the store's URL is empty or holds a NUL", hint=f"use {_ALLOWED}")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"the store's path {text} names an unknown home directory", hint=f"use {_ALLOWED}") from error


def _path_of(url: str) -> Path:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ConfigError("the store's URL cannot be understood", hint=f"use {_ALLOWED}") from error
    path = unquote(parts.path)
    if (
        parts.netloc not in {"", "localhost"}
        or parts.query
        or parts.fragment
        or not path.startswith("/")
        or "\0" in path
    ):
        raise ConfigError(
            "the store's file: URL is not that of a directory of this machine",
            hint=f"use {_ALLOWED}, with ? and # written as %3F and %23",
        )
    return Path(path)
