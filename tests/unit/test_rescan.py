"""A rescan: what it adopts, marks, mends and reports, and what it leaves alone."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backupd.archive.manifest import SIDECAR_SUFFIX, sidecar_from_json, sidecar_to_json
from backupd.catalog import Catalog, backup_from_sidecar
from backupd.errors import Interrupted
from backupd.model import Backup, Sidecar, Status
from backupd.rescan import RescanReport, run_rescan
from backupd.store import DirectoryStore
from tests.support.archives import USERS, make_table, write_archive

NOW = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
LAST_WEEK = NOW - timedelta(days=7)
NAME = "car-audio_manual_20261122T152429Z_b7f3c2a1.zip"
ROWS = {USERS: [b'{"id":1}', b'{"id":2}'], make_table("empty"): []}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the archives are."""
    return tmp_path / "store"


@pytest.fixture
def store(directory: Path) -> DirectoryStore:
    """An empty store."""
    return DirectoryStore(directory)


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    """An empty catalog."""
    with Catalog.open(tmp_path / "catalog.db") as opened:
        yield opened


def publish(directory: Path, name: str = NAME, *, sidecar: bool = True, **changes: Any) -> Sidecar:
    """An archive in the store, with its sidecar unless it is to be missing."""
    content, manifest = write_archive(ROWS, **changes)
    made = Sidecar(manifest, name, len(content), hashlib.sha256(content).hexdigest())
    (directory / name).write_bytes(content)
    if sidecar:
        (directory / (name + SIDECAR_SUFFIX)).write_bytes(sidecar_to_json(made))
    return made


def rescan(store: DirectoryStore, catalog: Catalog) -> RescanReport:
    """A rescan at `NOW`."""
    return run_rescan(store, catalog, clock=lambda: NOW)


def problems(report: RescanReport) -> dict[str, str]:
    """The reasons by the names of the objects."""
    return {problem.name: problem.reason for problem in report.problems}


def rows(catalog: Catalog) -> tuple[Backup, ...]:
    """All that the catalog knows."""
    return catalog.backups(with_tables=True)


def test_rescan_with_an_empty_catalog_rebuilds_every_backup(
    store: DirectoryStore, catalog: Catalog, directory: Path
) -> None:
    """A lost catalog comes back from the sidecars, with every table."""
    first = publish(directory)
    second = publish(directory, "other.zip", backup_id="c0", status=Status.PARTIAL, created_at=LAST_WEEK)
    report = rescan(store, catalog)
    assert rows(catalog) == (backup_from_sidecar(first), backup_from_sidecar(second))
    assert (report.archives, set(report.adopted), report.mismatches) == (2, {first.manifest.backup_id, "c0"}, 0)


def test_rescan_of_a_matching_store_changes_nothing(store: DirectoryStore, catalog: Catalog, directory: Path) -> None:
    """The second rescan finds nothing to do."""
    publish(directory)
    rescan(store, catalog)
    before = rows(catalog)
    report = rescan(store, catalog)
    assert rows(catalog) == before
    assert report == RescanReport(1, (), (), (), (), (), (), ())


def test_rescan_without_a_sidecar_reads_the_archive_and_writes_the_sidecar(
    store: DirectoryStore, catalog: Catalog, directory: Path
) -> None:
    """A crash between archive and sidecar is mended: the sidecar is the one that would have been written."""
    made = publish(directory, sidecar=False)
    report = rescan(store, catalog)
    assert rows(catalog) == (backup_from_sidecar(made),)
    assert report.sidecars_written == (NAME + SIDECAR_SUFFIX,)
    assert sidecar_from_json((directory / (NAME + SIDECAR_SUFFIX)).read_bytes()) == made


def test_rescan_with_an_unreadable_sidecar_reads_the_archive_and_says_so(
    store: DirectoryStore, catalog: Catalog, directory: Path
) -> None:
    """A broken sidecar does not cost the backup, is reported, and is not replaced behind anyone's back."""
    made = publish(directory)
    (directory / (NAME + SIDECAR_SUFFIX)).write_bytes(b"{")
    report = rescan(store, catalog)
    assert rows(catalog) == (backup_from_sidecar(made),)
    assert "is not valid JSON" in problems(report)[NAME + SIDECAR_SUFFIX]
    assert (directory / (NAME + SIDECAR_SUFFIX)).read_bytes() == b"{"


