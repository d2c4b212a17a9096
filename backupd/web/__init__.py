"""Status page, admin page, JSON API, metrics."""

from __future__ import annotations

from backupd.web.app import Pages, make_app
from backupd.web.listener import Address, Listener
from backupd.web.view import Sources, View

__all__ = ["Address", "Listener", "Pages", "Sources", "View", "make_app"]
