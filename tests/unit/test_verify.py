"""Verification of an archive."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from backupd.errors import Interrupted
from backupd.model import Manifest, Progress, Sidecar, Status
from backupd.verify import Problem, VerifyReport, check_rows, verify_archive
from tests.support.archives import USERS, make_table, repacked, write_archive

TEAMS = make_table("teams")
ROWS = [b'{"id":1,"email":"a","boss":null}', b'{"id":2,"email":"b","boss":1}', b'{"id":3,"email":"c","boss":1}']
DATA, MANIFEST = write_archive({USERS: ROWS, TEAMS: [b'{"id":7,"v":"x"}'], make_table("empty"): []})
USERS_FILE, TEAMS_FILE = "tables/public/users.json", "tables/public/teams.json"


def sidecar_of(data: bytes, manifest: Manifest = MANIFEST) -> Sidecar:
    """The sidecar that goes with these bytes."""
    return Sidecar(manifest, "x.zip", len(data), hashlib.sha256(data).hexdigest())


def verify(data: bytes, sidecar: Sidecar | None = None) -> VerifyReport:
    """The report on these bytes."""
    return verify_archive(io.BytesIO(data), sidecar=sidecar)


def problems(data: bytes, sidecar: Sidecar | None = None) -> list[str]:
    """The problems as a person reads them."""
    return [str(problem) for problem in verify(data, sidecar).problems]


def edited(change: Callable[[dict[str, Any]], object]) -> bytes:
    """The archive with a change to its manifest."""
    with zipfile.ZipFile(io.BytesIO(DATA)) as archive:
        values = json.loads(archive.read("manifest.json"))
    change(values)
    return repacked(DATA, {"manifest.json": json.dumps(values).encode()})


def with_users(text: bytes, rows: int = 3) -> bytes:
    """The archive with another table file, and a manifest that was made to agree on all but the number of rows."""

    def agree(values: dict[str, Any]) -> None:
        values["tables"][0].update(bytes=len(text), sha256=hashlib.sha256(text).hexdigest(), rows=rows)
        values["total_rows"] = rows + 1

    return repacked(edited(agree), {USERS_FILE: text})


def test_verify_of_a_whole_archive_finds_nothing_and_counts_everything() -> None:
    """The report says how much was read back."""
    size = sum(table.bytes for table in MANIFEST.tables)
    assert verify(DATA, sidecar_of(DATA)) == VerifyReport(MANIFEST.backup_id, (), tables=3, rows=4, bytes=size)


def test_verify_without_problems_is_ok() -> None:
    """A report is ok until there is a problem."""
    assert verify(DATA).ok
    assert not VerifyReport("x", (Problem("archive", "is gone"),)).ok


def test_verify_of_another_size_than_the_sidecar_says_tells_both() -> None:
    """A cut or grown archive is told by its size."""
    sidecar = replace(sidecar_of(DATA), size_bytes=len(DATA) + 1)
    assert problems(DATA, sidecar) == [f"archive: is {len(DATA)} bytes long; the sidecar says {len(DATA) + 1}"]


def test_verify_of_another_checksum_than_the_sidecar_says_tells_so() -> None:
    """A byte that no CRC covers is covered by the archive's own checksum."""
    data = bytearray(DATA)
    data[data.index(b"PK\x01\x02") + 12] ^= 1  # the time of day of the first entry
    assert problems(bytes(data), sidecar_of(DATA)) == ["archive: has another checksum than the sidecar says"]


def test_verify_of_a_sidecar_with_another_manifest_names_the_fields() -> None:
    """A sidecar that tells a store something else than the archive holds is found."""
    other = replace(MANIFEST, status=Status.PARTIAL, platform="Another")
    assert problems(DATA, sidecar_of(DATA, other)) == ["sidecar: says otherwise than the archive: status, platform"]


