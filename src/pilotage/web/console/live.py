"""The live figures of one system, read from the ledger's index; every page that watches a system shares them."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from pilotage.kernel.clock import now_us
from pilotage.ledger.queries import DecisionFilter, Ledger, SystemStats
from pilotage.web.console.charts import sparkline

__all__ = ["Live", "LiveFigures", "Totals", "fault_kinds", "live_figures", "read_totals", "recent"]

_HOUR_US = 3_600_000_000
_WINDOWS = (("last hour", _HOUR_US), ("last 24 hours", 24 * _HOUR_US), ("last 30 days", 30 * 24 * _HOUR_US))
_SERIES_S = 180
_KEPT_S = 0.9
# The newest seconds are still being sealed: shown, they would always look like a fall.
_SEALING_S = 2


@dataclass(frozen=True, kw_only=True)
class Live:
    """What the system page shows: figures of `window`, the shortest that has any decision, and the series.

    `at` is Unix microseconds; `points` is uPlot's data as JSON, `spark` the same as SVG points, `peak` its highest.
    """

    at: int
    window: str
    per_second: float
    peak: float
    total: int
    p50_ms: float | None
    p99_ms: float | None
    rejected: int
    refused: int
    outcomes: list[tuple[str, int]]
    faults: list[tuple[str, int]]
    points: str
    spark: str


@dataclass(frozen=True, kw_only=True)
class Totals:
    """The figures of a window, which take longer the more was decided in it."""

    window: str
    stats: SystemStats
    faults: list[tuple[str, int]]


class LiveFigures:
    """The figures of each system, read at most about once a second however many pages watch. Safe in threads.

    The totals of the window are read less often when that takes long: they cost at most a twentieth of the time.
    """

    def __init__(self, ledger: Callable[[], Ledger], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._ledger = ledger
        self._monotonic = monotonic
        self._kept: dict[str, tuple[float, Live]] = {}
        self._totals: dict[str, tuple[float, Totals]] = {}
        self._locks: dict[str, threading.Lock] = {}

    def of(self, system: str) -> Live:
        """The figures of a system, at most a second old; its totals may be older."""
        with self._locks.setdefault(system, threading.Lock()):
            kept = self._kept.get(system)
            if kept is None or self._monotonic() > kept[0]:
                found = live_figures(self._ledger(), system, now_us(), self._totals_of(system))
                kept = self._kept[system] = (self._monotonic() + _KEPT_S, found)
            return kept[1]

    def _totals_of(self, system: str) -> Totals:
        kept = self._totals.get(system)
        began = self._monotonic()
        if kept is None or began > kept[0]:
            found = read_totals(self._ledger(), system, now_us())
            ended = self._monotonic()
            kept = self._totals[system] = (ended + max(_KEPT_S, 19 * (ended - began)), found)
        return kept[1]


def recent(ledger: Ledger, system: str, now: int) -> tuple[str, int, SystemStats]:
    """(window's name, its start, figures) of the shortest window that has a decision, or of the longest."""
    for name, length in _WINDOWS[:-1]:
        stats = ledger.stats(system, now - length, seconds=0)
        if stats.decisions:
            return name, now - length, stats
    name, length = _WINDOWS[-1]
    return name, now - length, ledger.stats(system, now - length, seconds=0)


def read_totals(ledger: Ledger, system: str, now: int) -> Totals:
    """The figures of the shortest window that has a decision."""
    window, since, stats = recent(ledger, system, now)
    return Totals(window=window, stats=stats, faults=fault_kinds(ledger, system, since) if stats.faults else [])


def live_figures(ledger: Ledger, system: str, now: int, totals: Totals) -> Live:
    """The figures of one system as of a moment in Unix microseconds: its totals, and the series up to then."""
    stats = totals.stats
    last = now // 1_000_000 - _SEALING_S
    seconds = list(range(last - _SERIES_S, last))
    counts = dict(ledger.stats(system, seconds[0] * 1_000_000, seconds=_SERIES_S + _SEALING_S + 5).per_second)
    values = [float(counts.get(second, 0)) for second in seconds]
    return Live(
        at=now,
        window=totals.window,
        per_second=sum(values[-60:]) / 60,
        peak=max(values),
        total=stats.decisions,
        p50_ms=stats.p50_us / 1000 if stats.decisions else None,
        p99_ms=stats.p99_us / 1000 if stats.decisions else None,
        rejected=stats.outcomes.get("rejected", 0),
        refused=stats.outcomes.get("refused", 0),
        outcomes=sorted(stats.outcomes.items(), key=lambda each: -each[1]),
        faults=totals.faults,
        points=json.dumps([seconds, values], separators=(",", ":")),
        spark=sparkline(values),
    )


def fault_kinds(ledger: Ledger, system: str, since: int) -> list[tuple[str, int]]:
    """The contract faults of the newest 500 rejections, by code, the most frequent first."""
    rows = ledger.decisions(DecisionFilter(system=system, outcome="rejected", since=since), limit=500)
    codes = Counter(part.partition("@")[0] for row in rows for part in row.fault_text.split())
    return codes.most_common(8)
