"""Evaluate a release anew: on the rows that its build held out, or on a new labelled file, by its own runtime."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine

from pilotage.errors import InputError, IntegrityError, NotFound
from pilotage.evaluation.words import in_words
from pilotage.evidence.model import tested
from pilotage.evidence.store import latest, record
from pilotage.kernel.clock import Clock, now_us
from pilotage.kernel.digests import file_digest
from pilotage.kernel.rows import Value
from pilotage.releases.bearing import CHECK as LOAD
from pilotage.releases.bearing import SECONDS, Borne, bear_load
from pilotage.releases.conversion import ProofRows
from pilotage.releases.data import PilotRows, read_rows
from pilotage.releases.evaluating import evaluate, read_slices
from pilotage.releases.findings import evaluation_findings
from pilotage.releases.hard_rows import boundary_rows, messy_rows
from pilotage.releases.load import LoadedRelease
from pilotage.releases.pilot_model import PilotModel
from pilotage.releases.refitting import CHECK as STABILITY
from pilotage.releases.refitting import measure_refits, stability_evidence
from pilotage.releases.together import CHECK as TOGETHER
from pilotage.releases.together import Judged, judge_together, proven_rows
from pilotage.runtimes.environment import environment_digest
from pilotage.runtimes.open import open_runtime
from pilotage.runtimes.ports import Runtime
from pilotage.runtimes.together import SIZES, filled
from pilotage.storage.database import reading, writing

__all__ = ["Labelled", "Progress", "evaluate_again", "fit_again", "labelled_rows", "measure_load", "prove_together"]

Floats = NDArray[np.float64]
Progress = Callable[[int, int], None]
"""Told (rows scored, all of them)."""

_ALONE_AT_ONCE = 16
"""Rows that a remote model or a process is asked at a time."""


class Labelled(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of a file that fit a release's contract. `own`: it is the file that the release was built from, and only the
    rows that the build held out are judged; of another file all are."""

    file: str
    digest: str
    own: bool
    rows: PilotRows


def labelled_rows(loaded: LoadedRelease, path: Path | None) -> Labelled:
    """The rows to judge a release on: of a file, or of the one it was built from, if that is where it was.

    Raises NotFound without a file, InputError when it does not fit the contract.
    """
    system = loaded.system()
    pilot = system.pilot
    sought = path or Path(pilot.data)
    own = sought.is_file() and file_digest(sought) == loaded.manifest.origin.data
    if not sought.is_file() or (path is None and not own):
        raise NotFound(
            "the data that this release was built from is not here",
            got=sought if not sought.is_file() else f"{sought}, which is another file by now",
            expected=f"the file {loaded.manifest.origin.data}",
            mend="name it, or a new labelled file, with --data; or go to the folder of its pilotage.yaml",
            code="no_labelled_data",
        )
    rows = read_rows(
        sought,
        loaded.contract,
        target=pilot.target,
        positive=pilot.positive,
        slices=read_slices(system),
        share=pilot.holdout if own else 1.0,
        seed=pilot.seed,
    )
    return Labelled(file=sought.name, digest=file_digest(sought), own=own, rows=rows)


def evaluate_again(
    control: Engine,
    loaded: LoadedRelease,
    name: str,
    labelled: Labelled,
    *,
    rounds: int,
    progress: Progress | None = None,
    clock: Clock = now_us,
) -> dict[str, Any]:
    """The evaluation document, recorded as evidence about the release: the newest counts, whatever it says.

    `name` is what people call the release. On its own held-out rows its baselines are fitted again and judged, too; on
    another file there is nothing to fit them on, and that evidence stays as it is. `reproduced` says how far the
    metrics lie from those of the build, on its own rows. Raises IntegrityError when they are not the same to 1e-6.
    """
    system = loaded.system()
    with reading(control) as connection:
        together = proven_rows(latest(connection, loaded.digest, TOGETHER))
        refits = latest(connection, loaded.digest, STABILITY)
    held_out, _ = labelled.rows.part(held_out=True)
    scores = asyncio.run(_scores(open_runtime(loaded.folder, loaded.serving), held_out, together, progress))
    found = evaluate(system, loaded.contract, loaded.serving, labelled.rows, scores, rounds=rounds)
    built = msgspec.json.decode(loaded.file("evaluation.json"))
    whole = {
        "kind": "classification",
        "release": {"name": name, "digest": loaded.digest},
        "source": {
            "file": labelled.file,
            "digest": labelled.digest,
            "own": labelled.own,
            "rows": len(labelled.rows.rows),
        },
        "positive": system.pilot.positive,
        "seed": system.pilot.seed,
        "rounds": rounds,
        "degradation": built.get("degradation", []),
        "stability": None if refits is None else refits.figures,
        **found,
    }
    whole["reproduced"] = _reproduced(whole, built) if labelled.own else None
    with writing(control) as connection:
        for check, passed, figures in evaluation_findings(system, found, labelled.own):
            told = {**figures, "data": labelled.digest, "own_rows": labelled.own}
            record(connection, tested(check, loaded.digest, clock(), passed=passed, figures=told))
    return whole | {"words": in_words(whole)}


