"""Archives on their way to an admin: links that hold for one backup, one session, a few minutes; ranges; every byte."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from backupd.store import DirectoryStore
from backupd.web.ranges import Span, Unsatisfiable, read_range
from backupd.web.signing import LINK_LIFETIME
from tests.support.admin_site import AdminSite, press

CONTENT = bytes(range(256)) * 4096
PAGE = "/backups/00000001-0000"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[AdminSite]:
    """A site with one backup of a megabyte."""
    site = AdminSite(tmp_path)
    site.put(1, content=CONTENT)
    yield site
    site.close()


def link(client: httpx.Client) -> str:
    """A fresh link."""
    return press(client, PAGE, f"{PAGE}/download").headers["location"]


def test_download_gives_the_stored_file_byte_for_byte(site: AdminSite) -> None:
    """With its length, its checksum as ETag, and its name."""
    client = site.signed_in()
    answer = client.get(link(client))
    assert answer.content == CONTENT
    assert answer.headers["content-length"] == str(len(CONTENT))
    assert answer.headers["etag"] == f'"{1:064x}"'
    assert answer.headers["content-disposition"] == 'attachment; filename="car-audio_1.zip"'


def test_download_link_needs_no_cookie(site: AdminSite) -> None:
    """So that a download manager can take it."""
    client = site.signed_in()
    path = link(client)
    assert site.browser(str(client.base_url)).get(path).content == CONTENT


def test_download_is_written_down(site: AdminSite) -> None:
    """Who took which archive."""
    client = site.signed_in()
    link(client)
    newest = site.catalog.audit.entries(limit=1)[0]
    assert (newest.what, newest.who, newest.backup_id) == ("download", "admin token", "00000001-0000")


@pytest.mark.parametrize(
    ("wanted", "status", "start", "end"),
    [
        ("bytes=0-99", 206, 0, 100),
        ("bytes=1000-", 206, 1000, len(CONTENT)),
        ("bytes=-10", 206, len(CONTENT) - 10, len(CONTENT)),
        ("bytes=0-99999999", 200, 0, len(CONTENT)),
        ("bytes=0-1,5-6", 200, 0, len(CONTENT)),
        ("furlongs=1-2", 200, 0, len(CONTENT)),
    ],
)
def test_download_of_a_range_gives_just_that(site: AdminSite, wanted: str, status: int, start: int, end: int) -> None:
    """An interrupted download goes on where it was."""
    client = site.signed_in()
    answer = client.get(link(client), headers={"Range": wanted})
    assert (answer.status_code, answer.content == CONTENT[start:end]) == (status, True)
    if status == 206:
        assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(CONTENT)}"


def test_download_of_a_range_after_the_end_is_416(site: AdminSite) -> None:
    """With how long it is."""
    client = site.signed_in()
    answer = client.get(link(client), headers={"Range": f"bytes={len(CONTENT)}-"})
    assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{len(CONTENT)}")


def test_download_of_a_range_of_another_version_gives_everything(site: AdminSite) -> None:
    """`If-Range` with a checksum that is not this archive's."""
    client = site.signed_in()
    answer = client.get(link(client), headers={"Range": "bytes=0-9", "If-Range": '"other"'})
    assert (answer.status_code, len(answer.content)) == (200, len(CONTENT))


def test_download_of_what_one_has_already_is_304(site: AdminSite) -> None:
    """`If-None-Match` with the same checksum."""
    client = site.signed_in()
    assert client.get(link(client), headers={"If-None-Match": f'"{1:064x}"'}).status_code == 304


def test_download_head_tells_the_length_alone(site: AdminSite) -> None:
    """And sends nothing."""
    client = site.signed_in()
    answer = client.head(link(client))
    assert (answer.status_code, answer.headers["content-length"], answer.content) == (200, str(len(CONTENT)), b"")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("signature=", "signature=0"),
        ("00000001-0000", "00000002-0000"),
        ("until=", "until=9"),
        ("until=", "until=²"),
        ("for=", "for=0"),
    ],
)
def test_download_link_that_was_changed_gives_nothing(site: AdminSite, old: str, new: str) -> None:
    """Another backup, another end, another admin: all are part of what was signed."""
    site.put(2, hours_ago=2, content=b"other")
    client = site.signed_in()
    answer = client.get(link(client).replace(old, new, 1))
    assert (answer.status_code, CONTENT[:64] in answer.content) == (403, False)


@pytest.mark.parametrize("name", ["other.zip", "..%2fcatalog.sqlite", "%2e%2e", "catalog.sqlite"])
def test_download_link_leads_to_no_other_file(site: AdminSite, name: str) -> None:
    """The name in the address is for the browser; what is read is what the catalog names."""
    client = site.signed_in()
    answer = client.get(link(client).replace("car-audio_1.zip", name, 1))
    assert answer.status_code in (303, 401, 403, 404)
    assert b"SQLite" not in answer.content


def test_download_link_is_over_after_some_minutes(site: AdminSite) -> None:
    """A link in a chat does not work tomorrow."""
    client = site.signed_in()
    path = link(client)
    site.now += LINK_LIFETIME + timedelta(seconds=1)
    assert client.get(path).status_code == 403


def test_download_link_ends_with_its_session(site: AdminSite) -> None:
    """Signing out takes the links along."""
    client = site.signed_in()
    path = link(client)
    press(client, "/", "/logout")
    assert client.get(path).status_code == 403


def test_download_of_a_missing_archive_says_so(site: AdminSite) -> None:
    """404 in plain words, not half a file."""
    client = site.signed_in()
    path = link(client)
    site.store.delete("car-audio_1.zip")
    answer = client.get(path)
    assert (answer.status_code, "missing from the store" in answer.text) == (404, True)


class FarStore(DirectoryStore):
    """A store that hands out links of its own, as object stores do."""

    def presigned_url(self, name: str, expires_in_seconds: int) -> str | None:
        """See `Store.presigned_url`."""
        return f"https://bucket.example.org/{name}?for={expires_in_seconds}"


def test_download_from_an_object_store_is_a_redirect_to_its_own_link(site: AdminSite) -> None:
    """By a link on a page: the policy lets no form lead to another site, not even by a redirect."""
    site.store = FarStore(site.directory / "archives")
    client = site.signed_in()
    page = press(client, PAGE, f"{PAGE}/download")
    assert page.status_code == 200
    path = re.search(r'href="(/download/[^"]+)"', page.text)
    assert path is not None
    answer = client.get(html.unescape(path[1]))
    assert (answer.status_code, answer.headers["location"]) == (
        302,
        "https://bucket.example.org/car-audio_1.zip?for=600",
    )


def test_range_of_nothing_is_unsatisfiable() -> None:
    """The last 0 bytes are none."""
    with pytest.raises(Unsatisfiable):
        read_range("bytes=-0", 10)


def test_range_that_runs_backwards_is_ignored() -> None:
    """As RFC 9110 says of ranges that are not valid."""
    assert read_range("bytes=5-2", 10) == Span(0, 10, 10)
