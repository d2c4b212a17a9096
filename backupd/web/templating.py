"""Pages out of templates: everything escaped, nothing undefined, numbers and times as people read them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from starlette.responses import HTMLResponse

from backupd import __version__
from backupd.words import age, duration, instant, number, plural, size

HERE = Path(__file__).parent


def render(template: str, status: int = 200, **values: object) -> HTMLResponse:
    """A page."""
    return HTMLResponse(TEMPLATES.get_template(template).render(values), status)


def _stamp() -> str:
    """Changes with any static file, so that browsers may keep them and still never show old ones."""
    digest = hashlib.sha256()
    for file in sorted((HERE / "static").iterdir()):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:10]


def _utc(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def make_environment() -> Environment:
    """The templates' environment."""
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., str]] = {
        "number": number,
        "size": size,
        "instant": instant,
        "age": age,
        "duration": duration,
        "plural": plural,
        "utc": _utc,
    }
    environment.filters.update(filters)
    environment.globals.update(stamp=_stamp(), version=__version__)
    return environment


TEMPLATES = make_environment()
