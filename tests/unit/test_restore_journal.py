"""The journal of a restore: what an interrupted one goes on from."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from backupd.errors import BackupdError
from backupd.model import TableName
from backupd.restore.journal import Journal

USERS, LOG = TableName("public", "users"), TableName("Odd Schema", "a.b")
RESTORE = {"backup_id": "b7f3", "target": "x.supabase.co", "mode": "empty"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal is, in a directory that is not there yet."""
    return tmp_path / "restores" / "one.journal"


def write(path: Path, **restore: str) -> None:
    """A journal of a restore that was interrupted."""
    with Journal(path, {**RESTORE, **restore}) as journal:
        journal.dealt_with(USERS, 500)
        journal.refused(USERS, 17, "23505 because")
        journal.dealt_with(USERS, 1000)
        journal.loaded(USERS)
        journal.filled_in(USERS)
        journal.dealt_with(LOG, 3)
        journal.found_always_identity(LOG, "id")


def test_journal_read_again_knows_how_far_each_table_came(path: Path) -> None:
    """Rows, refused ones, both passes, and columns to close again."""
    write(path)
    journal = Journal(path, RESTORE)
    users = journal.of(USERS)
    assert (users.rows, users.refused, users.loaded, users.filled_in) == (1000, {17: "23505 because"}, True, True)
    assert (journal.of(LOG).rows, journal.of(LOG).loaded) == (3, False)
    assert journal.always_identity == {(LOG, "id")}
    assert journal.begun == {USERS, LOG}


def test_journal_gone_on_with_keeps_what_was_in_it(path: Path) -> None:
    """The second run adds to the first."""
    write(path)
    with Journal(path, RESTORE) as journal:
        journal.dealt_with(LOG, 9)
    again = Journal(path, RESTORE)
    assert (again.of(USERS).rows, again.of(LOG).rows) == (1000, 9)


def test_journal_whose_last_line_was_cut_knows_all_before_it(path: Path) -> None:
    """A killed process leaves half a line; the next one starts a line of its own."""
    write(path)
    path.write_bytes(path.read_bytes()[:-10])
    with Journal(path, RESTORE) as journal:
        assert journal.of(LOG).rows == 3
        journal.dealt_with(LOG, 5)
    assert Journal(path, RESTORE).of(LOG).rows == 5


@pytest.mark.parametrize("other", [{"backup_id": "c8"}, {"target": "y.supabase.co"}, {"mode": "merge"}])
def test_journal_of_another_restore_is_begun_anew(path: Path, other: dict[str, str]) -> None:
    """What was written elsewhere says nothing about here."""
    write(path, **other)
    with Journal(path, RESTORE) as journal:
        assert journal.begun == frozenset()
        journal.dealt_with(LOG, 1)
    assert Journal(path, RESTORE).begun == {LOG}


def test_journal_that_forgets_a_table_begins_it_anew(path: Path) -> None:
    """Because the target was emptied meanwhile."""
    write(path)
    with Journal(path, RESTORE) as journal:
        journal.forget(USERS)
    assert Journal(path, RESTORE).of(USERS).rows == 0
    assert not Journal(path, RESTORE).of(USERS).refused


def test_journal_is_for_its_owner_alone(path: Path) -> None:
    """It quotes what the database says of rows."""
    write(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_journal_removed_leaves_nothing_to_go_on_from(path: Path) -> None:
    """The restore has come to its end."""
    write(path)
    Journal(path, RESTORE).remove()
    assert Journal(path, RESTORE).begun == frozenset()


def test_journal_that_cannot_be_written_is_an_error_with_its_place(tmp_path: Path) -> None:
    """Without it nothing could be gone on with."""
    (tmp_path / "restores").write_text("a file in the way")
    with pytest.raises(BackupdError, match=r"one\.journal cannot be used"):
        write(tmp_path / "restores" / "one.journal")
