"""Answers inline from an ONNX model: one thread, one row at a time, one tensor in and the score out.

The tensor `features` is float64, as values are recorded; a model that computes in float32 casts as its first step.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pilotage.errors import IntegrityError, MissingExtra, Unavailable
from pilotage.runtimes.model import ServingSpec, Value, row_encoder

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
        # Bound once to fixed memory: a third cheaper than handing arrays over with each row.
        self._row = np.zeros((1, len(spec.names)), dtype=np.float64)
        self._score = np.zeros((1, 1), dtype=np.float64)
        self._binding = session.io_binding()
        for bind, name, array in (
            (self._binding.bind_input, INPUT, self._row),
            (self._binding.bind_output, OUTPUT, self._score),
        ):
            bind(name, "cpu", 0, np.float64, array.shape, array.ctypes.data)
        self._run = session.run_with_iobinding
        self._encode = row_encoder(spec)
        self._features = len(spec.names)
        # Numbers go into that memory without an array in between: an eighth of the whole call.
        self._bytes = self._row.data.cast("B")
        self._pack = struct.Struct(f"{self._features}d").pack_into
        self._answer = self._score.data.cast("B").cast("d")

    async def start(self) -> None:
        """Nothing to start: the model is loaded."""

    def score(self, values: Sequence[Value]) -> float:
        """The score of one row, computed alone (batch size 1). Raises Unavailable when it is not a number.

        One row at a time: not to be called from two threads.
        """
        row = self._encode(values)
        try:
            self._pack(self._bytes, 0, *row)
        except struct.error:
            self._fill(row)
        self._answer[0] = math.nan
        self._run(self._binding)
        score = self._answer[0]
        if not math.isfinite(score):
            raise Unavailable("the model answered no finite number", got=score, mend="look at the row's features")
        return score

    def _fill(self, row: Sequence[float | None]) -> None:
        """Take in a row with values that are missing, or say that it does not fit."""
        if len(row) != self._features:
            raise Unavailable(
                "the row does not fit the model", got=len(row), expected=self._features, mend="give every feature"
            )
        self._row[0] = np.array(row, dtype=np.float64)

    async def score_async(self, values: Sequence[Value]) -> float:
        """The same as `score`."""
        return self.score(values)

    async def close(self) -> None:
        """Nothing to stop."""
