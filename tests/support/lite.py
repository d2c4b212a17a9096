r"""Supabase's own small implementation, `@supabase/lite`, as a real process on a real PostgreSQL.

A peer for paging, caps, counts, filters, upserts, errors and keys. Not for exact bytes, and not for everything. What
tests must know of version 0.10 (`tests/contract/test_lite_boots.py` holds it to the lines that end in a star):

* Tables are read once, at the start: create them first. One made later answers 404 `PGRST205`. *
* `GET /rest/v1/` answers 200 with an OpenAPI document that lists no table: name the tables in the config. *
* Keys: only `apikey:` counts; the legacy JWT keys are unknown here. None or a wrong one: 401 with `message` and `hint`
  but no `code`. * The publishable key: 403 from the root. A secret key with a browser's User-Agent: 401. A Bearer token
  that differs from the secret key outranks it, and a bad one makes the request `anon`.
* No grant: code 42501, with 403 for the secret key and 401 for the publishable one. * But where one table of a schema
  has row level security, lite's first request grants every role everything in that schema. `start_lite` has made that
  request when it yields: revoke after it, not before.
* `max_rows` caps silently: 200 and `Content-Range: 0-999/*`. HEAD with `Prefer: count=exact`: 206 and `0-999/2500`, or
  200 when all rows fit. * `count=planned` and `count=estimated` count exactly too.
* A quoted value inside `and=(…)` or `or=(…)` loses its outer quotes and keeps its backslashes: `"a\"b"` is compared
  as `a\"b`. A walk over such keys skips rows after a `"`, and gets its last row again, for ever, at a `\`. * An
  odd number of `"` in a value also swallows the conditions after it. Commas, parentheses, unicode, spaces, empty
  strings and `null` in quotes are right, and so is all of `in.("…")`. *
* An unquoted value (`id=gt.5`) goes through JavaScript's Number: exact up to 2**53 only; text is trimmed.
* `order=ctid`, `ctid=gt.(0,5)`, `select=ctid,*` and `order=tableoid` work. * An offset past the end: 200 `[]`, or 416
  `PGRST103` with `count=exact`. A column whose name holds a comma cannot be ordered by.
* Values: `numeric` is a string, `bigint` beyond 2**53 is rounded, `json` and `jsonb` go through floats and lose white
  space and double keys, `NaN` is null, `bytea` is `{"type": "Buffer", "data": [222, …]}`, `timestamptz` is
  `2026-11-22 15:24:29.123456+00`. Writing rounds a `numeric` to a float's digits and stores a `bytea` string as text.
  One line, rows separated by `,`.
* Upsert with `resolution=merge-duplicates,return=minimal`: 201, or 200 when every row was there, empty body, no cap. *
  Rows with different keys: 400 `PGRST102`; one key twice: 400 `21000` (PostgREST says 500); an existing key without
  upsert: 409 `23505`; a generated column: 400 `428C9`.
* `Accept-Profile` and `Content-Profile` choose the schema; one that is not exposed: 406 `PGRST106`.
* A role's own statement time-out is not applied. The database's is, but answers 500 with code `SUP`, not 57014.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import http.client
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from backupd.sandbox.driver import connect
from tests.support.skips import require, require_tool

CACHE = "BACKUPD_TEST_CACHE"
"""Names the directory where test servers are installed, once per machine; `~/.cache/backupd-tests` without it."""

_PACKAGE = Path(__file__).with_name("lite") / "package.json"
_INSTALL_SECONDS = 150  # less than a test may take
_START_SECONDS = 30.0
_STOP_SECONDS = 5.0

_ROLES = """
do $$ begin
  if not exists (select from pg_roles where rolname = 'anon') then create role anon nologin; end if;
  if not exists (select from pg_roles where rolname = 'authenticated') then create role authenticated nologin; end if;
  if not exists (select from pg_roles where rolname = 'service_role') then create role service_role nologin bypassrls;
  end if;
