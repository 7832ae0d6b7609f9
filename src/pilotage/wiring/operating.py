"""Keep what live decisions say of a release as evidence for the gate to its next stage."""

from __future__ import annotations

from pilotage.access.model import Person, require
from pilotage.assess.operating import Observed, live_days, observed
from pilotage.errors import NotFound
from pilotage.evidence.store import latest, record
from pilotage.kernel.clock import now_us
from pilotage.releases.load import open_release
from pilotage.rollout.model import live_after, live_since
from pilotage.rollout.service import history
from pilotage.storage.database import reading, writing
from pilotage.wiring.audit import VERIFIED
from pilotage.wiring.installation import Installation
from pilotage.wiring.telemetry import telemetry_of

__all__ = ["keep_operation"]


def keep_operation(installation: Installation, person: Person, system: str, at: int | None = None) -> Observed:
    """Evidence of how a system's live release ran at its stage, recorded; and what could not be told, with the reason.

    Newer evidence takes the place of older, so approvals that bind the older die: keep it, then approve. Raises
    Forbidden, NotFound, IntegrityError.
    """
    require(person, "release.backtest")
    moment = now_us() if at is None else at
    acts = history(installation.control, system)
    placed = live_after(acts)
    if placed is None:
        raise NotFound(f"{system} has no live release", mend="promote one: pilotage promote --to internal")
    with reading(installation.control) as connection:
        verified = latest(connection, *VERIFIED)
    load = open_release(installation.releases, placed.release).system().evaluation.load
    seen = telemetry_of(
        installation,
        placed,
        load,
        moment,
        [],
        since=live_since(acts),
        verified=None if verified is None else verified.passed,
    )
    found = observed(seen, live_days(acts, placed.release, placed.stage, moment), placed.stage, moment)
    with writing(installation.control) as connection:
        for fact in found.made:
            record(connection, fact)
    return found
