"""Which URLs name a store."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from backupd.errors import ConfigError
from backupd.store import open_store


@pytest.fixture
def in_tmp_path(tmp_path: Path) -> Iterator[Path]:
    """The working directory is `tmp_path`."""
    before = Path.cwd()
    os.chdir(tmp_path)
    yield tmp_path
    os.chdir(before)


def test_open_store_file_url_opens_that_directory(tmp_path: Path) -> None:
    """An absolute file URL names its directory, percent-escapes undone."""
    store = open_store(f"file://{tmp_path}/my%20archives")
    assert (tmp_path / "my archives").is_dir()
    assert store.url == f"file://{tmp_path}/my%20archives"


@pytest.mark.parametrize("prefix", ["", "file:", "file://localhost", "FILE://"])
def test_open_store_other_spellings_open_the_same_directory(tmp_path: Path, prefix: str) -> None:
    """A bare path and the usual spellings of a file URL mean one directory."""
    assert open_store(f"{prefix}{tmp_path}/store").url == f"file://{tmp_path}/store"


def test_open_store_relative_path_is_made_absolute(in_tmp_path: Path) -> None:
    """A later change of directory does not move the store."""
    assert open_store("store").url == f"file://{in_tmp_path}/store"


@pytest.mark.parametrize("url", ["s3://key:secret@bucket/x", "s3:bucket", "https://x", "gs://b", "file2:///x"])
def test_open_store_unknown_scheme_is_refused_without_repeating_it(url: str) -> None:
    """The error names the scheme and what is allowed, never what may be a credential."""
    with pytest.raises(ConfigError, match="no such store is known") as caught:
        open_store(url)
    assert "secret" not in caught.value.message
    assert "file:///absolute/path" in str(caught.value.hint)


@pytest.mark.parametrize(
    "url", ["", "file://relative/path", "file:relative", "file:///a?b", "file:///a#b", "file:///%00"]
)
def test_open_store_malformed_url_is_refused(url: str) -> None:
    """A URL that does not name a directory of this machine is a configuration error that says what is allowed."""
    with pytest.raises(ConfigError) as caught:
        open_store(url)
    assert "file:///absolute/path" in str(caught.value.hint)
