"""Requests turned away before the contract: counted, and one event for each source, code and minute.

A flood therefore costs the disk one frame a minute and source; beyond a bound of sources, one for all the others.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator

import msgspec

__all__ = ["Denial", "Denials"]

_MINUTE_US = 60_000_000
_OTHERS = "others"


class Denial(msgspec.Struct, frozen=True):
    """How often one source was denied with one code in one minute; `minute` is its start in Unix microseconds.

    `source` is a keyed hash, without meaning outside this process; `origin` (address or key id) is for the payload.
    """

    source: str
    origin: str
    code: str
    minute: int
    count: int


class Denials:
    """The denials of a worker. `most` bounds the (source, code) pairs of one minute."""

    def __init__(self, most: int = 1_000) -> None:
        self.total: dict[str, int] = {}
        self._most = most
        self._secret = os.urandom(32)
        self._minute = 0
        self._counts: dict[tuple[str, str], int] = {}
        self._past: list[Denial] = []

    def count(self, origin: str, code: str, at: int, number: int = 1) -> None:
        """Count denials of a key id or an address at a moment (Unix microseconds)."""
        self.total[code] = self.total.get(code, 0) + number
        self._turn(at - at % _MINUTE_US)
        pair = (origin, code)
        if pair not in self._counts and len(self._counts) >= self._most:
            pair = (_OTHERS, code)
        self._counts[pair] = self._counts.get(pair, 0) + number

    def due(self, at: int, *, everything: bool = False) -> Iterator[Denial]:
        """Take what belongs to minutes that are over; also the running minute when `everything`."""
        self._turn(at - at % _MINUTE_US)
        if everything:
            self._turn(self._minute + 1)
        past, self._past = self._past, []
        yield from past

    def _turn(self, minute: int) -> None:
        if minute == self._minute:
            return
        for (origin, code), count in self._counts.items():
            hashed = hashlib.blake2b(origin.encode(), key=self._secret, digest_size=8).hexdigest()
            self._past.append(Denial(hashed, origin, code, self._minute, count))
        self._counts, self._minute = {}, minute
