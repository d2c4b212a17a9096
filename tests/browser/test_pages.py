"""What an admin sees and does, in a real browser in front of a real daemon."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, Response, expect

from tests.browser.conftest import ADMIN, STRANGER
from tests.support.browser import Visit, faults, sign_in_with_token

PHONE = {"viewport": {"width": 360, "height": 740}}
DARK = {"color_scheme": "dark"}
NO_SCRIPT = {"java_script_enabled": False}


def create(page: Page, button: str = "Create backup") -> str:
    """Begin a backup and wait until the page itself says that it is completed; gives its id."""
    page.get_by_role("button", name=button).click()
    link = page.get_by_role("status").filter(has_text="See it").get_by_role("link")
    backup_id = str(link.get_attribute("href")).rpartition("/")[2]
    expect(row(page, backup_id)).to_contain_text("completed")
    return backup_id


def row(page: Page, backup_id: str) -> Locator:
    """A backup's line in the history."""
    return page.locator("table.history tbody tr", has_text=backup_id[:8])


def sign_in(page: Page, email: str, password: str) -> None:
    """With email and password."""
    page.get_by_label("Email").fill(email)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()


def test_admin_signs_in_with_the_token_and_out_again(visit: Visit) -> None:
    """And is nobody afterwards."""
    with visit.admin() as page:
        expect(page.get_by_role("heading", name="History")).to_be_visible()
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("Admin token")).to_be_visible()
        page.goto("/audit")
        expect(page).to_have_url(re.compile("/login"))


def test_admin_signs_in_as_a_user_of_the_project(visit: Visit) -> None:
    """Supabase Auth knows the password, the claim admits."""
    with visit.window() as page:
        page.goto("/")
        sign_in(page, ADMIN.email, ADMIN.password)
        expect(page.locator(".who")).to_contain_text(ADMIN.email)


@pytest.mark.parametrize("password", [STRANGER.password, "wrong"])
def test_user_who_is_no_admin_stays_outside(visit: Visit, password: str) -> None:
    """With the right password or a wrong one, in the same words."""
    with visit.window() as page:
        page.goto("/")
        sign_in(page, STRANGER.email, password)
        expect(page.get_by_role("alert")).to_have_text("Wrong email or password, or not an admin.")
        expect(page.get_by_label("Email")).to_have_value(STRANGER.email)


def test_wrong_token_is_refused(visit: Visit) -> None:
    """In plain words."""
    with visit.window() as page:
        page.goto("/")
        sign_in_with_token(page, "not-the-admin-token")
        expect(page.get_by_role("alert")).to_have_text("That is not the admin token.")


def test_link_from_the_command_line_signs_in_once(visit: Visit) -> None:
    """`backupd login-link` on the same machine."""
    link = visit.daemon.cli("login-link").out.strip()
    with visit.window() as page:
        page.goto(link)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", name="History")).to_be_visible()
    with visit.window() as page:
        page.goto(link)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_contain_text("used already")


def test_create_shows_the_bar_move_to_completed_without_a_reload(visit: Visit) -> None:
    """The figures come as events; when it is over the history has it."""
    with visit.admin() as page:
        page.get_by_role("button", name="Create backup").click()
        page.evaluate("window.stayed = true")
        bar = page.get_by_label("Progress")
        expect(bar).to_be_visible()
        expect(page.locator('[data-live="rows"]')).to_contain_text(re.compile(r"[1-9]\d* of 470"))
        assert 0 < float(bar.get_attribute("value") or 0) < 100
        expect(page.locator('[data-live="said"]')).to_have_text("The backup has ended: completed.")
        expect(bar).to_be_hidden()
        expect(page.locator("table.history tbody tr").first).to_contain_text("470")
        expect(page.get_by_role("heading", level=1)).to_contain_text("Last good backup just now.")
        assert page.evaluate("window.stayed") is True


def test_auto_backup_gives_a_purple_badge(visit: Visit) -> None:
    """The nightly job, now: automatic, and the night is green."""
    with visit.admin() as page:
        backup_id = create(page, "Test auto backup")
        badge = row(page, backup_id).locator(".badge.automatic")
        expect(badge).to_have_text("automatic")
        red, green, blue = map(int, re.findall(r"\d+", str(badge.evaluate("one => getComputedStyle(one).color")))[:3])
        assert blue > red > green
        expect(page.locator(".nights li").last).to_have_class("completed")


def test_download_equals_the_stored_file(visit: Visit, tmp_path: Path) -> None:
    """Byte for byte, under its own name."""
    with visit.admin(accept_downloads=True) as page:
        backup_id = create(page)
        page.goto(f"/backups/{backup_id}")
        with page.expect_download() as caught:
            page.get_by_role("button", name="Download").click()
        download = caught.value
        download.save_as(tmp_path / "fetched")
    stored = visit.daemon.cli.state / "archives" / download.suggested_filename
    assert (tmp_path / "fetched").read_bytes() == stored.read_bytes()


