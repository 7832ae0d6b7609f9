"""Why a recorded decision got its answer: its release's explainer on the features that were used then."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pilotage.errors import Refused
from pilotage.evaluation.explainer import Explainer, ScoreRows
from pilotage.evaluation.reasons import Explanation, explain
from pilotage.kernel.rows import Value
from pilotage.ledger.queries import RecordedDecision
from pilotage.ledger.record import Payload
from pilotage.releases.load import LoadedRelease, open_release
from pilotage.runtimes.open import open_runtime

__all__ = ["check_explainable", "explain_recorded", "quick_to_explain"]

_AT_ONCE = 8
_MOVES = 256
"""The most changes of one feature, alone or with its group, that are tried for one that would alter an answer."""


def explain_recorded(recorded: RecordedDecision, releases: Path, rows_key: bytes | None = None) -> Explanation:
    """The explanation of one decision, by the release that made it. Must not be called on an event loop's thread.

    `rows_key` opens the release's reference rows (`sealed_rows.rows_key`). Raises Refused when there is nothing to
    explain (no answer, or erased), or a remote model would be asked more often than declared; NotFound and
    IntegrityError as `open_release` and `LoadedRelease.background`; Unavailable when a model without a linear form
    cannot be asked.
    """
    payload = check_explainable(recorded)
    release = open_release(releases, recorded.plain.release)
    explainer = release.explainer()
    adverse = None if payload.answer is None else payload.answer.get("label") == explainer.adverse
    if explainer.method != "sampling":
        trees, background = release.trees(), release.background(rows_key)
        return explain(explainer, payload.features, trees=trees, background=background, adverse=adverse)
    if release.serving.runtime == "remote":
        _may_ask(release, explainer, payload.score is not None and payload.score >= explainer.threshold)
    with _asking(release) as score_rows:
        if release.serving.runtime == "remote":
            _answers_alike(release, score_rows, payload)
        background = release.background(rows_key)
        return explain(explainer, payload.features, score_rows=score_rows, background=background, adverse=adverse)


def _may_ask(release: LoadedRelease, explainer: Explainer, adverse: bool) -> None:
    """Raise Refused where reasons would ask a remote model more often than is declared."""
    # Each of the pairs of walks asks for its start and every feature; the row itself is asked twice.
    features = len(explainer.names)
    needed = explainer.permutations * 2 * (features + 1) + 2 + (_MOVES * features if adverse else 0)
    allowed = release.system().pilot.remote.explain
    if needed > allowed:
        raise Refused(
            "reasons would send this row to the remote model too often",
            got=f"{needed} calls",
            expected=f"at most {allowed}, as `pilot.remote.explain` of its release says",
            mend="declare as many calls, or a smaller `explanation.background`, and build the next release so",
            code="remote_explanation",
        )


def _answers_alike(release: LoadedRelease, score_rows: ScoreRows, payload: Payload) -> None:
    """Raise Refused where the remote model answers the row otherwise by now: reasons would be those of another one."""
    now = float(score_rows([payload.features])[0])
    if payload.score is None or abs(now - payload.score) > release.serving.tolerance:
        raise Refused(
            "the remote model answers this row otherwise by now, so its reasons cannot be told any more",
            expected="the recorded score, within the release's tolerance",
            mend="build a release with the model as it is now; ask for reasons soon after an answer",
            code="remote_explanation",
        )


def check_explainable(recorded: RecordedDecision) -> Payload:
    """The payload of a decision that has an answer to explain. Raises Refused."""
    payload = recorded.payload
    if payload is None:
        raise Refused(
            "this decision cannot be explained any more", got=recorded.unreadable, mend="its plain part is still shown"
        )
    if payload.score is None or not payload.features:
        raise Refused("there is no answer to explain", got=recorded.row.outcome, mend="see its faults instead")
    return payload


def quick_to_explain(recorded: RecordedDecision, releases: Path) -> bool:
    """Whether its reasons take milliseconds; sampling asks the model thousands of times."""
    return open_release(releases, recorded.plain.release).explainer().method != "sampling"


@contextmanager
def _asking(release: LoadedRelease) -> Iterator[ScoreRows]:
    """A function that scores rows by the release's own runtime, which lives on a loop of its own."""
    with asyncio.Runner() as runner:
        runtime = open_runtime(release.folder, release.serving)

        async def score(rows: Sequence[Sequence[Value]]) -> NDArray[np.float64]:
            scores: list[float] = []
            for first in range(0, len(rows), _AT_ONCE):
                part = (runtime.score_async(row) for row in rows[first : first + _AT_ONCE])
                scores += await asyncio.gather(*part)
            return np.array(scores, dtype=np.float64)

        runner.run(runtime.start())
        try:
            yield lambda rows: runner.run(score(rows))
        finally:
            runner.run(runtime.close())
