"""What moved between two assessments of a pilot."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from pilotage.assess.model import Assessment, Rating
from pilotage.errors import InputError

__all__ = ["Moved", "MovedDimension", "compare", "decode_report"]

_MOVED = 0.005
_WORDS = {"holds": "holds", "partial": "holds in part", "fails": "fails", "unknown": "is not known"}


class MovedDimension(msgspec.Struct, frozen=True, kw_only=True):
    """One dimension then and now."""

    name: str
    level_before: int
    level: int
    score_before: float
    score: float


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """The difference: dimensions; criteria in words, the most moved first; blockers that came and went."""

    verdict_before: int
    verdict: int
    dimensions: list[MovedDimension]
    better: list[str]
    worse: list[str]
    new_blockers: list[str]
    gone_blockers: list[str]


def decode_report(content: bytes, name: str) -> Assessment:
    """An earlier assessment, from the output of `pilotage assess --json`. Raises InputError when it is none."""
    try:
        return msgspec.json.decode(content, type=Assessment)
    except (msgspec.MsgspecError, ValueError) as error:
        raise InputError(
            f"{name} is no report of an assessment", got=error, mend="give the output of `pilotage assess --json`"
        ) from error


def compare(before: Assessment, now: Assessment) -> Moved:
    """What moved. A criterion that only one of the two asks counts as unknown in the other."""
    old, new = _ratings(before), _ratings(now)
    moves = []
    for name, text in {**_texts(before), **_texts(now)}.items():
        change = _score(new, name) - _score(old, name)
        states = [_WORDS[each[name].state if name in each else "unknown"] for each in (old, new)]
        if abs(change) >= _MOVED or states[0] != states[1]:
            told = f"{text}: {states[0]} → {states[1]} ({_score(old, name):.2f} → {_score(new, name):.2f})"
            moves.append((change, told))
    blocked = [{each.criterion: each.text for each in side.blockers} for side in (before, now)]
    levels = {each.dimension: each for each in before.dimensions}
    return Moved(
        verdict_before=before.verdict,
        verdict=now.verdict,
        dimensions=[
            MovedDimension(
                name=each.dimension,
                level_before=levels[each.dimension].level,
                level=each.level,
                score_before=levels[each.dimension].score,
                score=each.score,
            )
            for each in now.dimensions
            if each.dimension in levels
        ],
        better=[told for change, told in sorted(moves, key=lambda move: (-move[0], move[1])) if change > 0],
        worse=[told for change, told in sorted(moves) if change <= 0],
        new_blockers=[text for name, text in blocked[1].items() if name not in blocked[0]],
        gone_blockers=[text for name, text in blocked[0].items() if name not in blocked[1]],
    )


def _ratings(side: Assessment) -> dict[str, Rating]:
    return {rating.criterion.id: rating for each in side.dimensions for rating in each.ratings}


def _texts(side: Assessment) -> dict[str, str]:
    return {name: rating.criterion.text for name, rating in _ratings(side).items()}


def _score(ratings: Mapping[str, Rating], name: str) -> float:
    return ratings[name].score if name in ratings else 0.0
