"""The manifest and the sidecar as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from backupd.archive.manifest import (
    MANIFEST_LIMIT_BYTES,
    manifest_from_json,
    manifest_to_json,
    sidecar_from_json,
    sidecar_to_json,
)
from backupd.errors import ArchiveError
from backupd.model import Sidecar, Status, TableStatus
from tests.support.archives import CREATED_AT, make_archived, make_manifest, make_table

FAILED = make_archived(
    make_table("secrets"),
    status=TableStatus.FAILED,
    file=None,
    rows=0,
    bytes=0,
    sha256=None,
    paging=None,
    count_before=None,
    count_after=None,
    message="permission denied\ud800",
)
MANIFEST = make_manifest(make_archived(), FAILED, status=Status.PARTIAL, warnings=("secrets: no grant",))
SIDECAR = Sidecar(MANIFEST, "car_manual_20261122T152429Z_b7f3c2a1.zip", 1234, "ab" * 32)

Values = dict[str, Any]


def changed(change: Callable[[Values], object]) -> bytes:
    """The manifest with one change made to its JSON."""
    values = json.loads(manifest_to_json(MANIFEST))
    change(values)
    return json.dumps(values).encode()


def test_manifest_written_and_read_is_the_same() -> None:
    """Nothing of a manifest is lost in JSON, not even a server's broken text."""
    assert manifest_from_json(manifest_to_json(MANIFEST)) == MANIFEST


def test_sidecar_written_and_read_is_the_same() -> None:
    """Nothing of a sidecar is lost in JSON."""
    assert sidecar_from_json(sidecar_to_json(SIDECAR)) == SIDECAR


def test_manifest_in_json_starts_with_the_keys_of_the_original_system() -> None:
    """Tools made for the original backups still find what they look for, in the original words."""
    values = json.loads(manifest_to_json(MANIFEST))
    assert list(values.items())[:7] == [
        ("backup_id", "b7f3c2a1-0000-4000-8000-000000000000"),
        ("created_at", "2026-11-22T15:24:29Z"),
        ("type", "manual"),
        ("tables_backed_up", ["users"]),
        ("total_rows", 2),
        ("backup_version", "1.0"),
        ("platform", "Car Audio Competition Platform"),
    ]


def test_manifest_in_json_is_indented_utf8_with_a_final_line_break() -> None:
    """A person can read it in any editor."""
    data = manifest_to_json(replace(MANIFEST, platform="Zürich"))
    assert '\n  "platform": "Zürich",\n' in data.decode()
    assert data.endswith(b"}\n")


def test_manifest_with_a_fraction_of_a_second_keeps_it() -> None:
    """An instant is not rounded."""
    manifest = replace(MANIFEST, created_at=datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC))
    assert manifest_from_json(manifest_to_json(manifest)).created_at == manifest.created_at


def test_manifest_with_unknown_keys_is_read() -> None:
    """A later backupd may say more within the same format."""
    data = changed(lambda values: (values.update(extra=1), values["tables"][0].update(extra=[1])))
    assert manifest_from_json(data) == MANIFEST


