"""Structured logs: JSON lines for machines, short lines for a terminal, and never a secret."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any, TextIO

import structlog

from backupd.config import Secret

Logger = structlog.typing.FilteringBoundLogger

_SECRET_NAME = re.compile(
    r"(^|_)(key|apikey|token|password|passphrase|secret|authorization|credential)s?$", re.IGNORECASE
)
_JWT = re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}")
_SUPABASE_KEY = re.compile(r"\bsb_(secret|publishable)_[\w-]+")
_REDACTED = "[redacted]"


class Redaction:
    """A structlog processor that blots out secrets, by the name they go under and by their value."""

    def __init__(self, secrets: Iterable[Secret] = ()) -> None:
        self._values = [value for secret in secrets if (value := secret.reveal())]

    def __call__(self, _: Any, __: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
        """Clean one event."""
        return {name: _REDACTED if _SECRET_NAME.search(name) else self.clean(value) for name, value in event.items()}

    def clean(self, value: Any) -> Any:
        """Return `value` without secrets, in texts, lists and mappings however deep."""
        if isinstance(value, Mapping):
            return {name: self.clean(member) for name, member in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self.clean(member) for member in value]
        if isinstance(value, (bool, int, float, type(None))):
            return value
        return self.clean_text(str(value))

    def clean_text(self, text: str) -> str:
        """Return `text` without secrets."""
        for value in self._values:
            text = text.replace(value, _REDACTED)
        return _SUPABASE_KEY.sub(_REDACTED, _JWT.sub(_REDACTED, text))


def make_logger(stream: TextIO, *, level: str = "info", secrets: Iterable[Secret] = (), colours: bool = True) -> Logger:
    """Return a logger that writes to `stream`: JSON lines, or short lines when `stream` is a terminal.

    `colours`: whether those may have any.
    """
    terminal = stream.isatty()
    rendering: list[Any] = (
        [structlog.dev.ConsoleRenderer(colors=colours)]
        if terminal
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=False)]
    )
    logger: Logger = structlog.wrap_logger(
        structlog.WriteLogger(stream),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([] if terminal else [structlog.processors.format_exc_info]),
            Redaction(secrets),
            *rendering,
        ],
        cache_logger_on_first_use=False,
    )
    return logger
