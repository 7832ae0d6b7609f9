"""What the model answers away from the reference data, how sure it is of it, and whether the door keeps it away."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from pilotage.contracts.compile import compile_contract
from pilotage.contracts.model import Column, DataContract
from pilotage.evaluation.intervals import wilson
from pilotage.evaluation.messy.model import Strange
from pilotage.evaluation.messy.suite import Score, as_asked, score_or_not
from pilotage.kernel.rows import Rows, Value, values_of

__all__ = ["judge_strange"]

Floats = NDArray[np.float64]

ROWS = 400
_WIDEST = 1e300


def judge_strange(
    contract: DataContract, rows: Rows, scores: Floats, score: Score | None, threshold: float, *, seed: int
) -> list[Strange]:
    """Rows made by chance from the contract and from the held-out `rows`, whose `scores` are known."""
    check = compile_contract(as_asked(contract))
    usual = float(np.median(_confidence(scores, threshold)))
    found = [_told("held_out", "rows as they are", len(rows), 0, scores, threshold, usual)]
    for kind, said, made in _kinds(contract.features, rows, np.random.default_rng(seed)):
        names = [column.name for column in contract.features]
        body = msgspec.json.encode({"inputs": [dict(zip(names, row, strict=True)) for row in made]})
        kept = [row.values for row in check.check(body).rows if row.values is not None]
        answered = score_or_not(score, kept) if score is not None and kept else np.empty(0)
        if answered is None:
            answered = np.empty(0)
            away = len(made) - len(kept)
            found.append(
                msgspec.structs.replace(_told(kind, said, len(made), away, answered, threshold, usual), failed=True)
            )
            continue
        found.append(_told(kind, said, len(made), len(made) - len(kept), answered, threshold, usual))
    return found


def _confidence(scores: Floats, threshold: float) -> Floats:
    """How far each score is on its side of the threshold, from 0 at it to 1 at the end."""
    up = (scores - threshold) / max(1 - threshold, 1e-9)
    down = (threshold - scores) / max(threshold, 1e-9)
    return np.where(scores >= threshold, up, down)


def _told(kind: str, said: str, rows: int, away: int, scores: Floats, threshold: float, usual: float) -> Strange:
    sure = _confidence(scores, threshold)
    rate = wilson(int((sure >= usual).sum()), len(scores))
    return Strange(
        kind=kind,
        said=said,
        rows=rows,
        turned_away=away,
        adverse=float((scores >= threshold).mean()) if len(scores) else 0.0,
        confidence=float(sure.mean()) if len(scores) else 0.0,
        sure=rate.rate,
        sure_low=rate.low,
        sure_high=rate.high,
    )


def _kinds(
    columns: Sequence[Column], rows: Rows, generator: np.random.Generator
) -> Iterator[tuple[str, str, list[tuple[Value, ...]]]]:
    """Each kind of strange row: its name, in words, and some of them."""
    listed = [values_of(column[:20_000]) for column in rows.columns]
    permuted = [_drawn(values, generator) for values in listed]
    yield "permuted", "each column of another row: values as usual, never together", _rows(permuted)
    mixed = [_drawn(values, generator) if at % 2 else [*_cycle(values)] for at, values in enumerate(listed)]
    yield "mixed", "every other column of another row", _rows(mixed)
    yield (
        "random",
        "anything that the contract allows",
        _rows([_random(c, v, generator) for c, v in zip(columns, listed, strict=True)]),
    )
    yield (
        "corners",
        "every number at an end of its range",
        _rows([_corner(c, v, generator) for c, v in zip(columns, listed, strict=True)]),
    )
    yield (
        "far",
        "every number ten spans beyond its range",
        _rows([_far(c, v, generator) for c, v in zip(columns, listed, strict=True)]),
    )


def _rows(columns: Sequence[Sequence[Value]]) -> list[tuple[Value, ...]]:
    return list(zip(*columns, strict=True))


def _drawn(values: Sequence[Value], generator: np.random.Generator) -> list[Value]:
    return [values[at] for at in generator.integers(0, len(values), ROWS)]


def _cycle(values: Sequence[Value]) -> Iterator[Value]:
    return (values[at % len(values)] for at in range(ROWS))


def _ends(column: Column, values: Sequence[Value]) -> tuple[float, float]:
    known = [float(value) for value in values if value is not None] or [0.0]
    low = min(known) if column.minimum is None else column.minimum
    high = max(known) if column.maximum is None else column.maximum
    # Wider than this no float64 holds the span.
    return max(low, -_WIDEST), min(high, _WIDEST)


def _whole(column: Column, numbers: Floats) -> list[Value]:
    return [float(each) for each in (np.round(numbers) if column.type == "integer" else numbers)]


def _random(column: Column, values: Sequence[Value], generator: np.random.Generator) -> list[Value]:
    if column.categories is not None:
        return [column.categories[at] for at in generator.integers(0, len(column.categories), ROWS)]
    if not column.numeric:
        return _drawn(values, generator)
    return _whole(column, generator.uniform(*_ends(column, values), ROWS))


def _corner(column: Column, values: Sequence[Value], generator: np.random.Generator) -> list[Value]:
    if column.categories is not None or not column.numeric:
        return _random(column, values, generator)
    return _whole(column, generator.choice(_ends(column, values), ROWS))


def _far(column: Column, values: Sequence[Value], generator: np.random.Generator) -> list[Value]:
    if column.categories is not None or not column.numeric:
        return _random(column, values, generator)
    low, high = _ends(column, values)
    return _whole(
        column, generator.choice((low, high), ROWS) + generator.choice((-10, 10), ROWS) * max(1.0, high - low)
    )
