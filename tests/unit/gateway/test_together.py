"""Rows that wait for one runtime: what goes together, who is spared, and what the record says of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from msgspec import UNSET

from pilotage.errors import Unavailable
from pilotage.gateway.plan import Answering
from pilotage.gateway.together import Company
from pilotage.gateway.upstream import Upstream
from pilotage.ledger.record import Place
from pilotage.runtimes.ports import CannotAnswer
from pilotage.systems.serving import Bulkhead


class Slow:
    """Answers one call after the other; a row of -1 has no answer, -2 breaks the call."""

    name, inline = "slow", False

    def __init__(self) -> None:
        self.calls: list[list[float]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def score_async(self, values: Sequence[Any]) -> float:
        return (await self.score_together_async([values]))[0]

    async def score_together_async(self, rows: Sequence[Sequence[Any]]) -> list[float]:
        self.calls.append([row[0] for row in rows])
        await self.gate.wait()
        if any(row[0] == -1 for row in rows):
            raise CannotAnswer("not this row", mend="mend it")
        if any(row[0] == -2 for row in rows):
            raise Unavailable("gone", mend="again")
        return [row[0] / 100 for row in rows]


async def _all(company: Company, rows: Sequence[float]) -> list[Any]:
    return await asyncio.gather(*(company.score([row]) for row in rows), return_exceptions=True)


def _run(scene: Any) -> None:
    asyncio.run(scene())


def test_whoever_waits_goes_with_the_next_call_and_gets_its_own_answer() -> None:
    async def scene() -> None:
        runtime = Slow()
        company = Company(runtime, 4)
        assert (await company.score([7.0])) == (0.07, None), "alone it goes alone"
        found = await _all(company, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
        assert [each.score for each in found] == [0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07]
        assert [each.batch for each in found] == [Place(size=4, at=at % 4) for at in range(7)]
        assert runtime.calls[1:] == [[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 7.0]], "the last is filled up"

    _run(scene)


def test_one_row_without_an_answer_costs_no_other_its_own() -> None:
    async def scene() -> None:
        runtime = Slow()
        found = await _all(Company(runtime, 64), [1.0, -1.0, 3.0])
        assert (found[0].score, found[2].score) == (0.01, 0.03)
        assert isinstance(found[1], CannotAnswer)
        assert runtime.calls[1:] == [[1.0], [-1.0], [3.0]]

    _run(scene)


def test_who_gives_up_before_the_call_is_not_asked_for() -> None:
    async def scene() -> None:
        runtime = Slow()
        company = Company(runtime, 64)
        runtime.gate.clear()
        first = asyncio.create_task(company.score([1.0]))
        await asyncio.sleep(0)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(company.score([2.0]), 0.01)
        third = asyncio.create_task(company.score([3.0]))
        await asyncio.sleep(0)
        first.cancel()
        runtime.gate.set()
        assert (await third).score == 0.03
        assert runtime.calls == [[1.0], [3.0]]

    _run(scene)


def test_an_upstream_tries_again_alone_and_records_where_a_row_stood() -> None:
    async def scene() -> None:
        runtime = Slow()
        upstream = Upstream("slow@1", Answering(bulkhead=Bulkhead(calls=2)))
        upstream.answer_together(runtime, 8)
        deadline = 10**18
        found = await asyncio.gather(*(upstream.score(runtime, [row], deadline) for row in (1.0, -2.0, 3.0)))
        assert [each.score for each in found] == [0.01, 0.0, 0.03]
        assert [each.status for each in found[1].attempts] == ["unavailable", "unavailable"]
        assert all(each.batch is UNSET for each in found[0].attempts), "tried again, it went alone"
        assert sorted(runtime.calls[1:]) == [[-2.0], [1.0], [3.0]]
        many = await asyncio.gather(*(upstream.score(runtime, [float(row)], deadline) for row in range(16)))
        assert [each.score for each in many] == [row / 100 for row in range(16)], "a place is one for a call"
        assert [each.attempts[0].batch for each in many] == [Place(size=8, at=at % 8) for at in range(16)]
        upstream.answer_together(runtime, 0)
        alone = await upstream.score(runtime, [1.0], deadline)
        assert alone.attempts[0].batch is UNSET and upstream.bulkhead.places == 2

    _run(scene)
