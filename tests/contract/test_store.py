"""What every store promises, asked of each store. A new kind of store is one more entry in `STORES`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backupd.errors import StoreError
from backupd.store import DirectoryStore, Store
from tests.support.stores import MemoryStore, file_with

STORES: dict[str, Callable[[Path], Store]] = {
    "directory": lambda directory: DirectoryStore(directory / "store"),
    "memory": lambda _: MemoryStore(),
}
BAD_NAMES = [
    "",
    ".",
    "..",
    ".hidden",
    "a/b",
    "/a",
    "../a",
    "a\\b",
    "a\nb",
    "a\0b",
    "a\x7fb",
    "a\u2028b",
    "\udc80",
    "é" * 128,
]
NAME = "platform_manual_20261122T152429Z_b7f3c2a1.zip"


@pytest.fixture(params=[*STORES.values()], ids=[*STORES])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store of each kind."""
    made: Store = request.param(tmp_path)
    return made


def content_of(store: Store, name: str) -> bytes:
    """Every byte of an object."""
    with store.open(name) as file:
        return file.read()


def test_put_new_name_opens_with_the_same_bytes(store: Store, tmp_path: Path) -> None:
    """What was put is what is read."""
    content = bytes(range(256)) * 9000
    store.put(NAME, file_with(tmp_path, content))
    assert content_of(store, NAME) == content


def test_put_new_name_describes_the_object(store: Store, tmp_path: Path) -> None:
    """The answer to a put names the object, its size, and an aware instant."""
    stored = store.put(NAME, file_with(tmp_path, b"12345"))
    assert (stored.name, stored.size_bytes) == (NAME, 5)
    assert abs(stored.modified_at - datetime.now(UTC)) < timedelta(minutes=1)


def test_put_done_consumes_the_source(store: Store, tmp_path: Path) -> None:
    """A source that was put is gone."""
    source = file_with(tmp_path, b"12345")
    store.put(NAME, source)
    assert not source.exists()


def test_put_empty_file_makes_an_empty_object(store: Store, tmp_path: Path) -> None:
    """Nothing at all can be put too, and is not the same as absent."""
    store.put(NAME, file_with(tmp_path, b""))
    assert store.size(NAME) == 0


def test_put_same_bytes_again_succeeds(store: Store, tmp_path: Path) -> None:
    """A put that was interrupted can be repeated."""
    store.put(NAME, file_with(tmp_path, b"12345"))
    stored = store.put(NAME, file_with(tmp_path, b"12345"))
    assert stored.size_bytes == 5
    assert not (tmp_path / "source").exists()


@pytest.mark.parametrize("other", [b"12346", b"1234", b"123456", b""])
def test_put_other_bytes_at_a_taken_name_is_refused(store: Store, tmp_path: Path, other: bytes) -> None:
    """Nothing is ever overwritten: the object and the source stay as they were."""
    store.put(NAME, file_with(tmp_path, b"12345"))
    source = file_with(tmp_path, other)
    with pytest.raises(StoreError, match=NAME):
        store.put(NAME, source)
    assert (content_of(store, NAME), source.read_bytes()) == (b"12345", other)


def test_put_absent_source_is_refused(store: Store, tmp_path: Path) -> None:
    """A source that does not exist is an error that names it, and makes no object."""
    with pytest.raises(StoreError, match="source-that-is-not"):
        store.put(NAME, tmp_path / "source-that-is-not")
    assert list(store.list()) == []


