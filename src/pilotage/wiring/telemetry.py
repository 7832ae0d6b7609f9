"""Telemetry of what is live, gathered from the sums of the ledger: no row of a decision is read."""

from __future__ import annotations

from pilotage.assess.telemetry import FEWEST, LIFE_DAYS, Telemetry
from pilotage.errors import PilotageError
from pilotage.kernel.clock import day
from pilotage.ledger.outcomes import Outcomes
from pilotage.monitor.model import MonitorStatus
from pilotage.monitor.outcomes import realised_performance
from pilotage.monitor.performance import Performance
from pilotage.monitor.service import status
from pilotage.rollout.model import Live
from pilotage.systems.evaluating import Load
from pilotage.wiring.installation import Installation

__all__ = ["telemetry_of"]

_DAY_US = 86_400_000_000
_PEAK_S = 3_600
_DRIFT_ROWS = 5_000
_DRIFT_SPANS_US = (600_000_000, 6 * 3_600_000_000, _DAY_US)


def telemetry_of(
    installation: Installation,
    placed: Live,
    load: Load,
    at: int,
    skipped: list[str],
    *,
    since: int,
    verified: bool | None,
) -> Telemetry | None:
    """What is known of the live decisions until a moment, of 30 days at most; None where there are none. What cannot be
    told is added to `skipped`. `load` is what serving must bear, `since` when the release went live at its stage,
    `verified` whether the record's newest verification held."""
    system, release = placed.system, placed.release
    since = max(since, at - LIFE_DAYS * _DAY_US)
    ledger, outcomes = installation.ledger(), Outcomes(installation.ledger_engine)
    found = ledger.stats(system, since, _PEAK_S, release)
    if not found.decisions or not found.per_second:
        skipped.append("telemetry: no decision of the live release is sealed in the window")
        return None
    silent: list[str] = []
    if found.decisions < FEWEST:
        silent.append(f"telemetry: {found.decisions} decisions are too few to say much, {FEWEST} are needed")
    seen = Telemetry(
        release=release,
        since=since,
        until=min(at, found.per_second[-1][0] * 1_000_000),
        outcomes=found.outcomes,
        p95_us=found.p95_us,
        per_second=_peak(found.per_second),
        lately=ledger.stats(system, at - 7 * _DAY_US, 1, release).decisions,
        overruled=outcomes.overruled(system, release, since),
        load=load,
        verified=verified,
        drift=_drift(installation, system, release, since, at, silent),
        performance=_performance(installation, outcomes, system, release, since, at, silent),
    )
    skipped += silent
    return seen


def _peak(per_second: list[tuple[int, int]]) -> float:
    """The highest rate over one whole minute of the clock."""
    minutes: dict[int, int] = {}
    for second, count in per_second:
        minutes[second // 60] = minutes.get(second // 60, 0) + count
    return max(minutes.values(), default=0) / 60


def _drift(
    installation: Installation, system: str, release: str, since: int, at: int, silent: list[str]
) -> MonitorStatus | None:
    """Over the newest rows that suffice. Counts of a short while are read first: of a month they are many."""
    ledger, found = installation.ledger(), None
    try:
        for start in (*(at - span for span in _DRIFT_SPANS_US if at - span > since), since):
            found = status(ledger, installation.profile_of, system, release, since=start, last=_DRIFT_ROWS)
            if found.rows >= _DRIFT_ROWS:
                break
    except PilotageError as error:
        silent.append(f"drift: {error.what}")
    return found


def _performance(
    installation: Installation,
    outcomes: Outcomes,
    system: str,
    release: str,
    since: int,
    at: int,
    silent: list[str],
) -> Performance | None:
    try:
        return realised_performance(
            installation.control, outcomes, installation.releases, system, release, since=day(since), now=at
        )
    except PilotageError as error:
        silent.append(f"outcomes: {error.what}")
        return None
