"""Where a system stands that Pilotage runs: the six dimensions of an assessment, fed by what is known of it now. Pure.

The same criteria and the same scoring as for a pilot; what differs is where the evidence comes from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from pilotage import __version__
from pilotage.assess.claims import between_evidence
from pilotage.assess.ml_test_score import ml_test_score
from pilotage.assess.model import DIMENSIONS, Assessment, Criterion, Dimension, Grade, Observation, Rating
from pilotage.assess.owasp import coverage
from pilotage.assess.platform import Lapsed
from pilotage.assess.score import (
    applies,
    blockers,
    freshness,
    life_us,
    needed,
    next_steps,
    rate,
    rate_all,
    required_level,
    verdict,
)
from pilotage.gates.model import Approval
from pilotage.kernel.clock import day
from pilotage.kernel.digests import short
from pilotage.systems.model import STAGES, Stage

__all__ = ["AHEAD_DAYS", "Due", "Found", "Needed", "Standing", "newest_words", "replaced", "stand", "still_current"]

AHEAD_DAYS = 14
"""How long before it expires evidence is warned of."""

_DAY_US = 86_400_000_000
_LEAST = 1e-9


class Due(msgspec.Struct, frozen=True, kw_only=True):
    """Evidence that a score rests on and that expires soon, or has begun to fade.

    `due` is when it stops to count in full, `gone` when it counts for nothing (Unix microseconds), `loses` what its
    criterion then loses. `renew` is the command or the act that renews it. `criterion` is empty for an approval.
    """

    criterion: str
    dimension: Dimension
    text: str
    grade: Grade
    summary: str
    due: int
    gone: int
    loses: float
    renew: str
    evidence: str

    @property
    def key(self) -> str:
        """What tells this piece of evidence from any other, for one who warns once."""
        return f"{self.criterion}/{self.evidence or self.summary}"[:200]


class Needed(msgspec.Struct, frozen=True, kw_only=True):
    """What a stage asks for, by dimension, and which dimensions are `short` of it."""

    stage: Stage
    levels: dict[Dimension, int]
    short: list[Dimension]


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of evidence that counts for nothing, and why."""

    criterion: str
    grade: Grade
    summary: str
    collected: int
    why: str
    renew: str
    evidence: str


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """The readiness of a system now. `release` is the digest that it is about: the live one, else the newest (empty:
    there is none); `window` names that of the telemetry, empty without any.

    `due` is what expires soon, the soonest first; `lapsed` what is there and counts no more. `stages` is what each
    stage asks for.
    """

    system: str
    release: str
    release_name: str
    window: str
    assessment: Assessment
    due: list[Due]
    lapsed: list[Found]
    stages: list[Needed]

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        built: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return built


def still_current(earlier: Assessment, artefact: str, data: str) -> tuple[list[Observation], list[Lapsed]]:
    """What an assessment of the pilot says of a release made of this artefact and data (digests; empty: no release).

    What was read in the folder is bound to its content: it counts for a release whose artefact lay in that folder.
    What was run is bound to the model or the data it was run on. What people said is bound to the system.
    """
    current, gone = [], []
    for dimension in earlier.dimensions:
        for rating in dimension.ratings:
            for piece in rating.evidence:
                why = _changed(piece, earlier, artefact, data)
                renew = piece.renew or "pilotage assess PATH"
                if why:
                    gone.append(Lapsed(piece.criterion, piece.grade, piece.summary, piece.collected, why, renew))
                else:
                    current.append(msgspec.structs.replace(piece, renew=renew))
    return current, gone


def replaced(earlier: Sequence[Observation], newer: Sequence[Observation]) -> tuple[list[Observation], list[Lapsed]]:
    """What was measured on the pilot, without that of which the release has later evidence of the same class: the pilot
    was mended on the way. It does not come back when the later evidence expires."""
    latest: dict[tuple[str, str], int] = {}
    for each in newer:
        place = each.criterion, each.grade
        latest[place] = max(latest.get(place, 0), each.collected)
    kept, gone = [], []
    for each in earlier:
        if each.grade not in ("E0", "E1") and each.collected < latest.get((each.criterion, each.grade), 0):
            why = "later evidence of the release took its place"
            gone.append(Lapsed(each.criterion, each.grade, each.summary, each.collected, why, each.renew))
        else:
            kept.append(each)
    return kept, gone


def newest_words(observations: Sequence[Observation]) -> list[Observation]:
    """Without the statements that a newer one of the same class on the same criterion replaced, whoever made them: in
    the file beside the pilot, in its declaration, or in the interview. What was measured all stays."""
    newest: dict[tuple[str, str], Observation] = {}
    for each in observations:
        place = each.criterion, each.grade
        if each.grade in ("E0", "E1") and (place not in newest or newest[place].collected <= each.collected):
            newest[place] = each
    return [each for each in observations if newest.get((each.criterion, each.grade), each) is each]


def _changed(piece: Observation, earlier: Assessment, artefact: str, data: str) -> str:
    if piece.grade in ("E0", "E1") or not (artefact or data):
        return ""
    if piece.subject == earlier.subject:
        return "" if earlier.model == artefact else "it was read in a folder with another model than the release's"
    if piece.subject in ("", artefact, data):
        return ""
    return "it was measured on another model or other data than the release's"