end $$;
"""

_CONFIG = """\
[api]
port = {port}
schemas = [{schemas}]
max_rows = {max_rows}

[db]
driver = "postgres"
url = "postgresql:///"

[auth]
enabled = true
jwt_secret = "{jwt_secret}"
publishable_key = "env(SUPABASE_PUBLISHABLE_KEY)"
secret_key = "env(SUPABASE_SECRET_KEY)"

[storage]
enabled = true
"""


@dataclass(frozen=True, slots=True)
class Lite:
    """A running server: its address, its two keys, its process and what that prints."""

    url: str
    secret_key: str
    publishable_key: str
    pid: int
    log: Path


class LiteFailed(Exception):
    """The server could not be installed or did not start; the message ends with what it printed last."""


def cache_directory(environment: Mapping[str, str] = os.environ) -> Path:
    """Where installed test servers are kept between runs."""
    return Path(environment.get(CACHE) or Path.home() / ".cache" / "backupd-tests")


def install_lite(cache_dir: Path) -> Path:
    """Install the pinned packages under `cache_dir`, unless they are there, and give their directory.

    Takes about 15 s and 330 MB the first time. Several processes may ask at once. Raises `LiteFailed`.
    """
    cache_dir.mkdir(parents=True, exist_ok=True)
    pins = hashlib.sha256(_PACKAGE.read_bytes()).hexdigest()[:12]
    installed = cache_dir / f"lite-{pins}"
    with (cache_dir / "lite.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not installed.exists():
            _install(cache_dir, installed)
    return installed


def _install(cache_dir: Path, installed: Path) -> None:
    """Install beside the final name and rename: a name that exists is a whole installation."""
    with tempfile.TemporaryDirectory(prefix="lite-", dir=cache_dir, ignore_cleanup_errors=True) as scratch:
        building = Path(scratch) / "lite"
        building.mkdir()
        shutil.copy(_PACKAGE, building)
        _npm_install(building)
        building.rename(installed)


def _npm_install(directory: Path) -> None:
    command = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"]
    command += ["--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-timeout=60000"]
    with (directory / "npm.log").open("w+") as log:
        npm = subprocess.Popen(command, cwd=directory, stdout=log, stderr=log, start_new_session=True)
        try:
            code = npm.wait(_INSTALL_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise LiteFailed(f"npm install took longer than {_INSTALL_SECONDS} s") from error
        finally:
            _stop(npm)
    if code != 0 or not _node(directory).exists():
        raise LiteFailed(f"npm install ended with {code}: {_first_line(directory / 'npm.log')}")


@functools.cache
def _installed_or_reason(cache_dir: Path) -> Path | str:
    """The installation, or why there is none: a machine without npm's registry is asked once, not once a test."""
    try:
        return install_lite(cache_dir)
    except LiteFailed as error:
        return str(error)


def require_lite() -> Path:
    """The installed server; skips the test loudly where it cannot be had."""
    require_tool("npm", "npm")
    found = _installed_or_reason(cache_directory())
    require(isinstance(found, Path), f"@supabase/lite ({found})", "npm and a registry it can reach")
    return Path(found)


@contextmanager
def start_lite(
    database_url: str, directory: Path, *, max_rows: int = 1000, schemas: tuple[str, ...] = ("public",)
) -> Iterator[Lite]:
    """Serve the tables of a database, which must exist by now, with `directory` for its config and log.

    Makes the roles `anon`, `authenticated` and `service_role` where they are missing and grants `service_role`
    the `schemas` with all their tables and sequences. Skips loudly without npm; raises `LiteFailed`. Ready in
    about half a second.
    """
    installed = require_lite()
    _prepare_roles(database_url, schemas)
    lite_directory = Path(tempfile.mkdtemp(prefix="lite-", dir=directory))
    port = _free_port()
    _write_config(lite_directory, port, max_rows, schemas)
    keys = _new_key("secret"), _new_key("publishable")
    environment = _environment(installed, lite_directory, database_url, *keys)
    log = lite_directory / "lite.log"
    with _running(installed, lite_directory, environment, log) as process:
        lite = Lite(f"http://127.0.0.1:{port}", *keys, pid=process.pid, log=log)
        _wait_until_ready(lite, process)
        yield lite