def test_put_many_at_one_name_lets_exactly_one_win(store: Store, tmp_path: Path) -> None:
    """Puts of different bytes that race for a name end with one whole object and errors for the others."""
    refused: list[str] = []
    sources = [file_with(tmp_path, bytes([65 + number]) * 300_000, f"source-{number}") for number in range(8)]

    def put(source: Path) -> None:
        try:
            store.put(NAME, source)
        except StoreError:
            refused.append(source.name)

    threads = [threading.Thread(target=put, args=(source,)) for source in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    content = content_of(store, NAME)
    assert (len(refused), len(content), len(set(content))) == (7, 300_000, 1)


def test_open_absent_name_says_so(store: Store) -> None:
    """Opening what is not there is an error that names it."""
    with pytest.raises(StoreError, match=f"no object named {NAME}"):
        store.open(NAME)


def test_open_reader_seeks_from_both_ends(store: Store, tmp_path: Path) -> None:
    """The reader is seekable, as the reader of a ZIP needs it."""
    store.put(NAME, file_with(tmp_path, b"0123456789"))
    with store.open(NAME) as file:
        end = file.seek(-3, 2)
        tail = file.read()
        file.seek(2)
        assert (end, tail, file.read(2), file.tell()) == (7, b"789", b"23", 4)


def test_list_several_objects_gives_them_sorted_with_their_sizes(store: Store, tmp_path: Path) -> None:
    """Objects come in the order of their names, each once."""
    for name in ["b.zip", "a.zip", "é.zip", "B.zip"]:
        store.put(name, file_with(tmp_path, name.encode()))
    assert [(stored.name, stored.size_bytes) for stored in store.list()] == [
        ("B.zip", 5),
        ("a.zip", 5),
        ("b.zip", 5),
        ("é.zip", 6),
    ]


def test_list_empty_store_gives_nothing(store: Store) -> None:
    """A store that holds nothing lists nothing."""
    assert list(store.list()) == []


def test_delete_present_object_removes_it(store: Store, tmp_path: Path) -> None:
    """A deleted object is neither listed nor there, and its neighbour is."""
    store.put(NAME, file_with(tmp_path, b"12345"))
    store.put("other.zip", file_with(tmp_path, b"1"))
    store.delete(NAME)
    assert ([stored.name for stored in store.list()], store.size(NAME)) == (["other.zip"], None)


def test_delete_absent_name_is_no_error(store: Store) -> None:
    """A deletion that was interrupted can be repeated."""
    store.delete(NAME)
    assert store.size(NAME) is None


def test_size_present_object_is_its_length(store: Store, tmp_path: Path) -> None:
    """The size is in bytes."""
    store.put(NAME, file_with(tmp_path, b"x" * 70_000))
    assert store.size(NAME) == 70_000


def test_size_absent_name_is_none(store: Store) -> None:
    """None, not zero and not an error."""
    assert store.size(NAME) is None


@pytest.mark.parametrize("name", BAD_NAMES)
def test_every_method_refuses_a_bad_name(store: Store, tmp_path: Path, name: str) -> None:
    """No method takes a name that is a path, hidden, unprintable or too long."""
    source = file_with(tmp_path, b"12345")
    calls: list[Callable[[], object]] = [
        lambda: store.put(name, source),
        lambda: store.open(name),
        lambda: store.delete(name),
        lambda: store.size(name),
        lambda: store.presigned_url(name, 60),
    ]
    for call in calls:
        with pytest.raises(StoreError, match="cannot be the name of an object"):
            call()
    assert source.exists()


@pytest.mark.parametrize("name", ["a..b", "a b", "100%.zip", "a+b#c?d&e", "日本語.zip.age", "x" * 255])
def test_put_odd_but_good_name_is_kept_as_it_is(store: Store, tmp_path: Path, name: str) -> None:
    """Every name that is allowed comes back from a listing unchanged."""
    store.put(name, file_with(tmp_path, b"12345"))
    assert [stored.name for stored in store.list()] == [name]
    assert content_of(store, name) == b"12345"


def test_free_bytes_is_a_size_or_unlimited(store: Store) -> None:
    """Space is a number of bytes or None."""
    free = store.free_bytes()
    assert free is None or free > 0


def test_presigned_url_is_a_web_address_or_none(store: Store, tmp_path: Path) -> None:
    """A store either has URLs that a browser opens or none at all."""
    store.put(NAME, file_with(tmp_path, b"12345"))
    url = store.presigned_url(NAME, 60)
    assert url is None or url.startswith(("http://", "https://"))


def test_remove_leftovers_keeps_finished_objects(store: Store, tmp_path: Path) -> None:
    """Where nothing was interrupted nothing is removed."""
    store.put(NAME, file_with(tmp_path, b"12345"))
    assert store.remove_leftovers() == ()
    assert content_of(store, NAME) == b"12345"


def test_url_says_what_the_store_is_without_credentials(store: Store) -> None:
    """The URL can be printed and logged."""
    assert "://" in store.url
    assert "@" not in store.url
