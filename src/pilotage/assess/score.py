"""The scoring model: pure functions from observations to ratings, levels and the verdict."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

from pilotage.assess.model import (
    CAPS,
    DIMENSIONS,
    Blocker,
    Criterion,
    Dimension,
    DimensionScore,
    Grade,
    Observation,
    Raise,
    Rating,
    State,
)
from pilotage.systems.model import STAGES, Stage

__all__ = [
    "applies",
    "blockers",
    "freshness",
    "level_of",
    "life_us",
    "needed",
    "next_steps",
    "proved",
    "rate",
    "rate_all",
    "required_level",
    "score",
    "verdict",
]

_DAY_US = 86_400_000_000
_TESTED: tuple[str, ...] = ("E3", "E4")
_STATIC_LEVEL = 2


def life_us(observation: Observation, ttl_days: int) -> int | None:
    """How long it counts in full from when it was collected, in microseconds: up to the ttl of its criterion or its
    own expiry, whichever comes first; None where neither is set, and it lives as long as its subject."""
    ends = [ttl_days * _DAY_US] if ttl_days else []
    ends += [max(0, observation.expires - observation.collected)] if observation.expires else []
    return min(ends, default=None)


def freshness(observation: Observation, ttl_days: int, at: int) -> float:
    """1 up to the ttl, then linear to 0 at twice the ttl; 0 once its subject changed. ttl 0: as long as its subject."""
    if not observation.current:
        return 0.0
    life = life_us(observation, ttl_days)
    if life is None:
        return 1.0
    if life == 0:
        return 0.0
    return max(0.0, min(1.0, 2.0 - (at - observation.collected) / life))


def _capped(observation: Observation, criterion: Criterion, level: float, at: int) -> float:
    cap = CAPS[criterion.kind][observation.grade]
    return min(level, cap) * freshness(observation, criterion.ttl_days, at)


def rate(criterion: Criterion, observations: Sequence[Observation], at: int) -> Rating:
    """The rating of one criterion: the best piece of evidence, none above what a trustier or equal one found.

    Evidence that says less outranks evidence of the same or a lower class that says more, also once it has expired:
    that a bad finding grows old mends nothing, so that no score or level rises with time, and a failure stands until
    trustier evidence says otherwise. Otherwise evidence whose freshness is 0 says nothing.
    """
    valid = [item for item in observations if freshness(item, criterion.ttl_days, at) > 0]
    said = [item for item in observations if item.current]
    if not valid:
        failed = [item for item in said if item.level <= 0]
        return Rating(criterion=criterion, score=0.0, state="fails" if failed else "unknown", evidence=failed)
    levels = [min(other.level for other in said if other.grade >= item.grade) for item in valid]
    reached = max(range(len(valid)), key=lambda i: _capped(valid[i], criterion, levels[i], at))
    points = _capped(valid[reached], criterion, levels[reached], at)
    shown = levels[reached] >= 1 and valid[reached].grade != "E0"
    state: State = "holds" if shown else "partial" if points > 0 else "fails"
    lowest = min(levels)
    shown_too = [item for item in said if item not in valid and item.level <= lowest]
    evidence = sorted([*valid, *shown_too], key=lambda each: each.grade, reverse=True)
    return Rating(criterion=criterion, score=points, state=state, evidence=evidence)


def applies(criterion: Criterion, stage: Stage, facts: Container[str]) -> bool:
    """Whether a criterion may be held against a system at this stage, of which these facts are known."""
    due = STAGES.index(criterion.from_stage) <= STAGES.index(stage)
    return due and (not criterion.applies_if or criterion.applies_if in facts)


def level_of(value: float) -> int:
    """Level 1 to 5 at 0, 20, 40, 60, 80 hundredths."""
    return 1 + sum(value >= bound - 1e-9 for bound in (0.2, 0.4, 0.6, 0.8))


def score(dimension: Dimension, ratings: Sequence[Rating], later: Sequence[Criterion] = ()) -> DimensionScore:
    """One dimension from its applicable ratings: sum(w·s)/sum(w), with coverage, interval, level and what caps it."""
    weight = sum(item.criterion.weight for item in ratings)
    if not weight:
        raise ValueError(f"{dimension}: no applicable criterion")
    unknown = [item for item in ratings if item.state == "unknown"]
    low = sum(item.criterion.weight * item.score for item in ratings) / weight
    high = low + sum(item.criterion.weight * CAPS[item.criterion.kind]["E3"] for item in unknown) / weight
    level, caps = level_of(low), []
    tested = any(piece.grade in _TESTED for item in ratings for piece in item.evidence)
    if dimension in ("data", "model") and not tested and level > _STATIC_LEVEL:
        level = _STATIC_LEVEL
        caps.append("nothing of it was run: static evidence alone gives level 2 at most")
    knocked = [item for item in ratings if item.knocked_out]
    if knocked:
        level = 1
        caps += [f"knock-out: {item.criterion.text}" for item in knocked]
    return DimensionScore(
        dimension=dimension,
        score=low,
        coverage=1 - sum(item.criterion.weight for item in unknown) / weight,
        interval=(low, high),
        level=level,
        level_high=1 if knocked else level_of(high),
        ratings=list(ratings),
        caps=caps,
        later=list(later),
    )


def rate_all(
    asked: Container[str], criteria: Mapping[str, Criterion], observations: Sequence[Observation], at: int
) -> list[DimensionScore]:
    """The six dimensions of the criteria that are asked, by id; what later stages ask stands beside them."""
    scored = []
    for dimension in DIMENSIONS:
        own = [item for item in criteria.values() if item.dimension == dimension]
        ratings = [
            rate(item, [o for o in observations if o.criterion == item.id], at) for item in own if item.id in asked
        ]
        later = [item for item in own if item.from_stage != "pilot" and item.id not in asked]
        scored.append(score(dimension, ratings, later))
    return scored


def verdict(dimensions: Sequence[DimensionScore]) -> int:
    """The lowest level, with all that is unknown counted as absent."""
    return min(item.level for item in dimensions)


def required_level(stage: Stage, risk_tier: str) -> int:
    """The verdict that the next stage asks for: internal 2, limited 3, general by risk tier (defaults of ours)."""
    following = STAGES[min(STAGES.index(stage) + 1, STAGES.index("general"))]
    by_tier = {"low": 3, "medium": 4, "high": 4}
    return {"internal": 2, "limited": 3}.get(following, by_tier.get(risk_tier, 4))


def needed(stage: Stage, risk_tier: str) -> dict[Dimension, int]:
    """The level of each dimension that a stage asks for by the time a system is at it: at general and high risk, 4 with
    governance and model at 5 (defaults of ours)."""
    before = STAGES[max(0, STAGES.index(stage) - 1)]
    least = 1 if stage == "pilot" else required_level(before, risk_tier)
    strict = stage == "general" and risk_tier == "high"
    return {name: 5 if strict and name in ("governance", "model") else least for name in DIMENSIONS}


def blockers(dimensions: Sequence[DimensionScore]) -> list[Blocker]:
    """Knock-outs first, then criteria of full weight that fail."""
    failing = [r for d in dimensions for r in d.ratings if r.state == "fails" and _blocks(r.criterion)]
    made = [
        Blocker(
            criterion=item.criterion.id,
            dimension=item.criterion.dimension,
            text=item.criterion.text,
            why=item.evidence[0].summary,
            mend=item.criterion.mend,
            knock_out=item.criterion.knock_out,
            findings=[finding for piece in item.evidence for finding in piece.findings][:20],
        )
        for item in failing
    ]
    return sorted(made, key=lambda blocker: not blocker.knock_out)


def _blocks(criterion: Criterion) -> bool:
    return criterion.knock_out or criterion.weight >= 3


def proved(rating: Rating, at: int) -> Rating:
    """The rating if the criterion held, on the evidence that can be had for it now."""
    criterion = rating.criterion
    usual: Grade = "E3" if criterion.kind == "measurable" else "E1"
    grade: Grade = criterion.proof or usual
    proof = Observation(
        criterion=criterion.id, grade=grade, level=1, summary="supposed", collector="supposition", collected=at
    )
    return rate(criterion, [proof], at)


def next_steps(dimensions: Sequence[DimensionScore], at: int, limit: int = 12) -> list[Raise]:
    """The steps that raise the verdict soonest: in the weakest dimension, the most points per expected day first.

    Each is followed as if it held, on the best evidence that can be had before live traffic, until the verdict is one
    level higher. A knock-out goes first: while one stands nothing else in its dimension counts.
    """
    current = {item.dimension: item for item in dimensions}
    start = verdict(dimensions)
    steps: list[Raise] = []
    while verdict(list(current.values())) == start and len(steps) < limit:
        weakest = min(DIMENSIONS, key=lambda name: (current[name].level, current[name].score))
        options = [(proved(item, at), item) for item in current[weakest].ratings]
        open_ones = [(new, old) for new, old in options if new.score > old.score + 1e-9 or old.knocked_out]
        if not open_ones:
            break
        new, old = max(open_ones, key=lambda pair: (pair[1].knocked_out, _worth(*pair)))
        ratings = [new if item is old else item for item in current[weakest].ratings]
        after = score(weakest, ratings, current[weakest].later)
        gain, current[weakest] = after.score - current[weakest].score, after
        steps.append(
            Raise(
                criterion=old.criterion.id,
                dimension=weakest,
                text=old.criterion.text,
                mend=old.criterion.mend,
                days=round(old.criterion.effort, 1),
                gain=round(gain, 4),
                level_after=after.level,
                verdict_after=verdict(list(current.values())),
            )
        )
    return steps


def _worth(new: Rating, old: Rating) -> float:
    return old.criterion.weight * (new.score - old.score) / old.criterion.effort
