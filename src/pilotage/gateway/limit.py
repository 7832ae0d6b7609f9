"""What a request may cost: size while it is received, rows, rate per key, requests in flight."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pilotage.gateway.reply import Denied

__all__ = ["LargeBodies", "Limits", "Rates", "Receive", "TokenBucket", "read_body"]

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_DIGITS = 18
_MOST_BUCKETS = 10_000


@dataclass(frozen=True, kw_only=True)
class Limits:
    """A worker's own limits; rows come from the plan. Rates are rows a second for each key.

    `in_flight` requests are worked on at once; more are told to come back. So is what the processor would let wait for
    long: it works for `queue_delay_s` on what came at once, 0 for any time. A request to decide may have `body_bytes`
    where that is more than the plan's; of bodies beyond the plan's size `large_bodies` are held at once.
    """

    rate: float = 100_000.0
    burst: float = 200_000.0
    in_flight: int = 4_000
    queue_delay_s: float = 0.010
    body_bytes: int = 0
    large_bodies: int = 4


class TokenBucket:
    """A bucket that fills at `rate` a second up to `burst`; `clock` counts seconds and never goes back."""

    __slots__ = ("_at", "_burst", "_clock", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._tokens, self._at = burst, clock()

    def take(self, amount: float = 1.0) -> float:
        """Take tokens and return 0.0; or take nothing and return the seconds until they would be there."""
        now = self._clock()
        tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if tokens >= amount:
            self._tokens = tokens - amount
            return 0.0
        self._tokens = tokens
        return (amount - tokens) / self._rate


class Rates:
    """The buckets of a worker, one for each key, and for the last holders of tokens; those of keys outlive a plan."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._buckets: dict[str, TokenBucket] = {}

    def take(self, key: str, rows: int = 1) -> None:
        """Count rows against a key. Raises Denied 429 with the time to wait."""
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= _MOST_BUCKETS:
                del self._buckets[next(iter(self._buckets))]
            bucket = self._buckets[key] = TokenBucket(self._limits.rate, self._limits.burst)
        wait = bucket.take(rows)
        if wait:
            raise Denied(
                "too many requests with this key",
                status=429,
                code="rate_limited",
                expected=f"at most {self._limits.rate:g} rows a second",
                mend=f"try again in {math.ceil(wait)} s",
                headers=[(b"retry-after", b"%d" % math.ceil(wait))],
            )

    def keep(self, keys: Iterable[str]) -> None:
        """Forget the buckets of keys that are no longer live."""
        live = set(keys)
        self._buckets = {key: bucket for key, bucket in self._buckets.items() if key in live}


class LargeBodies:
    """Room for bodies beyond the usual size: so many at once, so that a worker's memory stays bounded.

    Such a body must say its length beforehand.
    """

    def __init__(self, limits: Limits) -> None:
        self._most, self._at_once = limits.body_bytes, limits.large_bodies
        self._held = 0

    @contextmanager
    def room(self, length: bytes, usual: int) -> Iterator[int]:
        """The most bytes that a body of this declared length may have, while the context lasts. Raises Denied 503."""
        declared = int(length) if length and len(length) <= _DIGITS else 0
        if not usual < declared <= self._most:
            yield usual if declared <= usual else max(usual, self._most)
            return
        if self._held >= self._at_once:
            raise Denied(
                "too many large requests are being worked on",
                status=503,
                code="overloaded",
                mend="try again in a second",
                headers=[(b"retry-after", b"1")],
            )
        self._held += 1
        try:
            yield self._most
        finally:
            self._held -= 1


def too_large(limit: int, got: object) -> Denied:
    """The denial of a body over the limit."""
    return Denied(
        "the body is too large",
        status=413,
        code="body_too_large",
        got=f"{got} bytes",
        expected=f"at most {limit} bytes",
        mend="send fewer rows in a request",
    )


async def read_body(receive: Receive, length: bytes, limit: int) -> bytes:
    """The whole body, never holding more than `limit` bytes. Raises Denied 400 or 413.

    `length` is the declared one, empty when there is none: it is checked before the first byte is read. How long a
    body may take is bounded by the protocol.
    """
    if length and (len(length) > _DIGITS or int(length) > limit):
        raise too_large(limit, length.decode("latin-1"))
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body") and message["type"] == "http.request" and len(body) <= limit:
        return body
    return await _read_rest(receive, message, limit)


async def _read_rest(receive: Receive, message: MutableMapping[str, Any], limit: int) -> bytes:
    pieces, size = [], 0
    while True:
        if message["type"] != "http.request":
            raise Denied("the client went away", status=400, code="disconnected", mend="send it again")
        piece = message.get("body", b"")
        size += len(piece)
        if size > limit:
            raise too_large(limit, f"more than {limit}")
        pieces.append(piece)
        if not message.get("more_body"):
            return b"".join(pieces)
        message = await receive()