def test_manifest_of_a_newer_format_is_refused_by_name() -> None:
    """A newer archive is never guessed at, and the way out is named."""
    with pytest.raises(ArchiveError) as caught:
        manifest_from_json(changed(lambda values: values.update(format=2, tables="something new")))
    assert caught.value.message == "manifest.json: archive format 2 is newer than this backupd reads (1)"
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("Upgrade backupd")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "manifest.json is not valid JSON"),
        (b"\xff", "manifest.json is not valid JSON"),
        (b"[]", "manifest.json is not a JSON object"),
        (b"[" * 200_000, "manifest.json is not valid JSON"),
        (b'{"format": ' + b"9" * 5000 + b"}", "manifest.json is not valid JSON"),
        (b"{}", "manifest.json: format is missing"),
    ],
)
def test_manifest_that_is_not_one_is_refused(data: bytes, problem: str) -> None:
    """Hostile bytes end in an error for a person, not in a crash."""
    with pytest.raises(ArchiveError, match=problem):
        manifest_from_json(data)


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("format", 0, "format is 0; expected 1"),
        ("format", True, "format is True; expected a whole number"),
        ("backup_id", "../x", "backup_id is '../x'; expected up to 64 letters"),
        ("backup_id", 5, "backup_id is 5; expected a string"),
        ("created_at", "2026-11-22 15:24:29", "created_at is '2026-11-22 15:24:29'; expected an instant"),
        ("created_at", "2026-02-30T00:00:00Z", "created_at is '2026-02-30T00:00:00Z'; expected an instant that exists"),
        ("type", "weekly", "type is 'weekly'; expected one of manual, automatic"),
        ("trigger", "moon", "trigger is 'moon'; expected one of schedule, catch_up"),
        ("status", None, "status is None; expected a string"),
        ("total_rows", 3, "total_rows is 3, but the tables say 2"),
        ("total_rows", -1, "total_rows is -1; expected a whole number"),
        ("tables_backed_up", ["users", "secrets"], "tables_backed_up does not name the tables that have a file"),
        ("warnings", "none", "warnings is 'none'; expected a list"),
        ("warnings", [1], r"warnings\[0\] is 1; expected a string"),
        ("tables", {}, "tables is an object; expected a list"),
        ("tables", [7], r"tables\[0\] is 7; expected an object"),
        ("platform", ["x" * 500], "platform is a list; expected a string"),
    ],
)
def test_manifest_with_a_wrong_field_is_refused_by_its_name(field: str, value: object, problem: str) -> None:
    """The error says which field, what was found and what was expected."""
    with pytest.raises(ArchiveError, match=f"^manifest.json: {problem}"):
        manifest_from_json(changed(lambda values: values.update({field: value})))


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("rows", -1, r"tables\[0\].rows is -1; expected a whole number"),
        ("rows", 1.0, r"tables\[0\].rows is 1.0; expected a whole number"),
        ("bytes", 2**63, r"tables\[0\].bytes is 9223372036854775808; expected"),
        ("sha256", "AB", r"tables\[0\].sha256 is 'AB'; expected 64 hexadecimal digits"),
        ("sha256", None, r"tables\[0\].sha256 is missing"),
        ("name", "", r"tables\[0\].name is empty"),
        ("paging", "guess", r"tables\[0\].paging is 'guess'; expected one of key, ctid, offset"),
        ("count_before", {"rows": 1}, r"tables\[0\].count_before.exact is missing"),
        ("columns", [{"name": "id", "type": "text", "required": 1}], r"tables\[0\].columns\[0\].required is 1"),
        ("foreign_keys", [{}], r"tables\[0\].foreign_keys\[0\].column is missing"),
        ("file", None, r"tables\[0\].file is missing, although the table is completed"),
        ("message", 3, r"tables\[0\].message is 3; expected a string"),
    ],
)
def test_manifest_with_a_wrong_field_of_a_table_is_refused_by_its_path(field: str, value: object, problem: str) -> None:
    """The error says which table and which field."""
    with pytest.raises(ArchiveError, match=f"^manifest.json: {problem}"):
        manifest_from_json(changed(lambda values: values["tables"][0].update({field: value})))


@pytest.mark.parametrize(
    "file",
    [
        "/etc/passwd",
        "tables/../../x.json",
        "tables//x.json",
        "tables/.",
        "tables",
        "tables/a\\b.json",
        "tables/a\nb.json",
        "tables/c:x.json",
        "tables/\ud800.json",
        "tables/" + "x" * 256,
        "manifest.json",
    ],
)
def test_manifest_with_a_dangerous_file_name_is_refused(file: str) -> None:
    """No archive leads a reader or a person who unpacks it out of its folder."""
    with pytest.raises(ArchiveError, match=r"^manifest.json: tables\[0\].file is .*; expected a safe name"):
        manifest_from_json(changed(lambda values: values["tables"][0].update(file=file)))


