"""How long a caller wants to wait: the `X-Request-Timeout` header, capped by the system's own deadline."""

from __future__ import annotations

import re

from pilotage.gateway.reply import Denied

__all__ = ["asked_ms"]

_TIME = re.compile(rb"(\d{1,7}(?:\.\d{1,6})?)\s*(ms|s)?", re.ASCII)


def asked_ms(header: bytes, most: int) -> float:
    """The milliseconds that `2`, `2.5s` or `250ms` mean, at most `most`. Raises Denied 400 for any other text."""
    match = _TIME.fullmatch(header.strip())
    asked = float(match[1]) * (1.0 if match[2] == b"ms" else 1_000.0) if match else 0.0
    if not asked:
        raise Denied(
            "X-Request-Timeout is no time",
            status=400,
            code="bad_timeout",
            got=header[:40].decode("latin-1"),
            expected="seconds such as 2 or 0.5, or milliseconds such as 250ms, above zero",
            mend="mend the header, or leave it out: then the system's own deadline holds",
        )
    return min(asked, most)
