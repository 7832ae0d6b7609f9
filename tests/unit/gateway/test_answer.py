import asyncio
import dataclasses
import math
from time import perf_counter_ns

import pytest

from pilotage.contracts.compile import CheckedRow, compile_contract
from pilotage.contracts.model import Column, DataContract
from pilotage.errors import Unavailable
from pilotage.gateway.answer import REFUSALS, answer_beside, answer_inline, refusal
from pilotage.gateway.forms import AnsweredForms
from pilotage.gateway.plan import Answering, Route
from pilotage.gateway.state import LiveSystem, LoadedModel
from pilotage.gateway.upstream import Upstream
from pilotage.runtimes.model import ServingSpec
from pilotage.systems.serving import Retry

ROW = CheckedRow(raw=b"{}", values=(1.0,))


class Model:
    """A runtime that does what a test says: gives a score, raises, or takes its time."""

    name = "test"

    def __init__(self, does, *, inline):
        self.does, self.inline = does, inline
        self.cancelled = False

    def score(self, values):
        if isinstance(self.does, Exception):
            raise self.does
        return self.does

    async def score_async(self, values):
        if self.does == "hang":
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                self.cancelled = True
                raise
        return self.score(values)


def live_with(model):
    contract = DataContract(name="x", version="1", columns=(Column(name="a", type="number"),))
    spec = ServingSpec(
        runtime="process",
        artefact="",
        names=["a"],
        kinds=["number"],
        positive="1",
        threshold=0.5,
        adverse="refer",
        favourable="approve",
        tolerance=0,
    )
    check = compile_contract(contract)
    upstream = None if model.inline else Upstream("test@1", Answering(retry=Retry(attempts=1)))
    loaded = LoadedModel(
        contract=contract, check=check, names=["a"], spec=spec, runtime=model, target="test@1", upstream=upstream
    )
    route = Route(system="x", release="r", folder="f", stage="internal", contract="c", policy="p")
    facts = {"system": "x", "release": "r", "contract": "c", "policy": "p", "stage": "internal", "arm": "champion"}
    forms = AnsweredForms(**facts, environment="e", plan="p", target="test@1")
    return LiveSystem(route=route, plan_digest="p", environment="e", forms=forms, model=loaded)


def settle(does, *, inline, within_s=5.0):
    model = Model(does, inline=inline)
    live = live_with(model)
    deadline = perf_counter_ns() + int(within_s * 1e9)
    if inline:
        return answer_inline(live, ROW, deadline), model
    return asyncio.run(answer_beside(live, ROW, deadline)), model


@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize(("score", "label"), [(0.49, "approve"), (0.5, "refer"), (1.0, "refer")])
def test_a_score_is_answered_with_its_label(inline, score, label):
    settled, _ = settle(score, inline=inline)
    assert (settled.outcome, settled.score, settled.answer) == ("answered", score, {"score": score, "label": label})


@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize(
    ("does", "reason", "status"),
    [
        (ValueError("a value of the row"), "runtime_error", "error"),
        (Unavailable("down", mend="wait"), "runtime_unavailable", "unavailable"),
        (math.nan, "not_finite", "not_finite"),
        (math.inf, "not_finite", "not_finite"),
    ],
)
def test_no_safe_answer_is_a_refusal_with_its_reason(inline, does, reason, status, caplog):
    settled, _ = settle(does, inline=inline)
    assert (settled.outcome, settled.reason, settled.answer) == ("refused", reason, {})
    assert [(each.target, each.status) for each in settled.attempts] == [("test@1", status)]
    assert "a value of the row" not in caplog.text


def test_a_slow_model_is_cancelled_at_the_deadline():
    settled, model = settle("hang", inline=False, within_s=0.02)
    assert (settled.outcome, settled.reason) == ("refused", "deadline")
    assert model.cancelled
    assert settled.answer_us < 5_000_000


@pytest.mark.parametrize("inline", [True, False])
def test_past_the_deadline_nothing_is_begun(inline):
    settled, _ = settle("hang" if not inline else 0.5, inline=inline, within_s=-1.0)
    assert (settled.outcome, settled.reason) == ("refused", "deadline")


@pytest.mark.parametrize("code", sorted(REFUSALS))
def test_every_refusal_says_what_to_do(code):
    error = refusal(code)
    assert (error.status, error.code) == (503, code)
    assert error.what
    assert error.mend


def test_what_is_live_cannot_be_changed():
    live = live_with(Model(0.5, inline=True))
    with pytest.raises(dataclasses.FrozenInstanceError):
        live.model = None