@pytest.mark.parametrize("size", [0, 10, len(DATA) // 2, len(DATA) - 1])
def test_verify_of_a_cut_archive_reports_it_under_the_id_of_the_sidecar(size: int) -> None:
    """Even an archive that opens nowhere gets a report that says whose it is."""
    report = verify(DATA[:size], sidecar_of(DATA))
    assert report.backup_id == MANIFEST.backup_id
    assert [problem.where for problem in report.problems] == ["archive", "archive"]


def test_verify_of_something_else_knows_no_id() -> None:
    """What is not an archive is reported, not raised."""
    report = verify(b"hello")
    assert report == VerifyReport(None, (Problem("archive", "is damaged: File is not a zip file"),))


@pytest.mark.parametrize("name", [USERS_FILE, "RECOVERY.md"])
def test_verify_of_an_archive_that_lacks_a_member_names_it(name: str) -> None:
    """Every member the manifest or the format promises has to be there."""
    assert problems(repacked(DATA, {name: None})) == [f"{name}: is missing from the archive"]


def test_verify_of_an_archive_without_a_schema_is_ok() -> None:
    """A project need not answer with an OpenAPI document."""
    assert verify(repacked(DATA, {"schema.json": None})).ok


def test_verify_of_an_archive_with_a_member_too_many_names_it() -> None:
    """Nothing lies in an archive that nobody put there."""
    found = problems(repacked(DATA, {"tables/public/x.json": b"[\n]\n"}))
    assert found == ["tables/public/x.json: is in the archive, but the manifest does not know of it"]


def test_verify_of_swapped_members_names_both() -> None:
    """Two table files that changed places are both wrong."""
    with zipfile.ZipFile(io.BytesIO(DATA)) as archive:
        users, teams = archive.read(USERS_FILE), archive.read(TEAMS_FILE)
    found = verify(repacked(DATA, {USERS_FILE: teams, TEAMS_FILE: users})).problems
    assert {problem.where for problem in found} == {USERS_FILE, TEAMS_FILE}


def test_verify_of_one_damaged_table_still_reads_the_others() -> None:
    """A report is complete: damage in one place does not hide another."""
    data = repacked(DATA, {USERS_FILE: None, TEAMS_FILE: b"[\n]\n", "y": b""})
    assert [problem.where for problem in verify(data).problems] == [USERS_FILE, TEAMS_FILE, "y"]


def test_verify_of_a_table_with_another_checksum_tells_so() -> None:
    """Content that changed with its length and CRC intact is found by the manifest's checksum."""
    text = b"[\n" + b",\n".join(ROWS).replace(b'"a"', b'"z"') + b"\n]\n"
    assert problems(repacked(DATA, {USERS_FILE: text})) == [
        f"{USERS_FILE}: has another checksum than the manifest says"
    ]


def test_verify_of_a_removed_row_with_a_forged_checksum_tells_the_count() -> None:
    """Whoever recomputes checksums still has to explain the missing row."""
    assert problems(with_users(b"[\n" + b",\n".join(ROWS[1:]) + b"\n]\n")) == [
        f"{USERS_FILE}: holds 2 rows; the manifest says 3"
    ]


def test_verify_of_totals_that_do_not_add_up_names_the_field() -> None:
    """The manifest has to agree with itself."""
    found = problems(edited(lambda values: values.update(total_rows=5)))
    assert found == ["manifest.json: total_rows is 5, but the tables say 4"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"[\n[1],\n{},\n{}\n]\n", "row 1 is not a JSON object"),
        (b"[\n{},\n{},\n7\n]\n", "row 3 is not a JSON object"),
        (b'[\n{},\n{"a":},\n{}\n]\n', "row 2 is not valid JSON: Expecting value: line 1 column 6 (char 5)"),
        (b'[\n{},\n{"a":NaN},\n{}\n]\n', "row 2 is not valid JSON: NaN is not JSON"),
        (b"[\n{},\n{},{},\n{}\n]\n", "row 2 is not valid JSON: Extra data: line 1 column 3 (char 2)"),
        (b'[\n{},\n{"a":\n1},\n{}\n]\n', "row 2 is not on one line"),
        (b"[{},{},{}]\n", "does not start with a line that holds only ["),
        (b"[\n{},\n{},\n{}\n", "does not end with a row and a line that holds only ]"),
    ],
)
def test_verify_of_a_table_that_is_not_rows_on_lines_names_the_row(text: bytes, problem: str) -> None:
    """A table file is JSON, one object a line, whatever its checksum says."""
    assert problems(with_users(text))[0] == f"{USERS_FILE}: {problem}"


