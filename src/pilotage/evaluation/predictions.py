"""Judge any file of predictions: whatever made them, wherever the model is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from pilotage.errors import InputError
from pilotage.evaluation.bootstrap import ROUNDS, Progress, codes_of
from pilotage.evaluation.classification import classification
from pilotage.evaluation.periods import area_estimate, by_period, mean_estimate
from pilotage.evaluation.ranking import CUTS, ranking
from pilotage.evaluation.reading import File, read_columns
from pilotage.evaluation.redrawn import redrawn
from pilotage.evaluation.regression import regression
from pilotage.evaluation.slices import amount_slices, evaluate_slices
from pilotage.evaluation.words import in_words
from pilotage.kernel.digests import file_digest
from pilotage.systems.evaluating import Costs

__all__ = ["KINDS", "Asked", "Kind", "judge_predictions"]

Floats = NDArray[np.float64]
Kind = Literal["", "classification", "regression", "ranking"]
KINDS = tuple(kind for kind in get_args(Kind) if kind)

FEWEST = 30
"""Fewer rows are not judged: every figure would be noise."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What to judge: columns of the file by name. An empty `kind` is found from the target.

    `positive` is the target's value that the prediction is the score or the name of; without it the larger of two.
    `group` names what rows belong to: the query of a ranked row; else rows that are drawn together, such as a person's.
    `baselines` are columns with other predictions. `quantiles` are columns by quantile, `span` two columns of a
    prediction interval. `time` is a column of dates.
    """

    target: str
    prediction: str
    kind: Kind = ""
    positive: str = ""
    threshold: float = 0.5
    group: str = ""
    baselines: tuple[str, ...] = ()
    slices: tuple[str, ...] = ()
    time: str = ""
    quantiles: dict[float, str] = {}
    span: tuple[str, str] | None = None
    costs: Costs | None = None
    cuts: tuple[int, ...] = CUTS
    rounds: int = ROUNDS
    seed: int = 2026

    @property
    def numbers(self) -> tuple[str, ...]:
        """The columns that must be numbers in any case."""
        return (*self.baselines, *self.quantiles.values(), *(self.span or ()))


def judge_predictions(path: Path, asked: Asked, *, progress: Progress | None = None) -> dict[str, Any]:
    """The evaluation of a CSV (also .gz), JSON lines or Parquet file, as a document of JSON.

    Rows without a target, a prediction or another number that is asked for are counted and left out. Raises InputError
    when columns are missing, when too few rows remain, or when what is asked does not fit the data.
    """
    wanted = [asked.target, asked.prediction, asked.group, *asked.numbers, *asked.slices, asked.time]
    file = read_columns(path, list(dict.fromkeys(filter(None, wanted))))
    kind = asked.kind or _kind(file, asked)
    whole = {
        "kind": kind,
        "source": {"file": path.name, "digest": file_digest(path), "rows": file.rows},
        "asked": msgspec.to_builtins(msgspec.structs.replace(asked, quantiles={}, costs=None)),
        "seed": asked.seed,
        "rounds": asked.rounds,
    }
    found = _JUDGES[kind](file, asked, progress)
    whole["source"]["left_out"] = file.rows - found.pop("rows_used")
    return whole | found | {"words": in_words(whole | found)}


def _kind(file: File, asked: Asked) -> str:
    """Classification where the target has two values or a positive one is named; else amounts."""
    distinct = file.distinct(asked.target)
    if asked.positive or len(distinct) <= 2 or not file.numeric(asked.target):
        return "classification"
    return "regression"


def _classification(file: File, asked: Asked, progress: Progress | None) -> dict[str, Any]:
    truth = file.texts(asked.target)
    positive = asked.positive or _positive(file, asked.target)
    labels = np.array([_same(value, positive) for value in truth], dtype=bool)
    named = not file.numeric(asked.prediction)
    scores = _scores(file, asked.prediction, positive)
    chosen = _usable([scores, *(file.numbers(name) for name in asked.baselines)]) & file.known(asked.target)
    _refuse_few(chosen, labels)
    labels, scores = labels[chosen], scores[chosen]
    against = {name: file.numbers(name)[chosen] for name in asked.baselines}
    groups = codes_of(np.array(file.texts(asked.group), dtype=str)[chosen]) if asked.group else None
    found = classification(
        labels,
        scores,
        asked.threshold,
        costs=asked.costs,
        against=against,
        groups=groups,
        rounds=asked.rounds,
        seed=asked.seed,
        progress=progress,
    )
    if named:
        found["calibration"] = None
    slices: list[dict[str, Any]] = []
    for name in asked.slices:
        slices += evaluate_slices(name, file.values(name, chosen), labels, scores, asked.threshold)
    return {
        "rows_used": len(labels),
        "rows": {"held_out": len(labels), "positives_held_out": int(labels.sum())},
        "positive": positive,
        "threshold": asked.threshold,
        "named": named,
        **found,
        "redrawn": redrawn(labels, scores, asked.threshold, seed=asked.seed),
        "slices": slices,
        "age": by_period(file.times(asked.time)[chosen], area_estimate(labels, scores), "auc") if asked.time else None,
    }


def _regression(file: File, asked: Asked, progress: Progress | None) -> dict[str, Any]:
    every = {name: file.numbers(name) for name in (asked.target, asked.prediction, *asked.numbers)}
    chosen = _usable(list(every.values()))
    _refuse_few(chosen, None)
    own = {name: column[chosen] for name, column in every.items()}
    truth, predicted = own[asked.target], own[asked.prediction]
    found = regression(
        truth,
        predicted,
        quantiles={each: own[name] for each, name in asked.quantiles.items()},
        span=(own[asked.span[0]], own[asked.span[1]]) if asked.span else None,
        against={name: own[name] for name in asked.baselines},
        groups=codes_of(np.array(file.texts(asked.group), dtype=str)[chosen]) if asked.group else None,
        rounds=asked.rounds,
        seed=asked.seed,
        progress=progress,
    )
    slices: list[dict[str, Any]] = []
    for name in asked.slices:
        slices += amount_slices(name, file.values(name, chosen), truth, predicted)
    apart = mean_estimate(np.abs(predicted - truth))
    return {
        "rows_used": len(truth),
        "rows": {"held_out": len(truth)},
        **found,
        "slices": slices,
        "age": by_period(file.times(asked.time)[chosen], apart, "mae") if asked.time else None,
    }


def _ranking(file: File, asked: Asked, progress: Progress | None) -> dict[str, Any]:
    if not asked.group:
        raise InputError(
            "a ranking is judged query by query", expected="the column of the query", mend="name it with --group"
        )
    if asked.slices or asked.time:
        mend = "leave them out, or judge files of some queries each"
        raise InputError("a ranking is not judged by slice or time", got=[*asked.slices, asked.time], mend=mend)
    relevance, scores = file.numbers(asked.target), file.numbers(asked.prediction)
    others = {name: file.numbers(name) for name in asked.baselines}
    chosen = _usable([relevance, scores, *others.values()]) & file.known(asked.group)
    _refuse_few(chosen, None)
    if relevance[chosen].min() < 0:
        least = float(relevance[chosen].min())
        raise InputError("relevance is below 0", got=least, expected="0 or more", mend="correct the target")
    found = ranking(
        codes_of(np.array(file.texts(asked.group), dtype=str)[chosen]),
        relevance[chosen],
        scores[chosen],
        cuts=asked.cuts,
        against={name: each[chosen] for name, each in others.items()},
        rounds=asked.rounds,
        seed=asked.seed,
        progress=progress,
    )
    rows = int(chosen.sum())
    return {"rows_used": rows, "rows": {"held_out": rows}, **found, "slices": [], "age": None}


_JUDGES = {"classification": _classification, "regression": _regression, "ranking": _ranking}


def _positive(file: File, target: str) -> str:
    distinct = file.distinct(target)
    if len(distinct) == 2:
        return max(distinct, key=lambda each: (_as_number(each) is not None, _as_number(each) or 0.0, each))
    raise InputError(
        f"{target} does not have two values",
        got=", ".join(distinct[:10]) or "nothing",
        expected="two, or one that is named as the positive",
        mend="name it with --positive: it is then judged against all others",
        code="not_two_classes",
    )


def _scores(file: File, prediction: str, positive: str) -> Floats:
    """The prediction as a number: of text, whether it names the positive class."""
    if file.numeric(prediction):
        return file.numbers(prediction)
    texts = file.texts(prediction)
    return np.array([np.nan if value is None else float(_same(value, positive)) for value in texts])


def _same(value: str | None, positive: str) -> bool:
    if value is None or value == positive:
        return value is not None
    one, other = _as_number(value), _as_number(positive)
    return one is not None and one == other


def _as_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return {"true": 1.0, "false": 0.0}.get(text.lower())


def _usable(columns: Sequence[Floats]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = np.logical_and.reduce([np.isfinite(column) for column in columns])
    return found


def _refuse_few(chosen: NDArray[np.bool_], labels: NDArray[np.bool_] | None) -> None:
    rows = int(chosen.sum())
    if rows < FEWEST:
        raise InputError(
            "too few rows can be judged",
            got=f"{rows} of {len(chosen)} have a target and every prediction",
            expected=f"{FEWEST} or more",
            mend="check the names of the columns, and what stands in them",
            code="too_few_rows",
        )
    if labels is not None and len(set(labels[chosen].tolist())) < 2:
        raise InputError(
            "the rows are all of one class, so nothing tells good scores from bad",
            got=f"{rows} rows",
            expected="rows of both classes",
            mend="check --target and --positive, or give more rows",
            code="not_two_classes",
        )
