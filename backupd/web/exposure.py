"""Where the pages may be served: on this machine, or with TLS, or behind a proxy that speaks it. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backupd.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Exposure:
    """How the listener is reached. `secure` is whether browsers see https, so that cookies may insist on it."""

    host: str
    port: int
    base_url: str | None = None
    certificate: str | None = None
    key: str | None = None
    trusted_proxies: tuple[str, ...] = ()
    plain_is_fine: bool = False

    @property
    def secure(self) -> bool:
        """Whether browsers speak https to it."""
        return self.url.startswith("https://")

    @property
    def url(self) -> str:
        """What links begin with."""
        if self.base_url:
            return self.base_url
        scheme = "https" if self.certificate else "http"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{self.port}"


def exposure_of(web: Mapping[str, Any]) -> Exposure | None:
    """Read the section `web` of the configuration; None when nothing is to be served.

    Raises ConfigError for an address that others can reach without TLS in front or here, unless that was asked for.
    """
    if web["listen"] is None:
        return None
    host, port = web["listen"]
    found = Exposure(
        host=host,
        port=port,
        base_url=web["base_url"],
        certificate=web["tls_certificate"],
        key=web["tls_key"],
        trusted_proxies=web["trusted_proxies"],
        plain_is_fine=web["allow_plain_http"],
    )
    if (found.certificate is None) != (found.key is None):
        raise ConfigError(
            "web.tls_certificate and web.tls_key go together, and only one of them is set",
            hint="Set both to speak TLS here, or neither.",
        )
    if not (is_loopback(host) or found.certificate or found.trusted_proxies or found.plain_is_fine):
        raise ConfigError(
            f"web.listen is {host}:{port}, which others can reach, and nothing encrypts what they send: passwords, "
            "sessions and backups could be read on the way",
            hint="Listen on 127.0.0.1 and use an SSH tunnel; or set web.tls_certificate and web.tls_key; or put a "
            "proxy that speaks TLS in front and name it in web.trusted_proxies; or, in a network where nobody else is, "
            "set web.allow_plain_http = true.",
        )
    return found


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to a listener on this host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
