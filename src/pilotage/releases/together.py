"""Whether the rows of a release may be answered in one call: proven bit by bit, and measured to be worth it.

What a build finds is evidence about the release, of the environment that it was found in; nothing of it is in the
release, since measured times differ from build to build.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from pilotage.errors import Unavailable
from pilotage.evidence.model import Evidence
from pilotage.kernel.rows import Value, evenly_spaced
from pilotage.releases.conversion import ProofRows
from pilotage.runtimes.environment import environment_digest
from pilotage.runtimes.model import ServingSpec
from pilotage.runtimes.open import open_runtime
from pilotage.runtimes.ports import Runtime
from pilotage.runtimes.together import SIZES, filled

__all__ = ["CHECK", "Judged", "judge_together", "proven_again", "proven_rows"]

CHECK = "serving.together"
GAIN = 1.2
"""How many times faster a call for several rows must be than a call for each."""
_MOST_ROWS = {"onnx": 4_000, "process": 128}
"""Rows that are asked alone and in every size: alone a process takes milliseconds for each."""
_ORDERS = 2
"""How often the rows are put into another order, so that each stands at other places and beside others."""
_TIMED = 3


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """What was found: up to `most` rows may share a call (0: none), `why` if none may, and on which `rows` by kind.

    `declared` is how many the release lets share a call, where it was proven again after its build; 0 by a build.

    `gain` says by size how many times faster a row is answered together than alone; `moved` how many of the rows got
    another score in the first size that moved one.
    """

    most: int = 0
    why: str = ""
    environment: str = ""
    rows: dict[str, int] = {}
    orders: int = _ORDERS
    sizes: list[int] = []
    moved: int = 0
    gain: dict[str, float] = {}
    declared: int = 0

    def as_facts(self) -> dict[str, Any]:
        """The figures of the evidence."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found


def judge_together(
    folder: Path, spec: ServingSpec, proof: ProofRows, seed: int, asked: Sequence[Sequence[Value]] = ()
) -> tuple[Judged, list[float]]:
    """Ask the release as a gateway would, alone and together. `proof` are the build's rows, by kind.

    With the release's answers to the rows `asked`, each alone; none where it does not answer, or is remote.
    """
    if spec.runtime == "remote":
        return Judged(why="that a batch changes no answer of a remote model cannot be proven"), []
    chosen = _chosen(proof, _MOST_ROWS[spec.runtime])
    tried = [row for part in chosen.values() for row in part]
    judged, answers = asyncio.run(_judged(open_runtime(folder, spec), tried, seed, asked))
    rows = {kind: len(part) for kind, part in chosen.items()}
    return msgspec.structs.replace(judged, environment=environment_digest(), rows=rows), answers


def proven_rows(evidence: Evidence | None) -> tuple[int, str]:
    """How many rows may share a call by this evidence, and in which environment: (0, "") without a proof."""
    if evidence is None or not evidence.passed or evidence.method != "TEST":
        return 0, ""
    try:
        judged = msgspec.convert(evidence.figures, Judged)
    except msgspec.ValidationError:
        return 0, ""
    return (judged.most, judged.environment) if judged.most in SIZES else (0, "")


def proven_again(evidence: Evidence | None) -> tuple[int, str] | None:
    """How many rows may share a call by a proof made after the build, and in which environment; None by a build's."""
    if evidence is None or not evidence.figures.get("declared"):
        return None
    most, environment = proven_rows(evidence)
    return min(most, int(evidence.figures["declared"])), environment


def _chosen(proof: ProofRows, most: int) -> dict[str, Sequence[Sequence[Value]]]:
    """At most so many rows: an equal share of each kind, and what one kind leaves goes to the next."""
    chosen: dict[str, Sequence[Sequence[Value]]] = {}
    kinds = sorted(proof.kinds, key=lambda kind: len(proof.kinds[kind]))
    for at, kind in enumerate(kinds):
        share = (most - sum(map(len, chosen.values()))) // (len(kinds) - at)
        # Evenly spaced: rows of one sort lie side by side.
        chosen[kind] = evenly_spaced(proof.kinds[kind], share)
    return chosen


async def _judged(
    runtime: Runtime, rows: Sequence[Sequence[Value]], seed: int, asked: Sequence[Sequence[Value]] = ()
) -> tuple[Judged, list[float]]:
    try:
        await runtime.start()
        answers = [await runtime.score_async(row) for row in asked]
        alone = [await runtime.score_async(row) for row in rows]
        return await _compared(runtime, rows, alone, seed), answers
    except Unavailable as error:
        return Judged(why=f"{error.what}: {error.code}"), []
    finally:
        await runtime.close()


async def _compared(runtime: Runtime, rows: Sequence[Sequence[Value]], alone: Sequence[float], seed: int) -> Judged:
    own, sizes = [struct.pack("d", score) for score in alone], list[int]()
    for size in SIZES:
        moved = set()
        for places in _batches(len(rows), size, seed):
            scores = await runtime.score_together_async(filled([rows[at] for at in places]))
            moved |= {at for at, score in zip(places, scores, strict=False) if struct.pack("d", score) != own[at]}
        if moved:
            why = f"in a batch of {size} another score than alone"
            return Judged(why=why, moved=len(moved), sizes=sizes)
        sizes.append(size)
    gain = {str(size): round(await _gain(runtime, rows, size), 2) for size in SIZES}
    most = max((size for size in SIZES if gain[str(size)] >= GAIN), default=0)
    return Judged(most=most, why="" if most else "no faster than one by one", sizes=sizes, gain=gain)


def _batches(count: int, size: int, seed: int) -> Iterator[list[int]]:
    """The places of rows in batches of a size, in several orders; the last of an order is filled up."""
    for order in range(_ORDERS):
        shuffled = np.random.default_rng([seed % 2**63, size, order]).permutation(count)
        places: list[int] = np.resize(shuffled, max(count, size)).tolist()
        for first in range(0, len(places), size):
            part = places[first : first + size]
            yield part if len(part) > size // 2 else places[-(size // 2 + 1) :]


async def _gain(runtime: Runtime, rows: Sequence[Sequence[Value]], size: int) -> float:
    """How many times faster a row is answered in calls of a size than alone: the best of measurements side by side.

    The best, because whatever else the machine does only makes one slower.
    """
    given = [rows[at % len(rows)] for at in range(size)]
    alone, together = [], []
    for _ in range(_TIMED):
        started = time.perf_counter()
        for row in given[:8]:
            await runtime.score_async(row)
        between = time.perf_counter()
        await runtime.score_together_async(given)
        together.append((time.perf_counter() - between) / size)
        alone.append((between - started) / min(8, size))
    return min(alone) / min(together)