def test_rescan_of_a_known_archive_whose_sidecar_is_gone_writes_it_anew(
    store: DirectoryStore, catalog: Catalog, directory: Path
) -> None:
    """A sidecar that someone deleted comes back, and the backup stays verified."""
    made = publish(directory)
    catalog.save(backup_from_sidecar(made, verified_at=LAST_WEEK))
    (directory / (NAME + SIDECAR_SUFFIX)).unlink()
    report = rescan(store, catalog)
    assert (report.sidecars_written, report.problems) == ((NAME + SIDECAR_SUFFIX,), ())
    assert rows(catalog) == (backup_from_sidecar(made, verified_at=LAST_WEEK),)


@pytest.mark.parametrize("member", ["tables/public/users.json", "schema.json", "RECOVERY.md"])
def test_rescan_without_a_sidecar_never_calls_a_damaged_archive_right(
    store: DirectoryStore, catalog: Catalog, directory: Path, member: str
) -> None:
    """An archive with a flipped bit and no sidecar gets neither a row nor a sidecar, and is reported and kept."""
    publish(directory, sidecar=False)
    content = bytearray((directory / NAME).read_bytes())
    with zipfile.ZipFile(directory / NAME) as archive:
        content[first_byte_of(archive.getinfo(member), content)] ^= 0xFF
    (directory / NAME).write_bytes(content)
    report = rescan(store, catalog)
    assert (rows(catalog), list(problems(report)), report.sidecars_written) == ((), [NAME], ())
    assert (directory / NAME).read_bytes() == content


def test_rescan_without_a_sidecar_holds_each_table_to_its_checksum(
    store: DirectoryStore, catalog: Catalog, directory: Path
) -> None:
    """A table that is intact as a ZIP member, but not what the manifest promises, is damage too."""
    content, manifest = write_archive(ROWS)
    promised = str(manifest.tables[0].sha256).encode()
    (directory / NAME).write_bytes(rewritten_manifest(content, promised, b"0" * 64))
    report = rescan(store, catalog)
    assert problems(report) == {NAME: "tables/public/users.json has another checksum than the manifest says"}


def test_rescan_without_a_sidecar_misses_a_table_that_is_not_there(
    store: DirectoryStore, catalog: Catalog, directory: Path
) -> None:
    """A table that the manifest promises and the archive lacks is damage."""
    content, _ = write_archive(ROWS)
    (directory / NAME).write_bytes(rewritten_manifest(content, b"public/users.json", b"public/losers.json"))
    report = rescan(store, catalog)
    assert problems(report) == {NAME: "tables/public/losers.json is missing from the archive"}


def test_rescan_of_a_missing_archive_marks_its_backup(store: DirectoryStore, catalog: Catalog, directory: Path) -> None:
    """The row stays, with the time its archive was found missing."""
    made = publish(directory)
    catalog.save(backup_from_sidecar(made))
    (directory / NAME).unlink()
    report = rescan(store, catalog)
    assert rows(catalog) == (replace(backup_from_sidecar(made), missing_since=NOW),)
    assert (report.missing, report.mismatches) == ((made.manifest.backup_id,), 1)


def test_rescan_of_an_archive_still_missing_keeps_the_first_time(
    store: DirectoryStore, catalog: Catalog, directory: Path
) -> None:
    """How long it has been missing is not forgotten."""
    made = publish(directory)
    catalog.save(replace(backup_from_sidecar(made), missing_since=LAST_WEEK))
    (directory / NAME).unlink()
    assert rescan(store, catalog).missing == (made.manifest.backup_id,)
    assert rows(catalog)[0].missing_since == LAST_WEEK


def test_rescan_of_an_archive_that_is_back_takes_the_mark_off(
    store: DirectoryStore, catalog: Catalog, directory: Path
) -> None:
    """A disk that is mounted again brings its backups back, pinned and verified as they were."""
    made = publish(directory)
    before = replace(backup_from_sidecar(made, verified_at=LAST_WEEK), pinned=True)
    catalog.save(replace(before, missing_since=LAST_WEEK))
    report = rescan(store, catalog)
    assert (rows(catalog), report.found, report.missing) == ((before,), (made.manifest.backup_id,), ())


def test_rescan_after_a_crash_before_the_record_completes_it(
    store: DirectoryStore, catalog: Catalog, directory: Path
) -> None:
    """An archive that was published by a run which died is adopted by the row that the run had left."""
    made = publish(directory)
    begun = replace(backup_from_sidecar(made), status=Status.IN_PROGRESS, archive=None, tables=(), pinned=True)
    catalog.save(begun)
    catalog.interrupt_unfinished(NOW)
    report = rescan(store, catalog)
    assert rows(catalog) == (replace(backup_from_sidecar(made), pinned=True),)
    assert report.adopted == (made.manifest.backup_id,)


