"""What is live, and what a rollback returns to, follows from the acts alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pilotage.rollout.model import Action, Deployment, live_after, previous_release


def acts(*steps: str) -> list[Deployment]:
    """`promote A internal`, `rollback A internal`, `stop`, `start` as deployments of one system."""
    made = []
    for number, step in enumerate(steps):
        action, release, stage = [*step.split(), "", ""][:3]
        made.append(act(number, action, release, stage))  # type: ignore[arg-type]
    return made


def act(number: int, action: Action, release: str, stage: str) -> Deployment:
    return Deployment(
        id=str(number), system="s", stage=stage, release=release, action=action, contract="", policy="", passage="",
        by="", reason="because", at=number, plan=number + 1,
    )  # fmt: skip


def test_nothing_is_live_before_the_first_promotion() -> None:
    assert live_after([]) is None and previous_release([]) == ""


def test_a_rollback_goes_back_and_further_back_never_forth() -> None:
    history = acts("promote A internal", "promote B internal", "promote C internal")
    assert previous_release(history) == "B"
    history += acts("rollback B internal")
    assert previous_release(history) == "A"
    history += acts("rollback A internal")
    assert previous_release(history) == ""
    history += acts("promote C internal")
    assert previous_release(history) == "A"


def test_a_release_promoted_again_returns_to_the_one_between() -> None:
    history = acts("promote A internal", "promote B internal", "promote A internal")
    assert previous_release(history) == "B"
    assert previous_release([*history, *acts("rollback B internal")]) == "A"


def test_a_rollback_stays_at_its_stage() -> None:
    assert previous_release(acts("promote A internal", "promote B limited")) == ""
    assert previous_release(acts("promote A internal", "promote A limited", "promote B limited")) == "A"


def test_a_stop_outlives_promotions_and_rollbacks() -> None:
    history = acts("promote A internal", "stop A internal", "promote B internal")
    found = live_after(history)
    assert found is not None and (found.release, found.stopped) == ("B", "because")
    started = live_after([*history, *acts("start B internal")])
    assert started is not None and started.stopped == ""


@given(st.lists(st.sampled_from(["A", "B", "C", "back"]), max_size=30))
def test_after_every_rollback_the_line_below_is_what_is_live(steps: list[str]) -> None:
    history: list[Deployment] = []
    line: list[str] = []
    for step in steps:
        if step == "back":
            expected = line[-2] if len(line) > 1 else ""
            assert previous_release(history) == expected
            if not expected:
                continue
            line.pop()
            history.append(act(len(history), "rollback", expected, "internal"))
        elif not line or line[-1] != step:
            line.append(step)
            history.append(act(len(history), "promote", step, "internal"))
        found = live_after(history)
        assert (found.release if found else "") == (line[-1] if line else "")
