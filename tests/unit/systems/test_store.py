"""Declarations at rest: idempotent, attested by events, and found by id."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import Engine, update

from pilotage.errors import NotFound, Refused
from pilotage.storage.database import control, open_engine, reading, writing
from pilotage.storage.outbox import waiting
from pilotage.storage.witness import changed_rows
from pilotage.systems.model import AISystem, Owners, Pilot
from pilotage.systems.store import declare_system, find_system, list_systems, systems


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = open_engine(f"sqlite:///{tmp_path}/control.db")
    control.create_all(made)
    yield made
    made.dispose()


def system(id: str = "credit", tier: str = "high") -> AISystem:
    owners = Owners(business="b", model="m", operations="o", risk="r")
    pilot = Pilot(artefact="m.joblib", data="d.csv", target="y", positive="1")
    return AISystem(id=id, name="Credit", purpose="p", risk_tier=tier, owners=owners, pilot=pilot)  # type: ignore[arg-type]


def test_declaring_again_changes_nothing_and_a_new_declaration_replaces(engine: Engine) -> None:
    with writing(engine) as connection:
        first = declare_system(connection, system(tier="medium"), by="engineer")
        assert declare_system(connection, system(tier="medium"), by="engineer") == first
        second = declare_system(connection, system(), by="engineer")
        declare_system(connection, system("another"), by="engineer")
    with reading(engine) as connection:
        assert first != second
        assert find_system(connection, "credit").risk_tier == "high"
        assert [found.id for found in list_systems(connection)] == ["another", "credit"]
        events = waiting(connection)
        declared = [event for event in events if event.kind == "system.declared"]
        assert sorted(event.facts["risk_tier"] for event in declared) == ["high", "high", "medium"]
        assert "engineer" not in str([event.facts for event in events])
        with pytest.raises(NotFound, match="credit"):
            find_system(connection, "credits")


def test_a_declaration_cannot_lower_the_risk_tier(engine: Engine) -> None:
    with writing(engine) as connection:
        declare_system(connection, system(), by="engineer")
        with pytest.raises(Refused, match="lowered"):
            declare_system(connection, system(tier="medium"), by="engineer")


def test_a_tier_lowered_in_sql_is_found(engine: Engine) -> None:
    with writing(engine) as connection:
        declare_system(connection, system(), by="engineer")
        assert not list(changed_rows(connection, [systems], waiting(connection)))
        body = {**connection.execute(systems.select()).mappings().one()["body"], "risk_tier": "low"}
        connection.execute(update(systems).values(body=body))
        (changed,) = changed_rows(connection, [systems], waiting(connection))
    assert (changed.table, changed.key, changed.what) == ("systems", "credit", "changed")


def test_what_outcomes_are_counted_by_is_told_when_it_changes(engine: Engine) -> None:
    def sliced(tier: str, *slices: str) -> AISystem:
        made = system(tier=tier)
        return msgspec.structs.replace(made, pilot=msgspec.structs.replace(made.pilot, slices=list(slices)))

    with writing(engine) as connection:
        for each in (sliced("low", "sex"), sliced("low", "sex"), sliced("medium", "sex"), sliced("medium", "age")):
            declare_system(connection, each, by="engineer")
    with reading(engine) as connection:
        told = [event.facts for event in waiting(connection) if event.kind == "slices.declared"]
    assert told == [{"slices": ["sex"]}, {"slices": ["age"]}]