def test_rescan_of_an_archive_whose_backup_is_recorded_as_failed_takes_its_word(
    store: DirectoryStore, catalog: Catalog, directory: Path
) -> None:
    """A row that says failed and names an archive is put right by what the archive's sidecar says."""
    made = publish(directory)
    catalog.save(replace(backup_from_sidecar(made), status=Status.FAILED, error="the sidecar could not be put"))
    rescan(store, catalog)
    assert rows(catalog) == (backup_from_sidecar(made),)


def test_rescan_of_a_renamed_archive_follows_it(store: DirectoryStore, catalog: Catalog, directory: Path) -> None:
    """An archive moved to another name with its sidecar keeps its row, its pin and its verification."""
    made = publish(directory)
    before = replace(backup_from_sidecar(made, verified_at=LAST_WEEK), pinned=True)
    catalog.save(before)
    for suffix in ("", SIDECAR_SUFFIX):
        (directory / (NAME + suffix)).rename(directory / ("renamed.zip" + suffix))
    report = rescan(store, catalog)
    assert rows(catalog) == (replace(before, archive="renamed.zip"),)
    assert report.mismatches == 0


def test_rescan_of_a_renamed_archive_with_other_bytes_ends_its_verification(
    store: DirectoryStore, catalog: Catalog, directory: Path
) -> None:
    """Nobody has verified the bytes that are there now; the pin, which is about the backup, stays."""
    made = publish(directory)
    before = replace(backup_from_sidecar(made, verified_at=LAST_WEEK), pinned=True)
    catalog.save(replace(before, archive="gone.zip", sha256="0" * 64))
    rescan(store, catalog)
    assert rows(catalog) == (replace(before, verified_at=None),)


def test_rescan_of_a_second_copy_keeps_the_first_and_reports_the_other(
    store: DirectoryStore, catalog: Catalog, directory: Path
) -> None:
    """Two archives of one backup never share a row: deleting one would take the other for gone."""
    made = publish(directory, "a.zip")
    publish(directory, "b.zip")
    report = rescan(store, catalog)
    assert rows(catalog) == (backup_from_sidecar(made),)
    assert "second copy" in problems(report)["b.zip"]


def test_rescan_of_a_known_archive_of_another_size_reports_it_and_ends_its_verification(
    store: DirectoryStore, catalog: Catalog, directory: Path
) -> None:
    """A truncated archive must not count as a verified one that cleanup may rely on."""
    made = publish(directory)
    catalog.save(backup_from_sidecar(made, verified_at=LAST_WEEK))
    (directory / NAME).write_bytes((directory / NAME).read_bytes()[:100])
    report = rescan(store, catalog)
    assert problems(report)[NAME].startswith("it has 100 bytes; the catalog expects")
    assert rows(catalog) == (backup_from_sidecar(made),)


def test_rescan_of_a_known_archive_replaced_by_another_of_that_size_is_seen_without_its_sidecar(
    store: DirectoryStore, catalog: Catalog, directory: Path
) -> None:
    """When the sidecar has to be written anew, an archive that is not the one recorded does not get it."""
    made = publish(directory)
    catalog.save(replace(backup_from_sidecar(made, verified_at=LAST_WEEK), sha256="0" * 64))
    (directory / (NAME + SIDECAR_SUFFIX)).unlink()
    report = rescan(store, catalog)
    assert problems(report) == {NAME: "it is another archive than the one that was put there"}
    assert (report.sidecars_written, rows(catalog)[0].verified_at) == ((), None)


def test_rescan_of_an_unknown_archive_of_another_size_than_its_sidecar_says_reports_it(
    store: DirectoryStore, catalog: Catalog, directory: Path
) -> None:
    """A truncated archive is not adopted on the word of its sidecar."""
    publish(directory)
    (directory / NAME).write_bytes((directory / NAME).read_bytes()[:100])
    report = rescan(store, catalog)
    assert (rows(catalog), report.adopted) == ((), ())
    assert problems(report)[NAME].startswith("it has 100 bytes; its sidecar expects")


@pytest.mark.parametrize("content", [b"", b"PK\x05\x06" + b"\0" * 18, b"no zip at all"])
def test_rescan_of_a_zip_that_is_not_ours_reports_it_by_name(
    store: DirectoryStore, catalog: Catalog, directory: Path, content: bytes
) -> None:
    """What cannot be read is named with a reason, and stays."""
    (directory / "holiday.zip").write_bytes(content)
    report = rescan(store, catalog)
    assert list(problems(report)) == ["holiday.zip"]
    assert (directory / "holiday.zip").exists()


