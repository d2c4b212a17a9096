"""Which tables are backed up, and what is said of those that are not."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from backupd.errors import KeyRefused, ProjectError, TableUnreadable
from backupd.model import Table, TableName
from backupd.project import Discovery, Unreadable
from backupd.project.discovery import resolve
from backupd.project.unreadable import explain, sql_name
from tests.support.faults import answer
from tests.support.projects import open_project
from tests.support.proxy import FaultProxy, path

UNKNOWN = answer(404, body='{"code":"PGRST205","message":"Could not find the table"}')
UNGRANTED = answer(403, body='{"code":"42501","message":"permission denied for table x"}')
READABLE = answer(200, body="[]")
GET_ONLY: dict[str, dict[str, str]] = {"get": {}}
WRITABLE: dict[str, dict[str, str]] = {"get": {}, "post": {}, "patch": {}, "delete": {}}


@pytest.fixture
def server() -> Iterator[FaultProxy]:
    """A server that answers what the test says."""
    with FaultProxy("http://127.0.0.1:9") as proxy:
        yield proxy


def document(tables: Mapping[str, Sequence[str]], views: Sequence[str] = ()) -> str:
    """An OpenAPI document: tables with the tables they refer to, and read-only views."""
    definitions: dict[str, Any] = {name: {"properties": {"id": {"format": "bigint"}}} for name in views}
    for name, referenced in tables.items():
        properties = {"id": {"format": "bigint", "description": "Note:\nThis is a Primary Key.<pk/>"}}
        for other in referenced:
            note = f"Note:\nThis is a Foreign Key to `{other}.id`.<fk table='{other}' column='id'/>"
            properties[f"{other}_id"] = {"format": "bigint", "description": note}
        definitions[name] = {"properties": properties}
    paths = {f"/{name}": GET_ONLY if name in views else WRITABLE for name in definitions}
    return json.dumps({"swagger": "2.0", "definitions": definitions, "paths": paths})


def discover(
    server: FaultProxy,
    listed: Mapping[str, Sequence[str]],
    /,
    views: Sequence[str] = (),
    *,
    last_time: Sequence[str] = (),
    **settings: Any,
) -> Discovery:
    """Discover a project that lists these."""
    server.always(when=path("/rest/v1/"), do=answer(200, body=document(listed, views)))
    with open_project(server.url, "sb_secret_x", **settings) as project:
        return project.discover(last_time)


def names(tables: Sequence[Table]) -> list[str]:
    """Their names as people write them."""
    return [str(table.name) for table in tables]


def test_discovery_takes_every_listed_table_in_order(server: FaultProxy) -> None:
    """With one request for the list and none for the tables."""
    found = discover(server, {"b": [], "a": ["b"]})
    assert names(found.tables) == ["a", "b"]
    assert (found.unreadable, found.gone, found.warnings) == ((), (), ())
    assert server.count() == 1


def test_discovery_keeps_the_document_as_it_came(server: FaultProxy) -> None:
    """It goes into the archive."""
    assert discover(server, {"a": []}).documents == (("public", document({"a": []}).encode()),)


def test_discovery_leaves_read_only_views_out_and_names_them(server: FaultProxy) -> None:
    """They hold nothing of their own."""
    found = discover(server, {"a": []}, views=["v"])
    assert names(found.tables) == ["a"]
    assert found.read_only == (TableName("public", "v"),)


def test_discovery_of_a_view_named_in_the_settings_takes_it_with_its_columns(server: FaultProxy) -> None:
    """Who names it wants it, and its columns are needed to read it in order."""
    found = discover(server, {"a": []}, views=["v"], tables=("v",), keys={"v": ("id",)})
    (view,) = found.tables
    assert ([column.name for column in view.columns], view.primary_key) == (["id"], ("id",))
    assert found.read_only == ()


def test_discovery_leaves_out_what_is_excluded(server: FaultProxy) -> None:
    """Without a word, and without asking for it because of a reference."""
    found = discover(server, {"a": ["secret"], "b": []}, exclude=("b", "secret"))
    assert names(found.tables) == ["a"]
    assert server.count(path("/rest/v1/secret")) == 0


def test_discovery_of_an_excluded_table_that_is_not_there_warns_with_the_nearest(server: FaultProxy) -> None:
    """A typing mistake would otherwise back up what was to be left out."""
    found = discover(server, {"a": [], "audit_log": []}, exclude=("audit_logs",))
    assert found.warnings == (
        "project.exclude names audit_logs, which the project does not have; did you mean audit_log?",
    )


def test_discovery_of_named_tables_takes_those_alone(server: FaultProxy) -> None:
    """What is not named is not wanted."""
    found = discover(server, {"a": [], "b": [], "c": []}, tables=("c", "a"))
    assert names(found.tables) == ["a", "c"]


def test_discovery_of_a_named_table_without_a_grant_gives_the_statement(server: FaultProxy) -> None:
    """The message holds the GRANT to run."""
    server.always(when=path("/rest/v1/new"), do=UNGRANTED)
    found = discover(server, {"a": []}, tables=("a", "new"))
    hint = "Run in the SQL editor: GRANT SELECT ON TABLE public.new TO service_role;"
    assert found.unreadable == (Unreadable(TableName("public", "new"), "the API key may not read it", hint),)


def test_discovery_of_a_named_table_that_is_not_there_is_unreadable(server: FaultProxy) -> None:
    """Who named it expects it in the backup."""
    server.always(when=path("/rest/v1/nope"), do=UNKNOWN)
    found = discover(server, {"a": []}, tables=("a", "nope"))
    assert [(str(one.name), one.message) for one in found.unreadable] == [("nope", "no such table in the project")]
    assert found.gone == ()


def test_discovery_of_a_named_table_that_is_not_listed_but_answers_takes_it(server: FaultProxy) -> None:
    """Some servers list nothing at all; the key comes from the settings."""
    server.always(when=path("/rest/v1/a"), do=READABLE)
    found = discover(server, {}, tables=("a",), keys={"a": ("org", "usr")})
    assert found.tables == (Table(TableName("public", "a"), primary_key=("org", "usr")),)


def test_discovery_of_a_table_of_the_last_backup_without_a_grant_now_is_unreadable(server: FaultProxy) -> None:
    """It vanished from the list, but not from the project."""
    server.always(when=path("/rest/v1/old"), do=UNGRANTED)
    found = discover(server, {"a": []}, last_time=["a", "old"])
    assert [str(one.name) for one in found.unreadable] == ["old"]


def test_discovery_of_a_table_of_the_last_backup_that_is_gone_is_a_warning(server: FaultProxy) -> None:
    """Somebody dropped it: that is not a failure of the backup."""
    server.always(when=path("/rest/v1/old"), do=UNKNOWN)
    found = discover(server, {"a": []}, last_time=["a", "old"])
    assert (found.gone, found.unreadable) == ((TableName("public", "old"),), ())
    assert found.warnings == ("old was in the last backup and is gone",)


def test_discovery_of_a_table_of_the_last_backup_that_is_a_view_now_warns(server: FaultProxy) -> None:
    """It would otherwise leave the backups without a word."""
    found = discover(server, {"a": []}, views=["old"], last_time=["a", "old"])
    assert names(found.tables) == ["a"]
    assert found.warnings == ("old was in the last backup and is a read-only view now: it is left out",)


def test_discovery_of_a_table_of_the_last_backup_is_not_taken_for_one_of_another_schema(server: FaultProxy) -> None:
    """A bare name was in `public`, even when only another schema lists such a table now."""
    server.always(when=path("/rest/v1/notes"), do=UNGRANTED)
    server.once(when=path("/rest/v1/"), do=answer(200, body=document({"a": []})))
    found = discover(server, {"notes": []}, last_time=["a", "notes", "extra.notes"], schemas=("public", "extra"))
    assert names(found.tables) == ["extra.notes", "a"]
    assert [one.name for one in found.unreadable] == [TableName("public", "notes")]


def test_discovery_asks_for_what_a_foreign_key_points_to_and_nobody_lists(server: FaultProxy) -> None:
    """Since 2026 a new table comes without a grant: nothing else shows that it exists."""
    server.always(when=path("/rest/v1/orgs"), do=UNGRANTED)
    found = discover(server, {"members": ["orgs"]})
    assert [str(one.name) for one in found.unreadable] == ["orgs"]


def test_discovery_of_a_foreign_key_into_a_hidden_schema_says_nothing(server: FaultProxy) -> None:
    """`auth.users` looks like `users` in the document: no such table here is no news."""
    server.always(when=path("/rest/v1/users"), do=UNKNOWN)
    found = discover(server, {"profiles": ["users"]})
    assert names(found.tables) == ["profiles"]
    assert (found.unreadable, found.gone, found.warnings) == ((), (), ())


def test_discovery_of_several_schemas_asks_each_for_its_list(server: FaultProxy) -> None:
    """And tells their tables apart."""
    server.once(when=path("/rest/v1/"), do=answer(200, body=document({"a": []})))
    found = discover(server, {"a": [], "b": []}, schemas=("public", "extra"))
    assert names(found.tables) == ["extra.a", "extra.b", "a"]
    assert [request.headers["accept-profile"] for request in server.requests] == ["public", "extra"]


def test_discovery_takes_a_key_from_the_settings_where_the_project_tells_none(server: FaultProxy) -> None:
    """But what the project says of its own tables is not overruled."""
    found = discover(server, {"a": []}, views=["v"], tables=("a", "v"), keys={"a": ("x",), "v": ("id",)})
    assert {str(table.name): table.primary_key for table in found.tables} == {"a": ("id",), "v": ("id",)}


def test_discovery_of_nothing_says_what_to_do(server: FaultProxy) -> None:
    """An empty backup would look like a good one."""
    with pytest.raises(ProjectError, match="lists no tables in public") as caught:
        discover(server, {})
    assert "GRANT SELECT ON ALL TABLES" in str(caught.value.hint)


def test_discovery_with_a_key_refused_says_so(server: FaultProxy) -> None:
    """At the first request."""
    server.always(do=answer(401, body='{"message":"Invalid API key"}'))
    with pytest.raises(KeyRefused):
        discover(server, {"a": []})


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("users", TableName("public", "users")),
        ("notes", TableName("extra", "notes")),
        ("extra.notes", TableName("extra", "notes")),
        ("extra.unknown", TableName("extra", "unknown")),
        ("odd.name", TableName("public", "odd.name")),
        ("unknown", TableName("public", "unknown")),
        ("other.unknown", TableName("public", "other.unknown")),
        ("both", TableName("public", "both")),
        ("extra.dotted", TableName("public", "extra.dotted")),
    ],
)
def test_resolve_finds_the_first_schema_that_has_the_table(text: str, name: TableName) -> None:
    """A dot may be a part of the name; what nobody has belongs where it would be looked for."""
    known = {
        TableName("public", "users"),
        TableName("extra", "notes"),
        TableName("public", "odd.name"),
        TableName("public", "both"),
        TableName("extra", "both"),
        TableName("public", "extra.dotted"),
    }
    assert resolve(text, ("public", "extra"), known) == name


@pytest.mark.parametrize(
    ("name", "sql"),
    [
        (TableName("public", "users"), "public.users"),
        (TableName("public", "Odd Table"), 'public."Odd Table"'),
        (TableName("My Schema", 'a"b'), '"My Schema"."a""b"'),
    ],
)
def test_sql_name_quotes_where_it_must(name: TableName, sql: str) -> None:
    """The statement in a hint can be pasted."""
    assert sql_name(name) == sql


def test_explain_of_a_schema_without_usage_grants_the_schema() -> None:
    """A grant on the table alone would not help."""
    error = TableUnreadable("permission denied for schema extra", code="42501")
    hint = explain(TableName("extra", "notes"), error).hint
    assert hint == "Run in the SQL editor: GRANT USAGE ON SCHEMA extra TO service_role;"
