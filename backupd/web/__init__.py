"""Status page, admin page, JSON API, metrics."""

from __future__ import annotations

from backupd.web.admins import Admins, Admission
from backupd.web.app import Pages, make_app
from backupd.web.errands import Errands
from backupd.web.exposure import Exposure, exposure_of
from backupd.web.listener import Address, Listener, Transport
from backupd.web.signing import Signer
from backupd.web.site import Downloads, Site
from backupd.web.view import Sources, View
from backupd.web.workplace import Asked, Workplace

__all__ = [
    "Address",
    "Admins",
    "Admission",
    "Asked",
    "Downloads",
    "Errands",
    "Exposure",
    "Listener",
    "Pages",
    "Signer",
    "Site",
    "Sources",
    "Transport",
    "View",
    "Workplace",
    "exposure_of",
    "make_app",
]
