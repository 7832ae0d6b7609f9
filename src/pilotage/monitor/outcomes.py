"""Realised performance of a release, from the counts of the ledger."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine

from pilotage.kernel.clock import day
from pilotage.ledger.outcomes import Outcomes
from pilotage.monitor.performance import Meaning, Performance, performance
from pilotage.releases.load import open_release
from pilotage.storage.database import reading
from pilotage.systems.store import find_system

__all__ = ["realised_performance"]


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
    )
