"""A release goes live with a fallback chain that fits, or promotion says why not; a rollback never fails for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import update

from pilotage.errors import Refused
from pilotage.gateway.plan import Answering, Route, decode_plan
from pilotage.gateway.store import newest_plan
from pilotage.kernel.digests import digest
from pilotage.releases.model import Release
from pilotage.rollout import service
from pilotage.rollout.store import deployment_answering
from pilotage.storage.database import control, open_engine, reading, writing
from pilotage.storage.outbox import waiting
from pilotage.systems.serving import Bulkhead, ServingRules
from pilotage.testing.governance import GovernedHome
from pilotage.testing.releases import COLUMNS

RULES = b'version: "1"\nrules:\n  - {name: late, when: late_payments > 6, answer: refer}\ndefault: approve\n'
BOTH = ServingRules(fallback=["previous", "rules"], rules="r.yaml", deadline=2.5, floor=0.6, bulkhead=Bulkhead(calls=3))
ONLY = ServingRules(fallback=["previous"])
WIDER = [msgspec.structs.replace(c, maximum=20) if c.name == "late_payments" else c for c in COLUMNS]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[GovernedHome]:
    engine = open_engine(f"sqlite:///{tmp_path}/control.db")
    control.create_all(engine)
    yield GovernedHome(tmp_path / "home", engine)
    engine.dispose()


def route(house: GovernedHome) -> Route:
    with reading(house.control) as connection:
        stored = newest_plan(connection)
    assert stored is not None
    return decode_plan(stored.body).routes[0]


def promote(house: GovernedHome, release: Release) -> list[str]:
    house.approve(release)
    return house.rollout.promote(house.people["ml_engineer"], "example", release.digest, "internal").fallback


def test_the_chain_of_a_release_is_in_the_plan_with_how_it_answers(house: GovernedHome) -> None:
    first = house.release(answers=BOTH, rules=RULES)
    assert promote(house, first) == ["rules"], "nothing was live before the first"
    second = house.release(0.5, answers=BOTH, rules=RULES)
    assert promote(house, second) == [first.digest, "rules"]
    made = route(house)
    assert (made.deadline_ms, made.floor, made.bulkhead.calls, made.when_stopped) == (2_500, 0.6, 3, "refuse")
    previous, rules = made.fallback
    assert (previous.kind, previous.release, previous.contract) == ("previous", first.digest, first.contract)
    assert (rules.kind, rules.release, rules.policy) == ("rules", second.digest, digest(RULES))
    house.rollout.stop(house.people["operator"], "example", "why")
    assert route(house).fallback == made.fallback, "a stop changes nothing of it"
    with reading(house.control) as connection:
        event = next(each for each in reversed(list(waiting(connection))) if each.kind == "release.promoted")
        assert event.facts["fallback"] == [first.digest, "rules"]


def test_a_release_without_a_serving_section_answers_by_the_defaults(house: GovernedHome) -> None:
    assert promote(house, house.release()) == []
    made = route(house)
    assert {name: getattr(made, name) for name in Answering.__struct_fields__} == msgspec.structs.asdict(Answering())


def test_a_release_before_that_does_not_fit_refuses_the_promotion_and_says_why(house: GovernedHome) -> None:
    promote(house, house.release())
    second = house.release(0.5, answers=ONLY, columns=WIDER)
    with pytest.raises(Refused, match="late_payments: takes") as caught:
        promote(house, second)
    assert caught.value.code == "fallback_incompatible" and [f["path"] for f in caught.value.faults] == [
        "late_payments"
    ]
    assert route(house).release != second.digest
    assert promote(house, house.release(0.6, columns=WIDER)) == [], "without `previous` it may go live"


def test_a_rollback_leaves_out_what_does_not_fit(house: GovernedHome) -> None:
    promote(house, house.release())
    wide = house.release(0.5, columns=WIDER, answers=ServingRules())
    promote(house, wide)
    narrow = house.release(0.7, answers=ONLY)
    assert promote(house, narrow) == [wide.digest]
    promote(house, house.release(0.8, answers=ONLY))
    house.rollout.rollback(house.people["operator"], "example")
    assert (route(house).release, [each.release for each in route(house).fallback]) == (narrow.digest, [wide.digest])
    house.rollout.rollback(house.people["operator"], "example")
    assert (route(house).release, route(house).fallback) == (wide.digest, [])


def test_an_edited_chain_is_found(house: GovernedHome) -> None:
    promote(house, house.release(answers=BOTH, rules=RULES))
    with reading(house.control) as connection:
        events = list(waiting(connection))
    assert [row.table for row in service.witness(house.control, events)] == []
    with writing(house.control) as connection:
        connection.execute(update(deployment_answering).values(document=msgspec.json.encode(Answering()).decode()))
    assert [(row.table, row.what) for row in service.witness(house.control, events)] == [
        ("deployment_answering", "changed")
    ]
