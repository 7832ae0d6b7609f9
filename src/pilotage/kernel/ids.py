"""Time-ordered identifiers: UUID version 7 (RFC 9562, section 5.7)."""

from __future__ import annotations

import os
import time

__all__ = ["uuid7", "uuid7_unix_ms"]


def uuid7(unix_ms: int | None = None) -> str:
    """A new UUIDv7 as 36 characters: 48 bits of Unix milliseconds, then 74 random bits.

    `unix_ms` is the clock value to use; now when None.
    """
    ms = time.time_ns() // 1_000_000 if unix_ms is None else unix_ms
    random = os.urandom(10)
    h = f"{ms & 0xFFFF_FFFF_FFFF:012x}"
    tail = bytes((0x70 | random[0] & 0x0F, random[1], 0x80 | random[2] & 0x3F)).hex() + random[3:].hex()
    return f"{h[:8]}-{h[8:]}-{tail[:4]}-{tail[4:8]}-{tail[8:]}"


def uuid7_unix_ms(value: str) -> int:
    """The Unix milliseconds inside a UUIDv7."""
    return int(value.replace("-", "")[:12], 16)
