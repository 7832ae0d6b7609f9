"""Prove a release's environment: build it anew from its lock, and ask the release its evaluation set in it again.

The answers are compared with those that its build kept, to the last bit. Nothing of the running installation answers:
a process of the rebuilt environment does, which reads each row by the release's contract, as a gateway would.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from sqlalchemy import Engine

from pilotage.contracts.enrichment import Drawn
from pilotage.contracts.model import DataContract
from pilotage.errors import IntegrityError, NotFound, PilotageError, Unavailable
from pilotage.evidence.model import Evidence, tested
from pilotage.evidence.store import latest, record
from pilotage.kernel.clock import Clock, now_us
from pilotage.kernel.digests import digest
from pilotage.kernel.rows import Value
from pilotage.releases.again import labelled_rows
from pilotage.releases.answers import CHECK as ANSWERS
from pilotage.releases.answers import answers_bytes, chosen_rows, read_answers, set_digest
from pilotage.releases.load import LoadedRelease
from pilotage.replay.environments import Environments, differences
from pilotage.replay.process import ReplayProcess
from pilotage.replay.questions import Answer, Question
from pilotage.runtimes.environment import environment_digest, serving_environment
from pilotage.storage.database import reading, writing
from pilotage.storage.objects import Objects

__all__ = ["CHECK", "Progress", "Rebuilt", "prove_environment"]

CHECK = "environment.rebuilt"
_CHUNK = 500
_ASKED = "rebuild"
"""Stands for the subject of rows that are asked again: who they were about is not known here, and not asked."""

Progress = Callable[[str, float], None]
_Verdict = Literal["bit_exact", "within_tolerance", "differs", "cannot"]


class Rebuilt(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it. `verdict` is that of the worst row: `bit_exact`, `within_tolerance`, `differs`; or `cannot`,
    and `reason` says why.

    Of `rows`, so many were answered to the last bit, within the declared tolerance with the same label, or otherwise;
    `largest` is the largest difference of a score, None where the first answers are not kept here.
    """

    release: str
    verdict: _Verdict
    reason: str = ""
    rows: int = 0
    bit_exact: int = 0
    within_tolerance: int = 0
    differs: int = 0
    labels_changed: int = 0
    largest: float | None = None
    tolerance: float = 0.0
    environment: str = ""
    python: str = ""
    distributions: int = 0
    set: str = ""

    @property
    def holds(self) -> bool:
        """Whether the release answers as it did."""
        return self.verdict in ("bit_exact", "within_tolerance")


def prove_environment(
    control: Engine,
    objects: Objects,
    environments: Environments,
    loaded: LoadedRelease,
    data: Path | None = None,
    *,
    progress: Progress | None = None,
    clock: Clock = now_us,
) -> Rebuilt:
    """Rebuild the environment that a release was built in, ask it again, and record what came of it as evidence.

    `data` is the file that the release was built from, where it is no longer where it was. What stands in the way is
    the verdict `cannot`, which says why; only what is wrong with the request is raised (NotFound, InputError).
    """
    tell = progress or (lambda _step, _share: None)
    with reading(control) as connection:
        kept = latest(connection, loaded.digest, ANSWERS)
    found = _hindered(loaded, kept)
    if found is None and kept is not None:
        found = _proved(objects, environments, loaded, kept, data, tell)
    if found is None:
        raise AssertionError("a release without kept answers is hindered")
    with writing(control) as connection:
        record(connection, _evidence(found, clock()))
    tell("done", 1.0)
    return found


def _hindered(loaded: LoadedRelease, kept: Evidence | None) -> Rebuilt | None:
    """Why nothing can be proven, as far as it is known without trying."""
    if loaded.serving.runtime == "remote":
        return _cannot(loaded, "a remote model answers for it, which is not of the release")
    if kept is None or not kept.figures.get("rows"):
        return _cannot(loaded, "its build kept no answers: it was built before builds did; build it again")
    return None


def _cannot(loaded: LoadedRelease, reason: str) -> Rebuilt:
    name = environment_digest(loaded.manifest.origin.environment)
    return Rebuilt(release=loaded.digest, verdict="cannot", reason=reason, environment=name)


def _proved(
    objects: Objects,
    environments: Environments,
    loaded: LoadedRelease,
    kept: Evidence,
    data: Path | None,
    tell: Progress,
) -> Rebuilt:
    tell("reading the evaluation set", 0.0)
    labelled = labelled_rows(loaded, data)
    rows = chosen_rows(labelled.rows.part(held_out=True)[0], loaded.serving.runtime)
    found = set_digest(rows)
    if not labelled.own or found != kept.figures["set"]:
        return _cannot(loaded, f"{labelled.file} gives another evaluation set: {found}, not {kept.figures['set']}")
    name = environment_digest(loaded.manifest.origin.environment)
    if kept.figures["environment"] != name:
        return _cannot(loaded, f"its answers were kept in another environment: {kept.figures['environment']}")
    try:
        tell("rebuilding its environment", 0.1)
        interpreter = environments.rebuild(name, serving_environment(), checked=True)
        tell("starting it", 0.5)
        with ReplayProcess(loaded.folder.parent, interpreter.python, interpreter.env) as process:
            if process.hello.digest != name:
                wrong = differences(loaded.manifest.origin.environment, process.hello.environment)
                return _cannot(loaded, f"the rebuilt environment is another: {wrong}")
            answers = _asked(process, loaded, rows, tell)
    except (Unavailable, IntegrityError, NotFound) as error:
        return _cannot(loaded, _said(error))
    if failed := next((each.failure for each in answers if each.failure), ""):
        return _cannot(loaded, failed)
    return _compared(objects, loaded, kept, answers, found)


