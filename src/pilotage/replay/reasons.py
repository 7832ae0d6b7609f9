"""Why a recorded decision got its answer: its release's explainer on the features that were used then."""

from __future__ import annotations

from pathlib import Path

from pilotage.errors import Refused
from pilotage.evaluation.reasons import Explanation, explain
from pilotage.ledger.queries import RecordedDecision
from pilotage.releases.load import open_release
from pilotage.runtimes.open import open_runtime

__all__ = ["explain_recorded"]


def explain_recorded(recorded: RecordedDecision, releases: Path) -> Explanation:
    """The explanation of one decision, by the release that made it.

    Raises Refused when there is nothing to explain (no answer, or erased), NotFound and IntegrityError as
    `open_release`.
    """
    payload = recorded.payload
    if payload is None:
        raise Refused(
            "this decision cannot be explained any more", got=recorded.unreadable, mend="its plain part is still shown"
        )
    if payload.score is None or not payload.features:
        raise Refused("there is no answer to explain", got=recorded.row.outcome, mend="see its faults instead")
    release = open_release(releases, recorded.plain.release)
    explainer = release.explainer()
    if explainer.form is not None:
        return explain(explainer, payload.features)
    runtime = open_runtime(release.folder, release.serving)
    return explain(
        explainer,
        payload.features,
        score_rows=lambda rows: [runtime.score(tuple(row)) for row in rows],
        background=release.background(),
    )