def test_verify_of_text_that_is_not_utf8_names_the_row() -> None:
    """The fast parser does not look into strings; the check does."""
    found = problems(with_users(b'[\n{},\n{"a":"\xff"},\n{}\n]\n'))
    assert found[0].startswith(f"{USERS_FILE}: row 2 is not valid JSON: 'utf-8' codec can't decode byte 0xff")


def test_verify_of_a_row_nested_too_deep_names_the_row() -> None:
    """Hostile nesting is a problem of that row and not a crash."""
    deep = b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    assert problems(with_users(b"[\n{},\n{},\n" + deep + b"\n]\n"))[0].startswith(
        f"{USERS_FILE}: row 3 is not valid JSON"
    )


@pytest.mark.parametrize(
    "row",
    [
        b'{"a":"\\ud800"}',
        b'{"a":"\\ud800","b":' + b"9" * 5000 + b',"c":' + b"1" * 5000 + b".5}",
        b'{"a":1e999999}',
        b'{"a":"\\u0000"}',
        '{"é":"日本"}'.encode(),
        b' { "a" : 1 } ',
        b'{"a":1,"a":2}',
    ],
)
def test_verify_of_odd_but_legal_json_is_ok(row: bytes) -> None:
    """What PostgreSQL can hold in a json column is no damage."""
    data, _ = write_archive({USERS: [b"{}", row, b"{}"]})
    assert problems(data) == []


def test_check_rows_after_earlier_rows_counts_on() -> None:
    """The row number is that of the file, not of the block."""
    assert check_rows(b"{},\n1", rows_before=10) == (2, "row 12 is not a JSON object")


def test_verify_told_to_stop_is_interrupted_between_chunks() -> None:
    """A verification stops soon after it is asked to."""
    data, _ = write_archive({USERS: [b'{"v":"%d"}' % n for n in range(100_000)]})
    asked = iter([False, False, False, True])
    with pytest.raises(Interrupted, match=f"interrupted while reading {USERS_FILE} back"):
        verify_archive(io.BytesIO(data), should_stop=lambda: next(asked))


def test_verify_told_to_stop_while_hashing_a_wreck_is_interrupted() -> None:
    """The checksum of a file that is no archive can be stopped as well."""
    data = b"x" * 3_000_000
    with pytest.raises(Interrupted, match="checksum of the archive"):
        verify_archive(io.BytesIO(data), sidecar=sidecar_of(data), should_stop=lambda: True)


def test_verify_tells_its_progress_table_by_table() -> None:
    """Whoever watches sees the table, its rows so far and how many are expected."""
    seen: list[Progress] = []
    verify_archive(io.BytesIO(DATA), on_progress=seen.append)
    last = {progress.table: (progress.stage, progress.rows, progress.expected_rows) for progress in seen}
    assert last == {"users": ("verifying", 3, 3), "teams": ("verifying", 1, 1)}


class _Counted(io.BytesIO):
    """Counts the bytes read."""

    received = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.received += len(data)
        return data


def test_verify_with_a_sidecar_reads_the_archive_about_once() -> None:
    """The archive's checksum is taken while its members are read."""
    data, manifest = write_archive({USERS: [b'{"v":"%d"}' % (n * n) for n in range(200_000)]})
    file = _Counted(data)
    assert verify_archive(file, sidecar=sidecar_of(data, manifest)).ok
    assert file.received < len(data) * 1.2
