"""What Supabase puts into a database before its owner does: roles, grants, and news of changed tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psycopg

# Roles belong to the whole server, so two databases may be prepared at once: the lock lets one go first.
_ROLES = b"""
begin;
select pg_advisory_xact_lock(hashtext('backupd sandbox roles'));
do $$
begin
  if to_regrole('anon') is null then create role anon nologin noinherit; end if;
  if to_regrole('authenticated') is null then create role authenticated nologin noinherit; end if;
  if to_regrole('service_role') is null then create role service_role nologin noinherit bypassrls; end if;
  if to_regrole('authenticator') is null then create role authenticator login noinherit; end if;
end $$;
grant anon, authenticated, service_role to authenticator;
commit;
"""

# The two triggers every Supabase database has: PostgREST reads its schema anew when a table changes.
_WATCH = b"""
create schema if not exists extensions;
grant usage on schema extensions to anon, authenticated, service_role;
create or replace function extensions.pgrst_ddl_watch() returns event_trigger language plpgsql as
  $$ begin notify pgrst, 'reload schema'; end $$;
drop event trigger if exists pgrst_ddl_watch;
create event trigger pgrst_ddl_watch on ddl_command_end execute function extensions.pgrst_ddl_watch();
drop event trigger if exists pgrst_drop_watch;
create event trigger pgrst_drop_watch on sql_drop execute function extensions.pgrst_ddl_watch();
"""

_GRANTS = """
grant usage on schema {schema} to anon, authenticated, service_role;
grant all on all tables in schema {schema} to anon, authenticated, service_role;
grant all on all sequences in schema {schema} to anon, authenticated, service_role;
grant all on all routines in schema {schema} to anon, authenticated, service_role;
"""

_DEFAULT_GRANTS = """
alter default privileges in schema {schema} grant all on tables to anon, authenticated, service_role;
alter default privileges in schema {schema} grant all on sequences to anon, authenticated, service_role;
alter default privileges in schema {schema} grant all on routines to anon, authenticated, service_role;
"""


def prepare_database(connection: psycopg.Connection, *, watch_ddl: bool = True) -> None:
    """Make the roles `anon`, `authenticated`, `service_role` (bypasses RLS) and `authenticator`.

    With `watch_ddl` every change of a table makes a running gateway read the schema again, as at Supabase. The
    connection must be in autocommit mode; doing it twice does no harm.
    """
    connection.execute(_ROLES)
    if watch_ddl:
        connection.execute(_WATCH)


def grant_api(connection: psycopg.Connection, schemas: Sequence[str] = ("public",), *, future: bool = True) -> None:
    """Let the API's roles use everything in these schemas; with `future` also what is created there later on.

    New Supabase projects grant nothing on new tables: `future=False` behaves like those.
    """
    for schema in schemas:
        grants = _GRANTS + (_DEFAULT_GRANTS if future else "")
        name = '"' + schema.replace('"', '""') + '"'
        connection.execute(grants.format(schema=name).encode())
