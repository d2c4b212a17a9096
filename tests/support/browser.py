"""A real browser in front of a real daemon: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.support.daemons import DaemonProcess
from tests.support.skips import require, require_tool

CHROMIUM = Path("/usr/bin/chromium")
TOKEN = "correct-horse-battery-staple"
AXE = "axe-core@4.14.1"
_CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "backupd-tests" / "axe"
_WAIT_MILLISECONDS = 20_000


@dataclass(frozen=True)
class Visit:
    """A browser and the address of a running daemon's pages."""

    browser: Browser
    url: str
    daemon: DaemonProcess

    @contextmanager
    def window(self, **options: Any) -> Iterator[Page]:
        """A window with cookies of its own. What a script complains of fails the test."""
        context: BrowserContext = self.browser.new_context(base_url=self.url, **options)
        context.set_default_timeout(_WAIT_MILLISECONDS)
        page = context.new_page()
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: _note(complaints, message.type, message.text))
        try:
            yield page
        finally:
            context.close()
        assert complaints == [], f"the browser complained: {complaints}"

    @contextmanager
    def admin(self, **options: Any) -> Iterator[Page]:
        """A window whose admin has signed in with the token."""
        with self.window(**options) as page:
            page.goto("/")
            sign_in_with_token(page)
            yield page


def _note(complaints: list[str], kind: str, text: str) -> None:
    """A refusal is no complaint: the browser writes every answer of 400 and above to the console."""
    if kind == "error" and "Failed to load resource" not in text:
        complaints.append(text)


def sign_in_with_token(page: Page, token: str = TOKEN) -> None:
    """Fill the token in and send it."""
    page.get_by_label("Admin token").fill(token)
    page.get_by_role("button", name="Sign in with the token").click()


@contextmanager
def chromium() -> Iterator[Browser]:
    """Chromium, or a skip that says what to install."""
    require(CHROMIUM.exists(), "chromium", "apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM))
        try:
            yield browser
        finally:
            browser.close()


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def axe_script() -> Path:
    """The accessibility checker, fetched once with npm; a skip that says so where there is none."""
    script = _CACHE / "node_modules" / "axe-core" / "axe.min.js"
    if not script.exists():
        require_tool("npm", "npm")
        _CACHE.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(_CACHE), AXE]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        require(done.returncode == 0, f"{AXE} from npm", f"npm install {AXE} ({done.stderr.strip()[:200]})")
    return script


def faults(page: Page, script: Path) -> list[str]:
    """What axe finds serious or critical on this page, with where."""
    # The policy of the pages forbids scripts that are not theirs; the debugger may all the same.
    page.evaluate(script.read_text() + "; 0")
    found = page.evaluate("axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'best-practice']})")
    return [
        f"{one['id']}: {json.dumps([node['html'][:120] for node in one['nodes'][:3]])}"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]
