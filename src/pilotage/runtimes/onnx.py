"""Answers inline from an ONNX model: one thread, one row at a time, one tensor in and the score out.

The tensor `features` is float64, as values are recorded; a model that computes in float32 casts as its first step.
"""

from __future__ import annotations

import math
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
        if inputs != expected:
            raise IntegrityError(
                f"{model.name} does not take what serving.json says",
                got=inputs,
                expected=expected,
                mend="build the release again",
            )
        self._run = session.run
        self._outputs = [OUTPUT]
        self._encode = row_encoder(spec)

    async def start(self) -> None:
        """Nothing to start: the model is loaded."""

    def score(self, values: Sequence[Value]) -> float:
        """The score of one row, computed alone (batch size 1). Raises Unavailable when it is not a number."""
        row = np.array((self._encode(values),), dtype=np.float64)
        score = self._run(self._outputs, {INPUT: row})[0].item()
        if not math.isfinite(score):
            raise Unavailable("the model answered no finite number", got=score, mend="look at the row's features")
        return score  # type: ignore[no-any-return]  # item() of a float tensor

    async def score_async(self, values: Sequence[Value]) -> float:
        """The same as `score`."""
        return self.score(values)

    async def close(self) -> None:
        """Nothing to stop."""
