"""The names of archives and of the files in them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import PurePosixPath
from urllib.parse import unquote

import pytest

from backupd.archive.names import STEM_LIMIT_BYTES, archive_name, collision_key, member_name, schema_member_name
from backupd.model import BackupType, TableName

AT = datetime(2026, 11, 22, 17, 24, 29, tzinfo=timezone(timedelta(hours=2)))


def stem(name: str) -> str:
    """The part of the file name that stands for the table."""
    return member_name(TableName("public", name)).removeprefix("tables/public/").removesuffix(".json")


def test_archive_name_of_a_backup_says_platform_type_utc_instant_and_id() -> None:
    """The name in the store is the one the design promises."""
    name = archive_name("Car Audio Competition Platform", BackupType.MANUAL, AT, "b7f3c2a1-1111")
    assert name == "car-audio-competition-platform_manual_20261122T152429Z_b7f3c2a1.zip"


@pytest.mark.parametrize(
    ("platform", "slug"),
    [("Éa_b//c", "ea-b-c"), ("../..", "backup"), ("日本", "backup"), ("x" * 300, "x" * 60), ("-a-", "a")],
)
def test_archive_name_of_an_odd_platform_stays_a_plain_file_name(platform: str, slug: str) -> None:
    """No platform name can lead out of the store or make an empty name."""
    assert archive_name(platform, BackupType.AUTOMATIC, AT, "b7f3c2a1").split("_")[0] == slug


@pytest.mark.parametrize("name", ["users", "BlogPost", "order items", "v1.2", "naïve", "таблица", "日本", "a-b_c"])
def test_member_name_of_a_harmless_table_keeps_the_name(name: str) -> None:
    """Whoever unpacks the archive finds the table by its name."""
    assert stem(name) == name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a/b", "a%2Fb"),
        ("a\\b", "a%5Cb"),
        ('a:*?"<>|b', "a%3A%2A%3F%22%3C%3E%7Cb"),
        ("100%", "100%25"),
        ("a\nb\x00", "a%0Ab%00"),
        (".hidden.", "%2Ehidden%2E"),
        (" a ", "%20a%20"),
        ("..", "%2E%2E"),
        ("con", "%63on"),
        ("NUL.old", "%4EUL.old"),
        ("com1", "%63om1"),
        ("a\u202eb", "a%E2%80%AEb"),
        ("o'hara$(x)", "o%27hara%24%28x%29"),
        ("a~b", "a%7Eb"),
    ],
)
def test_member_name_of_a_troublesome_table_is_percent_encoded(name: str, expected: str) -> None:
    """What a file system or a shell objects to is encoded, and decoding gives the name back."""
    assert (stem(name), unquote(stem(name))) == (expected, name)


def test_member_name_of_a_schema_is_encoded_too() -> None:
    """A schema called `..` does not climb out of the folder."""
    assert member_name(TableName("..", "t")) == "tables/%2E%2E/t.json"


def test_member_name_of_half_a_surrogate_pair_can_be_written() -> None:
    """A name no file system can hold still gets a file."""
    assert stem("a\ud800b") == "a%ED%A0%80b"


def test_member_name_of_a_long_table_is_cut_with_a_checksum() -> None:
    """Two long names that start alike keep different files within the limit."""
    first, second = stem("ж" * 150 + "1"), stem("ж" * 150 + "2")
    assert first != second
    assert max(len(first.encode()), len(second.encode())) <= STEM_LIMIT_BYTES
    assert first.startswith("ж" * 80)


def test_member_name_of_a_long_encoded_table_is_not_cut_inside_a_character() -> None:
    """The part before the checksum still decodes."""
    kept = stem("/é" * 100).rpartition("~")[0]
    assert ("/é" * 100).startswith(unquote(kept, errors="strict"))
    assert "%" not in kept[-2:]


@pytest.mark.parametrize(("first", "second"), [("Users", "users"), ("é", "e\u0301"), ("straße", "STRASSE")])
def test_member_name_that_a_file_system_would_overwrite_gets_a_checksum(first: str, second: str) -> None:
    """Unpacking on Windows or macOS never writes one table over another."""
    one = member_name(TableName("public", first))
    two = member_name(TableName("public", second), {collision_key(one)})
    assert collision_key(one) != collision_key(two)
    assert PurePosixPath(two).name.startswith(f"{second}~")


def test_member_name_with_a_table_that_took_the_checksum_takes_a_longer_one() -> None:
    """Even a table named like another's way out does not collide."""
    plain, short = "tables/public/users.json", member_name(TableName("public", "users"), {"tables/public/users.json"})
    longer = member_name(TableName("public", "users"), {plain, collision_key(short)})
    assert len(longer) == len(short) + 8


def test_schema_member_name_of_an_odd_schema_stays_in_its_folder() -> None:
    """A schema may be called anything, and its document may not leave the folder."""
    assert schema_member_name("extra") == "schemas/extra.json"
    assert schema_member_name("../a/b") == "schemas/%2E.%2Fa%2Fb.json"
