"""What a directory store does beyond the contract of every store."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from stat import S_IMODE

import pytest

from backupd.errors import StoreError
from backupd.store import DirectoryStore
from backupd.store.disk import lock
from tests.support.skips import require
from tests.support.stores import file_with


@pytest.fixture(params=[0o000, 0o077, 0o777], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each of a careless, a careful and an absurd umask."""
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A directory on another file system than `tmp_path`."""
    shared_memory = Path("/dev/shm")
    different = shared_memory.is_dir() and shared_memory.stat().st_dev != tmp_path.stat().st_dev
    require(different, "a second file system at /dev/shm", "mount -t tmpfs tmpfs /dev/shm")
    with tempfile.TemporaryDirectory(dir=shared_memory) as directory:
        yield Path(directory)


def refuse_links(source: Path, target: Path) -> None:
    """What a FAT file system answers to every link."""
    raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


def names_in(store: Path) -> list[str]:
    """Everything in the directory, hidden or not."""
    return sorted(path.name for path in store.iterdir())


@pytest.mark.usefixtures("umask")
def test_directory_made_is_private_whatever_the_umask(tmp_path: Path) -> None:
    """The directory is 0700 even when the umask would have it otherwise."""
    DirectoryStore(tmp_path / "store")
    assert S_IMODE((tmp_path / "store").stat().st_mode) == 0o700


def test_directory_made_brings_its_parents(tmp_path: Path) -> None:
    """A first start needs no mkdir."""
    DirectoryStore(tmp_path / "a" / "b" / "store")
    assert (tmp_path / "a" / "b" / "store").is_dir()


def test_directory_that_exists_keeps_its_mode(tmp_path: Path) -> None:
    """Whoever made the directory decided who may look into it."""
    (tmp_path / "store").mkdir(mode=0o750)
    DirectoryStore(tmp_path / "store")
    assert S_IMODE((tmp_path / "store").stat().st_mode) == 0o750


def test_directory_at_the_name_of_a_file_is_refused(tmp_path: Path) -> None:
    """A file where the directory should be is an error for a person."""
    with pytest.raises(StoreError, match="cannot make the directory"):
        DirectoryStore(file_with(tmp_path, b"", "store"))


@pytest.mark.usefixtures("umask")
def test_put_moved_is_private_whatever_the_umask(tmp_path: Path) -> None:
    """An archive made readable for all becomes 0600 on its way."""
    store = DirectoryStore(tmp_path / "store")
    source = file_with(tmp_path, b"12345")
    source.chmod(0o666)
    store.put("a.zip", source)
    assert S_IMODE((tmp_path / "store" / "a.zip").stat().st_mode) == 0o600


@pytest.mark.usefixtures("umask")
def test_put_copied_is_private_whatever_the_umask(tmp_path: Path, elsewhere: Path) -> None:
    """The same for an archive that came from another file system."""
    store = DirectoryStore(tmp_path / "store")
    source = file_with(elsewhere, b"12345")
    source.chmod(0o666)
    store.put("a.zip", source)
    assert S_IMODE((tmp_path / "store" / "a.zip").stat().st_mode) == 0o600


def test_put_on_one_file_system_moves_the_file(tmp_path: Path) -> None:
    """Not a byte is copied where a new name is enough."""
    store = DirectoryStore(tmp_path / "store")
    source = file_with(tmp_path, b"12345")
    inode = source.stat().st_ino
    store.put("a.zip", source)
    assert (tmp_path / "store" / "a.zip").stat().st_ino == inode


def test_put_from_another_file_system_copies_and_leaves_no_temporary(tmp_path: Path, elsewhere: Path) -> None:
    """A source elsewhere arrives whole and is consumed all the same."""
    store = DirectoryStore(tmp_path / "store")
    source = file_with(elsewhere, b"x" * 3_000_000)
    store.put("a.zip", source)
    assert (store.size("a.zip"), names_in(tmp_path / "store"), source.exists()) == (3_000_000, ["a.zip"], False)


def test_put_source_with_a_second_name_is_copied(tmp_path: Path) -> None:
    """Whoever holds another name of the source cannot change the archive through it."""
    store = DirectoryStore(tmp_path / "store")
    source = file_with(tmp_path, b"12345")
    second = tmp_path / "second"
    second.hardlink_to(source)
    store.put("a.zip", source)
    second.write_bytes(b"changed")
    assert (tmp_path / "store" / "a.zip").read_bytes() == b"12345"


def test_put_symbolic_link_stores_what_it_points_to(tmp_path: Path) -> None:
    """An archive is a file, never a pointer to one."""
    store = DirectoryStore(tmp_path / "store")
    source = tmp_path / "link"
    source.symlink_to(file_with(tmp_path, b"12345"))
    store.put("a.zip", source)
    assert not (tmp_path / "store" / "a.zip").is_symlink()
    assert (tmp_path / "store" / "a.zip").read_bytes() == b"12345"


def test_put_where_links_do_not_exist_renames(tmp_path: Path) -> None:
    """A USB disk with FAT is a store too."""
    store = DirectoryStore(tmp_path / "store", link=refuse_links)
    store.put("a.zip", file_with(tmp_path, b"12345"))
    assert (names_in(tmp_path / "store"), store.size("a.zip")) == (["a.zip"], 5)


def test_put_where_links_do_not_exist_still_overwrites_nothing(tmp_path: Path) -> None:
    """A name that was taken while the copy was made is seen before the rename."""

    def take_the_name_and_refuse(source: Path, target: Path) -> None:
        target.write_bytes(b"another")
        refuse_links(source, target)

    store = DirectoryStore(tmp_path / "store", link=take_the_name_and_refuse)
    source = file_with(tmp_path, b"12345")
    with pytest.raises(StoreError, match="the name is taken"):
        store.put("a.zip", source)
    assert (tmp_path / "store" / "a.zip").read_bytes() == b"another"
    assert (names_in(tmp_path / "store"), source.read_bytes()) == (["a.zip"], b"12345")


def test_put_copied_whose_source_cannot_be_removed_is_taken_back(tmp_path: Path, elsewhere: Path) -> None:
    """A put does all that it promises or nothing: here a directory has come where the source was."""

    def link_and_hinder(source: Path, target: Path) -> None:
        os.link(source, target)
        (elsewhere / "source").unlink()
        (elsewhere / "source").mkdir()

    store = DirectoryStore(tmp_path / "store", link=link_and_hinder)
    with pytest.raises(StoreError):
        store.put("a.zip", file_with(elsewhere, b"12345"))
    assert names_in(tmp_path / "store") == []


def test_put_moved_never_leaves_source_and_object_one_file(tmp_path: Path) -> None:
    """A crash just after publishing must not leave a path outside through which the object can be overwritten."""
    source_at_publishing: list[bool] = []

    def look_and_link(temporary: Path, target: Path) -> None:
        source_at_publishing.append(source.exists())
        os.link(temporary, target)

    store = DirectoryStore(tmp_path / "store", link=look_and_link)
    source = file_with(tmp_path, b"12345")
    store.put("a.zip", source)
    assert source_at_publishing == [False]


def test_put_where_links_do_not_exist_and_the_length_is_wrong_gives_the_source_back(tmp_path: Path) -> None:
    """Also where a rename published, a failure afterwards costs neither the source nor the name."""

    def grow_and_refuse(temporary: Path, target: Path) -> None:
        with temporary.open("ab") as file:
            file.write(b"6")
        refuse_links(temporary, target)

    store = DirectoryStore(tmp_path / "store", link=grow_and_refuse)
    source = file_with(tmp_path, b"12345")
    with pytest.raises(StoreError, match="came to 6 bytes"):
        store.put("a.zip", source)
    assert (names_in(tmp_path / "store"), source.read_bytes()) == ([], b"123456")


def test_put_that_arrives_short_is_taken_back(tmp_path: Path) -> None:
    """A length that differs after publishing is an error, and nothing stays at the name."""

    def link_and_cut(source: Path, target: Path) -> None:
        target.write_bytes(source.read_bytes()[:3])

    store = DirectoryStore(tmp_path / "store", link=link_and_cut)
    source = file_with(tmp_path, b"12345")
    with pytest.raises(StoreError, match="came to 3 bytes where 5 were put"):
        store.put("a.zip", source)
    assert (names_in(tmp_path / "store"), source.read_bytes()) == ([], b"12345")


def test_put_repeated_after_a_crash_before_the_source_was_removed_succeeds(tmp_path: Path) -> None:
    """The source and the object may be one file with two names: the first goes, the second stays."""
    store = DirectoryStore(tmp_path / "store")
    source = file_with(tmp_path, b"12345")
    (tmp_path / "store" / "a.zip").hardlink_to(source)
    store.put("a.zip", source)
    assert (source.exists(), (tmp_path / "store" / "a.zip").read_bytes()) == (False, b"12345")


def test_put_at_the_name_of_a_directory_is_refused(tmp_path: Path) -> None:
    """Something else at the name is not overwritten either."""
    store = DirectoryStore(tmp_path / "store")
    (tmp_path / "store" / "a.zip").mkdir()
    with pytest.raises(StoreError, match="the name is taken by something else"):
        store.put("a.zip", file_with(tmp_path, b"12345"))


def test_list_other_things_in_the_directory_leaves_them_out(tmp_path: Path) -> None:
    """Temporaries, directories, dangling links and names that could not be opened are not objects."""
    store = DirectoryStore(tmp_path / "store")
    directory = tmp_path / "store"
    (directory / "lost+found").mkdir()
    (directory / ".put-0123.part").write_bytes(b"half")
    (directory / "dangling").symlink_to(directory / "nowhere")
    (directory / "line\nbreak").write_bytes(b"")
    store.put("a.zip", file_with(tmp_path, b"12345"))
    assert [stored.name for stored in store.list()] == ["a.zip"]


def test_remove_leftovers_of_a_dead_put_removes_them(tmp_path: Path) -> None:
    """A temporary that nobody holds is removed and named; what is not ours stays."""
    store = DirectoryStore(tmp_path / "store")
    for name in [".put-0123.part", ".put-4567.part", ".notes", "a.part"]:
        (tmp_path / "store" / name).write_bytes(b"half")
    assert store.remove_leftovers() == (".put-0123.part", ".put-4567.part")
    assert names_in(tmp_path / "store") == [".notes", "a.part"]


def test_remove_leftovers_of_a_living_put_leaves_them(tmp_path: Path) -> None:
    """A temporary that its put has locked is left alone."""
    store = DirectoryStore(tmp_path / "store")
    with (tmp_path / "store" / ".put-0123.part").open("wb") as file:
        assert lock(file.fileno())
        assert store.remove_leftovers() == ()
    assert names_in(tmp_path / "store") == [".put-0123.part"]


@pytest.mark.parametrize("way", ["moved", "copied"])
def test_remove_leftovers_during_a_put_does_not_disturb_it(tmp_path: Path, elsewhere: Path, way: str) -> None:
    """A clean-up that comes at the worst moment, just before publishing, takes nothing from the put."""
    removed: list[str] = []

    def clean_up_then_link(source: Path, target: Path) -> None:
        removed.extend(DirectoryStore(tmp_path / "store").remove_leftovers())
        os.link(source, target)

    store = DirectoryStore(tmp_path / "store", link=clean_up_then_link)
    store.put("a.zip", file_with(tmp_path if way == "moved" else elsewhere, b"12345"))
    assert (removed, store.size("a.zip")) == ([], 5)


def test_open_disk_that_fails_later_is_an_error_for_a_person(tmp_path: Path) -> None:
    """A read error long after opening is a `StoreError` too. Reading address 0 of a process is EIO."""
    store = DirectoryStore(tmp_path / "store")
    (tmp_path / "store" / "a.zip").symlink_to("/proc/self/mem")
    with store.open("a.zip") as file, pytest.raises(StoreError, match="the disk reported an error"):
        file.read(10)


def test_list_directory_that_is_gone_is_an_error(tmp_path: Path) -> None:
    """A disk that is not mounted is not an empty store."""
    store = DirectoryStore(tmp_path / "store")
    (tmp_path / "store").rmdir()
    with pytest.raises(StoreError, match="it is not there") as caught:
        store.list()
    assert caught.value.hint == "check that the disk is mounted"


def test_free_bytes_is_what_the_file_system_says(tmp_path: Path) -> None:
    """The free space is that of the file system below, give or take what others write meanwhile."""
    free = DirectoryStore(tmp_path / "store").free_bytes()
    space = os.statvfs(tmp_path)
    assert free == pytest.approx(space.f_bavail * space.f_frsize, rel=0.2)
