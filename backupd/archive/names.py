"""The names of archives in a store, and of table files inside an archive."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from itertools import accumulate

from backupd.model import BackupType, TableName

STEM_LIMIT_BYTES = 200
"""A longer schema or table name is cut and gets a checksum: file systems end at 255 bytes."""

SCHEMAS_FOLDER = "schemas/"
"""Where the OpenAPI documents of all schemas but the first are, in an archive of several."""

_SLUG_LIMIT = 60
_SAFE_ASCII = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-. ")
_UNSAFE_CATEGORIES = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp", "Zs"})
_RESERVED_ON_WINDOWS = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]) *(\..*)?", re.IGNORECASE | re.DOTALL)


def archive_name(platform: str, backup_type: BackupType, created_at: datetime, backup_id: str) -> str:
    """The archive's name in the store: `<platform-slug>_<type>_<YYYYMMDDTHHMMSSZ>_<first 8 of id>.zip`."""
    instant = created_at.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    return f"{_slug(platform)}_{backup_type}_{instant}_{backup_id[:8]}.zip"


def member_name(table: TableName, taken: Collection[str] = ()) -> str:
    """The table's file in an archive: `tables/<schema>/<table>.json`, safe on every common file system.

    What a file system or a shell would object to is percent-encoded as UTF-8, `%` itself too. Capitals stay, so that
    `BlogPost` can still be found; `taken` holds the `collision_key` of each file already in the archive, and a name
    that Windows or macOS would take for one of those (`Users` and `users`) gets a checksum of the exact table name.
    """
    return next(name for name in _candidates(table) if collision_key(name) not in taken)


def schema_member_name(schema: str) -> str:
    """Where the OpenAPI document of a further schema goes: `schemas/<schema>.json`; the first one is `schema.json`."""
    return f"{SCHEMAS_FOLDER}{_limited(schema)}.json"


def collision_key(file: str) -> str:
    """Equal for two names that a case-insensitive or normalising file system takes for one."""
    return unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", file.upper()).casefold())


def _candidates(table: TableName) -> Iterator[str]:
    folder, stem = f"tables/{_limited(table.schema)}", _limited(table.name)
    yield f"{folder}/{stem}.json"
    checksum = _checksum(f"{table.schema}\0{table.name}")
    for length in (8, 16, 64):
        yield f"{folder}/{stem}~{checksum[:length]}.json"


def _limited(name: str) -> str:
    characters = _encoded(name)
    encoded = "".join(characters)
    if len(encoded.encode()) <= STEM_LIMIT_BYTES:
        return encoded
    suffix = f"~{_checksum(name)[:16]}"
    return _cut(characters, STEM_LIMIT_BYTES - len(suffix)) + suffix


def _cut(characters: list[str], limit_bytes: int) -> str:
    """The longest start that fits and ends between two characters of the table's name."""
    sizes = accumulate(len(character.encode()) for character in characters)
    return "".join(characters[: sum(size <= limit_bytes for size in sizes)])


def _encoded(name: str) -> list[str]:
    """Each character of the name as it is or percent-encoded: percent-decoding gives the name back."""
    last = len(name) - 1
    characters = [
        character if _is_safe(character, at_edge=index in (0, last)) else _percent(character)
        for index, character in enumerate(name)
    ]
    if _RESERVED_ON_WINDOWS.fullmatch(name):
        characters[0] = _percent(name[0])
    return characters


def _is_safe(character: str, *, at_edge: bool) -> bool:
    if character in ". ":
        return not at_edge
    if character.isascii():
        return character in _SAFE_ASCII
    return unicodedata.category(character) not in _UNSAFE_CATEGORIES


def _percent(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _slug(platform: str) -> str:
    plain = unicodedata.normalize("NFKD", platform).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain)[:_SLUG_LIMIT].strip("-") or "backup"
