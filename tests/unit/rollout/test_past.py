"""What was in production then: promote, roll back, promote, stop, start; answered from the sealed ledger alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete

from pilotage.gates.service import withdraw
from pilotage.gates.store import approvals, gate_passages
from pilotage.rollout.past import InProduction, in_production
from pilotage.rollout.store import deployments
from pilotage.storage.database import writing
from pilotage.testing.governance import GovernedHome
from tests.ledger_world import World, make_world


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    made = make_world(tmp_path, request.getfixturevalue("postgres_url") if request.param == "postgresql" else "")
    yield made
    made.control.dispose()
    made.ledger.dispose()


def test_a_journey_of_promotions_and_a_rollback_is_told_for_every_moment(world: World) -> None:
    house = GovernedHome(world.home.root, world.control)
    before, engineer = house.now, house.people["ml_engineer"]
    first = house.promoted()
    while_first = house.clock()
    second = house.release(0.5)
    given = house.approve(second)
    house.rollout.promote(engineer, "example", second.digest, "internal")
    while_second = house.clock()
    house.rollout.rollback(engineer, "example", "too many referrals")
    rolled_back = house.clock()
    house.rollout.promote(engineer, "example", second.digest, "internal")
    house.rollout.stop(house.people["operator"], "example", "flooded")
    stopped = house.clock()
    house.rollout.start(house.people["operator"], "example")
    house.rollout.promote(engineer, "example", first.digest, "internal")
    withdraw(
        world.control,
        next(p for p in house.people.values() if p.id == given[0].person),
        given[0].id,
        reason="x",
        at=house.clock(),
    )
    end = house.clock()
    world.steward().seal_all()
    # What runs the system today is gone: the past does not depend on it.
    with writing(world.control) as connection:
        for table in (deployments, gate_passages, approvals):
            connection.execute(delete(table))

    def at(moment: int, *, names: bool = True) -> InProduction:
        found = in_production(world.queries, "example", moment, names=names)
        assert found is not None
        return found

    assert in_production(world.queries, "example", before) is None
    assert in_production(world.queries, "other", end) is None
    assert (at(while_first).release, at(while_first).action, at(while_first).plan) == (
        first.digest,
        "release.promoted",
        1,
    )
    then = at(while_second)
    assert (then.release, then.stage, then.by, then.stop) == (second.digest, "internal", engineer.name, None)
    assert [each.approval for each in then.approvals] == [each.id for each in given]
    assert [(each.role, each.granted, each.expires) for each in then.approvals] == [
        (each.role, each.granted, each.expires) for each in given
    ]
    assert all(each.by and each.withdrawn == 0 and each.evidence == given[0].evidence for each in then.approvals)
    assert then.evidence == given[0].evidence and then.policy == given[0].policy and then.verdict.startswith("sha256:")
    assert then.since > while_first and then.since > then.gate_passed - 1
    back = at(rolled_back)
    assert (back.release, back.action) == (first.digest, "release.rolled_back")
    assert back.gate_event == at(while_first).gate_event and back.verdict == at(while_first).verdict
    held = at(stopped)
    assert held.release == second.digest and held.stop is not None and held.stop.reason == "flooded"
    assert at(end).release == first.digest and at(end).stop is None
    assert [each.withdrawn > 0 for each in at(stopped).approvals] == [False] * len(given)
    # Who may not read names gets none, and everything else.
    unnamed = at(while_second, names=False)
    assert (unnamed.by, {each.by for each in unnamed.approvals}) == ("", {""})
    assert [each.approval for each in unnamed.approvals] == [each.id for each in given]
    # Every word of it is proven by the ledger.
    for id_ in (then.event, then.gate_event, *(each.event for each in then.approvals)):
        assert world.queries.prove(id_)
