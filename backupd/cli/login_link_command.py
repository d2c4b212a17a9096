"""`backupd login-link`: a way in for whoever has the machine."""

from __future__ import annotations

import secrets
from datetime import timedelta
from urllib.parse import urlencode

import click

from backupd.cli.entrance import Entrance, json_option
from backupd.errors import ConfigError
from backupd.web import exposure_of

_LIFETIME = timedelta(minutes=10)


@click.command("login-link")
@click.option("--end-sessions", is_flag=True, help="Sign everybody out first.")
@json_option
@click.pass_obj
def login_link(entrance: Entrance, end_sessions: bool) -> None:
    """Print a link that signs you in to the pages, once, within ten minutes.

    It needs no configured admin: whoever can write to the state directory is one.
    """
    exposure = exposure_of(entrance.config.section("web"))
    if exposure is None:
        raise ConfigError('web.listen is "off": there is no page to sign in to', hint='Set it to "127.0.0.1:8787".')
    if end_sessions:
        entrance.catalog.sessions.end_others("")
    token = secrets.token_urlsafe(32)
    expires_at = entrance.clock() + _LIFETIME
    entrance.catalog.sessions.offer_link(token, expires_at)
    link = f"{exposure.url}/login/link?{urlencode({'token': token})}"
    if entrance.as_json:
        entrance.show_json({"url": link, "expires_at": expires_at.isoformat()})
    else:
        click.echo(link)
