"""Which form of the model is served: the converted one that is nearest to the pilot's own and never decides otherwise.

Where none is proven, the pilot's own model is served from a boxed process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from pilotage.errors import InputError, MissingExtra
from pilotage.evaluation.explainer import LinearForm
from pilotage.kernel.rows import Rows, Value
from pilotage.releases.linear_graph import linear_graph
from pilotage.releases.pilot_model import PilotModel
from pilotage.runtimes.model import ServingSpec, encoded
from pilotage.runtimes.onnx import INPUT, OUTPUT, open_session

__all__ = ["Attempted", "Conversion", "ProofRows", "choose_conversion"]

Floats = NDArray[np.float64]


class Attempted(msgspec.Struct, frozen=True, kw_only=True):
    """One conversion that was tried: its largest score difference and how many decisions it flipped, by kind of row.

    `failure` says why there is nothing to compare.
    """

    name: str
    numbers: Literal["float32", "float64"]
    max_difference: float | None = None
    flips: dict[str, int] = {}
    failure: str = ""


class Conversion(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome: `model` is ONNX, or None where the pilot's own model is served. `rows` counts the proof's rows."""

    chosen: str
    numbers: Literal["float32", "float64"]
    model: bytes | None
    rows: dict[str, int]
    tolerance: float
    attempts: list[Attempted]

    def as_facts(self) -> dict[str, Any]:
        """What evaluation.json says of it."""
        return {
            "served": self.chosen,
            "rows": self.rows,
            "tolerance": self.tolerance,
            "attempts": msgspec.to_builtins(self.attempts),
        }


@dataclass(frozen=True, kw_only=True)
class ProofRows:
    """The rows that a conversion must agree on, by kind, with the pilot's own scores of them."""

    kinds: dict[str, Sequence[Sequence[Value]]]
    scores: dict[str, Floats]


def choose_conversion(
    pilot: PilotModel, form: LinearForm | None, spec: ServingSpec, proof: ProofRows
) -> tuple[Conversion, dict[str, Floats]]:
    """Try conversions and serve the nearest that holds, confirmed row by row; with its scores of the proof rows.

    A linear form in float64 that holds is nearer than any conversion to float32: then those are not tried.
    """
    attempts: list[Attempted] = []
    for ways in _ways(pilot, form, spec):
        found = _nearest(ways, attempts, spec, proof)
        if found is not None:
            return found
    return _conversion(spec, proof, attempts, None, None), proof.scores


def _nearest(
    ways: Sequence[_Way], attempts: list[Attempted], spec: ServingSpec, proof: ProofRows
) -> tuple[Conversion, dict[str, Floats]] | None:
    """The nearest of some ways that holds, None where none does; `attempts` are told of each."""
    models: dict[str, bytes] = {}
    tried: list[Attempted] = []
    for name, numbers, make in ways:
        try:
            models[name] = make()
            scores = _scores(models[name], spec, proof, one_by_one=False)
            tried.append(_compared(name, numbers, spec, proof, scores))
        except MissingExtra:
            raise
        except (InputError, RuntimeError, ValueError) as error:  # onnxruntime's own errors are of these kinds
            tried.append(Attempted(name=name, numbers=numbers, failure=str(getattr(error, "what", error))[:300]))
    attempts += tried
    proven = [each for each in tried if _holds(each, spec)]
    for best in sorted(proven, key=lambda each: (each.max_difference or 0.0, each.name)):
        scores = _scores(models[best.name], spec, proof, one_by_one=True)
        confirmed = _compared(best.name, best.numbers, spec, proof, scores)
        attempts[attempts.index(best)] = confirmed
        if _holds(confirmed, spec):
            return _conversion(spec, proof, attempts, confirmed, models[best.name]), scores
    return None


def _conversion(
    spec: ServingSpec,
    proof: ProofRows,
    attempts: list[Attempted],
    chosen: Attempted | None,
    model: bytes | None,
) -> Conversion:
    return Conversion(
        chosen=_NATIVE if chosen is None else chosen.name,
        numbers="float64" if chosen is None else chosen.numbers,
        model=model,
        rows={kind: len(each) for kind, each in proof.kinds.items()},
        tolerance=spec.tolerance,
        attempts=attempts,
    )


_FLOATS, _INTEGERS, _LINEAR = "skl2onnx, float inputs", "skl2onnx, integer inputs", "linear form in float64"
_NATIVE = "the pilot's own model"

_Way = tuple[str, Literal["float32", "float64"], Callable[[], bytes]]


def _ways(pilot: PilotModel, form: LinearForm | None, spec: ServingSpec) -> Iterator[list[_Way]]:
    """The conversions to try, nearer ones first."""
    if form is not None:
        linear = form
        yield [(_LINEAR, "float64", lambda: linear_graph(linear, spec.names, spec.texts))]
    ways: list[_Way] = [(_FLOATS, "float32", lambda: pilot.convert(spec.texts, "float"))]
    if "integer" in spec.kinds:
        ways.append((_INTEGERS, "float32", lambda: pilot.convert(spec.texts, "int64")))
    yield ways


def _scores(model: bytes, spec: ServingSpec, proof: ProofRows, *, one_by_one: bool) -> dict[str, Floats]:
    """The ONNX model's scores of the proof rows: in batches to choose, one by one (as it will serve) to confirm."""
    session = open_session(model)

    def run(rows: Sequence[Sequence[Value]]) -> Floats:
        matrix = encoded(spec, Rows.of(rows, len(spec.names)))
        pieces = np.split(matrix, len(matrix)) if one_by_one and len(matrix) else [matrix]
        found = [session.run([OUTPUT], {INPUT: piece})[0].reshape(-1) for piece in pieces]
        return np.concatenate(found) if found else np.empty(0)

    return {kind: run(rows) for kind, rows in proof.kinds.items()}


def _compared(
    name: str, numbers: Literal["float32", "float64"], spec: ServingSpec, proof: ProofRows, scores: dict[str, Floats]
) -> Attempted:
    flips = {
        kind: int(((own >= spec.threshold) != (scores[kind] >= spec.threshold)).sum())
        for kind, own in proof.scores.items()
    }
    worst = [float(np.abs(own - scores[kind]).max()) for kind, own in proof.scores.items() if len(own)]
    if not np.isfinite(worst).all():
        return Attempted(name=name, numbers=numbers, flips=flips, failure="it scores some rows as no number")
    return Attempted(name=name, numbers=numbers, max_difference=max(worst, default=0.0), flips=flips)


def _holds(attempt: Attempted, spec: ServingSpec) -> bool:
    """Whether every decision was the same and every score near enough."""
    near = attempt.max_difference is not None and attempt.max_difference <= spec.tolerance
    return near and not any(attempt.flips.values())