def fit_again(
    control: Engine,
    loaded: LoadedRelease,
    labelled: Labelled,
    *,
    seeds: int,
    seconds: float,
    progress: Progress | None = None,
    clock: Clock = now_us,
) -> dict[str, Any]:
    """How stable the pilot's model is when it is fitted again; recorded as evidence about the release.

    It is the artefact that the release was built from, beside its data. Raises NotFound where that is no longer there,
    InputError for rows that the build did not split.
    """
    system = loaded.system()
    if loaded.serving.runtime == "remote" or not labelled.own:
        what = "a remote model cannot be fitted here" if labelled.own else "another file has no rows to fit on"
        raise InputError(what, expected="a pilot's model with the data it was built from", mend="leave out --stability")
    artefact = Path(system.pilot.artefact)
    if not artefact.is_file() or file_digest(artefact) != loaded.manifest.origin.artefact:
        raise NotFound(
            "the model that this release was built from is not here",
            got=artefact,
            expected=f"the file {loaded.manifest.origin.artefact}",
            mend="go to the folder of its pilotage.yaml",
        )
    serving = loaded.serving
    pilot = PilotModel(artefact, names=serving.names, kinds=serving.kinds, positive=serving.positive)
    try:
        figures = measure_refits(
            pilot,
            labelled.rows,
            serving.threshold,
            seeds=seeds,
            seconds=seconds,
            seed=system.pilot.seed,
            progress=progress,
        )
    finally:
        pilot.close()
    with writing(control) as connection:
        record(connection, stability_evidence(loaded.digest, figures, clock()))
    return figures


def prove_together(control: Engine, loaded: LoadedRelease, labelled: Labelled, *, clock: Clock = now_us) -> Judged:
    """Whether rows may share a call in this environment, as the build asks; recorded as evidence about the release.

    On the rows given, the contract's edges, and rows around the decision boundary, found anew by the release itself.
    """
    system, serving = loaded.system(), loaded.serving
    given, _ = labelled.rows.part(held_out=True)
    columns = loaded.contract.features
    kinds: dict[str, Sequence[Sequence[Value]]] = {"held_out": given}
    kinds["messy"] = [row.values for row in messy_rows(columns, given)]
    if serving.runtime != "remote":
        with _Searching(loaded) as searching:
            kinds["boundary"] = boundary_rows(columns, given, searching.score, serving.threshold)
    judged, _ = judge_together(loaded.folder, serving, ProofRows(kinds=kinds, scores={}), system.pilot.seed)
    found = msgspec.structs.replace(judged, declared=system.serving.together)
    with writing(control) as connection:
        record(connection, tested(TOGETHER, loaded.digest, clock(), passed=True, figures=found.as_facts()))
    return found


class _Searching:
    """A release's scores of many rows, where only their neighbourhood matters: rows share calls, proven or not."""

    def __init__(self, loaded: LoadedRelease) -> None:
        self._runtime, self._runner = open_runtime(loaded.folder, loaded.serving), asyncio.Runner()

    def __enter__(self) -> _Searching:
        self._runner.run(self._runtime.start())
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._runtime.close())
        self._runner.close()

    def score(self, rows: Sequence[Sequence[Value]]) -> Floats:
        """Scores in the order of rows."""
        return np.array(self._runner.run(self._ask(rows)))

    async def _ask(self, rows: Sequence[Sequence[Value]]) -> list[float]:
        scores: list[float] = []
        for start in range(0, len(rows), SIZES[-1]):
            part = list(rows[start : start + SIZES[-1]])
            if len(part) == 1:
                scores.append(await self._runtime.score_async(part[0]))
            else:
                scores += (await self._runtime.score_together_async(filled(part)))[: len(part)]
        return scores


def measure_load(
    control: Engine, loaded: LoadedRelease, labelled: Labelled, *, seconds: float = SECONDS, clock: Clock = now_us
) -> Borne:
    """How the release bears the load that its declaration names; recorded as evidence about it."""
    held_out, _ = labelled.rows.part(held_out=True)
    load = loaded.system().evaluation.load
    found = bear_load(loaded.folder, loaded.serving, held_out, load, seconds=seconds)
    figures = msgspec.to_builtins(found) | {"limits": msgspec.to_builtins(load)}
    with writing(control) as connection:
        record(connection, tested(LOAD, loaded.digest, clock(), passed=found.holds, figures=figures))
    return found


async def _scores(
    runtime: Runtime, rows: Sequence[Sequence[Value]], together: tuple[int, str], progress: Progress | None
) -> Floats:
    """The release's own answers, together only where its build proved in this environment that no bit moves."""
    tell = progress or (lambda _done, _all: None)
    most = together[0] if together[1] == environment_digest() else 0
    scores: list[float] = []
    await runtime.start()
    try:
        step = most or (1_000 if runtime.inline else _ALONE_AT_ONCE)
        for start in range(0, len(rows), step):
            part = list(rows[start : start + step])
            if most > 1 and len(part) > 1:
                scores += (await runtime.score_together_async(filled(part)))[: len(part)]
            elif runtime.inline:
                scores += map(runtime.score, part)
            else:
                scores += await asyncio.gather(*map(runtime.score_async, part))
            tell(len(scores), len(rows))
    finally:
        await runtime.close()
    return np.array(scores)


_SAME = 1e-6


def _reproduced(found: dict[str, Any], built: dict[str, Any]) -> dict[str, Any]:
    apart = {
        name: abs(found["metrics"][name] - value)
        for name, value in built["metrics"].items()
        if value is not None and found["metrics"].get(name) is not None
    }
    most = max(apart.values(), default=0.0)
    if most > _SAME:
        worst = max(apart, key=lambda name: apart[name])
        raise IntegrityError(
            "the release answers its own held-out rows otherwise than when it was built",
            got=f"{worst} {found['metrics'][worst]:.6g}",
            expected=f"{built['metrics'][worst]:.6g}",
            mend="see whether its environment is that of the build: pilotage release show",
        )
    return {"metrics": len(apart), "largest_difference": most}
