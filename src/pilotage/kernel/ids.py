"""Time-ordered identifiers: UUID version 7 (RFC 9562, section 5.7)."""

from __future__ import annotations

import os
import time

__all__ = ["uuid7", "uuid7_unix_ms"]

_FIXED = 0xF << 76 | 0x3 << 62
_VERSION_AND_VARIANT = 0x7 << 76 | 0x2 << 62


def uuid7(unix_ms: int | None = None, random: bytes | None = None) -> str:
    """A new UUIDv7 as 36 characters: 48 bits of Unix milliseconds, then 74 random bits.

    `unix_ms` is the clock value to use; now when None. `random` are 10 bytes nobody used before; fresh when None.
    """
    ms = time.time_ns() // 1_000_000 if unix_ms is None else unix_ms
    bits = int.from_bytes(os.urandom(10) if random is None else random, "big")
    # 80 random bits, of which the version and the variant overwrite six.
    value = (ms & 0xFFFF_FFFF_FFFF) << 80 | bits & ~_FIXED | _VERSION_AND_VARIANT
    h = f"{value:032x}"
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"


def uuid7_unix_ms(value: str) -> int:
    """The Unix milliseconds inside a UUIDv7."""
    return int(value.replace("-", "")[:12], 16)
