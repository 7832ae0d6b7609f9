"""Limits are declared on record, reach the plan, and are refused with all their faults at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from pilotage.access import store
from pilotage.access.limits import Limit, list_limits
from pilotage.errors import Forbidden, InputError, NotFound
from pilotage.gateway.plan import decode_plan
from pilotage.gateway.plan_file import read_plan_file
from pilotage.rollout import service
from pilotage.storage.database import control, open_engine, reading, writing
from pilotage.storage.outbox import waiting
from pilotage.testing.governance import GovernedHome


@pytest.fixture
def house(tmp_path: Path) -> Iterator[GovernedHome]:
    engine = open_engine(f"sqlite:///{tmp_path}/control.db")
    control.create_all(engine)
    made = GovernedHome(tmp_path / "home", engine)
    made.register()
    yield made
    engine.dispose()


def planned(house: GovernedHome) -> list[Limit]:
    stored = read_plan_file(house.home.plan_file)
    assert stored is not None
    return decode_plan(stored.body).limits


def daily(amount: int = 100, scope: str = "system:example") -> Limit:
    return Limit(scope=scope, unit="rows", per="day", amount=amount)


def test_a_limit_reaches_the_plan_changes_and_goes(house: GovernedHome) -> None:
    operator = house.people["operator"]
    house.rollout.set_limit(operator, daily())
    house.rollout.set_limit(operator, Limit(scope="installation", unit="requests", per="second", amount=50))
    house.rollout.set_limit(operator, daily(200))
    assert [(each.id, each.amount, each.burst) for each in planned(house)] == [
        ("installation/requests/second", 50, 50),
        ("system:example/rows/day", 200, 0),
    ]
    house.rollout.remove_limit(operator, "system:example/rows/day")
    assert [each.id for each in planned(house)] == ["installation/requests/second"]
    with reading(house.control) as connection:
        events = [(each.kind, each.facts.get("amount")) for each in waiting(connection) if "limit" in each.kind]
    assert events == [("limit.set", 100), ("limit.set", 50), ("limit.set", 200), ("limit.removed", None)]


def test_who_may_not_and_what_is_not_there(house: GovernedHome) -> None:
    for role in ("auditor", "ml_engineer", "risk_officer"):
        with pytest.raises(Forbidden):
            house.rollout.set_limit(house.people[role], daily())
        with pytest.raises(Forbidden):
            house.rollout.remove_limit(house.people[role], daily().id)
    operator = house.people["operator"]
    for scope in ("system:nosuch", "key:" + "0" * 16):
        with pytest.raises(NotFound):
            house.rollout.set_limit(operator, daily(scope=scope))
    with pytest.raises(NotFound, match="no such limit"):
        house.rollout.remove_limit(operator, daily().id)
    with reading(house.control) as connection:
        assert list_limits(connection) == []


def test_every_fault_of_a_limit_is_named(house: GovernedHome) -> None:
    wrong = Limit(scope="everything", unit="Rows!", per="day", amount=-1, burst=3)
    with pytest.raises(InputError) as caught:
        house.rollout.set_limit(house.people["operator"], wrong)
    assert [fault["path"] for fault in caught.value.faults] == ["scope", "unit", "amount", "burst"]


def test_an_edit_of_a_limit_is_named(house: GovernedHome) -> None:
    operator = house.people["operator"]
    house.rollout.set_limit(operator, daily())
    house.rollout.set_limit(operator, daily(scope="installation"))
    house.rollout.remove_limit(operator, "installation/rows/day")
    with writing(house.control) as connection:
        events = waiting(connection)
        assert not [row for row in service.witness(house.control, events) if row.table == "limits"]
        connection.execute(update(store.limits).values(amount=10**9))
    found = [row for row in service.witness(house.control, events) if row.table == "limits"]
    assert [(row.key, row.what) for row in found] == [("system:example/rows/day", "changed")]
