"""The recipe of a backup, over a project that exists only here and a real archive."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import cast

import pytest

from backupd.archive.reader import ArchiveReader
from backupd.backup import BackupRequest, Witness, overall_status, require_space, run_backup
from backupd.catalog import Catalog
from backupd.errors import (
    ArchiveError,
    CatalogError,
    Interrupted,
    KeyRefused,
    ProjectError,
    ProjectUnreachable,
    StoreError,
)
from backupd.model import (
    Backup,
    BackupType,
    OnProgress,
    Progress,
    Status,
    StoredObject,
    Table,
    TableName,
    TableStatus,
    Trigger,
    ignore_progress,
    never_stop,
    utc_now,
)
from backupd.project import Discovery, Lane, Project, Rows, TableOutcome, Unreadable
from backupd.project.side_by_side import side_by_side
from backupd.verify import verify_archive
from tests.support.archives import make_archived, make_table
from tests.support.stores import MemoryStore

WHOLE = TableOutcome(TableStatus.COMPLETED)
PAGE = [b'{"id":1,"v":"a"}', b'{"id":2,"v":"b"}']

Read = Callable[[], Generator[Rows, None, TableOutcome]]


def pages(*rows: Sequence[bytes], outcome: TableOutcome = WHOLE) -> Generator[Rows, None, TableOutcome]:
    """A table that comes in these pages and ends like that."""
    yield from rows
    return outcome


def breaking(error: Exception, *rows: Sequence[bytes]) -> Generator[Rows, None, TableOutcome]:
    """A table whose reading ends in an error after these pages."""
    yield from rows
    raise error


@dataclass
class PaperProject:
    """What `run_backup` asks of a project, answered from memory."""

    reads: dict[str, Read]
    found: dict[str, object] = field(default_factory=dict)
    host: str = "xyz.supabase.co"

    def discover(self, last_time: Sequence[str] = ()) -> Discovery:  # noqa: ARG002 - the project's signature
        """The tables of this project."""
        tables = tuple(make_table(name) for name in self.reads)
        given: dict[str, object] = {"documents": (("public", b"{}"),), **self.found}
        return Discovery(tables, **given)  # type: ignore[arg-type]  # the fields of Discovery

    @contextmanager
    def read(
        self,
        tables: Sequence[Table],
        *,
        on_count: OnProgress = ignore_progress,  # noqa: ARG002 - the project's
    ) -> Iterator[list[Lane[Rows, TableOutcome]]]:
        """As `Project.read`, without a network."""
        with side_by_side([self.reads[table.name.name] for table in tables], 2, threading.Event()) as lanes:
            yield lanes


@dataclass
class Setting:
    """Where a backup is taken, and what watches it."""

    catalog: Catalog
    store: MemoryStore
    work: Path
    should_stop: Callable[[], bool] = never_stop
    on_progress: OnProgress = ignore_progress

    def back_up(self, project: PaperProject) -> Backup:
        """Take one."""
        request = BackupRequest("b7f3c2a1-1111", BackupType.MANUAL, Trigger.CLI, "Platform")
        witness = Witness(utc_now, self.on_progress, self.should_stop)
        return run_backup(cast("Project", project), self.store, self.catalog, request, self.work, witness)

    @property
    def stored(self) -> list[str]:
        """What is in the store."""
        return [one.name for one in self.store.list()]


@pytest.fixture
def setting(tmp_path: Path) -> Iterator[Setting]:
    """A new catalog, an empty store."""
    (tmp_path / "work").mkdir()
    with Catalog.open(tmp_path / "catalog.sqlite") as catalog:
        yield Setting(catalog, MemoryStore(), tmp_path / "work")


def good() -> PaperProject:
    """Two tables, nothing wrong."""
    return PaperProject({"a": partial(pages, PAGE, [b'{"id":3}']), "b": pages})


def test_backup_of_whole_tables_is_completed_proven_and_recorded(setting: Setting) -> None:
    """Archive and sidecar are in the store, and the catalog says what the archive holds."""
    taken = setting.back_up(good())
    assert (taken.status, taken.total_rows, [table.rows for table in taken.tables]) == (Status.COMPLETED, 3, [3, 0])
    assert taken.verified_at is not None
    assert setting.stored == [taken.archive, f"{taken.archive}.manifest.json"]
    assert setting.catalog.backup(taken.backup_id) == taken
    assert list(setting.work.iterdir()) == []


def test_backup_of_several_schemas_holds_each_document_and_verifies(setting: Setting) -> None:
    """The further documents are part of the format."""
    project = good()
    project.found["documents"] = (("public", b"{}"), ("extra", b'{"x":1}'))
    taken = setting.back_up(project)
    with setting.store.open(str(taken.archive)) as file:
        assert verify_archive(file).problems == ()
        with ArchiveReader(file) as reader:
            assert b"".join(reader.member_chunks("schemas/extra.json")) == b'{"x":1}'


@pytest.mark.parametrize(
    ("read", "status", "rows", "words"),
    [
        (partial(pages, PAGE, outcome=TableOutcome(TableStatus.INCOMPLETE, message="2 of 9")), "incomplete", 2, "2 of"),
        (partial(pages, outcome=TableOutcome(TableStatus.FAILED, message="no")), "failed", 0, "no"),
        (partial(breaking, ProjectUnreachable("away", hint="Is it up?"), PAGE), "incomplete", 2, "away. Is it up?"),
        (partial(breaking, ProjectUnreachable("away")), "failed", 0, "away"),
    ],
)
def test_backup_with_a_table_that_lacks_something_is_partial(
    setting: Setting, read: Read, status: str, rows: int, words: str
) -> None:
    """What came is kept, what did not is said, and the other tables are whole."""
    taken = setting.back_up(PaperProject({"bad": read, "good": partial(pages, PAGE)}))
    bad, other = taken.tables
    assert taken.status is Status.PARTIAL
    assert (bad.status, bad.rows) == (status, rows)
    assert words in str(bad.message)
    assert (other.status, other.rows) == (TableStatus.COMPLETED, 2)


def test_backup_with_a_table_that_cannot_be_read_at_all_lists_it_with_the_remedy(setting: Setting) -> None:
    """A missing grant is in the manifest with the statement that mends it."""
    project = good()
    project.found["unreadable"] = (Unreadable(TableName("public", "secret"), "no grant", "Run: GRANT …"),)
    taken = setting.back_up(project)
    assert taken.status is Status.PARTIAL
    assert taken.tables[0].message == "no grant. Run: GRANT …"


def test_backup_of_which_nothing_could_be_read_fails(setting: Setting) -> None:
    """An archive without a single table is none."""
    failed = TableOutcome(TableStatus.FAILED, message="no grant")
    with pytest.raises(ProjectError, match="not one of 2 tables could be read: a: no grant; b: no grant"):
        setting.back_up(PaperProject(dict.fromkeys(("a", "b"), partial(pages, outcome=failed))))
    assert setting.stored == []


def test_backup_ends_when_three_tables_in_a_row_give_no_answer(setting: Setting) -> None:
    """One that answers in between starts the count anew."""
    away = partial(breaking, ProjectUnreachable("away"))
    scattered = PaperProject({"a": away, "b": away, "c": partial(pages, PAGE), "d": away, "e": away})
    assert setting.back_up(scattered).status is Status.PARTIAL
    with pytest.raises(ProjectUnreachable):
        setting.back_up(PaperProject({"a": partial(pages, PAGE), "b": away, "c": away, "d": away}))


def test_backup_whose_key_is_refused_ends_at_once(setting: Setting) -> None:
    """That is no matter of one table."""
    with pytest.raises(KeyRefused):
        setting.back_up(PaperProject({"a": partial(pages, PAGE), "b": partial(breaking, KeyRefused("revoked"))}))
    assert setting.stored == []


def test_backup_whose_archive_changes_on_the_disk_is_not_published(setting: Setting) -> None:
    """What is read back is compared with what was received, not with itself."""

    def damage() -> bool:
        for file in setting.work.glob("*.zip"):
            data = bytearray(file.read_bytes())
            data[data.index(b"a.json") + 12] ^= 0xFF
            file.write_bytes(bytes(data))
        return False

    setting.should_stop = damage
    with pytest.raises(ArchiveError, match="the archive read back is not what was received"):
        setting.back_up(good())
    assert setting.stored == []


def test_backup_stopped_while_it_is_read_back_publishes_nothing(setting: Setting) -> None:
    """A large archive does not hold up whoever stops the run."""
    setting.should_stop = lambda: any(setting.work.glob("*.zip"))
    with pytest.raises(Interrupted, match="interrupted while reading the archive back"):
        setting.back_up(good())
    assert setting.stored == []


class StoreWithoutSidecars(MemoryStore):
    """Takes archives alone."""

    def put(self, name: str, source: Path) -> StoredObject:
        """Refuse what is not an archive."""
        if name.endswith(".json"):
            raise StoreError("no space left")
        return super().put(name, source)


def test_backup_whose_sidecar_cannot_be_stored_is_completed_with_a_warning(setting: Setting) -> None:
    """The archive is there and proven; the sidecar can be written later."""
    setting.store = StoreWithoutSidecars()
    taken = setting.back_up(good())
    assert (taken.status, setting.stored) == (Status.COMPLETED, [taken.archive])
    assert "no sidecar yet (no space left); `backupd rescan` writes it" in taken.warnings[0]
    assert setting.catalog.backup(taken.backup_id).warnings == taken.warnings


def test_backup_the_catalog_cannot_record_says_that_the_archive_is_there(setting: Setting) -> None:
    """The error must not say that nothing was published when something was."""

    def close_catalog(progress: Progress) -> None:
        if progress.stage == "storing":
            setting.catalog.close()

    setting.on_progress = close_catalog
    with pytest.raises(CatalogError, match="is proven and in the store all the same") as raised:
        setting.back_up(good())
    assert "rescan" in str(raised.value.hint)
    assert len(setting.stored) == 2


class SmallStore(MemoryStore):
    """Has room for 20 MB."""

    def free_bytes(self) -> int | None:
        """As much as that."""
        return 20_000_000


@pytest.mark.parametrize(("last_size_bytes", "fits"), [(0, True), (1_000_000, True), (4_000_000, False)])
def test_space_for_a_backup_like_the_last_one_is_asked_for_first(
    tmp_path: Path, last_size_bytes: int, fits: bool
) -> None:
    """With a quarter more than the last one took, and something to spare."""
    if fits:
        require_space(SmallStore(), tmp_path, last_size_bytes)
        return
    with pytest.raises(StoreError, match=r"memory:// has 20 MB free; a backup like the last one needs 22 MB"):
        require_space(SmallStore(), tmp_path, last_size_bytes)


def test_status_of_a_backup_is_that_of_its_worst_table() -> None:
    """Completed means every table."""
    whole, short = make_archived(), make_archived(status=TableStatus.INCOMPLETE)
    assert overall_status([whole, whole]) is Status.COMPLETED
    assert overall_status([whole, short]) is Status.PARTIAL
