"""A bulkhead never lets more in than it has places, gives none away, and serves in order."""

from __future__ import annotations

import asyncio
import random

from pilotage.gateway.bulkhead import Bulkhead


def test_who_finds_no_place_waits_a_bounded_time() -> None:
    async def scene() -> None:
        bulkhead = Bulkhead(1)
        assert await bulkhead.enter(0)
        assert not await bulkhead.enter(0)
        assert not await bulkhead.enter(0.01)
        assert (bulkhead.in_use, bulkhead.waiting) == (1, 0)
        bulkhead.leave()
        assert bulkhead.in_use == 0 and await bulkhead.enter(0)

    asyncio.run(scene())


def test_places_are_given_in_the_order_of_arrival() -> None:
    async def scene() -> None:
        bulkhead, got = Bulkhead(1), []
        await bulkhead.enter(0)

        async def come(number: int) -> None:
            if await bulkhead.enter(1):
                got.append(number)
                bulkhead.leave()

        tasks = [asyncio.create_task(come(number)) for number in range(5)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.sleep(0)
        bulkhead.leave()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert got == [0, 2, 3, 4] and bulkhead.in_use == 0

    asyncio.run(scene())


def test_no_storm_of_calls_cancels_and_timeouts_loses_a_place() -> None:
    async def scene() -> None:
        bulkhead, chance, most = Bulkhead(3), random.Random(5), 0

        async def come() -> None:
            nonlocal most
            if await bulkhead.enter(chance.choice([0, 0.001, 0.01])):
                try:
                    most = max(most, bulkhead.in_use)
                    await asyncio.sleep(chance.random() / 500)
                finally:
                    bulkhead.leave()

        tasks = []
        for _ in range(400):
            tasks.append(asyncio.create_task(come()))
            if chance.random() < 0.3:
                chance.choice(tasks).cancel()
            if chance.random() < 0.3:
                await asyncio.sleep(0)
        await asyncio.gather(*tasks, return_exceptions=True)
        assert most == 3 and (bulkhead.in_use, bulkhead.waiting) == (0, 0)

    asyncio.run(scene())
