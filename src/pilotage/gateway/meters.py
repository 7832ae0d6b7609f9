"""What a worker may still use of each limit: pieces leased from the database beside the requests, spent by them.

A request that finds enough only subtracts; one that does not waits, shortly, for the next piece. Reserved before,
settled after. For one event loop.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import msgspec

from pilotage.access.limits import Limit
from pilotage.gateway.leases import Ask, Grant, window_end, window_of
from pilotage.gateway.reply import Denied

__all__ = ["KeptShare", "Meter", "Shortage", "Spend", "kept_shares"]

_REFUSED_US = 1_000_000
_IDLE_US = 2_000_000


class KeptShare(msgspec.Struct, frozen=True):
    """What a worker remembers of a limit over a restart while the database is away.

    `share` of what was left in the window, `full` of a whole one, `spent` without the database knowing.
    """

    window: int
    share: int
    full: int
    spent: int


class Shortage(Exception):
    """A meter has not enough for now: wait for its next piece, then try again."""

    def __init__(self, meter: Meter, units: int) -> None:
        super().__init__(meter.limit.id)
        self.meter, self.units = meter, units


class Meter:
    """One worker's piece of one limit. `balance` may be spent until `until` (Unix microseconds)."""

    __slots__ = (
        "_away_spent",
        "_full",
        "_refused",
        "_refused_until",
        "_share",
        "_used_at",
        "balance",
        "limit",
        "low",
        "until",
        "want",
        "window",
    )

    def __init__(self, limit: Limit, at: int, kept: KeptShare | None = None) -> None:
        self.limit = limit
        self.window, self.until = window_of(limit, at), window_end(limit, at)
        self.balance = self.low = self.want = 0
        self._full = kept.full if kept is not None else 0
        self._share, self._away_spent = self._full, 0
        if kept is not None and kept.window == self.window:
            self._share, self._away_spent = kept.share, kept.spent
        self._refused, self._refused_until, self._used_at = 0, 0, at

    def has(self, units: int, at: int) -> bool:
        """Whether there is enough now."""
        if at >= self.until:
            self._turn(at)
        return self.balance >= units

    def take(self, units: int, at: int) -> bool:
        """Take what `has` found; whether it is time to ask for more."""
        self.balance -= units
        self._used_at = at
        return self.balance < self.low

    def is_refused(self, units: int, at: int) -> bool:
        """Whether the database said a moment ago that there is not this much."""
        return units > self._most() or (at < self._refused_until and units >= self._refused)

    def ask(self, at: int) -> Ask:
        """What to ask for now; a quota's piece that lies idle is returned."""
        if at >= self.until:
            self._turn(at)
        more = self.want > 0 or self.balance < self.low
        back = 0
        if not more and self.window and at - self._used_at > _IDLE_US:
            back, self.balance, self.low = self.balance, 0, 0
        return Ask(self.limit, self.window, self.want, more, back, self._away_spent)

    def give_back(self, at: int) -> Ask | None:
        """Return all that is left, at the end."""
        if at >= self.until or not (self.window and (self.balance or self._away_spent)):
            return None
        back, self.balance = self.balance, 0
        return Ask(self.limit, self.window, 0, False, back, self._away_spent)

    def receive(self, ask: Ask, grant: Grant, at: int) -> None:
        """Take what was granted for an ask."""
        if ask.window != self.window:
            return
        self._away_spent -= ask.away
        self.want = max(0, self.want - ask.want)
        self._full = max(1, self.limit.amount // grant.holders)
        self._share = self._full if self.limit.per == "second" else grant.left // grant.holders
        if self.limit.per == "second":
            self.until = at + 1_000_000
        self.balance += grant.units
        if ask.more:
            self.low = grant.units // 2 if grant.left else 0
        if grant.units < ask.want:
            self._refused = self.balance + 1
            self._refused_until = at + max(1_000, min(grant.wait, _REFUSED_US))

    def go_away(self, ask: Ask, at: int) -> None:
        """The database is away: what is wanted comes from this worker's share of what was left, or of a rate."""
        if ask.window == self.window:
            self.balance += ask.back
        if at >= self.until:
            self._turn(at)
        units = min(self.want, self._share)
        if units < self.want:
            self._refused, self._refused_until = self.balance + units + 1, at + _REFUSED_US // 4
        self.want = 0
        self.balance += units
        self._share -= units
        if self.limit.per != "second":
            self._away_spent += units

    @property
    def kept(self) -> KeptShare:
        """What to remember over a restart."""
        return KeptShare(self.window, self._share, self._full, self._away_spent)

    def denial(self, units: int, at: int) -> Denied:
        """The answer to who would use more than there is."""
        limit = self.limit
        wait_us = max(self._refused_until, at + 1) - at if limit.per == "second" else self.until - at
        seconds = max(1, math.ceil(wait_us / 1_000_000))
        rate = limit.per == "second"
        mend = f"try again in {seconds} s, or ask an operator for more: pilotage limit set"
        return Denied(
            "too much a second" if rate else "the quota is used up",
            status=429,
            code="rate_limited" if rate else "quota_exceeded",
            got=f"{units:,} {limit.unit} more, by limit {limit.id}",
            expected=f"at most {limit.amount:,} {limit.unit} a {limit.per}" + f", {limit.burst:,} at once" * rate,
            mend="send less in one request" if units > self._most() else mend,
            headers=[(b"retry-after", b"%d" % seconds), (b"pilotage-limit", limit.id.encode())],
        )

    def _most(self) -> int:
        return self.limit.burst if self.limit.per == "second" else self.limit.amount

    def _turn(self, at: int) -> None:
        """What was leased is over: for a quota with its window, whose successor is whole."""
        self.balance = self.low = 0
        # While the database is away, a new window has a whole share, as the last one had.
        self.window, self._share = window_of(self.limit, at), self._full
        if self.window:
            self._away_spent = self._refused_until = 0
        self.until = window_end(self.limit, at)


class Spend:
    """What one request uses: `requests` and `rows` as they come, other units by estimate, corrected by `settle`."""

    __slots__ = ("_clock", "_meters", "_reserved", "_wake", "_windows")

    def __init__(self, meters: Sequence[Meter], clock: Callable[[], int], wake: Callable[[], None]) -> None:
        self._meters, self._clock, self._wake = meters, clock, wake
        self._reserved: dict[str, int] = {}
        self._windows: dict[str, int] = {}

    def reserve(self, units: Mapping[str, int]) -> None:
        """Take units from every meter of them, or from none. Raises Shortage, or Denied 429."""
        at = self._clock()
        for meter in self._meters:
            wanted = units.get(meter.limit.unit, 0)
            if wanted and not meter.has(wanted, at):
                if meter.is_refused(wanted, at):
                    raise meter.denial(wanted, at)
                raise Shortage(meter, wanted)
        low = False
        for meter in self._meters:
            if wanted := units.get(meter.limit.unit, 0):
                low |= meter.take(wanted, at)
                self._windows[meter.limit.id] = meter.window
        for unit, amount in units.items():
            self._reserved[unit] = self._reserved.get(unit, 0) + amount
        if low:
            self._wake()

    def settle(self, unit: str, used: int) -> None:
        """Correct what was reserved of a unit to what was used: less is returned, more taken, into debt if need be."""
        at, change = self._clock(), used - self._reserved.get(unit, 0)
        self._reserved[unit] = used
        for meter in self._meters:
            meter.has(0, at)
            if meter.limit.unit == unit and change and self._windows.get(meter.limit.id, meter.window) == meter.window:
                meter.take(change, at)


def kept_shares(content: bytes) -> dict[str, KeptShare]:
    """Remembered shares by limit, from their JSON; nothing when it is none."""
    try:
        return msgspec.json.decode(content, type=dict[str, KeptShare])
    except msgspec.DecodeError:
        return {}