def test_rescan_of_an_encrypted_archive_needs_only_its_sidecar(
    store: DirectoryStore, catalog: Catalog, directory: Path
) -> None:
    """An encrypted archive is adopted unopened when its sidecar is there."""
    made = publish(directory, "a.zip.age")
    assert rescan(store, catalog).mismatches == 0
    assert rows(catalog) == (backup_from_sidecar(made),)


def test_rescan_of_an_encrypted_archive_without_a_sidecar_reports_it(
    store: DirectoryStore, catalog: Catalog, directory: Path
) -> None:
    """Without a key nothing can be said of it, and that is said."""
    publish(directory, "a.zip.age", sidecar=False)
    report = rescan(store, catalog)
    assert "encrypted" in problems(report)["a.zip.age"]
    assert rows(catalog) == ()


def test_rescan_of_a_sidecar_without_its_archive_reports_it(
    store: DirectoryStore, catalog: Catalog, directory: Path
) -> None:
    """What is left of an archive that nobody knows is not passed over."""
    publish(directory)
    (directory / NAME).unlink()
    report = rescan(store, catalog)
    assert problems(report) == {NAME + SIDECAR_SUFFIX: "it is a sidecar without its archive"}


def test_rescan_of_foreign_objects_names_them_and_leaves_them(
    store: DirectoryStore, catalog: Catalog, directory: Path
) -> None:
    """Somebody else's files are neither touched nor a problem."""
    (directory / "notes.txt").write_bytes(b"")
    report = rescan(store, catalog)
    assert (report.foreign, report.problems, (directory / "notes.txt").exists()) == (("notes.txt",), (), True)


@pytest.mark.parametrize("gone", ["nothing", "sidecar", "archive"])
def test_rescan_of_a_backup_being_deleted_leaves_it_to_the_deletion(
    store: DirectoryStore, catalog: Catalog, directory: Path, gone: str
) -> None:
    """At whatever step the deletion stopped, nothing of the backup is mended, marked or reported."""
    made = publish(directory, sidecar=gone != "sidecar")
    deleting = replace(backup_from_sidecar(made), deleting=True)
    catalog.save(deleting)
    if gone == "archive":
        (directory / NAME).unlink()
    report = rescan(store, catalog)
    assert rows(catalog) == (deleting,)
    assert (report.mismatches, report.sidecars_written) == (0, ())


def test_rescan_removes_leftovers_of_interrupted_puts(store: DirectoryStore, catalog: Catalog, directory: Path) -> None:
    """What a crash left half-written goes, and is named."""
    (directory / ".put-0123.part").write_bytes(b"half")
    assert rescan(store, catalog).leftovers_removed == (".put-0123.part",)
    assert list(directory.iterdir()) == []


def test_rescan_of_a_backup_that_failed_without_an_archive_leaves_it(
    store: DirectoryStore, catalog: Catalog, directory: Path
) -> None:
    """There is nothing to miss where nothing was published."""
    failed = replace(backup_from_sidecar(publish(directory)), backup_id="f0", status=Status.FAILED, archive=None)
    catalog.save(failed)
    assert rescan(store, catalog).missing == ()
    assert catalog.backup("f0").missing_since is None


def test_rescan_told_to_stop_ends_between_archives(store: DirectoryStore, catalog: Catalog, directory: Path) -> None:
    """It stops at once, and what it had done stays."""
    publish(directory, "a.zip")
    publish(directory, "b.zip", backup_id="c0")
    answers = iter([False, True])
    with pytest.raises(Interrupted):
        run_rescan(store, catalog, clock=lambda: NOW, should_stop=lambda: next(answers))
    assert [backup.archive for backup in rows(catalog)] == ["a.zip"]


def first_byte_of(member: zipfile.ZipInfo, content: bytearray) -> int:
    """Where the compressed data of a member begins: after its header, its name and its extra fields."""
    lengths = content[member.header_offset + 26 : member.header_offset + 30]
    return member.header_offset + 30 + int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little")


def rewritten_manifest(content: bytes, old: bytes, new: bytes) -> bytes:
    """The archive with `old` replaced by `new` in its manifest, and intact in every other way."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(target, "w") as copy:
        for member in source.namelist():
            data = source.read(member)
            copy.writestr(member, data.replace(old, new) if member == "manifest.json" else data)
    return target.getvalue()
