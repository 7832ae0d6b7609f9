"""What becomes of spoilt rows: stopped at the door, answered the same, or answered otherwise without a word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from pilotage.contracts.compile import RowCheck, compile_contract
from pilotage.contracts.faults import MalformedBody
from pilotage.contracts.model import DataContract
from pilotage.errors import InputError
from pilotage.evaluation.messy.mends import Mender
from pilotage.evaluation.messy.model import Case, Messy, Verdict
from pilotage.evaluation.messy.spoiling import Spoilt, spoilt_cases
from pilotage.kernel.rows import Rows, Value

__all__ = ["Score", "as_asked", "judge_messy", "score_or_not"]

Floats = NDArray[np.float64]
Score = Callable[[Sequence[Sequence[Value]]], Floats]

_MOST_SILENT = 0.05


class _Met(NamedTuple):
    """A spoilt row at the door: the row it was made of, what became of it, and its values where it is answered."""

    origin: int
    door: str
    values: tuple[Value, ...] | None


def as_asked(contract: DataContract) -> DataContract:
    """The contract of the features alone: without the subject, as if every feature were sent."""
    return msgspec.structs.replace(contract, columns=contract.features, subject="", enrichment=())


def judge_messy(
    contract: DataContract, rows: Rows, score: Score | None, threshold: float, *, tolerance: float
) -> Messy:
    """Spoil rows that fit the contract in every way it gives rise to, and see what becomes of them.

    `score` is the model, None where it is not to be asked. A score that moves by more than `tolerance`, or over the
    threshold, is another answer.
    """
    check = compile_contract(as_asked(contract))
    cases = list(spoilt_cases(contract, rows[:200]))
    met = [[each for origin, body in case.bodies for each in _at_the_door(check, origin, body)] for case in cases]
    answered = [[each for each in rows_met if each.values is not None] for rows_met in met]
    before = None if score is None else score(rows[:200])
    after = [None] * len(cases) if score is None else _scores(score, answered)
    mender = Mender(contract, rows)
    judged = []
    for case, rows_met, own, scores in zip(cases, met, answered, after, strict=True):
        found = _judged(case, rows_met, own, before, scores, threshold, tolerance)
        if found.verdict in ("silent", "fails"):
            line, mend = mender.mend(case, [each.values for each in own if each.values is not None])
            found = msgspec.structs.replace(found, line=line, mend=mend)
        judged.append(found)
    return Messy(tolerance=tolerance, rows=sum(len(each) for each in met), cases=tuple(judged))


def _at_the_door(check: RowCheck, origin: int, body: bytes) -> list[_Met]:
    try:
        rows = check.check(b'{"inputs":[' + body + b"]}").rows
    except MalformedBody:
        return [_Met(origin, "malformed", None)]
    return [
        _Met(origin, ("repaired" if row.repairs else "accepted") if row.values is not None else row.action, row.values)
        for row in rows
    ]


def _scores(score: Score, answered: Sequence[Sequence[_Met]]) -> list[Floats | None]:
    """The scores of each case's rows, asked at once; None for a case that the model fails on."""
    every = [each.values for rows in answered for each in rows if each.values is not None]
    together = score_or_not(score, every)
    if together is not None:
        ends = np.cumsum([len(rows) for rows in answered])
        return list(np.split(together, ends[:-1]))
    return [score_or_not(score, [each.values for each in rows if each.values is not None]) for rows in answered]


def score_or_not(score: Score, rows: Sequence[Sequence[Value]]) -> Floats | None:
    """The scores of rows; None where the model fails on them, or answers with no finite number."""
    if not rows:
        return np.empty(0)
    try:
        found = score(rows)
    except InputError:
        return None
    return found if np.isfinite(found).all() else None


def _judged(
    case: Spoilt,
    met: Sequence[_Met],
    answered: Sequence[_Met],
    before: Floats | None,
    scores: Floats | None,
    threshold: float,
    tolerance: float,
) -> Case:
    shift = changed = np.zeros(0)
    if before is not None and scores is not None and len(answered):
        old = before[[each.origin for each in answered]]
        shift, changed = np.abs(scores - old), (scores >= threshold) != (old >= threshold)
    moved = int(((shift > tolerance) | (changed > 0)).sum())
    verdict: Verdict = "silent" if moved > _MOST_SILENT * len(met) else "absorbed"
    if len(answered) <= len(met) / 2 and verdict != "silent":
        verdict = "caught"
    elif answered and before is None:
        verdict = "unasked"
    elif answered and scores is None:
        verdict = "fails"
    return Case(
        kind=case.kind,
        group=case.group,
        columns=case.columns,
        rows=len(met),
        door=dict(sorted(Counter(each.door for each in met).items())),
        verdict=verdict,
        moved=moved,
        labels_changed=int(changed.sum()),
        mean_shift=float(shift.mean()) if len(shift) else 0.0,
        largest_shift=float(shift.max()) if len(shift) else 0.0,
    )
