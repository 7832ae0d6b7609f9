"""What a gate asks of the time that a release was live: long enough, within its objectives, on data like its reference.

Evidence of class E4 from the telemetry of live decisions. Too few decisions say nothing: then there is no evidence, and
the gate stays closed. The bounds are defaults of ours; how many days a stage takes by risk tier is the gate's policy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from pilotage.assess.telemetry import FEWEST, Telemetry
from pilotage.evaluation.intervals import wilson
from pilotage.evidence.model import Evidence, tested
from pilotage.monitor.model import ColumnVerdict
from pilotage.rollout.model import Deployment

__all__ = ["STABLE", "Observed", "live_days", "observed"]

STABLE = "monitoring.stable"

_DAY_US = 86_400_000_000
_LIFE_DAYS = {STABLE: 30, "operation": 90}
_MOST_FAILED = 0.05


class Observed(NamedTuple):
    """The evidence that could be made, and what could not and why."""

    made: list[Evidence]
    lacks: dict[str, str]


def live_days(acts: Sequence[Deployment], release: str, stage: str, at: int) -> float:
    """How many days a release was live at a stage until a moment, stops and other releases left out."""
    total, began, stopped, placed = 0, 0, False, False
    for act in [*acts, None]:
        moment = at if act is None else act.at
        if placed and not stopped:
            total += max(0, moment - began)
        if act is None:
            break
        began = moment
        match act.action:
            case "stop":
                stopped = True
            case "start":
                stopped = False
            case _:
                placed = (act.release, act.stage) == (release, stage)
    return total / _DAY_US


def observed(live: Telemetry | None, days: float, stage: str, at: int) -> Observed:
    """`operation.<stage>` and `monitoring.stable` of the live release, at a moment (Unix microseconds)."""
    operation = f"operation.{stage}"
    if live is None or live.decisions < FEWEST:
        count = 0 if live is None else live.decisions
        why = f"{count:,} decisions are on record since it went live, {FEWEST} are needed"
        return Observed([], {operation: why, STABLE: why})
    made, lacks = [_operated(live, days, operation, at)], dict[str, str]()
    stable = _stable(live, at)
    if isinstance(stable, str):
        lacks[STABLE] = stable
    else:
        made.append(stable)
    return Observed(made, lacks)


def _operated(live: Telemetry, days: float, check: str, at: int) -> Evidence:
    asked = live.decisions - live.outcomes.get("rejected", 0)
    failed = live.outcomes.get("refused", 0) + live.outcomes.get("fallback", 0) + live.outcomes.get("interrupted", 0)
    share = wilson(failed, asked) if asked else None
    limit_ms, p95_ms = live.load.p95_ms, live.p95_us / 1_000
    faults = []
    if share is None or share.high > _MOST_FAILED:
        told = f"{failed:,} of {asked:,} valid requests were answered by the fallback or not at all"
        faults.append(f"{told}: surely at most {_MOST_FAILED:.0%} is asked")
    if limit_ms and p95_ms > limit_ms:
        faults.append(f"95 % were answered in {p95_ms:.1f} ms, {limit_ms:g} are allowed")
    if live.performance is not None and live.performance.state == "broken":
        faults.append("a threshold that the build fixed is broken by what became of its decisions")
    if live.verified is False:
        faults.append("the record's newest verification failed")
    figures = {
        "days": round(days, 3),
        "decisions": live.decisions,
        "failed": failed,
        "failed_high": None if share is None else round(share.high, 5),
        "p95_ms": round(p95_ms, 3),
        "overruled": live.overruled,
        "missing": faults,
    }
    return _evidence(live, check, at, passed=not faults, figures=figures, life=_LIFE_DAYS["operation"])


def _stable(live: Telemetry, at: int) -> Evidence | str:
    """What drift there was; in words, why nothing can be said. What no window could judge is named and left out."""
    found = live.drift
    if found is None:
        return "; ".join(live.silent) or "the release has no reference profile"
    columns: list[ColumnVerdict] = [*found.columns, *([found.score] if found.score is not None else [])]
    never = sorted({each.label for each in columns if each.verdict == "not enough data" and each.needed is None})
    short = [each for each in columns if each.verdict == "not enough data" and each.needed is not None]
    judged = [each for each in columns if each.verdict != "not enough data"]
    drifted = sorted({each.label for each in judged if each.verdict == "drift"})
    if not drifted and (short or not judged):
        most = max((each.needed or 0 for each in short), default=0)
        return f"{found.rows:,} rows are too few to tell of {len(short)} columns; {most:,} are needed"
    figures = {
        "rows": found.rows,
        "judged": len(judged),
        "drifted": drifted,
        "watched": found.watched,
        "unjudged": never,
        "window_since": found.since,
        "window_until": found.until,
    }
    return _evidence(live, STABLE, at, passed=not drifted, figures=figures, life=_LIFE_DAYS[STABLE])


def _evidence(live: Telemetry, check: str, at: int, *, passed: bool, figures: dict[str, Any], life: int) -> Evidence:
    figures = {"since": live.since, "until": live.until, **figures}
    expires = at + life * _DAY_US
    return tested(check, live.release, at, passed=passed, figures=figures, expires=expires, grade="E4")
