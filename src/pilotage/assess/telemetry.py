"""What live traffic shows of a release, as evidence of the highest class (E4): the window is named in each line. Pure.

The bounds below are defaults of ours. Too few decisions say nothing: then there is no evidence, never a good one.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from pilotage import __version__
from pilotage.assess.model import Observation
from pilotage.evaluation.intervals import wilson
from pilotage.kernel.clock import day
from pilotage.monitor.model import MonitorStatus
from pilotage.monitor.performance import Performance
from pilotage.systems.evaluating import Load

__all__ = ["FEWEST", "LIFE_DAYS", "Telemetry", "observed_live"]

FEWEST = 200
"""Under so many decisions nothing is said."""

LIFE_DAYS = 30
"""How long telemetry counts in full after the last decision of its window."""

_DAY_US = 86_400_000_000
_FEW, _MANY = 0.01, 0.05
_OVERRULED = 0.2
_TARGET_TIMES = 1.5
_HALF = 0.5


class Telemetry(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of the live decisions of a system in [since, until], Unix microseconds: since its release went live, at
    most 30 days.

    `outcomes` are decisions by how they ended; `lately` is how many there were in the last 7 days; `overruled` is how
    many a person answered otherwise. `per_second` is the highest rate over one minute. `verified` is whether the newest
    verification of the record held; None: there was none lately. `drift` and `performance` are None where they cannot
    be told, and `silent` says why.
    """

    release: str
    since: int
    until: int
    outcomes: dict[str, int]
    p95_us: int
    per_second: float
    lately: int
    overruled: int
    load: Load
    verified: bool | None
    drift: MonitorStatus | None
    performance: Performance | None
    silent: list[str] = []

    @property
    def decisions(self) -> int:
        """All that were recorded."""
        return sum(self.outcomes.values())

    @property
    def window(self) -> str:
        """The window in words, such as `2026-03-01 to 2026-03-30`."""
        first, last = day(self.since), day(self.until)
        return first if first == last else f"{first} to {last}"


def observed_live(live: Telemetry) -> Iterator[Observation]:
    """What the window shows. Nothing under FEWEST decisions, but for how much it is used and what drift shows."""
    yield from _used(live)
    if live.decisions < FEWEST:
        return
    yield from _answered(live)
    yield from _in_time(live)
    yield from _drifted(live)
    yield from _worth(live)


def _seen(live: Telemetry, criterion: str, level: float, words: str, **figures: float) -> Observation:
    """One line, valid for LIFE_DAYS from the last decision of its window."""
    return Observation(
        criterion=criterion,
        grade="E4",
        level=level,
        summary=f"{words} ({live.window})",
        collector=f"pilotage {__version__} telemetry",
        collected=live.until,
        subject=live.release,
        figures={"since": live.since, "until": live.until, **figures},
        expires=live.until + LIFE_DAYS * _DAY_US,
        renew="live traffic renews it",
    )


def _share_level(count: int, of: int) -> float:
    """1 where surely few, 0 where surely many, by the ends of the 95 % interval."""
    found = wilson(count, of)
    return 1.0 if found.high <= _FEW else 0.0 if found.low > _MANY else _HALF


def _answered(live: Telemetry) -> Iterator[Observation]:
    ended, every = live.outcomes, live.decisions
    broken = ended.get("rejected", 0)
    asked = every - broken
    answered = ended.get("answered", 0) + ended.get("review", 0) + ended.get("abstained", 0)
    failed = asked - answered
    said = f"{broken:,} of {every:,} decisions broke the contract"
    yield _seen(live, "data.live_quality", _share_level(broken, every), said, violation_rate=broken / every)
    said = f"the gateway checked {every:,} decisions by name and type against the contract"
    yield _seen(live, "data.validated", 1.0, said, decisions=every)
    for criterion, words in _BY_GATEWAY.items():
        yield _seen(live, criterion, 1.0, f"{every:,} decisions came through the gateway: {words}", decisions=every)
    said = {None: "not verified in this window", True: "it was verified", False: "its verification FAILED"}[
        live.verified
    ]
    level = {None: _HALF, True: 1.0, False: 0.0}[live.verified]
    yield _seen(live, "governance.recorded", level, f"{every:,} decisions are on record; {said}", decisions=every)
    if asked < FEWEST:
        return
    said = f"{failed:,} of {asked:,} valid requests were answered by the fallback or not at all"
    yield _seen(live, "infrastructure.server", _share_level(failed, asked), said, fallback_share=failed / asked)
    for criterion in ("model.loads", "model.predicts"):
        level = 1.0 if answered >= FEWEST else 0.0
        yield _seen(live, criterion, level, f"the live release answered {answered:,} requests", answered=answered)