def _prepare_roles(database_url: str, schemas: tuple[str, ...]) -> None:
    with connect(database_url) as connection:
        connection.execute(_ROLES.encode())
        for schema in schemas:
            connection.execute(f'grant usage on schema "{schema}" to anon, authenticated, service_role'.encode())
            connection.execute(f'grant all on all tables in schema "{schema}" to service_role'.encode())
            connection.execute(f'grant all on all sequences in schema "{schema}" to service_role'.encode())


def _write_config(directory: Path, port: int, max_rows: int, schemas: tuple[str, ...]) -> None:
    names = ", ".join(f'"{schema}"' for schema in schemas)
    config = _CONFIG.format(port=port, schemas=names, max_rows=max_rows, jwt_secret=secrets.token_hex(32))
    (directory / "supabase").mkdir()
    (directory / "supabase" / "config.toml").write_text(config)


def _new_key(kind: str) -> str:
    """A key of the form Supabase gives out."""
    return f"sb_{kind}_{secrets.token_hex(11)}_{secrets.token_hex(4)}"


def _environment(
    installed: Path, directory: Path, database_url: str, secret_key: str, publishable_key: str
) -> dict[str, str]:
    """The database goes in as libpq's variables: lite's own URL setting knows no Unix sockets."""
    return {
        "PATH": f"{_node(installed).parent}:{os.defpath}",
        "HOME": str(directory),
        "TZ": "UTC",
        "SUPABASE_SECRET_KEY": secret_key,
        "SUPABASE_PUBLISHABLE_KEY": publishable_key,
        "EXPERIMENTAL_STORAGE": "1",
        "LITE_TELEMETRY": "0",
        **_libpq_variables(database_url),
    }


def _libpq_variables(database_url: str) -> dict[str, str]:
    from psycopg.conninfo import conninfo_to_dict  # an extra; `connect` has said so by now

    names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD", "dbname": "PGDATABASE"}
    values = conninfo_to_dict(database_url)
    return {names[key]: str(value) for key, value in values.items() if key in names and value is not None}


@contextmanager
def _running(
    installed: Path, directory: Path, environment: dict[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    program = installed / "node_modules" / "@supabase" / "lite" / "dist" / "cli" / "index.js"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [_node(installed), program, "start", "--no-admin"],
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # a group of its own, to be stopped as one
        )
        try:
            yield process
        finally:
            _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Stop a child and all of its group: politely, then not."""
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_until_ready(lite: Lite, process: subprocess.Popen[bytes]) -> None:
    """Wait for an answer that came through the database: lite's first request of that kind is the one that grants."""
    deadline = time.monotonic() + _START_SECONDS
    while not _answers(lite):
        if process.poll() is not None or time.monotonic() > deadline:
            raise LiteFailed(f"@supabase/lite did not start: {_tail(lite.log)}")
        time.sleep(0.05)


def _answers(lite: Lite) -> bool:
    address = urlsplit(lite.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=_START_SECONDS)
    try:
        connection.request("GET", "/storage/v1/bucket", headers={"apikey": lite.secret_key})
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _node(installed: Path) -> Path:
    return installed / "node_modules" / "node" / "bin" / "node"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _first_line(log: Path) -> str:
    """Where npm says what is wrong; the advice comes after."""
    return next(iter(log.read_text(errors="replace").splitlines()), "it said nothing")


def _tail(log: Path) -> str:
    return " ".join(log.read_text(errors="replace").strip().splitlines()[-8:]) or "it said nothing"
