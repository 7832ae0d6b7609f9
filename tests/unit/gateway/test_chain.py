"""What answers when the live release does not: real releases, real rules, real deadlines, every attempt on record."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import math
from collections.abc import Callable
from time import perf_counter, perf_counter_ns
from typing import Any

import msgspec
import pytest

from pilotage.errors import Unavailable
from pilotage.gateway.chain import settle
from pilotage.gateway.plan import Answering, Route, ServingPlan, Target, encode_plan
from pilotage.gateway.state import LiveSystem, load_serving, start_serving
from pilotage.gateway.store import StoredPlan
from pilotage.gateway.upstream import Upstream
from pilotage.runtimes.ports import CannotAnswer
from pilotage.storage.home import Home
from pilotage.systems.serving import Breaker, Bulkhead, Retry
from pilotage.testing.releases import COLUMNS, make_release

RULES = b"""
version: "1"
rules:
  - {name: often-late, when: late_payments >= 6, answer: refer}
  - {name: small, when: income < 100, answer: approve}
"""
ROW = {"customer": "c-1", "income": 50_000, "late_payments": 2, "home": "rent", "age": 40}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return Home(root=tmp_path_factory.mktemp("chain") / "home").create()


@pytest.fixture(scope="module")
def made(home):
    wider = [msgspec.structs.replace(c, maximum=20) if c.name == "late_payments" else c for c in COLUMNS]
    return make_release(home, shift=0.5, rules=RULES), make_release(home, shift=1.0, columns=wider)


def live(home, made, **changes: Any) -> LiveSystem:
    release, before = made
    chain = [
        Target(kind="previous", release=before.digest, contract=before.contract.digest(), policy=before.policy),
        Target(kind="rules", release=release.digest, contract=release.contract.digest(), policy="sha256:rules"),
    ]
    facts = {"system": "example", "contract": release.contract.digest(), "policy": release.policy, "stage": "internal"}
    facts |= {"release": release.digest, "folder": release.folder.name, "fallback": chain}
    plan = ServingPlan(version=1, created=1, steward_key="00" * 32, routes=[Route(**(facts | changes))], keys=[])
    body, digest = encode_plan(plan)
    serving = load_serving(StoredPlan(version=1, digest=digest, body=body), home.releases)
    return asyncio.run(start_serving(serving)).systems["example"]


class Broken:
    """A runtime that fails in one way; `asked` counts."""

    name = "broken"

    def __init__(self, does: Any, *, inline: bool = True) -> None:
        self.does, self.inline, self.asked = does, inline, 0

    def score(self, values):
        self.asked += 1
        if isinstance(self.does, Exception):
            raise self.does
        return self.does() if isinstance(self.does, Callable) else self.does

    async def score_async(self, values):
        if self.does == "hang":
            self.asked += 1
            await asyncio.sleep(60)
        return self.score(values)


def broken(
    live: LiveSystem, does: Any, *, inline: bool = True, rules: Answering | None = None, at: int = -1
) -> LiveSystem:
    """The system with another runtime in its release, or in one target of its chain."""
    one = live if at < 0 else live.chain[at]
    upstream = None if inline else Upstream(f"broken@{at}", rules or Answering(), chance=lambda: 0.0)
    model = dataclasses.replace(
        one.model, runtime=Broken(does, inline=inline), upstream=upstream, target=f"broken@{at}"
    )
    one = dataclasses.replace(one, model=model)
    if at < 0:
        return one
    return dataclasses.replace(live, chain=tuple(one if n == at else each for n, each in enumerate(live.chain)))


def end(live: LiveSystem, row: Any = ROW, within_s: float = 5.0):
    checked = live.model.check.check(json.dumps({"inputs": row}).encode()).rows[0]
    return asyncio.run(settle(live, checked, perf_counter_ns() + int(within_s * 1e9)))


def test_a_live_release_that_answers_needs_no_chain(home, made):
    by, settled = end(live(home, made))
    assert (settled.outcome, settled.plain, by.route.release) == ("answered", True, made[0].digest)


@pytest.mark.parametrize(
    ("does", "reason", "status"),
    [
        (ValueError("x"), "runtime_error", "error"),
        (Unavailable("x", mend="y"), "runtime_unavailable", "unavailable"),
        (math.nan, "not_finite", "not_finite"),
    ],
)
def test_the_release_before_answers_in_its_place(home, made, does, reason, status):
    by, settled = end(broken(live(home, made), does))
    assert (settled.outcome, settled.reason, settled.action) == ("fallback", reason, "fallback")
    assert (by.route.release, by.route.contract, by.route.arm) == (
        made[1].digest,
        made[1].contract.digest(),
        "previous",
    )
    _, own = end(dataclasses.replace(by, chain=()))
    assert settled.answer == own.answer and settled.score == own.score, "its own answer"
    assert [(each.target, each.status) for each in settled.attempts] == [("broken@-1", status), (by.model.target, "ok")]


def test_then_the_rules_answer_a_label_without_a_score(home, made):
    one = broken(broken(live(home, made), ValueError("x")), ValueError("y"), at=0)
    by, settled = end(one, ROW | {"late_payments": 7})
    assert (settled.outcome, by.kind, by.route.arm) == ("fallback", "rules", "rules")
    assert settled.answer == {"score": None, "label": "refer", "rule": "often-late"} and math.isnan(settled.score)
    assert [each.status for each in settled.attempts] == ["error", "error", "ok"]


def test_a_row_that_no_rule_is_for_is_refused_with_the_first_reason(home, made):
    one = broken(broken(live(home, made), math.nan), ValueError("y"), at=0)
    by, settled = end(one)
    assert (settled.outcome, settled.reason, by.route.release) == ("refused", "not_finite", made[0].digest)
    assert [each.status for each in settled.attempts] == ["not_finite", "error", "no_rule"]


def test_a_target_checks_the_raw_request_itself(home, made):
    one = broken(live(home, made), ValueError("x"))
    narrow = [msgspec.structs.replace(c, maximum=1) if c.name == "late_payments" else c for c in COLUMNS]
    strict = make_release(home, shift=2.0, columns=narrow)
    target = Target(kind="previous", release=strict.digest, contract=strict.contract.digest(), policy=strict.policy)
    other = live(home, made, fallback=[target])
    _, settled = end(dataclasses.replace(one, chain=other.chain))
    assert (settled.outcome, [each.status for each in settled.attempts]) == ("refused", ["error", "contract"])


def test_a_stopped_system_refuses_or_falls_back_as_declared(home, made):
    by, settled = end(live(home, made, stopped="a complaint"))
    assert (settled.outcome, settled.reason, settled.attempts) == ("refused", "system_stopped", [])
    by, settled = end(live(home, made, stopped="a complaint", when_stopped="fallback"))
    assert (settled.outcome, settled.reason, by.route.release) == ("fallback", "system_stopped", made[1].digest)


def test_a_release_that_cannot_be_loaded_is_stood_in_for(home, made):
    one = live(home, made, contract="sha256:" + "0" * 64)
    assert one.model is None and one.falls_back and [each.kind for each in one.chain] == ["model", "rules"]
    without = live(
        home,
        made,
        fallback=[Target(kind="rules", release=made[1].digest, contract=made[1].contract.digest(), policy="p")],
    )
    assert without.chain == () and "rules" in without.broken, "a target that is not there is left out, and said"


def test_a_hanging_model_leaves_time_for_the_next(home, made):
    one = broken(live(home, made), "hang", inline=False)
    started = perf_counter()
    _, settled = end(one, within_s=0.2)
    assert settled.outcome == "fallback" and perf_counter() - started < 0.2
    assert [each.status for each in settled.attempts] == ["timeout", "ok"]


def test_all_hanging_ends_at_the_deadline_in_a_refusal(home, made):
    one = broken(
        broken(live(home, made, fallback=live(home, made).route.fallback[:1]), "hang", inline=False),
        "hang",
        inline=False,
        at=0,
    )
    started = perf_counter()
    _, settled = end(one, within_s=0.2)
    assert (settled.outcome, settled.reason) == ("refused", "deadline") and 0.15 < perf_counter() - started < 0.4


def test_it_is_tried_again_within_attempts_and_budget_where_that_may_help(home, made):
    alone = live(home, made, fallback=[])
    flaky = iter([Unavailable("x", mend="y"), 0.25])

    def next_one():
        found = next(flaky)
        if isinstance(found, Exception):
            raise found
        return found

    _, settled = end(broken(alone, next_one, inline=False))
    assert (settled.outcome, settled.score, settled.plain) == ("answered", 0.25, False)
    assert [each.status for each in settled.attempts] == ["unavailable", "ok"]
    for does, attempts in ((Unavailable("x", mend="y"), 3), (CannotAnswer("x", mend="y"), 1), (ValueError("x"), 1)):
        one = broken(alone, does, inline=False, rules=Answering(retry=Retry(attempts=3)))
        _, settled = end(one)
        assert (settled.outcome, len(settled.attempts)) == ("refused", attempts)
    one = broken(alone, Unavailable("x", mend="y"), inline=False, rules=Answering(retry=Retry(attempts=3, budget=0.0)))
    assert len(end(one)[1].attempts) == 1


def test_a_failing_upstream_is_left_alone_and_a_bad_row_is_not_its_failure(home, made):
    rules = Answering(retry=Retry(attempts=1), breaker=Breaker(calls=3))
    one = broken(live(home, made, fallback=[]), Unavailable("x", mend="y"), inline=False, rules=rules)
    reasons = [end(one)[1].reason for _ in range(5)]
    assert reasons == ["runtime_unavailable"] * 3 + ["breaker_open"] * 2
    assert one.model.runtime.asked == 3
    one = broken(live(home, made, fallback=[]), CannotAnswer("x", mend="y"), inline=False, rules=rules)
    assert [end(one)[1].reason for _ in range(5)] == ["runtime_error"] * 5


def test_an_impatient_caller_opens_no_breaker(home, made):
    rules = Answering(retry=Retry(attempts=1), breaker=Breaker(calls=2), deadline_ms=200)
    one = broken(live(home, made, fallback=[]), "hang", inline=False, rules=rules)
    for _ in range(4):
        assert end(one, within_s=0.002)[1].reason == "deadline"
    assert one.model.upstream.breaker.state == "closed"
    for _ in range(2):
        end(one, within_s=0.15)
    assert one.model.upstream.breaker.state == "open"


def test_more_than_it_may_hold_are_turned_away_soon(home, made):
    rules = Answering(bulkhead=Bulkhead(calls=2, wait=0.01))
    one = broken(live(home, made, fallback=[]), "hang", inline=False, rules=rules)
    row = one.model.check.check(json.dumps({"inputs": ROW}).encode()).rows[0]

    async def storm():
        deadline = perf_counter_ns() + 200_000_000
        return await asyncio.gather(*(settle(one, row, deadline) for _ in range(6)))

    reasons = sorted(settled.reason for _, settled in asyncio.run(storm()))
    assert reasons == ["bulkhead_full"] * 4 + ["deadline"] * 2
    assert one.model.upstream.bulkhead.in_use == 0


@pytest.mark.parametrize(("below", "outcome"), [("review", "review"), ("abstain", "abstained")])
def test_an_improbable_answer_is_not_given(home, made, below, outcome):
    one = live(home, made, fallback=[], floor=0.7, below=below)
    for score, expected in ((0.75, "answered"), (0.69, outcome), (0.31, outcome), (0.25, "answered")):
        _, settled = end(broken(one, score))
        assert settled.outcome == expected, score
        assert (settled.answer == {}) is (expected == outcome) and settled.score == score
    assert settled.plain
    _, settled = end(broken(one, 0.5))
    assert (settled.reason, settled.action, [each.status for each in settled.attempts]) == (
        "below_floor",
        below,
        ["ok"],
    )


def test_a_system_without_any_of_it_is_not_guarded(home, made):
    assert not live(home, made, fallback=[]).guarded
    assert live(home, made).guarded and live(home, made, fallback=[], floor=0.6).guarded
    assert live(home, made, fallback=[], stopped="x").guarded
    assert broken(live(home, made, fallback=[]), 0.5, inline=False).guarded
