"""Several workers share limits over a real database: exactly the quota is given out; shares of it while it is away."""

import asyncio
import contextlib
import time

import pytest
from sqlalchemy import select

from pilotage.access.limits import Limit
from pilotage.gateway.metering import LeaseSource, Metering
from pilotage.gateway.reply import Denied
from pilotage.gateway.store import limit_holders, pool_states
from pilotage.kernel.clock import parse_time
from pilotage.storage.database import control, open_engine, reading

NOON = parse_time("2026-03-01T12:00Z")


class Clock:
    """Time that passes only when told to, or with `of` real seconds."""

    def __init__(self):
        self.now = NOON

    def __call__(self):
        return self.now


class Workers:
    """Some workers of one installation, on one database, with the same limits."""

    def __init__(self, url, folder, count=3):
        self.engine = open_engine(url)
        control.create_all(self.engine)
        self.clock = Clock()
        self.folder = folder
        self.sources = [LeaseSource(self.engine, f"n1/{number}") for number in range(count)]
        self.meterings = []
        self.tasks = []

    @contextlib.asynccontextmanager
    async def holding(self, *limits):
        for number, source in enumerate(self.sources):
            self.meterings.append(Metering(source, self.folder / f"limits-{number}.json", self.clock))
            self.meterings[-1].adopt(limits)
        self.tasks = [asyncio.create_task(each.run()) for each in self.meterings]
        for each in self.meterings:
            await contacted(each)
        try:
            yield self.meterings
        finally:
            for task in self.tasks:
                task.cancel()
            self.meterings = []

    def taken(self, limit):
        with reading(self.engine) as connection:
            return sum(state for (name, _), state in pool_states(connection).items() if name == limit.id)


async def contacted(metering):
    """Wait for one more round of asking."""
    round_ = metering._round = metering._round or asyncio.get_running_loop().create_future()
    metering._wake.set()
    await asyncio.wait_for(asyncio.shield(round_), 10)


async def ask(metering, units, key="k", system="s"):
    """The denial that a request for units is answered with, or None."""
    spend = metering.spend(key, system)
    try:
        await metering.reserve(spend, units)
    except Denied as denied:
        return denied
    return None


async def ask_until_denied(metering, units, pause=0.0):
    """How many requests were let through before the first denial."""
    for count in range(100_000):
        if await ask(metering, units):
            return count
        await asyncio.sleep(pause)
    raise AssertionError("never denied")


@pytest.fixture
def workers(tmp_path):
    made = Workers(f"sqlite:///{tmp_path}/control.db", tmp_path)
    yield made
    made.engine.dispose()


def day(amount, unit="rows", scope="installation"):
    return Limit(scope=scope, unit=unit, per="day", amount=amount)


def exactly_the_quota(workers):
    limit = day(997)

    async def run():
        async with workers.holding(limit) as meterings:
            # Several clients at each worker: they come short together, and wait together.
            clients = [ask_until_denied(metering, {"rows": 1}) for metering in meterings for _ in range(4)]
            return sum(await asyncio.gather(*clients))

    assert asyncio.run(run()) == 997
    assert workers.taken(limit) == 997


def test_workers_together_give_exactly_the_quota(workers):
    exactly_the_quota(workers)


@pytest.mark.postgres
def test_workers_together_give_exactly_the_quota_on_postgresql(postgres_url, tmp_path):
    workers = Workers(postgres_url, tmp_path)
    exactly_the_quota(workers)
    workers.engine.dispose()


def test_a_denial_says_which_limit_what_was_asked_and_when_there_is_more(workers):
    limit = day(5, scope="key:k")

    async def run():
        async with workers.holding(limit) as (first, *_):
            assert await ask(first, {"rows": 3, "requests": 1}) is None
            denied = await ask(first, {"rows": 3, "requests": 1})
            too_much = await ask(first, {"rows": 6})
            assert await ask(first, {"rows": 2}) is None, "the rest may still be had"
            assert await ask(first, {"rows": 2}, key="other") is None, "another key has no such limit"
            return denied, too_much

    denied, too_much = asyncio.run(run())
    assert (denied.status, denied.code) == (429, "quota_exceeded")
    assert limit.id in denied.got and "3 rows" in denied.got and "5 rows a day" in denied.expected
    assert dict(denied.headers)[b"retry-after"] == b"43200", "the quota comes again at midnight"
    assert dict(denied.headers)[b"pilotage-limit"] == b"key:k/rows/day"
    assert "less in one request" in too_much.mend


def test_all_limits_of_a_request_are_taken_or_none(workers):
    rows, requests = day(100), day(3, unit="requests", scope="system:s")

    async def run():
        async with workers.holding(rows, requests) as (first, *_):
            assert await ask_until_denied(first, {"rows": 5, "requests": 1}) == 3
            assert await ask(first, {"rows": 85}) is None, "the denied requests cost no rows"
            assert (await ask(first, {"rows": 1})).code == "quota_exceeded"

    asyncio.run(run())


def test_a_new_window_is_whole(workers):
    limit = day(2)

    async def run():
        async with workers.holding(limit) as (first, second, _):
            assert await ask_until_denied(first, {"rows": 1}) == 2
            workers.clock.now += 12 * 3_600_000_000
            assert await ask_until_denied(second, {"rows": 1}) == 2
            assert (await ask(first, {"rows": 1})).code == "quota_exceeded"

    asyncio.run(run())


