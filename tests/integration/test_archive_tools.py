"""Archives in the hands of stock tools, beyond 4 GiB, and in bounded memory."""

from __future__ import annotations

import decimal
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

from backupd.archive.names import archive_name
from backupd.archive.reader import ArchiveReader
from backupd.archive.writer import ArchiveWriter
from backupd.model import TableName
from tests.support.archives import BACKUP_ID, CREATED_AT, USERS, make_archived, make_manifest, make_table, write_archive
from tests.support.skips import require, require_tool

ROWS = [b'{"id":%d,"email":"user%d@example.com","balance":12345678901234.123456}' % (n, n) for n in range(5_000)]
ODD = make_table("日本 a/b:c", schema="Odd")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An archive on disk under its proper name."""
    data, manifest = write_archive({USERS: ROWS, ODD: [b'{"v":"\\ud800"}'], make_table("empty"): []})
    path = tmp_path / archive_name(manifest.platform, manifest.type, CREATED_AT, BACKUP_ID)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("tool", "package", "options"),
    [
        ("unzip", "unzip", ["-t"]),
        ("7z", "p7zip-full", ["t"]),
        ("bsdtar", "libarchive-tools", ["-tf"]),
    ],
)
def test_archive_is_accepted_by_a_stock_tool(archive: Path, tool: str, package: str, options: list[str]) -> None:
    """Whoever has no backupd has one of these."""
    require_tool(tool, package)
    done = subprocess.run([tool, *options, str(archive)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "manifest.json" in done.stdout or "Everything is Ok" in done.stdout


def test_archive_unpacked_by_unzip_holds_the_files_the_manifest_names(archive: Path, tmp_path: Path) -> None:
    """Odd names arrive on disk as the manifest spells them."""
    require_tool("unzip", "unzip")
    target = tmp_path / "unpacked"
    subprocess.run(["unzip", "-q", str(archive), "-d", str(target)], check=True, env={"LC_ALL": "C.UTF-8"})
    tables = json.loads((target / "manifest.json").read_bytes())["tables"]
    assert [(target / table["file"]).stat().st_size for table in tables] == [table["bytes"] for table in tables]


def test_archive_read_by_the_standard_library_gives_the_rows(archive: Path) -> None:
    """`zipfile` and `json` are enough."""
    with zipfile.ZipFile(archive) as opened:
        assert opened.testzip() is None
        rows = json.loads(opened.read("tables/public/users.json"), parse_float=decimal.Decimal)
    assert (len(rows), rows[-1]["id"]) == (5_000, 4_999)
    assert rows[0]["balance"] == decimal.Decimal("12345678901234.123456")


def test_recovery_text_has_python_that_reads_the_archive(archive: Path) -> None:
    """The ten lines in RECOVERY.md run as they stand, and lose no digit."""
    with zipfile.ZipFile(archive) as opened:
        text = opened.read("RECOVERY.md").decode()
    code = text.partition("```python\n")[2].partition("```")[0]
    done = subprocess.run([sys.executable, "-c", code], cwd=archive.parent, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == len(ROWS)
    assert lines[7] == "{'id': 7, 'email': 'user7@example.com', 'balance': Decimal('12345678901234.123456')}"


def test_archive_with_a_table_beyond_4_gib_is_written_and_read() -> None:
    """ZIP64 where it matters: sizes do not wrap, and the last row is there."""
    row = b'{"v":"' + b"x" * (1 << 15) + b'"}'
    last = b'{"v":"last"}'
    with tempfile.TemporaryFile() as file:
        writer = ArchiveWriter(file, created_at=CREATED_AT)
        with writer.table(TableName("public", "users")) as member:
            while member.bytes <= 1 << 32:
                member.write([row] * 200)
            member.write([last])
        written = make_archived(USERS, file=member.file, rows=member.rows, bytes=member.bytes, sha256=member.sha256)
        writer.finish(make_manifest(written))
        with zipfile.ZipFile(file) as opened:
            assert opened.getinfo(member.file).file_size == member.bytes
        with ArchiveReader(file) as reader:
            found = [text for text in reader.rows(written) if text != row]
    assert member.bytes > 1 << 32
    assert found == [last]


_MEASURED = """
import sys
from backupd.archive.reader import ArchiveReader
from backupd.archive.writer import ArchiveWriter
from backupd.verify import verify_archive
from tests.support.archives import CREATED_AT, USERS, make_archived, make_manifest

pages, rows, width = map(int, sys.argv[2:])
with open(sys.argv[1], "w+b") as file:
    writer = ArchiveWriter(file, created_at=CREATED_AT)
    with writer.table(USERS.name) as member:
        for page in range(pages):
            member.write([b'{"id":%d,"v":"%s"}' % (page * rows + n, b"%064d" % n * (width // 64)) for n in range(rows)])
    table = make_archived(USERS, file=member.file, rows=member.rows, bytes=member.bytes, sha256=member.sha256)
    writer.finish(make_manifest(table))
    with ArchiveReader(file) as reader:
        assert sum(1 for _ in reader.rows(table)) == pages * rows
    assert verify_archive(file).ok
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(int(peak.split()[1]) * 1024)
"""


def peak_memory(directory: Path, *, pages: int, rows: int, width: int) -> int:
    """The most memory, in bytes, a process held that wrote, read and verified an archive of this shape.

    The kernel's high-water mark of that process alone: `ru_maxrss` would include the memory of this one.
    """
    command = [sys.executable, "-c", _MEASURED, str(directory / "x.zip"), str(pages), str(rows), str(width)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    return int(done.stdout)


def test_memory_for_ten_times_the_rows_stays_the_same(tmp_path: Path) -> None:
    """Writing, reading and verifying take as much memory for a large table as for a small one."""
    require(sys.platform == "linux", "Linux's /proc", "Linux")
    small = peak_memory(tmp_path, pages=50, rows=1_000, width=256)
    large = peak_memory(tmp_path, pages=500, rows=1_000, width=256)
    assert large - small < 6_000_000


def test_memory_for_wide_rows_is_a_few_rows(tmp_path: Path) -> None:
    """Rows of 48 MB: at no time more than three copies of one."""
    require(sys.platform == "linux", "Linux's /proc", "Linux")
    width = 48_000_000
    narrow = peak_memory(tmp_path, pages=1, rows=1, width=640)
    wide = peak_memory(tmp_path, pages=3, rows=1, width=width)
    assert wide - narrow < 3.5 * width
