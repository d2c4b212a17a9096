"""Every setting there is, with its default, and the values they are handed down as."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from backupd.config.options import (
    Option,
    Secret,
    keys_by_table,
    project_url,
    some_texts,
    text,
    texts,
    whole,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectSettings:
    """The project to back up and how to read it. `tables` None means every table the project lists."""

    url: str
    key: Secret
    platform: str
    schemas: tuple[str, ...] = ("public",)
    tables: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    page_rows: int = 1000
    concurrency: int = 4
    max_bytes_per_second: int | None = None


OPTIONS: tuple[Option, ...] = (
    Option(
        "project",
        "url",
        project_url,
        None,
        "The project URL. SUPABASE_URL sets it too.",
        '"https://abcd.supabase.co"',
        takes_text=True,
    ),
    Option(
        "project",
        "platform",
        text,
        None,
        "What the project is called, in file names and on pages. Default: its host.",
        '"Car Audio Competition Platform"',
        takes_text=True,
    ),
    Option(
        "project",
        "schemas",
        some_texts,
        ("public",),
        "Exposed schemas to back up.",
        '["public"]',
    ),
    Option(
        "project",
        "tables",
        some_texts,
        None,
        "Tables to back up. Default: every table the project lists.",
        '["users", "profiles", "cms_pages", "organizations", "payments"]',
    ),
    Option(
        "project",
        "exclude",
        texts,
        (),
        "Tables to leave out.",
        '["audit_log"]',
    ),
    Option(
        "project",
        "keys",
        keys_by_table,
        {},
        "Unique columns of views and of tables whose primary key the project does not tell.",
        '{ standings = ["event_id", "user_id"] }',
    ),
    Option(
        "project",
        "page_rows",
        whole(1, 100_000),
        1000,
        "Most rows to ask for at a time. The project's own cap (API settings, Max rows) may be lower; that is fine.",
        "1000",
    ),
    Option(
        "project",
        "concurrency",
        whole(1, 32),
        4,
        "Requests in flight at the same time.",
        "4",
    ),
    Option(
        "project",
        "max_bytes_per_second",
        whole(1024, 1 << 40),
        None,
        "Read no faster than this. Default: as fast as the project answers.",
        "10_000_000",
    ),
    Option(
        "store",
        "url",
        text,
        None,
        "Where archives are kept. Default: the directory `archives` in the state directory.",
        '"file:///var/lib/backupd/archives"',
        takes_text=True,
    ),
    Option(
        "state",
        "directory",
        text,
        None,
        "Where the catalog, the lock and work in progress are. "
        "Default: $STATE_DIRECTORY under systemd, else ~/.local/share/backupd.",
        '"/var/lib/backupd"',
        takes_text=True,
    ),
)


@dataclass(frozen=True, slots=True)
class SecretName:
    """A secret and what it is for. Read from the variable, from the file `<NAME>_FILE` names, or from a credential."""

    name: str
    help: str


PROJECT_KEYS: tuple[SecretName, ...] = (
    SecretName("SUPABASE_SECRET_KEY", "The project's secret key, sb_secret_…"),
    SecretName("SUPABASE_SERVICE_ROLE_KEY", "The legacy service_role key, where there is no secret key yet"),
    SecretName("VITE_SUPABASE_SERVICE_ROLE_KEY", "The same, as the original platform named it"),
)
"""In the order they are looked for."""

PROJECT_URLS = ("SUPABASE_URL", "VITE_SUPABASE_URL")
