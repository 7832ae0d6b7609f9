"""How much of a limit a worker gets when it asks the database for a piece. Pure rules; times are Unix microseconds.

A quota's pool counts what was given out in a window; a rate's pool holds the moment (Unix nanoseconds) at which all
that was given out will have been earned back (the generic cell rate algorithm: one number, exact).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from pilotage.access.limits import Limit

__all__ = ["Ask", "Grant", "grant_of", "window_end", "window_of"]

_SECOND = 1_000_000
_CHUNKS = 20
"""A worker takes a twentieth of what is left over the workers: few asks while there is much, exact at the end."""


class Ask(NamedTuple):
    """What a worker wants of a limit's pool: at least `want` units if `more` than what it has is needed at all.

    `back` is returned unused. `away` was used while the database was away. Both belong to window `window`.
    """

    limit: Limit
    window: int
    want: int = 0
    more: bool = False
    back: int = 0
    away: int = 0


class Grant(NamedTuple):
    """`units` given; `left` in the pool after it; among how many `holders`; `wait` µs until there may be more."""

    units: int
    left: int
    holders: int
    wait: int = 0


def window_of(limit: Limit, at: int) -> int:
    """The start of the window that a moment is in, UTC; 0 for a rate, which has none."""
    if limit.per == "second":
        return 0
    moment = datetime.fromtimestamp(at // _SECOND, UTC).replace(minute=0, second=0)
    if limit.per != "hour":
        moment = moment.replace(hour=0)
    if limit.per == "month":
        moment = moment.replace(day=1)
    return int(moment.timestamp()) * _SECOND


def window_end(limit: Limit, at: int) -> int:
    """When what was given at a moment ends: with its window, or for a rate after a second."""
    if limit.per == "second":
        return at + _SECOND
    start = window_of(limit, at)
    if limit.per == "month":
        moment = datetime.fromtimestamp(start // _SECOND, UTC)
        next_month = moment.replace(year=moment.year + moment.month // 12, month=moment.month % 12 + 1)
        return int(next_month.timestamp()) * _SECOND
    return start + (3_600 if limit.per == "hour" else 86_400) * _SECOND


def grant_of(ask: Ask, state: int, at: int, holders: int) -> tuple[Grant, int]:
    """What an ask is given, and the pool's new state. Never more than there is: part of what is wanted, or nothing."""
    if ask.limit.per == "second":
        return _rate(ask, state, at, holders)
    taken = max(0, state - ask.back) + ask.away
    left = max(0, ask.limit.amount - taken)
    units = min(left, max(ask.want, left // (_CHUNKS * holders))) if ask.more else 0
    wait = window_end(ask.limit, at) - at if units < ask.want else 0
    return Grant(units, left - units, holders, wait), taken + units


def _rate(ask: Ask, state: int, at: int, holders: int) -> tuple[Grant, int]:
    cost = -(-1_000_000_000 // ask.limit.amount)
    now = at * 1_000
    earned_at = max(state, now) + ask.away * cost
    free = max(0, (ask.limit.burst * cost - (earned_at - now)) // cost)
    units = min(free, max(ask.want, ask.limit.amount // (_CHUNKS * holders), 1)) if ask.more else 0
    wait = max(1, (earned_at - now + (min(ask.want, ask.limit.burst) - ask.limit.burst) * cost) // 1_000)
    return Grant(units, free - units, holders, wait if units < ask.want else 0), earned_at + units * cost
