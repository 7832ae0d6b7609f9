"""An alarm is raised on repeated drift, cleared by calm, and does not flap."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pilotage.monitor.alarm import COOLDOWN_US, OVERWHELMING, Alarm, step
from pilotage.monitor.drift import INPUTS
from pilotage.monitor.model import ColumnVerdict, Verdict

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def window(verdict: Verdict, psi: float) -> ColumnVerdict:
    return ColumnVerdict(name="x", verdict=verdict, psi=psi, js=0, ks=None, p=0, n=1_000, needed=400)


OK, DRIFT, HUGE = window("ok", 0.01), window("drift", 0.15), window("drift", 0.3)
BETWEEN, FEW = window("watch", 0.07), window("not enough data", 0.5)


def run(*windows: ColumnVerdict, alarm: Alarm | None = None, every: int = COOLDOWN_US) -> list[str]:
    alarm, changes = alarm or Alarm(), []
    for index, one in enumerate(windows):
        alarm = step(alarm, one, index * every, floors=INPUTS)
        changes.append(alarm.changed)
    return changes


def test_two_of_three_windows_raise() -> None:
    assert run(DRIFT, OK, OK, DRIFT, OK) == [""] * 5
    assert run(DRIFT, OK, DRIFT) == ["", "", "raised"]
    assert run(DRIFT, DRIFT, DRIFT) == ["", "raised", ""]


def test_an_overwhelming_effect_raises_at_once_even_while_resting() -> None:
    assert run(HUGE) == ["raised"]
    assert run(HUGE, OK, OK, OK, DRIFT, DRIFT, DRIFT, HUGE, every=1) == [
        "raised",
        "",
        "",
        "cleared",
        "",
        "",
        "",
        "raised",
    ]


def test_three_calm_windows_clear_and_what_is_between_does_not() -> None:
    assert run(HUGE, OK, OK, BETWEEN, OK, OK, OK) == ["raised", "", "", "", "", "", "cleared"]


def test_windows_without_enough_data_decide_nothing() -> None:
    assert run(DRIFT, FEW, FEW, DRIFT) == ["", "", "", "raised"]
    assert run(HUGE, OK, FEW, OK, OK) == ["raised", "", "", "", "cleared"]


@patient
@given(st.lists(st.sampled_from([OK, DRIFT, HUGE, BETWEEN, FEW]), max_size=40))
def test_raised_and_cleared_alternate(windows: list[ColumnVerdict]) -> None:
    changes = [change for change in run(*windows, every=COOLDOWN_US // 5) if change]
    assert changes == (["raised", "cleared"] * len(changes))[: len(changes)]
    if any(one.verdict == "drift" and one.psi >= OVERWHELMING for one in windows):
        assert changes
