"""One call of a runtime that does not answer inline, behind its bulkhead and breaker, tried again within its budget."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from math import isfinite
from time import perf_counter_ns
from typing import NamedTuple

from msgspec import UNSET

from pilotage.errors import Unavailable
from pilotage.gateway.breaker import STATES, CircuitBreaker
from pilotage.gateway.bulkhead import Bulkhead
from pilotage.gateway.metrics import UpstreamState
from pilotage.gateway.plan import Answering
from pilotage.gateway.retry import RetryBudget, pause_s
from pilotage.gateway.together import Company
from pilotage.ledger.record import Attempt, Place
from pilotage.runtimes.model import Value
from pilotage.runtimes.ports import CannotAnswer, Runtime

__all__ = ["Scored", "Upstream"]

_log = logging.getLogger(__name__)
_LEAST_S = 0.001


class Scored(NamedTuple):
    """How a call ended: its score, or the code of a refusal, and every attempt."""

    score: float
    reason: str
    attempts: list[Attempt]


class _Tried(NamedTuple):
    """One attempt: its score; or the refusal's code, the attempt's status, and whether another try may help."""

    score: float = 0.0
    reason: str = ""
    status: str = "ok"
    again: bool = False
    batch: Place | None = None


class Upstream:
    """What protects one runtime, and the rest from it. Its state outlives plans; for one event loop.

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
        self._company: Company | None = None
        self.calls: dict[str, int] = {}
        self._budget = RetryBudget(rules.retry.budget)

    def answer_together(self, runtime: Runtime, rows: int) -> None:
        """From now on up to so many rows of the runtime may share a call, and with it a place of the bulkhead."""
        self._company = Company(runtime, rows) if rows > 1 else None
        self.bulkhead.places = self._rules.bulkhead.calls * max(1, rows)

    @property
    def now(self) -> UpstreamState:
        """How its calls stand."""
        breaker, bulkhead = STATES.index(self.breaker.state), self.bulkhead
        return UpstreamState(self.target, breaker, bulkhead.in_use, bulkhead.waiting, dict(self.calls))

    async def score(self, runtime: Runtime, values: Sequence[Value], deadline_ns: int) -> Scored:
        """The score of one row before the deadline (`perf_counter_ns`), or why there is none. Raises nothing."""
        attempts: list[Attempt] = []
        self._budget.called()
        while True:
            started = perf_counter_ns()
            # Whoever failed together is tried again alone: it may be one of them that makes the call fail.
            company = self._company if not attempts else None
            tried = await self._try(runtime, values, deadline_ns, started, company)
            spent = (perf_counter_ns() - started) // 1_000
            attempts.append(
                Attempt(target=self.target, ms=spent / 1_000, status=tried.status, batch=tried.batch or UNSET)
            )
            self.calls[tried.status] = self.calls.get(tried.status, 0) + 1
            if not tried.again or len(attempts) >= self._rules.retry.attempts:
                return Scored(tried.score, tried.reason, attempts)
            pause = pause_s(self._rules.retry, len(attempts), self._chance)
            if perf_counter_ns() + pause * 1e9 >= deadline_ns or not self._budget.take():
                return Scored(tried.score, tried.reason, attempts)
            await asyncio.sleep(pause)

    async def _try(
        self, runtime: Runtime, values: Sequence[Value], deadline_ns: int, started: int, company: Company | None
    ) -> _Tried:
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
            return await self._call(runtime, values, deadline_ns, company)
        finally:
            self.bulkhead.leave()

    async def _call(
        self, runtime: Runtime, values: Sequence[Value], deadline_ns: int, company: Company | None
    ) -> _Tried:
        given = (deadline_ns - perf_counter_ns()) / 1e9
        try:
            async with asyncio.timeout(max(given, _LEAST_S)):
                if company is not None:
                    score, batch = await company.score(values)
                else:
                    score, batch = await runtime.score_async(values), None
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
        except Exception as error:  # noqa: BLE001 - a runtime's own library may raise anything
            self.breaker.failed()
            return self._told(error, _Tried(reason="runtime_error", status="error"))
        if not isfinite(score):
            self.breaker.failed()
            return _Tried(reason="not_finite", status="not_finite")
        self.breaker.succeeded()
        return _Tried(score=score, batch=batch)

    def _told(self, error: Exception, tried: _Tried) -> _Tried:
        """The error's text may hold values of the row: only its kind and code are logged."""
        _log.warning("%s failed: %s %s", self.target, type(error).__name__, getattr(error, "code", ""))
        return tried
