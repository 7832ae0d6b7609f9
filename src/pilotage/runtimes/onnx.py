"""Answers inline from an ONNX model: one thread, one row at a time, one tensor in and the score out.

The tensor `features` is float64, as values are recorded; a model that computes in float32 casts as its first step.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from pilotage.errors import IntegrityError, MissingExtra, Unavailable
from pilotage.kernel.rows import Value
from pilotage.runtimes.model import ServingSpec, row_encoder

__all__ = ["INPUT", "OUTPUT", "OnnxRuntime", "open_session"]

INPUT = "features"
OUTPUT = "score"


def open_session(model: Path | bytes) -> Any:
    """An ONNX Runtime session pinned to one thread on the CPU, without ONNX Runtime's own thread pools.

    More threads change the order of sums, and with it the last bits of a score.
    """
    # From 1.29 on it reports to its maker over the network from its import on, unless told not to before.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        import onnxruntime
    except ImportError:
        raise MissingExtra("onnxruntime", "onnx") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.use_deterministic_compute = True
    options.log_severity_level = 3
    content = model if isinstance(model, bytes) else model.read_bytes()
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


class _Bound:
    """Memory for so many rows and scores, bound to the session once: a third cheaper than handing arrays over.

    `run` answers what is in `rows` into `scores`. Numbers are packed into `bytes` without an array in between: an
    eighth of the whole call.
    """

    __slots__ = ("_scores", "bytes", "none", "pack", "rows", "run", "scores")

    def __init__(self, session: Any, rows: int, features: int) -> None:
        self.rows = np.zeros((rows, features), dtype=np.float64)
        self._scores = np.zeros((rows, 1), dtype=np.float64)
        binding = session.io_binding()
        for bind, name, array in (
            (binding.bind_input, INPUT, self.rows),
            (binding.bind_output, OUTPUT, self._scores),
        ):
            bind(name, "cpu", 0, np.float64, array.shape, array.ctypes.data)
        self.run = partial(session.run_with_iobinding, binding)
        self.bytes = self.rows.data.cast("B")
        self.pack = struct.Struct(f"{rows * features}d").pack_into
        self.scores = self._scores.data.cast("B").cast("d")
        self.none = np.full(rows, math.nan).data.cast("B").cast("d")


def _no_number(score: float) -> Unavailable:
    return Unavailable("the model answered no finite number", got=score, mend="look at the row's features")


class OnnxRuntime:
    """An ONNX model with one float64 input `features` [N, F] and one output `score`."""

    inline = True
    name = "onnx"

    def __init__(self, model: Path, spec: ServingSpec) -> None:
        """Load the model. Raises IntegrityError when its input is not what the spec says, MissingExtra."""
        session = open_session(model)
        expected = [(INPUT, "tensor(double)", len(spec.names))]
        inputs = [(each.name, each.type, each.shape[-1]) for each in session.get_inputs()]
        outputs = [(each.name, each.type, each.shape[-1]) for each in session.get_outputs()]
        if inputs != expected or outputs != [(OUTPUT, "tensor(double)", 1)]:
            raise IntegrityError(
                f"{model.name} does not take what serving.json says",
                got=[*inputs, *outputs],
                expected=[*expected, (OUTPUT, "tensor(double)", 1)],
                mend="build the release again",
            )
        self._session, self._features = session, len(spec.names)
        self._encode = row_encoder(spec)
        self._one = _Bound(session, 1, self._features)
        self._several: dict[int, _Bound] = {}

    async def start(self) -> None:
        """Nothing to start: the model is loaded."""

    def score(self, values: Sequence[Value]) -> float:
        """The score of one row, computed alone (batch size 1). Raises Unavailable when it is not a number.

        One row at a time: not to be called from two threads.
        """
        row = self._encode(values)
        one = self._one
        try:
            one.pack(one.bytes, 0, *row)
        except struct.error:
            one.rows[0] = self._fitting(row)
        one.scores[0] = math.nan
        one.run()
        score = one.scores[0]
        if not math.isfinite(score):
            raise _no_number(score)
        return score

    def score_together(self, rows: Sequence[Sequence[Value]]) -> list[float]:
        """The scores of rows in one call; not to be called from two threads. Raises Unavailable."""
        count = len(rows)
        bound = self._several.get(count)
        if bound is None:
            bound = self._several[count] = _Bound(self._session, count, self._features)
        encoded = [self._encode(row) for row in rows]
        try:
            if any(len(row) != self._features for row in encoded):
                raise struct.error
            bound.pack(bound.bytes, 0, *chain.from_iterable(encoded))
        except struct.error:
            for at, row in enumerate(encoded):
                bound.rows[at] = self._fitting(row)
        bound.scores[:] = bound.none
        bound.run()
        scores: list[float] = bound.scores.tolist()  # type: ignore[assignment]  # a view of float64
        if not all(map(math.isfinite, scores)):
            raise _no_number(next(score for score in scores if not math.isfinite(score)))
        return scores

    async def score_together_async(self, rows: Sequence[Sequence[Value]]) -> list[float]:
        """The same as `score_together`."""
        return self.score_together(rows)

    def _fitting(self, row: Sequence[float | None]) -> Any:
        """A row with values that are missing, as an array. Raises Unavailable when it does not fit."""
        if len(row) != self._features:
            raise Unavailable(
                "the row does not fit the model", got=len(row), expected=self._features, mend="give every feature"
            )
        return np.array(row, dtype=np.float64)

    async def score_async(self, values: Sequence[Value]) -> float:
        """The same as `score`."""
        return self.score(values)

    async def close(self) -> None:
        """Nothing to stop."""