def _said(error: PilotageError) -> str:
    return "; ".join(str(part) for part in (error.what, error.got, error.mend) if part)


def _asked(
    process: ReplayProcess, loaded: LoadedRelease, rows: Sequence[Sequence[Value]], tell: Progress
) -> list[Answer]:
    answers: list[Answer] = []
    for start in range(0, len(rows), _CHUNK):
        answers += process.ask([_question(loaded.contract, loaded.digest, row) for row in rows[start : start + _CHUNK]])
        tell(f"asking {len(rows):,} rows again", 0.55 + 0.45 * len(answers) / len(rows))
    return answers


def _question(contract: DataContract, release: str, row: Sequence[Value]) -> Question:
    """A row as a request would send it, with what sources would bring."""
    values = dict(zip((column.name for column in contract.features), row, strict=True))
    brought = contract.brought
    sent: dict[str, Any] = {name: value for name, value in values.items() if name not in brought}
    if contract.subject:
        sent[contract.subject] = _ASKED
    drawn = [Drawn(column=name, source=by.source, value=values[name], age_s=0.0) for name, by in brought.items()]
    return Question(release=release, request=msgspec.json.encode(sent), features=list(row), drawn=drawn)


def _compared(objects: Objects, loaded: LoadedRelease, kept: Evidence, answers: Sequence[Answer], of: str) -> Rebuilt:
    spec = loaded.serving
    again = np.array([np.nan if each.score is None else each.score for each in answers])
    try:
        first = read_answers(objects.get(kept.artefact))
    except NotFound:
        return _by_digest(loaded, kept, answers, of)
    same = (first.view(np.int64) == again.view(np.int64)) & [each.same_features for each in answers]
    label = np.array([spec.label(score) != each.label for score, each in zip(first.tolist(), answers, strict=True)])
    apart = np.abs(first - again)
    near = ~same & (apart <= spec.tolerance) & ~label & [each.same_features for each in answers]
    counts = {"bit_exact": int(same.sum()), "within_tolerance": int(near.sum())}
    counts["differs"] = len(answers) - sum(counts.values())
    largest = float(np.nanmax(apart)) if not np.isnan(apart).all() else None
    verdict, reason = _verdict(counts, largest, spec.tolerance)
    return _rebuilt(loaded, verdict, reason, of, **counts, labels_changed=int(label.sum()), largest=largest)


def _by_digest(loaded: LoadedRelease, kept: Evidence, answers: Sequence[Answer], of: str) -> Rebuilt:
    """The verdict where only the digest of the first answers is known, as of a release from another installation."""
    scores = [np.nan if each.score is None else each.score for each in answers]
    same = digest(answers_bytes(scores)) == kept.figures["answers"] and all(each.same_features for each in answers)
    if same:
        return _rebuilt(loaded, "bit_exact", "", of, bit_exact=len(answers), largest=0.0)
    why = "other answers than its build had; how far apart is not known: the first ones are not kept here"
    return _rebuilt(loaded, "differs", why, of, differs=len(answers))


def _verdict(counts: dict[str, int], largest: float | None, tolerance: float) -> tuple[_Verdict, str]:
    if counts["differs"]:
        apart = "" if largest is None else f", scores up to {largest:.3g} apart"
        return "differs", f"{counts['differs']:,} rows are answered otherwise{apart}; {tolerance:.3g} is declared"
    if counts["within_tolerance"]:
        return "within_tolerance", f"scores are up to {largest:.3g} apart, {tolerance:.3g} is declared"
    return "bit_exact", ""


def _rebuilt(loaded: LoadedRelease, verdict: _Verdict, reason: str, of: str, **counts: Any) -> Rebuilt:
    origin = loaded.manifest.origin.environment
    return Rebuilt(
        release=loaded.digest,
        verdict=verdict,
        reason=reason,
        rows=sum(counts.get(name, 0) for name in ("bit_exact", "within_tolerance", "differs")),
        tolerance=loaded.serving.tolerance,
        environment=environment_digest(origin),
        python=str(origin["python"]),
        distributions=loaded.file("environment.lock").count(b"\n"),
        set=of,
        **counts,
    )


def _evidence(found: Rebuilt, at: int) -> Evidence:
    return tested(
        CHECK,
        found.release,
        at,
        passed=found.holds,
        figures={name: value for name, value in msgspec.to_builtins(found).items() if name != "release"},
    )
