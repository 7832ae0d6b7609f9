"""Realised performance of a release, from the counts of the ledger."""

from __future__ import annotations

from pathlib import Path

import msgspec
from sqlalchemy import Engine

from pilotage.evaluation.degradation import Threshold
from pilotage.kernel.clock import day
from pilotage.ledger.outcomes import Outcomes
from pilotage.monitor.performance import Bounds, Meaning, Performance, performance
from pilotage.releases.load import LoadedRelease, open_release
from pilotage.storage.database import reading
from pilotage.systems.evaluating import Costs
from pilotage.systems.store import find_system

__all__ = ["bounds_of", "realised_performance"]


def realised_performance(
    control: Engine,
    outcomes: Outcomes,
    releases: Path,
    system: str,
    release: str,
    *,
    arm: str = "",
    since: str = "",
    until: str = "",
    now: int,
) -> Performance:
    """What the live decisions of one release were worth, of UTC days [since, until]; empty text for any.

    The slices are those that the system declares now. `now` is Unix microseconds. Raises NotFound for an unknown system
    or release, IntegrityError when the release's files were changed.
    """
    with reading(control) as connection:
        declared = find_system(connection, system).pilot.slices
    loaded = open_release(releases, release)
    serving = loaded.serving
    return performance(
        loaded.profile,
        Meaning(
            threshold=serving.threshold,
            adverse=serving.adverse,
            favourable=serving.favourable,
            positive=serving.positive,
        ),
        outcomes.counted(system, release, arm=arm, since=since, until=until),
        outcomes.decided(system, release, arm=arm),
        system=system,
        release=release,
        arm=arm,
        since=since,
        until=until,
        today=day(now),
        slices=declared,
        waiting=outcomes.waiting(system),
        bounds=bounds_of(loaded),
    )


def bounds_of(loaded: LoadedRelease) -> Bounds:
    """The thresholds that a release holds, and its costs; nothing of one that was built before they were fixed."""
    if "evaluation.json" not in loaded.manifest.files:
        return Bounds()
    found = msgspec.json.decode(loaded.file("evaluation.json"), type=_Fixed)
    return Bounds(
        thresholds=[Threshold(metric=each.metric, limit=each.limit, why=each.why) for each in found.degradation],
        costs=None if found.costs is None else Costs(unit=found.costs.unit, **found.costs.costs),
    )


class _Limit(msgspec.Struct, frozen=True):
    metric: str
    limit: float
    why: str


class _Costs(msgspec.Struct, frozen=True):
    unit: str
    costs: dict[str, float]


class _Fixed(msgspec.Struct, frozen=True):
    """What of `evaluation.json` binds live decisions."""

    degradation: list[_Limit] = []
    costs: _Costs | None = None
