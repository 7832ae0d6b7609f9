"""Time-ordered identifiers: UUID version 7 (RFC 9562, section 5.7)."""

from __future__ import annotations

import os
import time

__all__ = ["VARIANT", "uuid7", "uuid7_prefix", "uuid7_unix_ms"]

VARIANT = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))
"""By a random digit: the digit with the variant's two fixed bits before two of its random ones."""


def uuid7(unix_ms: int | None = None, random: bytes | None = None) -> str:
    """A new UUIDv7 as 36 characters: 48 bits of Unix milliseconds, then 74 random bits.

    `unix_ms` is the clock value to use; now when None. `random` are 10 bytes nobody used before; fresh when None.
    """
    ms = time.time_ns() // 1_000_000 if unix_ms is None else unix_ms
    # 80 random bits, of which the version and the variant leave out six.
    r = (os.urandom(10) if random is None else random).hex()
    return f"{uuid7_prefix(ms)}{r[1:4]}-{VARIANT[r[4]]}{r[5:8]}-{r[8:]}"


def uuid7_prefix(ms: int) -> str:
    """The first 15 characters, up to the version: they are the same for all ids of one Unix millisecond."""
    t = f"{ms & 0xFFFF_FFFF_FFFF:012x}"
    return f"{t[:8]}-{t[8:]}-7"


def uuid7_unix_ms(value: str) -> int:
    """The Unix milliseconds inside a UUIDv7."""
    return int(value.replace("-", "")[:12], 16)
