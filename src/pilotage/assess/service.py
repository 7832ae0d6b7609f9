"""Assess a pilot: read it, probe it in a box, rate every criterion, and say what would raise the verdict most."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pilotage import __version__
from pilotage.assess.claims import contradictions
from pilotage.assess.criteria import load_criteria
from pilotage.assess.folder import Folder
from pilotage.assess.interview import ANSWERS
from pilotage.assess.ml_test_score import ml_test_score
from pilotage.assess.model import Assessment, Criterion, Observation
from pilotage.assess.owasp import coverage
from pilotage.assess.planning import SHEET, stated
from pilotage.assess.probes import Probed, probe
from pilotage.assess.reading import shown
from pilotage.assess.scan import scan
from pilotage.assess.score import applies, blockers, next_steps, rate_all, required_level, verdict
from pilotage.assess.signals import history, serving
from pilotage.assess.signals.llm.reading import read
from pilotage.assess.signals.practices import practices
from pilotage.kernel.clock import Clock, now_us
from pilotage.kernel.digests import file_digest
from pilotage.systems.model import Stage

__all__ = ["assess"]

Progress = Callable[[str, float], None]

_MAX_SAID = 4 << 20


def assess(
    path: Path,
    *,
    probes: bool = True,
    progress: Progress | None = None,
    stage: Stage = "pilot",
    known: Sequence[Observation] = (),
    clock: Clock = now_us,
) -> Assessment:
    """The readiness of the pilot in a folder. Raises NotFound when it is no folder.

    `known` is evidence from elsewhere, such as attestations. `stage` is where the system is now: what cannot exist
    there yet is not held against it. `progress` is told what happens and the share done.
    """
    started, tell = time.perf_counter(), progress or _silent
    tell("reading the folder", 0.0)
    folder = Folder(path)
    at, criteria = clock(), load_criteria()
    observations = [*known, *_said(folder, at), *scan(folder, criteria, at=at, progress=tell)]
    probed = Probed(skipped=["not probed: probes were turned off"])
    if probes:
        tell("running the model in a box", 0.2)
        probed = probe(folder)
        observations += _tested(folder, probed, at)
    tell("rating", 0.95)
    dimensions = rate_all(_asked(criteria, folder, stage), criteria, observations, at)
    ratings = {rating.criterion.id: rating for dimension in dimensions for rating in dimension.ratings}
    reached, makeup = verdict(dimensions), folder.once(read).makeup
    made = Assessment(
        path=shown(str(folder.root)),
        subject=folder.subject,
        at=at,
        stage=stage,
        verdict=reached,
        required=required_level(stage, folder.declared.risk_tier if folder.declared else "high"),
        dimensions=dimensions,
        blockers=blockers(dimensions),
        contradictions=contradictions(folder, dimensions, ratings, reached),
        raises=next_steps(dimensions, at),
        findings=sum(len(piece.findings) for rating in ratings.values() for piece in rating.evidence),
        skipped=folder.skipped + probed.skipped,
        isolation=probed.isolation,
        seconds=round(time.perf_counter() - started, 3),
        version=__version__,
        model=file_digest(folder.root / folder.artefact) if folder.artefact else "",
        makeup=makeup,
        owasp=coverage(ratings, makeup.kinds),
        ml_test_score=ml_test_score(ratings, practices(folder), makeup.kinds),
    )
    tell("done", 1.0)
    return made


def _said(folder: Folder, at: int) -> list[Observation]:
    """What people said in files beside the pilot; a link or a very large file is not read."""
    beside = [name for name in (ANSWERS, SHEET) if os.path.lexists(folder.root / name)]
    for name in beside:
        if not 0 < folder.files.get(name, 0) <= _MAX_SAID:
            folder.skipped.append(f"{name}: a link, empty, or larger than {_MAX_SAID >> 20} MiB, not read")
            return []
    return list(stated(folder.root, folder.subject, at))


def _silent(_what: str, _share: float) -> None:
    return


def _tested(folder: Folder, probed: Probed, at: int) -> list[Observation]:
    """What the probes saw, bound to the model's or the data's digest."""
    model = file_digest(folder.root / folder.artefact) if folder.artefact else ""
    data = file_digest(folder.root / folder.table) if folder.table else ""
    return [
        Observation(
            criterion=step["criterion"],
            grade="E3",
            level=step["level"],
            summary=step["summary"],
            collector=f"pilotage {__version__} probe",
            collected=at,
            subject=data if step["criterion"].startswith("data.") else model,
            figures=step["figures"],
        )
        for step in probed.steps
    ]


def _asked(criteria: Mapping[str, Criterion], folder: Folder, stage: Stage) -> set[str]:
    """The ids of the criteria that may be held against this pilot now."""
    facts = {"notebook"} if any(module.notebook for module in folder.modules) else set()
    facts |= {"history"} if history.readable(folder) else set()
    facts |= {"upstream"} if serving.calls_others(folder) else set()
    facts |= folder.once(read).facts
    return {item.id for item in criteria.values() if applies(item, stage, facts)}
