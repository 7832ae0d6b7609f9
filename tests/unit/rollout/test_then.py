"""How evidence stood then: fresh, expired, undone by an event, superseded; rows changed since are not believed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete, update

from pilotage.evidence.stale import make_stale
from pilotage.evidence.store import evidence_table
from pilotage.gates.service import withdraw
from pilotage.gates.verdict import DAY
from pilotage.rollout.store import deployments
from pilotage.rollout.then import Then, then
from pilotage.storage.database import writing
from pilotage.testing.governance import GovernedHome
from pilotage.web.console.timeline import strip
from tests.ledger_world import World, make_world


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = make_world(tmp_path)
    yield made
    made.control.dispose()
    made.ledger.dispose()


def told(world: World, at: int, *, names: bool = True) -> Then:
    found = then(world.queries, world.control, "example", at, names=names)
    assert found is not None
    return found


def test_each_piece_of_evidence_is_as_it_stood_at_that_moment(world: World) -> None:
    house = GovernedHome(world.home.root, world.control)
    first = house.release()
    house.evidence(first, expires=house.now + 10 * DAY)
    checks = sorted(each.check for each in house.evidence(first, expires=house.now + 20 * DAY))
    given = house.approve(first)
    house.rollout.promote(house.people["ml_engineer"], "example", first.digest, "internal")
    promoted = house.clock()
    with writing(world.control) as connection:
        undone = make_stale(
            connection, first.digest, prefixes=[checks[0]], reason="numpy changed", figures={}, at=house.clock()
        )
    marked = house.clock()
    [worse] = house.evidence(first, checks[1], passed=False)
    withdraw(
        world.control,
        next(p for p in house.people.values() if p.id == given[0].person),
        given[0].id,
        reason="x",
        at=house.clock(),
    )
    end = house.clock()
    world.steward().seal_all()

    at_once = told(world, promoted)
    assert [each.check for each in at_once.evidence] == checks
    assert {each.state for each in at_once.evidence} == {"fresh"} and not any(each.newer for each in at_once.evidence)
    assert {each.digest for each in at_once.evidence} == set(at_once.production.evidence.values())
    assert all(each.grade and each.method and each.producer and each.collected < promoted for each in at_once.evidence)
    assert (at_once.contract, at_once.rules) == (first.contract, first.policy)
    assert {each.state for each in at_once.production.approvals} == {"valid"}
    for each in at_once.evidence:
        assert world.queries.prove(each.event)
    after = {each.check: each for each in told(world, marked).evidence}
    assert undone == [checks[0]] and (after[checks[0]].state, after[checks[0]].why) == ("stale", "numpy changed")
    assert {each.state for name, each in after.items() if name != checks[0]} == {"fresh"}
    late = told(world, end)
    by_check = {each.check: each for each in late.evidence}
    assert (by_check[checks[1]].newer, by_check[checks[1]].newer_passed) == (worse.id, False)
    assert by_check[checks[2]].newer == ""
    assert sorted(each.state for each in late.production.approvals)[-1] == "withdrawn"
    much_later = told(world, end + 400 * DAY)
    assert {each.state for each in much_later.evidence} == {"stale"}
    assert {each.why for each in much_later.evidence} == {"it had expired"}
    assert {each.state for each in much_later.production.approvals} == {"expired", "withdrawn"}
    assert {each.producer for each in told(world, promoted, names=False).evidence} == {""}

    # What was edited since is not shown as if it had been so.
    changed = by_check[checks[2]].evidence
    with writing(world.control) as connection:
        connection.execute(update(evidence_table).where(evidence_table.c.id == changed).values(figures={"auc": 1.0}))
        connection.execute(delete(evidence_table).where(evidence_table.c.check == checks[0]))
        connection.execute(update(deployments).values(contract="sha256:" + "0" * 64))
    edited = told(world, promoted)
    states = {each.check: each for each in edited.evidence}
    assert [states[name].state for name in checks[:3]] == ["unknown", "fresh", "unknown"]
    assert states[checks[2]].figures == {} and "changed or removed" in states[checks[2]].why
    assert (edited.contract, edited.rules) == ("", "")


def test_every_stop_and_every_release_until_then_is_told(world: World) -> None:
    house = GovernedHome(world.home.root, world.control)
    operator, engineer = house.people["operator"], house.people["ml_engineer"]
    first = house.promoted()
    house.rollout.stop(operator, "example", "flooded")
    second = house.release(0.5)
    house.approve(second)
    house.rollout.promote(engineer, "example", second.digest, "internal")
    stopped = house.clock()
    house.rollout.start(operator, "example")
    running = house.clock()
    house.rollout.stop(operator, "example", "again")
    end = house.clock()
    world.steward().seal_all()

    before = told(world, stopped).production
    assert before.stop is not None and (before.stop.reason, before.stop.until) == ("flooded", 0)
    assert [each.release for each in before.history] == [first.digest, second.digest]
    assert before.history[0].until == before.history[1].since == before.since and before.history[1].until == 0
    after = told(world, running).production
    assert after.stop is None and [each.reason for each in after.stops] == ["flooded"] and after.stops[0].until
    last = told(world, end).production
    assert [(each.reason, bool(each.until)) for each in last.stops] == [("again", False), ("flooded", True)]
    assert last.stop == last.stops[0] and world.queries.prove(last.stops[1].started)
    assert {each.reason for each in told(world, end, names=False).production.stops} == {""}

    drawn = strip(last.history, last.stops, running, end, lambda release: release[:9], str)
    assert drawn is not None
    widths = [each.width for each in drawn.releases]
    assert sum(widths) == pytest.approx(1_000) and drawn.releases[1].x == pytest.approx(widths[0])
    assert 0 < drawn.cursor < 1_000 and [each.odd for each in drawn.releases] == [False, True]
    assert drawn.stops[0].x > drawn.cursor > drawn.stops[1].x
    assert strip([], [], running, end, str, str) is None
