"""Archives of earlier days: what was written once can be read for ever."""

from __future__ import annotations

import hashlib
import json
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from backupd.archive.manifest import SIDECAR_SUFFIX, sidecar_from_json
from backupd.archive.reader import ArchiveReader
from backupd.errors import ArchiveError
from backupd.model import Status, TableStatus
from backupd.verify import verify_archive
from tests.support.archives import repacked

ARCHIVES = Path(__file__).parent.parent / "data" / "archives"
FORMAT_1 = ARCHIVES / "format-1.zip"
SIDECAR = sidecar_from_json((ARCHIVES / f"format-1.zip{SIDECAR_SUFFIX}").read_bytes())

ROWS = {
    "users": [
        b'{"id":1,"balance":12345678901234.123456,"avatar":"\\\\xdeadbeef","raw":{"b":1,  "a" : 1.50, "a":2}}',
        b'{"id":2,"balance":"NaN","avatar":null,"raw":"\\ud800\\u0000"}',
        '{"id":3,"balance":-0.000000,"avatar":"","raw":["ünïcödé 日本 ,\u2028",null,1e400]}'.encode(),
    ],
    "Users": [b'{"id":1}'],
    "empty": [],
    "billing.order items / 2026": [b'{"a,\\n b":"it\'s"}', b"{}"],
}


def test_format_1_archive_still_gives_the_same_rows() -> None:
    """The rows of the archive kept in the repository, to the byte."""
    with FORMAT_1.open("rb") as file, ArchiveReader(file) as reader:
        archived = [table for table in reader.manifest.tables if table.file is not None]
        found = {str(table.table.name): list(reader.rows(table)) for table in archived}
    assert found == ROWS


def test_format_1_archive_still_verifies_against_its_sidecar() -> None:
    """Every check passes on what an earlier backupd wrote."""
    with FORMAT_1.open("rb") as file:
        assert verify_archive(file, sidecar=SIDECAR).problems == ()
    assert SIDECAR.sha256 == hashlib.sha256(FORMAT_1.read_bytes()).hexdigest()


def test_format_1_archive_still_says_what_it_lacks() -> None:
    """A partial backup stays one."""
    lacking = [table for table in SIDECAR.manifest.tables if table.status is not TableStatus.COMPLETED]
    assert SIDECAR.manifest.status is Status.PARTIAL
    assert [(str(table.table.name), table.file, table.message) for table in lacking] == [
        ("secrets", None, "permission denied for table secrets")
    ]


def test_archive_of_a_newer_format_is_refused_by_name() -> None:
    """An archive of the future is not guessed at, even if it looks familiar."""
    with zipfile.ZipFile(FORMAT_1) as archive:
        values = json.loads(archive.read("manifest.json"))
    newer = repacked(FORMAT_1.read_bytes(), {"manifest.json": json.dumps({**values, "format": 2}).encode()})
    with pytest.raises(ArchiveError, match=r"archive format 2 is newer than this backupd reads \(1\)"):
        ArchiveReader(BytesIO(newer))