def test_manifest_with_a_long_wrong_value_is_refused_in_a_short_line() -> None:
    """What a hostile file holds does not flood a terminal."""
    with pytest.raises(ArchiveError) as caught:
        manifest_from_json(changed(lambda values: values.update(status="x" * 5000)))
    assert len(caught.value.message) < 200


class _Huge(bytes):
    """Claims a size no test should hold."""

    def __len__(self) -> int:
        return MANIFEST_LIMIT_BYTES + 1


def test_manifest_beyond_the_limit_is_refused_unread() -> None:
    """A manifest cannot fill the memory."""
    with pytest.raises(ArchiveError, match=f"manifest.json is larger than {MANIFEST_LIMIT_BYTES} bytes"):
        manifest_from_json(_Huge(b"{}"))


def test_manifest_with_rows_but_no_file_is_refused() -> None:
    """A table that is not in the archive cannot have rows there."""
    change: Callable[[Values], object] = lambda values: values["tables"][1].update(rows=1)  # noqa: E731
    with pytest.raises(ArchiveError, match=r"tables\[1\].file is missing, although there are rows"):
        manifest_from_json(changed(change))


@pytest.mark.parametrize(
    ("other", "problem"),
    [
        ({"file": "tables/public/u2.json"}, "tables names 'users' more than once"),
        ({"name": "u2"}, "tables names 'tables/public/users.json' more than once"),
    ],
)
def test_manifest_with_a_table_or_file_twice_is_refused(other: Values, problem: str) -> None:
    """Two entries never stand for one table or one file."""
    with pytest.raises(ArchiveError, match=problem):
        manifest_from_json(changed(lambda values: values["tables"].append({**values["tables"][0], **other})))


def test_manifest_with_more_rows_than_possible_is_refused() -> None:
    """Sums of hostile counts do not overflow whoever stores them."""

    def change(values: Values) -> None:
        values["tables"][0].update(rows=2**63 - 1)
        values["tables"].append({**values["tables"][0], "name": "u2", "file": "tables/public/u2.json"})

    with pytest.raises(ArchiveError, match="tables hold more rows than any archive could"):
        manifest_from_json(changed(change))


@pytest.mark.parametrize(
    ("archive", "problem"),
    [
        (None, "archive is None; expected an object"),
        ({"name": "../x.zip", "size_bytes": 1, "sha256": "0" * 64}, "archive.name is '../x.zip'"),
        ({"name": "a/x.zip", "size_bytes": 1, "sha256": "0" * 64}, "archive.name is 'a/x.zip'"),
        ({"name": ".zip", "size_bytes": 1, "sha256": "0" * 64}, "archive.name is '.zip'"),
        ({"name": "x.zip", "size_bytes": -1, "sha256": "0" * 64}, "archive.size_bytes is -1"),
        ({"name": "x.zip", "size_bytes": 1, "sha256": ""}, "archive.sha256 is ''"),
    ],
)
def test_sidecar_with_a_wrong_archive_is_refused_by_its_name(archive: object, problem: str) -> None:
    """A sidecar never points a store at another folder."""
    data = json.dumps({**json.loads(sidecar_to_json(SIDECAR)), "archive": archive}).encode()
    with pytest.raises(ArchiveError, match=f"^x.zip.manifest.json: {problem}"):
        sidecar_from_json(data, member="x.zip.manifest.json")


def test_manifest_created_elsewhere_is_written_in_utc() -> None:
    """Whatever zone the clock had, the file says Z."""
    local = CREATED_AT.astimezone(timezone(timedelta(hours=2)))
    assert b'"created_at": "2026-11-22T15:24:29Z"' in manifest_to_json(replace(MANIFEST, created_at=local))
