"""One call of something outside, a runtime or a source: behind its bulkhead and breaker, again within its budget."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from math import isfinite
from time import perf_counter_ns
from typing import Any, NamedTuple

from msgspec import structs

from pilotage.errors import Unavailable
from pilotage.gateway.breaker import STATES, CircuitBreaker
from pilotage.gateway.bulkhead import Bulkhead
from pilotage.gateway.exposition import UpstreamState
from pilotage.gateway.plan import Answering
from pilotage.gateway.retry import RetryBudget, pause_s
from pilotage.gateway.together import Company
from pilotage.kernel.rows import Value
from pilotage.ledger.record import Attempt, Place
from pilotage.runtimes.ports import CannotAnswer, Runtime

__all__ = ["Called", "Protected", "Scored", "Upstream"]

_log = logging.getLogger(__name__)
_LEAST_S = 0.001


class Called(NamedTuple):
    """How a call ended: what it made, or the code of a refusal, and every attempt."""

    made: Any
    reason: str
    attempts: list[Attempt]


class Scored(NamedTuple):
    """How a call of a runtime ended: its score, or the code of a refusal, and every attempt."""

    score: float
    reason: str
    attempts: list[Attempt]


class _Tried(NamedTuple):
    """One attempt: what it made; or the refusal's code, the attempt's status, and whether another try may help."""

    made: Any = None
    reason: str = ""
    status: str = "ok"
    again: bool = False


class _NotFinite(Exception):
    """A runtime's score is none."""


Work = Callable[[int], Awaitable[Any]]
"""One try at something outside; it is given how many went before it."""


class Protected:
    """What protects one thing outside, and the rest from it. Its state outlives plans; for one event loop.

    `target` is how attempts name it. `calls` counts attempts by status.
    """

    def __init__(
        self,
        target: str,
        rules: Answering,
        *,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.target, self._rules, self._chance = target, rules, chance
        self.breaker = CircuitBreaker(rules.breaker, clock)
        self.bulkhead = Bulkhead(rules.bulkhead.calls)
        self.calls: dict[str, int] = {}
        self._budget = RetryBudget(rules.retry.budget)

    @property
    def now(self) -> UpstreamState:
        """How its calls stand."""
        breaker, bulkhead = STATES.index(self.breaker.state), self.bulkhead
        return UpstreamState(self.target, breaker, bulkhead.in_use, bulkhead.waiting, dict(self.calls))

    async def call(self, work: Work, deadline_ns: int) -> Called:
        """What work makes before the deadline (`perf_counter_ns`), or why there is nothing. Raises nothing."""
        attempts: list[Attempt] = []
        self._budget.called()
        while True:
            started = perf_counter_ns()
            tried = await self._try(work, len(attempts), deadline_ns, started)
            spent = (perf_counter_ns() - started) // 1_000
            attempts.append(Attempt(target=self.target, ms=spent / 1_000, status=tried.status))
            self.calls[tried.status] = self.calls.get(tried.status, 0) + 1
            if not tried.again or len(attempts) >= self._rules.retry.attempts:
                return Called(tried.made, tried.reason, attempts)
            pause = pause_s(self._rules.retry, len(attempts), self._chance)
            if perf_counter_ns() + pause * 1e9 >= deadline_ns or not self._budget.take():
                return Called(tried.made, tried.reason, attempts)
            await asyncio.sleep(pause)

    async def _try(self, work: Work, before: int, deadline_ns: int, started: int) -> _Tried:
        left = (deadline_ns - started) / 1e9
        if left <= 0:
            return _Tried(reason="deadline", status="timeout")
        if self.breaker.refuses:
            return _Tried(reason="breaker_open", status="breaker_open")
        if not await self.bulkhead.enter(min(self._rules.bulkhead.wait, left)):
            return _Tried(reason="bulkhead_full", status="bulkhead_full")
        try:
            if not self.breaker.allow():
                return _Tried(reason="breaker_open", status="breaker_open")
            return await self._call(work, before, deadline_ns)
        finally:
            self.bulkhead.leave()

    async def _call(self, work: Work, before: int, deadline_ns: int) -> _Tried:
        given = (deadline_ns - perf_counter_ns()) / 1e9
        try:
            async with asyncio.timeout(max(given, _LEAST_S)):
                made = await work(before)
        except TimeoutError:
            # Who asks for an answer in a millisecond must not open the breaker for everybody else.
            patient = given >= self._rules.deadline_ms / 2_000
            (self.breaker.failed if patient else self.breaker.abandoned)()
            return _Tried(reason="deadline", status="timeout")
        except asyncio.CancelledError:
            self.breaker.abandoned()
            raise
        except CannotAnswer as error:
            self.breaker.succeeded()
            return self._told(error, _Tried(reason="runtime_error", status="error"))
        except Unavailable as error:
            self.breaker.failed()
            return self._told(error, _Tried(reason="runtime_unavailable", status="unavailable", again=True))
        except _NotFinite:
            self.breaker.failed()
            return _Tried(reason="not_finite", status="not_finite")
        except Exception as error:  # noqa: BLE001 - the library of what is outside may raise anything
            self.breaker.failed()
            return self._told(error, _Tried(reason="runtime_error", status="error"))
        self.breaker.succeeded()
        return _Tried(made)

    def _told(self, error: Exception, tried: _Tried) -> _Tried:
        """The error's text may hold values of the row: only its kind and code are logged."""
        _log.warning("%s failed: %s %s", self.target, type(error).__name__, getattr(error, "code", ""))
        return tried


class Upstream(Protected):
    """A protected runtime that does not answer inline."""

    _company: Company | None = None

    def answer_together(self, runtime: Runtime, rows: int) -> None:
        """From now on up to so many rows of the runtime may share a call, and with it a place of the bulkhead."""
        self._company = Company(runtime, rows) if rows > 1 else None
        self.bulkhead.places = self._rules.bulkhead.calls * max(1, rows)

    async def score(self, runtime: Runtime, values: Sequence[Value], deadline_ns: int) -> Scored:
        """The score of one row before the deadline (`perf_counter_ns`), or why there is none. Raises nothing."""

        async def work(before: int) -> tuple[float, Place | None]:
            # Whoever failed together is tried again alone: it may be one of them that makes the call fail.
            company = self._company if not before else None
            if company is not None:
                score, place = await company.score(values)
            else:
                score, place = await runtime.score_async(values), None
            if not isfinite(score):
                raise _NotFinite
            return score, place

        made, reason, attempts = await self.call(work, deadline_ns)
        if made is None:
            return Scored(0.0, reason, attempts)
        score, place = made
        if place is not None:
            attempts[-1] = structs.replace(attempts[-1], batch=place)
        return Scored(score, reason, attempts)