def test_what_is_not_used_is_returned(workers):
    limit = day(10)

    async def run():
        async with workers.holding(limit) as (first, second, third):
            spend = first.spend("k", "s")
            await first.reserve(spend, {"rows": 8})
            assert (await ask(second, {"rows": 3})).code == "quota_exceeded"
            spend.settle("rows", 1)
            workers.clock.now += 3_000_000
            await contacted(first)
            assert workers.taken(limit) <= 3
            await second.leave()
            await contacted(first)
            assert await ask(third, {"rows": 9}) is None
            assert await ask(third, {"rows": 1}) is not None
        with reading(workers.engine) as connection:
            assert "n1/1" not in {row.worker for row in connection.execute(select(limit_holders))}

    asyncio.run(run())


def test_used_beyond_what_was_reserved_is_taken_from_what_comes(workers):
    async def run():
        async with workers.holding(day(100, unit="tokens")) as (first, *_):
            spend = first.spend("k", "s")
            await first.reserve(spend, {"tokens": 10})
            spend.settle("tokens", 95)
            assert await ask(first, {"tokens": 6}) is not None
            assert await ask(first, {"tokens": 5}) is None

    asyncio.run(run())


def test_a_rate_is_shared_and_refills(workers):
    limit = Limit(scope="installation", unit="requests", per="second", amount=100, burst=30)

    async def run():
        async with workers.holding(limit) as meterings:
            first = sum(await asyncio.gather(*(ask_until_denied(each, {"requests": 1}) for each in meterings)))
            denied = await ask(meterings[0], {"requests": 1})
            workers.clock.now += 200_000
            second = sum(await asyncio.gather(*(ask_until_denied(each, {"requests": 1}) for each in meterings)))
            return first, denied, second

    first, denied, second = asyncio.run(run())
    assert first == 30, "the burst"
    assert (denied.code, dict(denied.headers)[b"retry-after"]) == ("rate_limited", b"1")
    assert second == 20, "two tenths of a second are worth twenty"


def away(workers):
    """Let the database be away: it is no file any more."""
    workers.engine.dispose()
    path = workers.folder / "control.db"
    path.rename(workers.folder / "away.db")
    path.mkdir()


def back(workers):
    (workers.folder / "control.db").rmdir()
    (workers.folder / "away.db").rename(workers.folder / "control.db")


def test_while_the_database_is_away_each_worker_has_its_share_also_after_a_restart(workers):
    limit = day(900)

    async def run():
        async with workers.holding(limit) as meterings:
            assert await ask(meterings[0], {"rows": 300}) is None
            for each in meterings:
                each._written = 0
                await contacted(each)
            left = 900 - workers.taken(limit)
            away(workers)
            granted = 0
            while await ask(meterings[1], {"rows": 10}) is None:
                granted += 10
            assert 150 < granted <= left // 3 + 300 // 20, "a third of what was left, and the piece it had"
            meterings[1]._written = 0
            await contacted(meterings[1])
        async with contextlib.AsyncExitStack() as stack:
            again = Metering(workers.sources[1], workers.folder / "limits-1.json", workers.clock)
            other = Metering(workers.sources[2], workers.folder / "limits-2.json", workers.clock)
            for each in (again, other):
                each.adopt([limit])
                stack.callback(asyncio.create_task(each.run()).cancel)
            assert await ask(again, {"rows": 20}) is not None, "its share is spent, also after a restart"
            others = 0
            while await ask(other, {"rows": 10}) is None:
                others += 10
            assert others > 150
            back(workers)
            await contacted(again)
            await contacted(other)
            assert workers.taken(limit) >= 300 + granted - 300 // 20 + others - 300 // 20
            return 300 + granted + others

    assert asyncio.run(run()) <= 900


class Slow(LeaseSource):
    """A database that takes its time to answer, or does not."""

    pause = 0.0

    def lease(self, asks, at):
        time.sleep(self.pause)
        return super().lease(asks, at)


def test_a_slow_database_is_waited_for_and_a_silent_one_is_away(workers, monkeypatch):
    monkeypatch.setattr("pilotage.gateway.metering._PATIENCE_S", 0.4)
    workers.sources = [Slow(workers.engine, f"n1/{number}") for number in range(2)]

    async def run():
        async with workers.holding(day(100)) as (first, _):
            workers.sources[0].pause = 0.1
            assert await ask(first, {"rows": 60}) is None
            workers.sources[0].pause = 1.2
            begun = time.monotonic()
            assert await ask(first, {"rows": 12}) is None, "from its share"
            assert 0.3 < time.monotonic() - begun < 1.0
            begun = time.monotonic()
            assert await ask(first, {"rows": 3}) is None
            assert await ask(first, {"rows": 12}) is not None
            assert time.monotonic() - begun < 0.3, "who comes later does not wait as long again"

    asyncio.run(run())


def test_without_limits_nothing_is_asked(workers):
    async def run():
        async with contextlib.AsyncExitStack() as stack:
            metering = Metering(workers.sources[0], workers.folder / "limits.json", workers.clock)
            metering.adopt([])
            stack.callback(asyncio.create_task(metering.run()).cancel)
            await asyncio.sleep(0.02)
            assert not metering.declared

    asyncio.run(run())
    with reading(workers.engine) as connection:
        assert connection.execute(select(limit_holders)).all() == []
