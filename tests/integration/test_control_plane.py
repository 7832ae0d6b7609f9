"""The control plane end to end, the same on SQLite and PostgreSQL: gate, promotion, rollback, keys, witness, races."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from pilotage.access import service as access
from pilotage.errors import Conflict, PilotageError, Unauthenticated
from pilotage.gates.service import approve, check
from pilotage.gateway.plan import decode_plan
from pilotage.gateway.store import newest_plan
from pilotage.rollout import service
from pilotage.storage.database import open_engine, reading
from pilotage.storage.migrate import migrate
from pilotage.storage.outbox import waiting
from pilotage.testing.governance import GovernedHome


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def control(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    sqlite = request.param == "sqlite"
    engine = open_engine(f"sqlite:///{tmp_path}/control.db" if sqlite else request.getfixturevalue("postgres_url"))
    migrate(engine, "control")
    yield engine
    engine.dispose()


@pytest.fixture
def house(control: Engine, tmp_path: Path) -> GovernedHome:
    return GovernedHome(tmp_path / "home", control)


def together(acts: list[Callable[[], Any]]) -> list[Any]:
    """What each act returned or raised, all started at once."""

    def run(act: Callable[[], Any]) -> Any:
        try:
            return act()
        except PilotageError as error:
            return error

    with ThreadPoolExecutor(len(acts)) as pool:
        return [each.result() for each in [pool.submit(run, act) for act in acts]]


def test_from_gate_to_rollback_with_nothing_unattested(house: GovernedHome) -> None:
    first, second = house.promoted(tier="high"), house.promoted(0.5, tier="high")
    operator = house.people["operator"]
    key = house.rollout.issue_key(operator, name="app", scopes=["decide:example"])
    token = access.issue_token(house.control, operator, by=operator)
    house.rollout.revoke_key(operator, key.id)
    access.revoke_token(house.control, operator, token.id)
    access.set_roles(house.control, house.admin, "auditor", ["auditor", "operator"])
    house.rollout.stop(operator, "example", "a pause")
    house.rollout.start(operator, "example")
    done = house.rollout.rollback(operator, "example")
    assert (done.from_release, done.to_release) == (second.digest, first.digest)
    assert check(house.control, "example", second.digest, "internal", at=house.clock()).go
    with reading(house.control) as connection:
        stored = newest_plan(connection)
        events = waiting(connection, 10_000)
    assert stored is not None and decode_plan(stored.body).routes[0].release == first.digest
    assert not list(service.witness(house.control, events))


def test_two_who_approve_at_once_in_one_role_make_one_approval(house: GovernedHome) -> None:
    release = house.release(tier="high")
    people = [house.people["model_validator"], house.person("second validator", "model_validator")]
    found = together([lambda p=p: approve(house.control, p, release=release.digest, stage="internal") for p in people])
    assert sorted(isinstance(each, Conflict) for each in found) == [False, True]


def test_acts_at_once_are_one_line_of_plans(house: GovernedHome) -> None:
    house.promoted()
    operator = house.people["operator"]
    names = [f"app {n}" for n in range(6)]
    together([lambda n=n: house.rollout.issue_key(operator, name=n, scopes=["decide:*"]) for n in names])
    stops = together([lambda: house.rollout.stop(operator, "example", "x")] * 3)
    assert sum(isinstance(each, Conflict) for each in stops) == 2
    with reading(house.control) as connection:
        stored = newest_plan(connection)
    assert stored is not None and stored.version == 1 + 6 + 1
    plan = decode_plan(stored.body)
    assert len(plan.keys) == 6 and plan.routes[0].stopped == "x"


def test_a_sign_in_link_used_twice_at_once_opens_one_session(house: GovernedHome) -> None:
    link = access.one_time_link(house.control, house.admin, by=house.admin)
    found = together([lambda: access.exchange_link(house.control, link.text)] * 4)
    assert sum(isinstance(each, Unauthenticated) for each in found) == 3
