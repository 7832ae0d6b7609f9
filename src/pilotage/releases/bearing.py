"""How fast a release answers at the load that is declared for it, and in how much memory: measured, never digested.

A process of its own opens the release's runtime as a gateway would and asks it rows at the declared rate, each at its
own moment whether or not the ones before are answered: who waits is counted from when he should have been asked.
"""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from pilotage.errors import InputError, Unavailable
from pilotage.kernel.rows import Value
from pilotage.runtimes.environment import environment_digest
from pilotage.runtimes.model import ServingSpec
from pilotage.runtimes.open import open_runtime
from pilotage.systems.evaluating import Load

__all__ = ["CHECK", "SECONDS", "Borne", "bear_load"]

CHECK = "serving.load"
SECONDS = 10.0
FEWEST = 100
_MOST_ASKED = 100_000
_WARM = 20
_LATE_S = 60.0


class Borne(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured: milliseconds from when a row was due to its answer, megabytes of process and model.

    `rows` were asked in `seconds` at `rate` a second; `answered_rate` is how many a second came back. `faults` of them
    had no answer. `base_mb` is the memory before the release was opened. `broken` are the limits that do not hold.
    """

    rows: int
    seconds: float
    rate: float
    answered_rate: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    most_ms: float
    faults: int
    base_mb: float
    memory_mb: float
    start_ms: float
    runtime: str
    environment: str
    broken: list[str]

    @property
    def holds(self) -> bool:
        """Whether every limit does."""
        return not self.broken


def bear_load(
    folder: Path, spec: ServingSpec, rows: Sequence[Sequence[Value]], load: Load, *, seconds: float = SECONDS
) -> Borne:
    """Measure the release in `folder`, whose digests were checked before. Raises Unavailable when it cannot answer,
    InputError without rows."""
    if not len(rows):
        raise InputError("there is no row to ask", mend="give a file with rows that fit the contract")
    asked = min(_MOST_ASKED, max(FEWEST, round(load.rows_per_second * seconds)))
    given = {
        "folder": str(folder),
        "spec": msgspec.to_builtins(spec),
        "rows": [list(row) for row in list(rows)[: min(asked, 2_000)]],
        "asked": asked,
        "rate": load.rows_per_second,
    }
    patience = asked / load.rows_per_second + _LATE_S
    try:
        done = subprocess.run(
            [sys.executable, "-m", __name__],
            input=json.dumps(given).encode(),
            capture_output=True,
            timeout=patience,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(
            "the release did not bear the load",
            got=f"not done after {patience:.0f} s",
            expected=f"{load.rows_per_second:g} rows a second",
            mend="declare less under evaluation.load, or serve by a faster runtime",
        ) from error
    if done.returncode:
        raise Unavailable(
            "the release could not be measured",
            got=done.stderr.decode(errors="replace").strip().splitlines()[-1:],
            mend="see whether it answers: pilotage gateway check",
        )
    found = json.loads(done.stdout)
    return Borne(**found, runtime=spec.runtime, environment=environment_digest(), broken=_broken(found, load))


def _broken(found: dict[str, Any], load: Load) -> list[str]:
    broken = [
        f"{name} {found[name]:.3g} is over {limit:g}"
        for name, limit in (("p95_ms", load.p95_ms), ("p99_ms", load.p99_ms), ("memory_mb", load.memory_mb))
        if limit and found[name] > limit
    ]
    if found["faults"]:
        broken.append(f"{found['faults']} of {found['rows']} rows had no answer")
    # A tenth less is what the last answers and the clock may cost.
    if found["answered_rate"] < 0.9 * found["rate"]:
        broken.append(f"{found['answered_rate']:.3g} rows a second came back of {found['rate']:g}")
    return broken


async def _measured(given: dict[str, Any]) -> dict[str, Any]:
    spec, rows, rate = msgspec.convert(given["spec"], ServingSpec), given["rows"], given["rate"]
    base = _memory_mb()
    opened = time.perf_counter()
    runtime = open_runtime(Path(given["folder"]), spec)
    await runtime.start()
    try:
        await runtime.score_async(rows[0])
        start = time.perf_counter() - opened
        for at in range(_WARM):
            await runtime.score_async(rows[at % len(rows)])
        waited: list[float] = []
        faults = 0

        async def ask(at: int, due: float) -> None:
            nonlocal faults
            try:
                await runtime.score_async(rows[at % len(rows)])
            except Unavailable:
                faults += 1
                return
            waited.append(time.perf_counter() - due)

        first, tasks = time.perf_counter(), []
        for at in range(given["asked"]):
            due = first + at / rate
            if (early := due - time.perf_counter()) > 0:
                await asyncio.sleep(early)
            tasks.append(asyncio.create_task(ask(at, due)))
        await asyncio.gather(*tasks)
        seconds = time.perf_counter() - first
        memory = _memory_mb()
    finally:
        await runtime.close()
    ordered = sorted(waited) or [0.0]
    return {
        "rows": given["asked"],
        "seconds": round(seconds, 3),
        "rate": rate,
        "answered_rate": round(len(waited) / seconds, 2),
        **{f"{name}_ms": round(1_000 * _at(ordered, share), 4) for name, share in _SHARES},
        "faults": faults,
        "base_mb": base,
        # What a model's own process held the system says once it has ended.
        "memory_mb": round(memory + _children_mb(), 1),
        "start_ms": round(1_000 * start, 2),
    }


_SHARES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("most", 1.0))


def _at(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _memory_mb() -> float:
    """What this process holds, in megabytes; where the system does not say so, the most that it has held."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return _in_mb(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return round(pages * resource.getpagesize() / 1_000_000, 1)


def _children_mb() -> float:
    return _in_mb(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)


def _in_mb(held: int) -> float:
    """Of what Linux counts in kilobytes and macOS in bytes."""
    return round(held / (1_000_000 if sys.platform == "darwin" else 1_000), 1)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(_measured(json.load(sys.stdin)))))