def stand(
    criteria: Mapping[str, Criterion],
    observations: Sequence[Observation],
    lapsed: Sequence[Lapsed],
    *,
    system: str,
    risk_tier: str,
    stage: Stage,
    at: int,
    facts: set[str],
    release: str = "",
    release_name: str = "",
    window: str = "",
    skipped: Sequence[str] = (),
    approvals: Sequence[Approval] = (),
    ahead_days: int = AHEAD_DAYS,
) -> Standing:
    """The standing of a system at a moment. `facts` are those of criteria's `applies_if`; `approvals` are given to its
    release for stages that it has not entered yet."""
    asked = {item.id for item in criteria.values() if applies(item, stage, facts)}
    dimensions = rate_all(asked, criteria, observations, at)
    ratings = {rating.criterion.id: rating for dimension in dimensions for rating in dimension.ratings}
    reached = verdict(dimensions)
    made = Assessment(
        path=system,
        subject=release,
        at=at,
        stage=stage,
        verdict=reached,
        required=required_level(stage, risk_tier),
        dimensions=dimensions,
        blockers=blockers(dimensions),
        contradictions=list(between_evidence(ratings)),
        raises=next_steps(dimensions, at),
        findings=sum(len(piece.findings) for rating in ratings.values() for piece in rating.evidence),
        skipped=list(skipped),
        isolation={},
        seconds=0.0,
        version=__version__,
        owasp=coverage(ratings, facts),
        ml_test_score=ml_test_score(ratings, None, facts),
    )
    levels = {each.dimension: each.level for each in dimensions}
    due = [each for rating in ratings.values() if (each := _due(rating, observations, at, ahead_days)) is not None]
    due += _approvals_due(approvals, at, ahead_days)
    return Standing(
        system=system,
        release=release,
        release_name=release_name,
        window=window,
        assessment=made,
        due=sorted(due, key=lambda each: (each.due, each.criterion)),
        lapsed=[
            *(Found(**each._asdict()) for each in lapsed if each.criterion in criteria),
            *_expired(ratings, observations, at),
        ],
        stages=[_needed(each, risk_tier, levels) for each in STAGES if each not in ("pilot", "retired")],
    )


def _needed(stage: Stage, risk_tier: str, levels: Mapping[Dimension, int]) -> Needed:
    asked = needed(stage, risk_tier)
    return Needed(stage=stage, levels=asked, short=[name for name in DIMENSIONS if levels[name] < asked[name]])


def _due(rating: Rating, observations: Sequence[Observation], at: int, ahead_days: int) -> Due | None:
    """The piece of evidence whose expiry within the days ahead first lowers this rating."""
    criterion, until = rating.criterion, at + ahead_days * _DAY_US
    own = [item for item in observations if item.criterion == criterion.id]
    ends = {
        item.collected + life: (item, life)
        for item in rating.evidence
        if (life := life_us(item, criterion.ttl_days)) is not None and freshness(item, criterion.ttl_days, at) > 0
    }
    for due, (item, life) in sorted(ends.items(), key=lambda each: each[0]):
        if due > until:
            return None
        # A moment after it has begun to fade: what else holds the criterion up as high is no loss.
        later = rate(criterion, own, max(at, due) + max(1, life // 1000))
        if later.score < rating.score - _LEAST:
            gone = due + life
            return Due(
                criterion=criterion.id,
                dimension=criterion.dimension,
                text=criterion.text,
                grade=item.grade,
                summary=item.summary,
                due=due,
                gone=gone,
                loses=round(rating.score - rate(criterion, own, gone).score, 4),
                renew=item.renew or criterion.mend,
                evidence=item.evidence,
            )
    return None


def _approvals_due(approvals: Sequence[Approval], at: int, ahead_days: int) -> list[Due]:
    return [
        Due(
            criterion="",
            dimension="governance",
            text=f"approval of a {each.role.replace('_', ' ')} for stage {each.stage}",
            grade="E1",
            summary=f"given on {day(each.granted)}; after its end the gate to {each.stage} asks for it again",
            due=each.expires,
            gone=each.expires,
            loses=0.0,
            renew=f"pilotage approve --release {short(each.release)} --to {each.stage}",
            evidence=each.id,
        )
        for each in approvals
        if not each.withdrawn and at < each.expires <= at + ahead_days * _DAY_US
    ]


def _expired(ratings: Mapping[str, Rating], observations: Sequence[Observation], at: int) -> list[Found]:
    """Evidence that is past twice its ttl."""
    return [
        Found(
            criterion=item.criterion,
            grade=item.grade,
            summary=item.summary,
            collected=item.collected,
            why=f"it expired on {day(item.collected + (life_us(item, found.criterion.ttl_days) or 0))}",
            renew=item.renew or found.criterion.mend,
            evidence=item.evidence,
        )
        for item in observations
        if (found := ratings.get(item.criterion)) is not None and freshness(item, found.criterion.ttl_days, at) <= 0
    ]
