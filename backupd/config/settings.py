"""Every setting there is, with its default, and the values they are handed down as."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import time
from zoneinfo import ZoneInfo

from backupd.config.options import (
    Option,
    Secret,
    address,
    admin_rule,
    admin_token,
    base_url,
    choices,
    flag,
    keys_by_table,
    local_time,
    project_url,
    some_texts,
    text,
    texts,
    weekday_and_time,
    weekday_and_time_or_off,
    whole,
    zone,
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleSettings:
    """When the daemon does what. Weekly jobs are a day of the week (Monday is 0) and a local time."""

    timezone: ZoneInfo
    daily_backup: time = time(2)
    weekly_cleanup: tuple[int, time] = (6, time(3))
    weekly_drill: tuple[int, time] | None = (6, time(4))
    catch_up: bool = True
    retries: int = 3
    deadline_hours: int = 12
    stall_minutes: int = 15


NOTABLE = ("failed", "partial", "stale", "recovered")
"""What can be worth a message."""

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
        "schedule",
        "timezone",
        zone,
        None,
        "The time zone of the times below. Default: this machine's.",
        '"Europe/Berlin"',
        takes_text=True,
    ),
    Option(
        "schedule",
        "daily_backup",
        local_time,
        time(2),
        "When to back up, every day.",
        '"02:00"',
        takes_text=True,
    ),
    Option(
        "schedule",
        "weekly_cleanup",
        weekday_and_time,
        (6, time(3)),
        "When to remove what has expired. It is also done at every start.",
        '"sunday 03:00"',
        takes_text=True,
    ),
    Option(
        "schedule",
        "weekly_drill",
        weekday_and_time_or_off,
        (6, time(4)),
        'When to rehearse a restore of the last good backup, where this machine can; "off" for never.',
        '"sunday 04:00"',
        takes_text=True,
    ),
    Option(
        "schedule",
        "catch_up",
        flag,
        True,
        "Run a backup that was missed, once, when the daemon starts.",
        "true",
    ),
    Option(
        "schedule",
        "retries",
        whole(0, 20),
        3,
        "How often a failed automatic backup is tried again before the next night, with growing pauses.",
        "3",
    ),
    Option(
        "schedule",
        "deadline_hours",
        whole(1, 168),
        12,
        "A run that takes longer is stopped and failed.",
        "12",
    ),
    Option(
        "schedule",
        "stall_minutes",
        whole(1, 1440),
        15,
        "A run that makes no progress for so long is stopped and failed.",
        "15",
    ),
    Option(
        "retention",
        "automatic_days",
        whole(1, 36_500),
        30,
        "Days to keep automatic backups. Manual and pinned ones are kept for ever.",
        "30",
    ),
    Option(
        "retention",
        "keep_minimum",
        whole(1, 1000),
        3,
        "Never fewer completed and verified backups than this, whatever their age.",
        "3",
    ),
    Option(
        "retention",
        "keep_daily",
        whole(0, 1000),
        0,
        "Besides: the last automatic backup of each of so many days.",
        "0",
    ),
    Option(
        "retention",
        "keep_weekly",
        whole(0, 1000),
        0,
        "Besides: the last automatic backup of each of so many weeks.",
        "0",
    ),
    Option(
        "retention",
        "keep_monthly",
        whole(0, 1000),
        0,
        "Besides: the last automatic backup of each of so many months.",
        "12",
    ),
    Option(
        "retention",
        "keep_yearly",
        whole(0, 1000),
        0,
        "Besides: the last automatic backup of each of so many years.",
        "0",
    ),
    Option(
        "retention",
        "partial_days",
        whole(1, 36_500),
        30,
        "Days to keep backups that lack something.",
        "30",
    ),
    Option(
        "retention",
        "failed_days",
        whole(1, 36_500),
        7,
        "Days to keep the record of failed backups.",
        "7",
    ),
    Option(
        "drill",
        "check_command",
        text,
        None,
        "A command of yours that tests the database a drill restored; it finds its address in DATABASE_URL.",
        '"psql $DATABASE_URL -v ON_ERROR_STOP=1 -f /etc/backupd/check.sql"',
        takes_text=True,
    ),
    Option(
        "drill",
        "check_minutes",
        whole(1, 1440),
        10,
        "How long that command may take.",
        "10",
    ),
    Option(
        "drill",
        "database_url",
        text,
        None,
        "A PostgreSQL to rehearse on, where backupd makes a database and drops it. Default: an embedded one.",
        '"postgresql://drill@localhost/postgres"',
        takes_text=True,
        secret=True,
    ),
    Option(
        "notify",
        "urls",
        texts,
        (),
        "Where to send messages, as apprise writes it: slack, mail, ntfy, webhooks and a hundred more.",
        '["ntfys://ntfy.example.org/backups"]',
        secret=True,
    ),
    Option(
        "notify",
        "ping_url",
        text,
        None,
        "A dead-man switch in the manner of healthchecks.io, told of each automatic backup.",
        '"https://hc.example.org/ping/4f6e…"',
        takes_text=True,
        secret=True,
    ),
    Option(
        "notify",
        "on",
        choices(*NOTABLE),
        NOTABLE,
        "What is worth a message.",
        '["failed", "partial", "stale", "recovered"]',
    ),
    Option(
        "notify",
        "timeout_seconds",
        whole(1, 300),
        10,
        "How long a message may take.",
        "10",
    ),
    Option(
        "health",
        "stale_after_hours",
        whole(1, 8760),
        26,
        "A project whose last completed backup is older than this is unhealthy.",
        "26",
    ),
    Option(
        "web",
        "listen",
        address,
        ("127.0.0.1", 8787),
        'Where the pages and the metrics are served; "off" for nowhere.',
        '"127.0.0.1:8787"',
        takes_text=True,
    ),
    Option(
        "web",
        "metrics_token",
        text,
        None,
        "A bearer token that /metrics then asks for. Default: anybody who can connect may read them.",
        '"a long random text"',
        takes_text=True,
        secret=True,
    ),
    Option(
        "web",
        "table_metrics",
        flag,
        False,
        "Export the rows of each table as a metric. It shows the tables' names to whoever reads /metrics.",
        "false",
    ),
    Option(
        "web",
        "admin_token",
        admin_token,
        None,
        "Whoever knows it may sign in to the pages, and use the API with it as a bearer token: openssl rand -hex 24",
        '"the-output-of-openssl-rand-hex-24"',
        takes_text=True,
        secret=True,
    ),
    Option(
        "web",
        "admin_rule",
        admin_rule,
        None,
        "Which users of the project may sign in with their email and password: an app_metadata claim, or a column of a "
        "table that has a row for each user.",
        '"app_metadata.role = admin"  # or "profiles.is_admin = true"',
        takes_text=True,
    ),
    Option(
        "web",
        "admin_rule_id",
        text,
        "id",
        "The column of that table that holds the user's id.",
        '"id"',
        takes_text=True,
    ),
    Option(
        "web",
        "base_url",
        base_url,
        None,
        "What the pages' address looks like from outside, for links. Default: http:// and web.listen.",
        '"https://backups.example.org"',
        takes_text=True,
    ),
    Option(
        "web",
        "trusted_proxies",
        texts,
        (),
        "Addresses of reverse proxies in front that speak TLS: what they say of the client is believed.",
        '["127.0.0.1"]',
    ),
    Option(
        "web",
        "tls_certificate",
        text,
        None,
        "Speak TLS with this certificate (a PEM file with its chain).",
        '"/etc/backupd/fullchain.pem"',
        takes_text=True,
    ),
    Option(
        "web",
        "tls_key",
        text,
        None,
        "The private key of that certificate (a PEM file).",
        '"/etc/backupd/privkey.pem"',
        takes_text=True,
    ),
    Option(
        "web",
        "allow_plain_http",
        flag,
        False,
        "Listen on an address others can reach without TLS and without a proxy: whoever listens in reads passwords.",
        "false",
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
