"""The breaker's states, whatever calls do; the retry budget's bound; the pause's range."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pilotage.gateway.breaker import CircuitBreaker
from pilotage.gateway.retry import RESERVE, RetryBudget, pause_s
from pilotage.systems.serving import Breaker, Retry

RULES = Breaker(failures=0.5, calls=4, window=10.0, open=5.0)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def breaker() -> tuple[CircuitBreaker, Clock]:
    clock = Clock()
    return CircuitBreaker(RULES, clock), clock


def call(breaker: CircuitBreaker, ok: bool) -> None:
    assert breaker.allow()
    (breaker.succeeded if ok else breaker.failed)()


def test_it_opens_at_the_share_of_enough_calls_and_not_before() -> None:
    one, _ = breaker()
    for ok in (False, False, True):
        call(one, ok)
    assert one.state == "closed", "three calls are too few"
    call(one, False)
    assert one.state == "open" and not one.allow()
    other, _ = breaker()
    for ok in (True, True, True, False, False):
        call(other, ok)
    assert other.state == "closed", "two of five are less than half"


def test_failures_long_ago_do_not_count() -> None:
    one, clock = breaker()
    for _ in range(3):
        call(one, False)
    clock.now += 11
    call(one, False)
    assert one.state == "closed"


def test_half_open_lets_one_call_try() -> None:
    one, clock = breaker()
    for _ in range(4):
        call(one, False)
    clock.now += 4.9
    assert one.state == "open" and one.refuses
    clock.now += 0.1
    assert one.state == "half_open" and one.allow()
    assert one.refuses and not one.allow(), "only one at a time"
    one.failed()
    assert one.state == "open"
    clock.now += 5
    assert one.allow()
    one.abandoned()
    assert one.allow(), "nobody knows how that call ended: the next one tries"
    one.succeeded()
    assert one.state == "closed" and one.allow()
    one.failed()
    assert one.state == "closed", "it starts counting anew"


def test_calls_from_before_it_opened_change_nothing() -> None:
    one, clock = breaker()
    for _ in range(5):
        assert one.allow()
    for _ in range(4):
        one.failed()
    assert one.state == "open"
    one.succeeded()
    one.failed()
    assert one.state == "open"
    clock.now += 5
    assert one.state == "half_open", "a late failure did not make it wait longer"


class Machine(RuleBasedStateMachine):
    """Against a plain model: a list of (time, failed), all kept."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.clock = breaker()
        self.seen: list[tuple[int, bool]] = []
        self.opened: float | None = None

    @rule(seconds=st.floats(0, 12))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @precondition(lambda self: not self.one.refuses)
    @rule(ok=st.booleans())
    def ask(self, ok: bool) -> None:
        call(self.one, ok)
        if self.opened is not None:
            self.opened, self.seen = (None if ok else self.clock.now), []
            return
        part = int(self.clock.now)
        self.seen.append((part, not ok))
        recent = [failed for at, failed in self.seen if at > part - 10]
        if not ok and len(recent) >= 4 and sum(recent) >= len(recent) / 2:
            self.opened = self.clock.now

    @invariant()
    def agrees(self) -> None:
        waited = None if self.opened is None else self.clock.now - self.opened
        expected = "closed" if waited is None else "half_open" if waited >= 5 else "open"
        assert self.one.state == expected
        assert self.one.refuses is (expected == "open")


TestMachine = Machine.TestCase


@given(st.lists(st.booleans(), max_size=300), st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_retries_are_at_most_their_share_of_calls(calls: list[bool], share: float) -> None:
    budget, made = RetryBudget(share), 0
    for number, again in enumerate(calls, 1):
        budget.called()
        made += again and budget.take()
        assert made <= share * number + (RESERVE if share else 0) + 1e-6


@given(st.integers(1, 10_000), st.floats(0, 1), st.floats(0, 10), st.floats(0, 60))
def test_a_pause_is_random_up_to_a_bound_that_doubles(number: int, chance: float, base: float, most: float) -> None:
    rules = Retry(base=base, most=most)
    longest = pause_s(rules, number, lambda: 1.0)
    assert 0 <= pause_s(rules, number, lambda: chance) <= longest <= most
    assert pause_s(rules, number, lambda: 0.0) == 0
    assert longest <= pause_s(rules, number + 1, lambda: 1.0) <= 2 * longest or longest == 0 or number > 60


@pytest.mark.parametrize(("number", "most"), [(1, 0.02), (2, 0.04), (5, 0.32), (6, 0.5), (60, 0.5)])
def test_the_bound(number: int, most: float) -> None:
    assert pause_s(Retry(base=0.02, most=0.5), number, lambda: 1.0) == pytest.approx(most)
