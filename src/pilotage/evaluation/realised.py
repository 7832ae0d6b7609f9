"""What answers were worth once the truth is known: confusion and rates, each with its interval. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from pilotage.evaluation.intervals import Rate, wilson

__all__ = ["FEWEST", "Realised", "realised", "truth"]

FEWEST = 30
"""A rate over fewer decisions is not shown: its figure would be noise, and might tell of single persons."""

_BOOLEANS = {"true": "1", "false": "0"}


class Realised(msgspec.Struct, frozen=True, kw_only=True):
    """Answers against outcomes: adverse answers are the flagged ones, the positive class what they should catch.

    A rate over fewer than FEWEST decisions is None: not enough data. `base_rate` is the share of positive outcomes,
    `recall` that of positives flagged, `false_positive_rate` that of negatives flagged, `precision` that of flagged
    that were positive.
    """

    decisions: int
    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int
    base_rate: Rate | None
    flagged: Rate | None
    accuracy: Rate | None
    recall: Rate | None
    false_positive_rate: Rate | None
    precision: Rate | None

    @property
    def enough(self) -> bool:
        """Whether there is enough to say anything."""
        return self.decisions >= FEWEST


def realised(pairs: Iterable[tuple[bool, bool, int]]) -> Realised:
    """The figures of (flagged, positive, how many)."""
    cells = {(flagged, positive): 0 for flagged in (True, False) for positive in (True, False)}
    for flagged, positive, count in pairs:
        cells[flagged, positive] += count
    hit, false = cells[True, True], cells[True, False]
    miss, clear = cells[False, True], cells[False, False]
    total = hit + false + miss + clear
    return Realised(
        decisions=total,
        true_positive=hit,
        false_positive=false,
        false_negative=miss,
        true_negative=clear,
        base_rate=_rate(hit + miss, total),
        flagged=_rate(hit + false, total),
        accuracy=_rate(hit + clear, total),
        recall=_rate(hit, hit + miss),
        false_positive_rate=_rate(false, false + clear),
        precision=_rate(hit, hit + false),
    )


def truth(outcome: str, *, positive: str, adverse: str) -> bool | None:
    """Whether an outcome is the positive class: its value, the same number, `true` for 1, or the adverse answer.

    None for a number that is no class (an amount, say): nothing follows from it. Any other text is not positive.
    """
    if outcome == "number":
        return None
    said, wanted = _BOOLEANS.get(outcome, outcome), _BOOLEANS.get(positive, positive)
    return said in (wanted, adverse) or outcome == positive or _same_number(said, wanted)


def _rate(count: int, of: int) -> Rate | None:
    return wilson(count, of) if of >= FEWEST else None


def _same_number(one: str, other: str) -> bool:
    try:
        return float(one) == float(other)
    except ValueError:
        return False
