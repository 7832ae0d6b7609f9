"""What there is to review of how protected groups fare with a live release: gathered from counts, and from evidence."""

from __future__ import annotations

from typing import Any

from pilotage.errors import NotFound
from pilotage.evidence.model import Evidence
from pilotage.evidence.stale import marks_about, stale_reason
from pilotage.evidence.store import for_subject
from pilotage.gates.reviewing import Measured
from pilotage.kernel.clock import day, now_us
from pilotage.ledger.outcomes import Outcomes
from pilotage.monitor.fairness import groups_live
from pilotage.monitor.outcomes import realised_performance
from pilotage.releases.load import open_release
from pilotage.rollout.model import live_after, live_since
from pilotage.rollout.service import history
from pilotage.storage.database import reading
from pilotage.systems.store import find_system
from pilotage.wiring.installation import Installation

__all__ = ["measured_fairness"]

_UNMEASURED = (
    "no two groups have 30 outcomes of live decisions each: declare it under pilot.slices and tell outcomes; or, where"
    " requests do not bring it, evaluate a labelled file of live cases: pilotage evaluate REF --data FILE"
)


def measured_fairness(installation: Installation, system: str, at: int | None = None) -> tuple[str, Measured]:
    """The live release of a system, and what is known of its protected groups since it went live at its stage.

    By live decisions where the column is a declared slice that requests bring; else by the newest evaluation of a
    labelled file since then, which is not the one of the build. Raises NotFound, IntegrityError.
    """
    moment = now_us() if at is None else at
    acts = history(installation.control, system)
    placed = live_after(acts)
    if placed is None:
        raise NotFound(f"{system} has no live release", mend="promote one: pilotage promote --to internal")
    since = live_since(acts)
    with reading(installation.control) as connection:
        rules = find_system(connection, system).fairness
        marks = marks_about(connection, placed.release)
        told = [each for each in for_subject(connection, placed.release) if not stale_reason(each, marks)]
    protected = [
        each.name for each in open_release(installation.releases, placed.release).contract.columns if each.protected
    ]
    performance = realised_performance(
        installation.control,
        Outcomes(installation.ledger_engine),
        installation.releases,
        system,
        placed.release,
        since=day(since),
        now=moment,
    )
    columns: list[dict[str, Any]] = []
    lacks: dict[str, str] = {}
    live = True
    for name in protected:
        if (block := groups_live(performance, name, rules)) is not None:
            columns.append(block | {"source": "live decisions"})
        elif (block := _of_a_file(told, name, since)) is not None:
            live = False
            columns.append(block)
        else:
            lacks[name] = _UNMEASURED
    return placed.release, Measured(columns=columns, lacks=lacks, live=live, since=day(since), until=day(moment))


def _of_a_file(told: list[Evidence], name: str, since: int) -> dict[str, Any] | None:
    newest = next((each for each in told if each.check == "evaluation.fairness"), None)
    if newest is None or newest.collected < since or newest.figures.get("own_rows", True):
        return None
    limits = newest.figures.get("columns", {}).get(name)
    if not limits:
        return None
    source = {"source": "labelled file", "evidence": newest.id, "data": newest.figures.get("data", "")}
    return {"column": name, "groups": [], "disparities": {}, "limits": limits, **source}
