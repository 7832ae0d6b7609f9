"""What a release answers on its evaluation set, as proof for later: digests of the set and of the answers.

Of the rows that a build held out, evenly chosen ones are answered as a gateway would, row by row. Whoever has the
rows can prove afterwards, in the release's own environment built anew, that it still answers so.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from pilotage.evidence.model import Evidence, tested
from pilotage.kernel.digests import digest
from pilotage.kernel.rows import Value, evenly_spaced
from pilotage.runtimes.environment import environment_digest

__all__ = ["CHECK", "answers_bytes", "answers_evidence", "chosen_rows", "read_answers", "set_digest"]

CHECK = "environment.answers"

Rows = Sequence[Sequence[Value]]
Floats = NDArray[np.float64]

_MOST = {"onnx": 10_000, "process": 200, "remote": 0}
"""Rows by runtime: alone a process takes milliseconds for each, and a remote model is not of the release."""


def chosen_rows(rows: Rows, runtime: str) -> list[Sequence[Value]]:
    """The evaluation set: all held-out rows, or so many of them, evenly spaced."""
    return evenly_spaced(rows, _MOST[runtime])


def set_digest(rows: Rows) -> str:
    """The digest of rows in their order: of their values as JSON, numbers to the last bit."""
    return digest(msgspec.json.encode([list(row) for row in rows]))


def answers_bytes(scores: Sequence[float]) -> bytes:
    """Scores as they are kept: float64, little-endian, in the order of the set. No row and no person is in them."""
    return struct.pack(f"<{len(scores)}d", *scores)


def read_answers(content: bytes) -> Floats:
    """The scores again."""
    return np.frombuffer(content, dtype="<f8")


def answers_evidence(
    release: str, rows: Rows, scores: Sequence[float], held_out: int, artefact: str, at: int
) -> Evidence:
    """What is kept of a build: how many rows of how many, digests of the set and of the answers, and where they were.

    `artefact` is the object with the answers.
    """
    figures = {
        "rows": len(rows),
        "held_out": held_out,
        "set": set_digest(rows),
        "answers": digest(answers_bytes(scores)),
        "environment": environment_digest(),
    }
    return tested(CHECK, release, at, passed=True, figures=figures, artefact=artefact)
