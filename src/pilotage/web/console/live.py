"""The live figures of one system: read from the ledger's index, sent as server-sent fragments once a second."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass

from pilotage.kernel.clock import now_us
from pilotage.ledger.queries import DecisionFilter, Ledger
from pilotage.web.console.charts import sparkline

__all__ = ["Live", "fault_kinds", "live_figures"]

_HOUR_US = 3_600_000_000
_WINDOW_S = 180


@dataclass(frozen=True, kw_only=True)
class Live:
    """What the system page shows of the last hour; `points` is uPlot's data as JSON, `spark` the same as SVG points."""

    per_second: float
    total: int
    p50_ms: float | None
    p99_ms: float | None
    rejected: int
    refused: int
    outcomes: list[tuple[str, int]]
    faults: list[tuple[str, int]]
    points: str
    spark: str


def live_figures(ledger: Ledger, system: str) -> Live:
    """The figures of one system as of now."""
    now = now_us()
    since = now - _HOUR_US
    stats = ledger.stats(system, since, seconds=_WINDOW_S + 5)
    second = now // 1_000_000
    counts = dict(stats.per_second)
    seconds = list(range(second - _WINDOW_S, second))
    values = [float(counts.get(s, 0)) for s in seconds]
    return Live(
        per_second=sum(values[-60:]) / 60,
        total=stats.decisions,
        p50_ms=stats.p50_us / 1000 if stats.decisions else None,
        p99_ms=stats.p99_us / 1000 if stats.decisions else None,
        rejected=stats.outcomes.get("rejected", 0),
        refused=stats.outcomes.get("refused", 0),
        outcomes=sorted(stats.outcomes.items()),
        faults=fault_kinds(ledger, system, since) if stats.faults else [],
        points=json.dumps([seconds, values]),
        spark=sparkline(values),
    )


def fault_kinds(ledger: Ledger, system: str, since: int) -> list[tuple[str, int]]:
    """The contract faults of the newest rejections, by code, the most frequent first."""
    rows = ledger.decisions(DecisionFilter(system=system, outcome="rejected", since=since), limit=500)
    codes = Counter(part.partition("@")[0] for row in rows for part in row.fault_text.split())
    return codes.most_common(8)
