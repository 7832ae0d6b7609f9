"""Assess a pilot: read it, probe it in a box, rate every criterion, and say what would raise the verdict most."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from pilotage import __version__
from pilotage.assess.claims import contradictions
from pilotage.assess.criteria import load_criteria
from pilotage.assess.folder import Folder
from pilotage.assess.interview import ANSWERS
from pilotage.assess.ml_test_score import ml_test_score
from pilotage.assess.model import Assessment, Criterion, Makeup, Observation
from pilotage.assess.owasp import coverage
from pilotage.assess.planning import SHEET, answers_of, stated
from pilotage.assess.probes import PROBE_TIME, Probed, has_tests, probe
from pilotage.assess.probing.calling import serves
from pilotage.assess.probing.llm.asking import beside
from pilotage.assess.reading import MAX_BYTES, shown
from pilotage.assess.scan import scan
from pilotage.assess.score import applies, blockers, next_steps, rate_all, required_level, verdict
from pilotage.assess.signals import history, serving
from pilotage.assess.signals.llm.reading import read
from pilotage.assess.signals.practices import practices
from pilotage.errors import NotFound
from pilotage.kernel.clock import Clock, now_us
from pilotage.systems.model import Stage

__all__ = ["assess"]

Progress = Callable[[str, float], None]

_SHOWN = {"governance.agent_confirmation": "agent", "model.sources_shown": "rag"}
_MAX_SAID = 4 << 20
_READ, _RAN, _GB = 0.2, 0.95, 1e9


def assess(
    path: Path,
    *,
    probes: bool = True,
    install: bool = False,
    probe_time: float = PROBE_TIME,
    progress: Progress | None = None,
    stage: Stage = "pilot",
    known: Sequence[Observation] = (),
    clock: Clock = now_us,
) -> Assessment:
    """The readiness of the pilot in a folder. Raises NotFound when it is no folder, or one without files.

    `known` is evidence from elsewhere, such as attestations. `stage` is where the system is now: what cannot exist
    there yet is not held against it. `install` permits the probes to fetch the pilot's own packages, `probe_time` is
    what they may take in seconds. `progress` is told what happens and the share done.
    """
    started, tell = time.perf_counter(), progress or _silent
    tell("reading the folder", 0.0)
    folder = _opened(path)
    at, criteria = clock(), load_criteria()
    model = _hashed(folder, folder.artefact, tell) if folder.artefact else ""
    if probes and folder.table:
        _hashed(folder, folder.table, tell)
    observations = [*known, *_said(folder, at), *scan(folder, criteria, at=at, progress=tell)]
    probed = Probed(skipped=["not probed: probes were turned off"])
    if probes:
        probed = probe(
            folder,
            install=install,
            rate=_target_rate(folder),
            seconds=probe_time,
            progress=lambda what, share: tell(what, _READ + (_RAN - _READ) * share),
        )
        observations += beside(observations, _tested(folder, criteria, probed, at))
    tell("rating", _RAN)
    makeup = _makeup(folder, probed)
    dimensions = rate_all(_asked(criteria, folder, stage, makeup), criteria, observations, at)
    ratings = {rating.criterion.id: rating for dimension in dimensions for rating in dimension.ratings}
    reached = verdict(dimensions)
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
        model=model,
        makeup=makeup,
        owasp=coverage(ratings, makeup.kinds),
        ml_test_score=ml_test_score(ratings, practices(folder), makeup.kinds),
        environment=probed.environment,
        draft_contract=probed.draft,
    )
    tell("done", 1.0)
    return made


def _opened(path: Path) -> Folder:
    folder = Folder(path)
    if not folder.files:
        raise NotFound(
            "there is nothing to assess in this folder",
            got="; ".join(folder.skipped) or f"no file in {shown(str(path))}",
            expected="a pilot: code, data, a model or a service",
            mend="name the pilot's folder; or begin one: pilotage init PATH --production-first",
        )
    return folder


def _said(folder: Folder, at: int) -> list[Observation]:
    """What people said in files beside the pilot; a link or a very large file is not read."""
    beside = [name for name in (ANSWERS, SHEET) if os.path.lexists(folder.root / name)]
    for name in beside:
        if not 0 < folder.files.get(name, 0) <= _MAX_SAID:
            folder.skipped.append(f"{name}: a link, empty, or larger than {_MAX_SAID >> 20} MiB, not read")
            return []
    return list(stated(folder.root, folder.subject, at, folder.skip))


def _hashed(folder: Folder, path: str, tell: Progress) -> str:
    """The digest of a file that evidence is bound to. It may be of any size, so how far it is read is told."""
    size, what = folder.files[path], f"hashing {shown(path)}"

    def so_far(done: int) -> None:
        tell(what if size <= MAX_BYTES else f"{what}: {done / _GB:.1f} of {size / _GB:.1f} GB", 0.0)

    return folder.digest(path, so_far)


def _silent(_what: str, _share: float) -> None:
    return


def _target_rate(folder: Folder) -> float | None:
    """The load that people said it must take; None where nobody did."""
    return answers_of(folder.root).facts.load_per_second if 0 < folder.files.get(ANSWERS, 0) <= _MAX_SAID else None


def _subject(criterion: str, code: str, model: str, data: str) -> str:
    if criterion.startswith("infrastructure.") or criterion == "data.validated":
        return code
    return data if criterion.startswith("data.") else model


def _tested(folder: Folder, criteria: Mapping[str, Criterion], probed: Probed, at: int) -> list[Observation]:
    """What the probes saw, bound to the digest of the model, the data or the whole folder."""
    model = folder.digest(folder.artefact) if folder.artefact else ""
    data = folder.digest(folder.table) if folder.table else ""
    return [
        Observation(
            criterion=step.criterion,
            grade="E3",
            level=step.level,
            summary=step.summary,
            collector=f"pilotage {__version__} probe",
            collected=at,
            subject=_subject(step.criterion, folder.subject, model, data),
            figures=step.figures,
            findings=[msgspec.structs.replace(each, risk=criteria[step.criterion].risk) for each in step.findings],
        )
        for step in probed.steps
    ]


def _makeup(folder: Folder, probed: Probed) -> Makeup:
    """What the pilot is, as its code says and as it showed: tools and documents that reached the model."""
    makeup = folder.once(read).makeup
    shown = {kind for step in probed.steps for name, kind in _SHOWN.items() if step.criterion == name}
    return msgspec.structs.replace(makeup, kinds=sorted({*makeup.kinds, *shown}))


def _asked(criteria: Mapping[str, Criterion], folder: Folder, stage: Stage, makeup: Makeup) -> set[str]:
    """The ids of the criteria that may be held against this pilot now."""
    facts = {"notebook"} if any(module.notebook for module in folder.modules) else set()
    facts |= {"history"} if history.readable(folder) else set()
    facts |= {"upstream"} if serving.calls_others(folder) else set()
    facts |= set(makeup.kinds)
    facts |= {"tests"} if has_tests(folder) else set()
    facts |= {"server"} if serves(folder) else set()
    return {item.id for item in criteria.values() if applies(item, stage, facts)}
