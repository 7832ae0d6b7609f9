"""A drill passes only when everybody was answered, every worker followed in time, and the change was really seen."""

from __future__ import annotations

from typing import Any

import pytest

from pilotage.drills.judging import Change, Drilled, judge_fallback, judge_rollback
from pilotage.drills.probing import Probe

S = 1_000_000
NEW, OLD = "sha256:new", "sha256:old"
THERE = Change(committed=10 * S, adopted=10 * S + 40_000, followed=2, workers=2)
BACK = Change(committed=20 * S, adopted=20 * S + 60_000, followed=2, workers=2)


def probe(sent_s: float, release: str = NEW, **facts: Any) -> Probe:
    sent = round(sent_s * S)
    return Probe(
        **{"sent": sent, "done": sent + 1_000, "status": 200, "outcome": "answered", "release": release} | facts
    )


def rolled(*more: Probe, there: Change = THERE, back: Change = BACK, limit_s: float = 1.0) -> Drilled:
    probes = [probe(9), probe(11, OLD), probe(19, OLD), probe(21), *more]
    return judge_rollback(probes, there, back, system="s", left=NEW, to=OLD, limit_s=limit_s)


def test_a_rollback_counts_until_the_last_worker_and_the_last_late_answer() -> None:
    found = rolled()
    assert (found.passed, found.figures["seconds"], found.figures["return_seconds"]) == (True, 0.04, 0.06)
    late = rolled(probe(10.5))
    assert late.passed and late.figures["seconds"] == 0.5, "a request that still went to the release that was left"
    assert (found.figures["requests"], found.figures["answered_before"], found.figures["workers"]) == (4, 2, 2)


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (rolled(probe(15, status=0, outcome="", error="ConnectionResetError")), "1 requests had no answer"),
        (rolled(probe(15, status=503, outcome="refused", error="runtime_error")), "runtime_error"),
        (rolled(probe(15, status=422, outcome="rejected")), "422"),
        (rolled(probe(12)), "the rollback took 2 s, 1 are allowed"),
        (rolled(probe(22, OLD)), "the way back took 2 s"),
        (rolled(there=Change(committed=10 * S, adopted=10 * S, followed=1, workers=2)), "1 of 2 workers followed"),
        (rolled(back=Change(committed=20 * S, adopted=20 * S, followed=0, workers=0)), "0 of 0 workers followed"),
        (judge_rollback([probe(9)], THERE, BACK, system="s", left=NEW, to=OLD, limit_s=9), "the release before"),
    ],
)
def test_what_fails_a_rollback(found: Drilled, says: str) -> None:
    assert not found.passed and says in "; ".join(found.faults)


def fell(sent_s: float, **facts: Any) -> Probe:
    return probe(sent_s, OLD, **{"outcome": "fallback", "arm": "previous"} | facts)


def away(*more: Probe) -> Drilled:
    probes = [probe(9), fell(11), fell(19), probe(21), *more]
    return judge_fallback(probes, THERE, BACK, system="s", release=NEW, limit_s=1.0)


def test_a_fallback_is_marked_while_the_model_is_away_and_then_no_more() -> None:
    found = away(fell(12, arm="rules"))
    assert found.passed and found.figures["answered_by"] == {"previous": 2, "rules": 1}
    assert (found.figures["away_seconds"], found.figures["recovery_seconds"], found.figures["unmarked"]) == (
        10,
        0.06,
        0,
    )


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (away(probe(15)), "1 answers while the model was away were not marked"),
        (away(fell(23)), "the recovery took 3 s"),
        (away(probe(15, status=503, outcome="refused", error="no_rule")), "no_rule"),
        (judge_fallback([probe(9), probe(21)], THERE, BACK, system="s", release=NEW, limit_s=1), "by the fallback"),
        (judge_fallback([fell(11)], THERE, BACK, system="s", release=NEW, limit_s=1), "by the model again"),
    ],
)
def test_what_fails_a_fallback(found: Drilled, says: str) -> None:
    assert not found.passed and says in "; ".join(found.faults)
