"""What could not be delivered, told without the secrets that an address is made of."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

_LONGEST_REASON = 300
_SHORTEST_SECRET = 3


@dataclass(frozen=True, slots=True)
class DeliveryFailure:
    """A message or ping that did not arrive. `target` names the service and its place in the settings, no more."""

    target: str
    reason: str

    def __str__(self) -> str:
        return f"{self.target}: {self.reason}"


def redacted(text: str, url: str) -> str:
    """`text` with every piece of `url` but its scheme taken out, whatever its capitals, and cut to a line.

    In the addresses of messaging services any piece may be the secret, the host included (`discord://ID/TOKEN`).
    """
    line = " ".join(text.split())
    pieces = sorted(_pieces(url), key=len, reverse=True)
    if pieces:
        line = re.sub("|".join(re.escape(piece) for piece in pieces), "…", line, flags=re.IGNORECASE)
    return line if len(line) <= _LONGEST_REASON else f"{line[: _LONGEST_REASON - 1]}…"


def _pieces(url: str) -> set[str]:
    """The address as a whole, and the runs of letters and digits it is made of, as written and percent-decoded."""
    rest = url.split("://", 1)[-1]
    written = {rest, unquote(rest)}
    runs = {run for form in written for run in re.split(r"[\W_]+", form)}
    words = {word for form in written for word in re.split(r"[/?&@=]+", form)}
    return {piece for piece in written | runs | words if len(piece) >= _SHORTEST_SECRET}
