"""A store whose process is killed, whose disk is full, read-only or broken."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from backupd.store import DirectoryStore
from tests.support.skips import require, require_tool

ROUNDS = 12
PUTS = """
import hashlib, os, sys
from pathlib import Path
from backupd.store import DirectoryStore
store, work = DirectoryStore(Path(sys.argv[1])), Path(sys.argv[2])
number = 0
while True:
    number += 1
    content = os.urandom(1000) * 1500
    source = work / f"source-{number}"
    source.write_bytes(content)
    store.put(hashlib.sha256(content).hexdigest(), source)
    print("put", flush=True)
"""
PUT_ONE = """
import sys
from pathlib import Path
from backupd.errors import StoreError
from backupd.store import DirectoryStore
try:
    DirectoryStore(Path(sys.argv[1])).put("a.zip", Path(sys.argv[2]))
except StoreError as error:
    print(error.message, "|", error.hint)
"""


@pytest.fixture(params=["moved", "copied"])
def work(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """Where sources come from: the store's own file system, or another one."""
    parent = tmp_path if request.param == "moved" else Path("/dev/shm")
    other = parent.is_dir() and parent.stat().st_dev != tmp_path.stat().st_dev
    require(parent == tmp_path or other, "a second file system at /dev/shm", "mount -t tmpfs tmpfs /dev/shm")
    with tempfile.TemporaryDirectory(dir=parent) as directory:
        yield Path(directory)


def kill_in_the_middle(store: Path, work: Path, delay_seconds: float) -> None:
    """Start a process that puts without end; after its first put let it run so long, then kill it."""
    with subprocess.Popen([sys.executable, "-c", PUTS, store, work], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=delay_seconds)
        process.kill()


def wrong_objects(store: DirectoryStore) -> list[str]:
    """Objects whose bytes are not those their name is the checksum of."""
    wrong = []
    for stored in store.list():
        with store.open(stored.name) as file:
            if hashlib.sha256(file.read()).hexdigest() != stored.name:
                wrong.append(stored.name)
    return wrong


def test_put_killed_at_any_moment_leaves_only_whole_objects(tmp_path: Path, work: Path) -> None:
    """However often the process dies, each object that is listed is whole, and leftovers can be cleared away."""
    store = DirectoryStore(tmp_path / "store")
    for _ in range(ROUNDS):
        kill_in_the_middle(tmp_path / "store", work, random.uniform(0, 0.02))
        assert wrong_objects(store) == []
    store.remove_leftovers()
    assert sorted(path.name for path in (tmp_path / "store").iterdir()) == [stored.name for stored in store.list()]
    assert len(list(store.list())) >= ROUNDS


def test_put_killed_in_the_middle_of_a_copy_leaves_a_leftover_that_is_removed(tmp_path: Path) -> None:
    """A put killed between writing its temporary and publishing leaves it, and the next start removes it."""
    require_tool("strace", "strace")
    source = tmp_path / "source"
    source.symlink_to(Path(__file__))
    put_one(
        tmp_path / "store",
        source,
        under=["strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=fsync:signal=KILL:when=2"],
    )
    store = DirectoryStore(tmp_path / "store")
    assert list(store.list()) == []
    assert len(store.remove_leftovers()) == 1
    assert list((tmp_path / "store").iterdir()) == []


@pytest.mark.parametrize("call", [2, 3])
def test_put_whose_fsync_fails_is_an_error_and_publishes_nothing(tmp_path: Path, call: int) -> None:
    """A disk that cannot promise durability, for the file or for its name, fails the put and leaves the source."""
    require_tool("strace", "strace")
    source = tmp_path / "source"
    source.write_bytes(b"12345")
    answer = put_one(
        tmp_path / "store",
        source,
        under=["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"inject=fsync:error=EIO:when={call}"],
    )
    assert "the disk reported an error" in answer
    assert (list((tmp_path / "store").iterdir()), source.read_bytes()) == ([], b"12345")


def test_put_on_a_full_disk_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    """Where the space runs out the error says so, no temporary stays, and the source is left."""
    source = tmp_path / "source"
    source.write_bytes(os.urandom(3_000_000))
    answer = put_one_on_tmpfs(tmp_path, source, "size=2m")
    assert "no space left on the disk | free some space" in answer
    assert answer.splitlines()[-1] == "left: 0"
    assert source.stat().st_size == 3_000_000


def test_put_on_a_read_only_disk_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    """A file system that systemd made read-only is named as such, with the remedy."""
    source = tmp_path / "source"
    source.write_bytes(b"12345")
    answer = put_one_on_tmpfs(tmp_path, source, "size=2m,ro")
    assert "the file system is read-only" in answer
    assert "ReadWritePaths=" in answer


def test_put_without_permission_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    """A directory of another user is named as such."""
    require(os.geteuid() == 0, "root, to become another user", "sudo")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        Path(directory).chmod(0o755)
        source = Path(directory) / "source"
        source.write_bytes(b"12345")
        (Path(directory) / "store").mkdir(mode=0o755)
        answer = put_one(Path(directory) / "store", source, under=["setpriv", "--reuid=65534", "--clear-groups"])
    assert "permission denied | let the user that backupd runs as" in answer


def put_one(store: Path, source: Path, *, under: list[str]) -> str:
    """Put `source` in a process of its own, run by the command `under`, and give what it printed."""
    done = subprocess.run(
        [*under, sys.executable, "-c", PUT_ONE, store, source], capture_output=True, text=True, check=False, timeout=60
    )
    return done.stdout + done.stderr


def put_one_on_tmpfs(tmp_path: Path, source: Path, options: str) -> str:
    """Put `source` into a store on a small file system of its own, and give what was printed and how much was left."""
    store = tmp_path / "store"
    store.mkdir()
    unshare = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-Urm"]
    require_tool("unshare", "util-linux")
    allowed = subprocess.run([*unshare, "true"], check=False, capture_output=True).returncode == 0
    require(allowed, "mount namespaces", "sysctl kernel.unprivileged_userns_clone=1")
    script = 'mount -t tmpfs -o "$1" tmpfs "$2" || exit; "$3" -c "$4" "$2" "$5"; echo "left: $(ls -A "$2" | wc -l)"'
    shell = shutil.which("sh") or "sh"
    done = subprocess.run(
        [*unshare, shell, "-c", script, shell, options, store, sys.executable, PUT_ONE, source],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.stdout + done.stderr
