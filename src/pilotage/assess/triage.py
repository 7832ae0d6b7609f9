"""What to do with a pilot: stop, fix or rebuild it, and who should. With the facts that decide, and what would flip it.

The rules are those of the readiness page; limits that are guesses of ours are named so. A tool that cannot say stop is
a sales tool.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from pilotage.assess.interview import Facts
from pilotage.assess.model import DimensionScore, Rating
from pilotage.value.case import Judgement

__all__ = ["REBUILD_DAYS", "REBUILD_SHARE", "Triage", "triage"]

What = Literal["stop", "fix", "rebuild"]
Who = Literal["own team", "partner"]

REBUILD_SHARE = 0.6
"""Fixing that costs more than this share of a new start is not worth it (a default of ours)."""

REBUILD_DAYS = 90.0
"""What a new start takes in engineer-days where nobody estimated it (a guess of ours)."""

_DAYS_A_WEEK = 5.0
_WEAK_TEAM = 2
_FAR = 10.0


class Triage(msgspec.Struct, frozen=True, kw_only=True):
    """The two verdicts. `because` are the facts that decided, `keep` what a new start should take along.

    `flips` says what would change the verdict; `unknown` names what was not known and could have decided.
    """

    what: What
    who: Who
    because: list[str]
    keep: list[str]
    flips: list[str]
    unknown: list[str]


def triage(
    dimensions: Sequence[DimensionScore],
    facts: Facts,
    *,
    fix_days: float,
    fix_days_p80: float,
    case: Judgement | None = None,
) -> Triage:
    """The verdict of an assessment. `fix_days` are the expected engineer-days of all open work, `fix_days_p80` what is
    exceeded in one of five.
    """
    ratings = {rating.criterion.id: rating for each in dimensions for rating in each.ratings}
    stops = _stops(ratings, facts, case)
    structural = _structural(ratings, facts, fix_days)
    what: What = "stop" if stops else "rebuild" if structural else "fix"
    partner, own = _who(dimensions, facts, fix_days_p80)
    because = stops or structural or [f"every gap can be closed in place: {fix_days:.0f} engineer-days expected"]
    return Triage(
        what=what,
        who="partner" if partner and what != "stop" else "own team",
        because=[*because, *(partner if what != "stop" else [])],
        keep=_keep(ratings) if what != "fix" else [],
        flips=_flips(what, stops, structural, partner, own, facts, fix_days),
        unknown=_unknown(ratings, facts, case),
    )


def _fails(ratings: Mapping[str, Rating], criterion: str) -> bool:
    return criterion in ratings and ratings[criterion].state == "fails"


def _said(ratings: Mapping[str, Rating], criterion: str) -> str:
    return ratings[criterion].evidence[0].summary if ratings[criterion].evidence else "not looked at"


def _stops(ratings: Mapping[str, Rating], facts: Facts, case: Judgement | None) -> list[str]:
    found = []
    if case is not None and case.npv_best < 0:
        found.append(f"it loses {-case.npv_best:,.0f} {case.currency} even with every figure at its better end")
    if _fails(ratings, "data.rights"):
        found.append(f"the rights to use the data are absent: {_said(ratings, 'data.rights')}")
    if _fails(ratings, "model.simpler") and facts.simpler_in_place:
        found.append(f"a simpler way is in place and as good: {_said(ratings, 'model.simpler')}")
    return found


def _structural(ratings: Mapping[str, Rating], facts: Facts, fix_days: float) -> list[str]:
    """What cannot be added to it: the way it was made is wrong."""
    found = []
    loads = [name for name in ("model.loads", "model.predicts") if _fails(ratings, name)]
    trains = "model.reproduced" in ratings and ratings["model.reproduced"].state == "holds"
    if loads and not trains:
        found.append(f"the artefact cannot be used and training was not repeated: {_said(ratings, loads[0])}")
    for name, why in (("model.held_out", "its quality is unknown"), ("data.leakage", "its quality is not real")):
        if _fails(ratings, name):
            found.append(f"{why}: {_said(ratings, name)}")
    if late := _far_too_slow(ratings):
        found.append(late)
    if facts.mode and facts.needed_mode and facts.mode != facts.needed_mode:
        found.append(f"it was made to answer in {facts.mode}, and {facts.needed_mode} is needed")
    if facts.licence_bars_use:
        found.append("a licence bars this use")
    new = facts.rebuild_days or REBUILD_DAYS
    if fix_days > REBUILD_SHARE * new:
        guess = "" if facts.rebuild_days else ", a guess of ours"
        found.append(f"mending it takes {fix_days:.0f} engineer-days, more than 60 % of a new start ({new:.0f}{guess})")
    return found


def _far_too_slow(ratings: Mapping[str, Rating]) -> str:
    """Over ten times the limit at the rate that people stated, with no known fault of the server that explains it."""
    if not _fails(ratings, "infrastructure.latency") or _fails(ratings, "infrastructure.server"):
        return ""
    figures = ratings["infrastructure.latency"].evidence[0].figures
    p95, limit = figures.get("p95_ms"), figures.get("limit_ms")
    if not (figures.get("rate_stated") and isinstance(p95, (int, float)) and isinstance(limit, (int, float))):
        return ""
    if p95 <= _FAR * limit:
        return ""
    return f"it is far too slow: p95 {p95:.0f} ms at {figures['rate']:g} requests a second, limit {limit:.0f} ms"


def _who(dimensions: Sequence[DimensionScore], facts: Facts, p80: float) -> tuple[list[str], list[str]]:
    """What speaks for a partner, and what speaks for the own team."""
    team = next((each.level for each in dimensions if each.dimension == "team"), _WEAK_TEAM)
    partner: list[str] = []
    own: list[str] = []
    if facts.engineers and facts.deadline_weeks:
        weeks = p80 / facts.engineers / _DAYS_A_WEEK
        told = (
            f"{weeks:.0f} weeks of {facts.engineers:g} engineers (P80) against {facts.deadline_weeks:g} to the deadline"
        )
        late = weeks > facts.deadline_weeks
        (partner if late and team <= _WEAK_TEAM else own).append(f"team is level {team}; {told}")
    if facts.missing_skill:
        needed = facts.hiring_weeks if facts.hiring_weeks is not None else float("inf")
        late = facts.deadline_weeks is not None and needed > facts.deadline_weeks
        told = "nobody knows how long hiring takes" if facts.hiring_weeks is None else f"{needed:g} weeks to hire it"
        (partner if late else own).append(f"{facts.missing_skill} is missing; {told}")
    return partner, own


def _keep(ratings: Mapping[str, Rating]) -> list[str]:
    """What is worth taking along, where it holds."""
    known = {
        "data.present": "the data",
        "data.lineage": "the record of where the data comes from",
        "data.schema": "the schema of the inputs",
        "model.held_out": "the evaluation set",
        "business.decision": "the rules of the decision",
        "governance.reasons": "the reasons that people are told",
    }
    return [text for name, text in known.items() if name in ratings and ratings[name].state in ("holds", "partial")]


def _flips(
    what: What,
    stops: Sequence[str],
    structural: Sequence[str],
    partner: Sequence[str],
    own: Sequence[str],
    facts: Facts,
    fix_days: float,
) -> list[str]:
    found = []
    if what == "stop":
        ended = "the fact above ended" if len(stops) == 1 else f"all {len(stops)} facts above ended"
        found.append(f"to {'rebuild' if structural else 'fix'}: {ended}")
    if what == "rebuild":
        mended = "the fact above mended" if len(structural) == 1 else f"all {len(structural)} facts above mended"
        found.append(f"to fix: {mended}")
    if what == "fix":
        new = facts.rebuild_days or REBUILD_DAYS
        found.append(f"to rebuild: open work above {REBUILD_SHARE * new:.0f} engineer-days (now {fix_days:.0f})")
        found.append("to rebuild: an invalid evaluation, another mode than needed, or a licence that bars the use")
    if what != "stop":
        found.append("to stop: a business case that loses money at its better end, or no right to the data")
        found += [f"to own team: {each}, ended" for each in partner]
        if not partner and facts.deadline_weeks is not None:
            found.append("to partner: a nearer deadline, fewer engineers, or a missing skill that takes longer to hire")
    return found


def _unknown(ratings: Mapping[str, Rating], facts: Facts, case: Judgement | None) -> list[str]:
    found = [] if case is not None else ["whether it pays: no business case (`pilotage value sheet`)"]
    if "data.rights" in ratings and ratings["data.rights"].state == "unknown":
        found.append("whether the data may be used")
    if "model.held_out" in ratings and ratings["model.held_out"].state == "unknown":
        found.append("its quality: nothing was measured")
    if _fails(ratings, "model.evaluation_set"):
        found.append("its quality: no question with a known answer was asked")
    asked = {
        "deadline_weeks": "the deadline",
        "engineers": "how many engineers there are",
        "needed_mode": "how it must answer",
        "simpler_in_place": "whether something simpler does the job already",
    }
    return found + [text for name, text in asked.items() if getattr(facts, name) is None]
