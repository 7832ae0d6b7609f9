"""What a gate is told of the time that a release was live: by days, failures and drift, and nothing of too little."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pilotage.assess.operating import STABLE, live_days, observed
from pilotage.assess.telemetry import Telemetry
from pilotage.monitor.model import ColumnVerdict, MonitorStatus
from pilotage.rollout.model import Deployment, live_since
from pilotage.systems.evaluating import Load

DAY = 86_400_000_000


def acts(*steps: tuple[float, str, str, str]) -> list[Deployment]:
    texts = dict.fromkeys(("id", "system", "contract", "policy", "passage", "by", "reason"), "")
    return [
        Deployment(**texts, at=round(at * DAY), plan=number, action=action, release=release, stage=stage)  # type: ignore[arg-type]
        for number, (at, action, release, stage) in enumerate(steps)
    ]


def test_days_are_those_that_it_answered_at_the_stage() -> None:
    line = acts(
        (1, "promote", "a", "internal"),
        (2, "promote", "b", "internal"),
        (5, "stop", "b", "internal"),
        (6, "start", "b", "internal"),
        (8, "rollback", "a", "internal"),
        (8.5, "promote", "b", "internal"),
        (10, "promote", "b", "limited"),
    )
    assert live_days(line, "b", "internal", 12 * DAY) == pytest.approx(3 + 2 + 1.5)
    assert live_days(line, "a", "internal", 12 * DAY) == pytest.approx(1.5)
    assert live_days(line, "b", "limited", 12 * DAY) == pytest.approx(2)
    assert live_days(line, "b", "general", 12 * DAY) == 0
    assert live_since(line[:-1]) == 2 * DAY, "a drill in between does not begin it anew"
    assert (live_since(line), live_since([])) == (10 * DAY, 0)


def column(name: str, verdict: str, needed: int | None = 400) -> ColumnVerdict:
    return ColumnVerdict(name=name, verdict=verdict, psi=0.1, js=0, ks=None, p=0, n=500, needed=needed)  # type: ignore[arg-type]


def drift(*columns: ColumnVerdict) -> MonitorStatus:
    found = [each.name for each in columns if each.verdict == "drift"]
    facts: dict[str, Any] = {"system": "s", "release": "r", "arm": "", "batches": 1, "since": 1, "until": 2}
    facts |= {"rows": 500, "reference": "r", "reference_rows": 900, "watched": [], "score": None, "false_alarms": None}
    return MonitorStatus(**facts, columns=list(columns), shifted=found)


def seen(**changes: Any) -> Telemetry:
    facts: dict[str, Any] = {"release": "r", "since": 1, "until": 2, "outcomes": {"answered": 1_000, "rejected": 50}}
    facts |= {"p95_us": 900, "per_second": 1.0, "lately": 1, "overruled": 2, "load": Load(), "verified": None}
    return Telemetry(**facts | {"drift": drift(column("x", "ok")), "performance": None} | changes)


def test_a_release_that_ran_within_its_objectives_is_evidence_with_its_window_and_days() -> None:
    found = observed(seen(), 8.5, "internal", 40 * DAY)
    operation, stable = found.made
    assert (operation.check, stable.check, found.lacks) == ("operation.internal", STABLE, {})
    assert operation.passed and stable.passed and {operation.grade, stable.grade} == {"E4"}
    assert operation.figures["days"] == 8.5 and operation.figures["decisions"] == 1_050
    assert (operation.expires, stable.expires) == (130 * DAY, 70 * DAY)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"outcomes": {"answered": 900, "fallback": 60, "refused": 30}}, "surely at most 5%"),
        ({"p95_us": 90_000, "load": Load(p95_ms=50)}, "90.0 ms, 50 are allowed"),
        ({"verified": False}, "verification failed"),
        ({"outcomes": {"rejected": 500}}, "surely at most"),
    ],
)
def test_what_is_beyond_an_objective_fails(changes: dict[str, Any], says: str) -> None:
    operation = observed(seen(**changes), 9, "limited", DAY).made[0]
    assert not operation.passed and says in "; ".join(operation.figures["missing"])


def test_too_little_says_nothing() -> None:
    for live in (None, seen(outcomes={"answered": 199})):
        found = observed(live, 9, "internal", DAY)
        assert found.made == [] and set(found.lacks) == {"operation.internal", STABLE}


def test_drift_fails_and_too_few_rows_of_a_column_are_no_evidence() -> None:
    def stable(*columns: ColumnVerdict) -> Any:
        found = observed(msgspec.structs.replace(seen(), drift=drift(*columns)), 9, "internal", DAY)
        return found.made[1] if len(found.made) > 1 else found.lacks[STABLE]

    assert not stable(column("x", "ok"), column("y", "drift")).passed
    assert "500 rows are too few" in stable(column("x", "ok"), column("y", "not enough data"))
    told = stable(column("x", "watch"), column("y", "not enough data", None))
    assert told.passed and told.figures["unjudged"] == ["y"]
    assert "too few" in stable(column("y", "not enough data", None)), "what judged no column says nothing"
    assert not stable(column("x", "drift"), column("y", "not enough data")).passed, (
        "drift is drift, whatever else lacks"
    )