def test_delete_asks_by_name_and_deletes(visit: Visit) -> None:
    """From the menu of its line, with a page in between."""
    with visit.admin() as page:
        backup_id = create(page)
        page.get_by_label(f"What to do with {backup_id[:8]}").click()
        page.locator("details[open]").get_by_role("link", name="Delete…").click()
        expect(page.get_by_role("heading", level=1)).to_have_text(f"Delete the manual backup {backup_id[:8]} for good?")
        page.get_by_role("link", name="Keep it").click()
        expect(page).to_have_url(re.compile(backup_id))
        page.get_by_role("link", name="Delete…").click()
        page.get_by_role("button", name=f"Delete {backup_id[:8]}").click()
        expect(page.get_by_role("status").filter(has_text="Deleted.")).to_be_visible()
    assert not [name for name in visit.daemon.cli.archives if backup_id[:8] in name]


def test_verify_and_pin_from_the_page_of_a_backup(visit: Visit) -> None:
    """Both say what became of them."""
    with visit.admin() as page:
        backup_id = create(page)
        page.goto(f"/backups/{backup_id}")
        page.get_by_role("button", name="Verify").click()
        expect(page.get_by_text("Every byte was read back and is right: 3 tables, 470 rows")).to_be_visible()
        page.get_by_role("button", name="Pin").click()
        expect(page.get_by_text("Pinned: it never expires.")).to_be_visible()
        page.get_by_role("button", name="Unpin").click()
        expect(page.get_by_text("Unpinned")).to_be_visible()


def test_two_browsers_see_the_same_backup_go_on(visit: Visit) -> None:
    """One begins it, the other only watches."""
    with visit.admin() as one, visit.admin() as other:
        one.get_by_role("button", name="Create backup").click()
        expect(other.get_by_label("Progress")).to_be_visible()
        for page in (one, other):
            expect(page.locator('[data-live="said"]')).to_have_text("The backup has ended: completed.")


def test_session_that_has_expired_leads_to_the_door_and_back(visit: Visit) -> None:
    """Signing in again goes to the page one wanted."""
    with visit.admin() as page:
        with sqlite3.connect(visit.daemon.cli.state / "catalog.sqlite") as catalog:
            catalog.execute("UPDATE sessions SET seen_at = '2020-01-01T00:00:00.000000+00:00'")
        catalog.close()
        page.goto("/audit")
        expect(page.get_by_label("Admin token")).to_be_visible()
        sign_in_with_token(page)
        expect(page).to_have_url(re.compile("/audit$"))


def test_everything_works_without_javascript(visit: Visit) -> None:
    """Sign in, create, watch by reloading, delete."""
    with visit.admin(**NO_SCRIPT) as page:
        page.get_by_role("button", name="Create backup").click()
        link = page.get_by_role("status").filter(has_text="See it").get_by_role("link")
        backup_id = str(link.get_attribute("href")).rpartition("/")[2]
        visit.daemon.wait_for("backup.published", backup_id=backup_id)
        page.goto("/")
        expect(row(page, backup_id)).to_contain_text("completed")
        page.goto(f"/backups/{backup_id}/delete")
        page.get_by_role("button", name=f"Delete {backup_id[:8]}").click()
        expect(page.get_by_role("status").filter(has_text="Deleted.")).to_be_visible()


def test_phone_shows_everything_without_scrolling_sideways(visit: Visit) -> None:
    """At 360 pixels."""
    with visit.admin(**PHONE) as page:
        backup_id = create(page)
        for path in ("/", "/audit", "/drills", "/cleanup", f"/backups/{backup_id}/delete"):
            page.goto(path)
            assert page.evaluate("document.documentElement.scrollWidth") <= 360, path


def test_keyboard_reaches_the_nights_and_opens_one(visit: Visit) -> None:
    """Thirty cells that can be focused; each says its night in words."""
    with visit.admin() as page:
        create(page, "Test auto backup")
        night = page.locator(".nights a").last
        night.focus()
        assert "completed" in str(night.get_attribute("aria-label"))
        page.keyboard.press("Enter")
        expect(page).not_to_have_url(re.compile("/$"))


@pytest.mark.parametrize("look", [{}, DARK, PHONE], ids=["light", "dark", "phone"])
def test_pages_have_no_serious_accessibility_fault(visit: Visit, axe: Path, look: dict[str, object]) -> None:
    """By axe: labels, names, contrast, structure; on every page, in light, dark and on a phone."""
    found: dict[str, list[str]] = {}
    with visit.window(**look) as page:
        page.goto("/login")
        found["/login"] = faults(page, axe)
        sign_in_with_token(page)
        backup_id = create(page)
        for path in (
            "/",
            "/audit",
            "/drills",
            "/cleanup",
            f"/backups/{backup_id}",
            f"/backups/{backup_id}/delete",
            "/nowhere",
        ):
            page.goto(path)
            found[path] = faults(page, axe)
    assert {path: some for path, some in found.items() if some} == {}


def test_first_paint_needs_the_page_and_its_styles_alone(visit: Visit) -> None:
    """No font, no image, no script is waited for; everything together is under 100 kB."""
    with visit.admin() as page:
        sizes: dict[str, int] = {}
        page.on("response", lambda answer: sizes.update(_weighed(answer)))
        page.goto("/", wait_until="load")
        resources = page.evaluate("performance.getEntriesByType('resource').map(one => one.toJSON())")
        blocking = [one["name"] for one in resources if one["renderBlockingStatus"] == "blocking"]
        assert len(blocking) == 2
        assert all(".css" in name for name in blocking)
        assert sum(sizes.values()) < 100_000


def _weighed(answer: Response) -> dict[str, int]:
    """How large an answer is; the stream has no end."""
    return {} if answer.url.endswith("/events") else {answer.url: len(answer.body())}
