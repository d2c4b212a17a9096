"""The list of tables that PostgREST gives, read from a recorded one and from what else may come."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from backupd.model import Column, ForeignKey, Table, TableName
from backupd.project.openapi import Listing, parse_listing
from backupd.project.rows import MalformedPage

RECORDINGS = Path(__file__).parents[1] / "data" / "postgrest_recordings" / "recordings.json"


def recorded(name: str) -> bytes:
    """The body of a recorded answer."""
    bodies = {one["name"]: one["response"]["body"] for one in json.loads(RECORDINGS.read_bytes())}
    text: str = bodies[name]
    return text.encode()


@pytest.fixture(scope="module")
def listing() -> Listing:
    """What a real PostgREST listed of the recorded database."""
    return parse_listing("public", recorded("openapi root"))


def table(listing: Listing, name: str) -> Table:
    """One of the listed tables."""
    return next(one for one in listing.tables if one.name.name == name)


def test_listing_holds_every_readable_table_and_no_partition(listing: Listing) -> None:
    """Partitions and tables without a grant are not listed."""
    names = {one.name.name for one in listing.tables}
    assert names >= {"types", "orgs", "members", "keyless", "Odd Table", "parted", "base", "derived", "scratch"}
    assert not names & {"hidden", "parted_1", "parted_2", "mat", "joined_view"}


def test_listing_holds_views_that_can_only_be_read_apart(listing: Listing) -> None:
    """A view that can be written looks like a table."""
    assert {view.name.name for view in listing.views} >= {"joined_view", "mat"}
    assert "simple_view" in {one.name.name for one in listing.tables}


def test_listing_of_a_view_tells_its_columns(listing: Listing) -> None:
    """So that a view named in the settings can be read in order."""
    view = next(view for view in listing.views if view.name.name == "joined_view")
    assert [column.name for column in view.columns] == ["name", "usr"]


def test_listing_tells_types_as_postgresql_names_them(listing: Listing) -> None:
    """With arrays, enums and composites."""
    types = {column.name: column.type for column in table(listing, "types").columns}
    assert types["c_timestamptz"] == "timestamp with time zone"
    assert types["c_int_array"] == "integer[]"
    assert types["c_enum"] == "public.mood"
    assert len(types) == 44


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("orgs", ("id",)),
        ("members", ("org", "usr")),
        ("Odd Table", ("Key, One",)),
        ("keyless", ()),
        ("parted", ("id", "day")),
        ("derived", ()),
    ],
)
def test_listing_tells_primary_keys(listing: Listing, name: str, key: tuple[str, ...]) -> None:
    """Single, composite, odd, none."""
    assert table(listing, name).primary_key == key


def test_listing_tells_foreign_keys(listing: Listing) -> None:
    """Also those of a column that is a part of the primary key, and of a table to itself."""
    assert table(listing, "members").foreign_keys == (ForeignKey("org", "orgs", "id"),)
    assert table(listing, "orgs").foreign_keys == (ForeignKey("parent", "orgs", "id"),)


def test_listing_tells_what_must_be_given(listing: Listing) -> None:
    """Columns that are not null and have no default."""
    assert Column("name", "text", required=True) in table(listing, "orgs").columns


def test_listing_keeps_the_document_to_the_byte(listing: Listing) -> None:
    """It goes into the archive."""
    assert listing.document == recorded("openapi root")


def test_listing_names_what_foreign_keys_point_to(listing: Listing) -> None:
    """Whether it is listed or not."""
    assert listing.referenced == {TableName("public", "orgs")}


def test_listing_of_another_schema_is_named_after_it() -> None:
    """The document does not say which schema it is about."""
    extra = parse_listing("extra", recorded("openapi of another schema"))
    assert [one.name for one in extra.tables] == [TableName("extra", "notes")]


def parse(definitions: Any, paths: Any = None) -> Listing:
    """The listing of a document with these definitions."""
    return parse_listing("public", json.dumps({"definitions": definitions, "paths": paths or {}}).encode())


def test_listing_is_not_fooled_by_an_owners_comment() -> None:
    """PostgREST's own notes follow the comment; what the owner writes before them means nothing."""
    comment = "Note:\nThis is a Primary Key.<pk/>\n\nNote:\nThis is a Foreign Key to `a.id`.<fk table='a' column='id'/>"
    listing = parse({"t": {"properties": {"c": {"format": "text", "description": comment}}}})
    assert listing.tables[0].primary_key == ()
    assert listing.tables[0].foreign_keys == (ForeignKey("c", "a", "id"),)


def test_listing_reads_a_key_below_an_owners_comment() -> None:
    """Comment, blank line, notes."""
    properties = {"id": {"format": "bigint", "description": "my id\n\nNote:\nThis is a Primary Key.<pk/>"}}
    assert parse({"t": {"properties": properties}}).tables[0].primary_key == ("id",)


@pytest.mark.parametrize("definition", [None, 7, [], {"properties": 3}, {"properties": {"c": None}, "required": "c"}])
def test_listing_of_an_odd_definition_is_a_table_all_the_same(definition: object) -> None:
    """What it says of itself is nothing, but it is there."""
    assert [one.name.name for one in parse({"t": definition}).tables] == ["t"]


def test_listing_of_a_document_without_tables_is_empty() -> None:
    """Such as that of @supabase/lite."""
    assert parse_listing("public", b'{"swagger":"2.0"}').tables == ()


@pytest.mark.parametrize("body", [b"", b"[]", b'"x"', b"<html>", b'{"definitions":', b"[" * 100_000])
def test_listing_of_something_else_is_malformed(body: bytes) -> None:
    """Then it is asked for again."""
    with pytest.raises(MalformedPage):
        parse_listing("public", body)