_VERIFIED = {
    None: (_HALF, "nobody verified it lately: pilotage audit verify --keep"),
    True: (1.0, "its verification found nothing changed"),
    False: (0.0, "its verification FAILED"),
}
_BY_GATEWAY = {
    "infrastructure.access": "it answers only to keys and tokens that it knows",
    "infrastructure.limits": "it takes bodies up to its limit only",
    "infrastructure.observable": "it has health addresses, metrics and a log of every decision",
    "infrastructure.container": "it serves the release as one sealed folder",
    "infrastructure.complete": "nothing that the release needs is missing",
}
"""What the gateway does for every decision, by the criterion that it settles."""


def _in_time(live: Telemetry) -> Iterator[Observation]:
    limit_ms, p95_ms = live.load.p95_ms, live.p95_us / 1000
    if not limit_ms:
        return
    late = p95_ms > limit_ms
    # In time under less than the load that is asked for says nothing of that load: a drill has to.
    if not late and live.per_second < _TARGET_TIMES * live.load.rows_per_second:
        return
    level = 0.0 if late else 1.0
    said = f"95 % were answered in {p95_ms:.1f} ms, {limit_ms:g} are allowed, at up to {live.per_second:,.0f} a second"
    yield _seen(live, "infrastructure.load", level, said, p95_ms=p95_ms, per_second=live.per_second)


def _drifted(live: Telemetry) -> Iterator[Observation]:
    found = live.drift
    judged = [] if found is None else [each for each in found.columns if each.verdict != "not enough data"]
    if found is None or not judged:
        return
    score = found.score.verdict if found.score is not None else "ok"
    calm = not found.shifted and score != "drift"
    said = "no input drifted" if not found.shifted else f"drifted: {', '.join(found.shifted[:8])}"
    said += "; so did the score" if score == "drift" else ""
    words = f"{found.rows:,} rows against the reference: {said}"
    yield _seen(live, "model.drift_watched", 1.0 if calm else _HALF, words, rows=found.rows, drifted=len(found.shifted))


def _worth(live: Telemetry) -> Iterator[Observation]:
    found = live.performance
    if found is None or not found.enough:
        return
    known, whole = found.known, found.whole
    joined = f"{known.count:,} of {known.of:,} decisions have an outcome ({known.rate:.0%})"
    words = f"quality is measured on live outcomes: {joined}"
    yield _seen(live, "model.held_out", 1.0, words, coverage=known.rate, outcomes=known.count)
    # What chance may account for contradicts no test.
    if found.auc is not None and (found.auc.low > 0.5 or found.auc.high <= 0.5 or found.state == "broken"):
        area = found.auc
        level = min(float(area.low > 0.5), {"broken": 0.0, "near": _HALF}.get(found.state or "", 1.0))
        words = f"realised AUC {area.area:.3f} [{area.low:.3f}, {area.high:.3f}]; {joined}"
        words += f"; thresholds of the build: {found.state}" if found.state else ""
        yield _seen(live, "model.beats_baseline", level, words, auc=area.area, auc_low=area.low, auc_high=area.high)
    if whole.precision is not None and whole.base_rate is not None:
        rate, flagged = whole.base_rate.rate, whole.precision
        if flagged.low > rate or flagged.high <= rate:
            words = f"of what it flagged {flagged.rate:.1%} were so, {rate:.1%} are in all; {joined}"
            level = float(flagged.low > rate)
            yield _seen(live, "business.operating_point", level, words, precision=flagged.rate, base_rate=rate)


def _used(live: Telemetry) -> Iterator[Observation]:
    every = live.decisions
    if not every:
        return
    seldom = wilson(live.overruled, every).high <= _OVERRULED
    level = 0.0 if not live.lately else 1.0 if seldom and every >= FEWEST else _HALF
    words = f"{live.lately:,} decisions in the last 7 days; people overruled {live.overruled:,} of {every:,}"
    yield _seen(live, "business.used", level, words, lately=live.lately, overruled=live.overruled)
