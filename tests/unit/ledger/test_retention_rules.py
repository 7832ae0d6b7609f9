"""Set a period: who may, what floors forbid, what holds then, and that an edit of the row is found."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import update

from pilotage.access.model import Person
from pilotage.errors import Forbidden, InputError, Refused
from pilotage.ledger.queries import EventRow
from pilotage.ledger.retention import Floor, in_words
from pilotage.ledger.retention_rules import list_rules, retention_rules, set_rule, wide_rules, with_rules
from pilotage.ledger.retiring import Policy
from pilotage.rollout.service import witness
from pilotage.storage.database import reading, writing
from tests.ledger_world import World, make_world

OFFICER = Person(id="p1", name="Olga", roles=("risk_officer",))
DECLARED = Policy(payloads=Floor(months=24), regimes=("eu_ai_act_logs", "cert_in"))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


def put(world: World, of: str, span: Floor | None, person: Person = OFFICER, reason: str = "policy 7") -> Policy:
    return set_rule(world.control, person, system="credit", of=of, span=span, declared=DECLARED, reason=reason)


def holding(world: World) -> Policy:
    with reading(world.control) as connection:
        return with_rules({"credit": DECLARED}, list_rules(connection))["credit"]


def sealed(world: World) -> list[EventRow]:
    world.steward().seal_all()
    return world.queries.events(limit=100)[::-1]


def test_the_newest_rule_wins_over_the_declaration_until_it_is_taken_back(world: World) -> None:
    assert put(world, "payloads", Floor(months=12)).payloads == Floor(months=12)
    assert put(world, "entries", Floor(months=36)).entries == Floor(months=36)
    assert (holding(world).payloads, holding(world).entries) == (Floor(months=12), Floor(months=36))
    assert holding(world).regimes == DECLARED.regimes
    put(world, "payloads", Floor())
    assert holding(world).payloads == Floor() and holding(world).entries_until(1) == 0
    put(world, "payloads", None)
    assert holding(world).payloads == Floor(months=24)
    assert with_rules({"other": DECLARED}, []) == {"other": DECLARED}
    told = sealed(world)
    assert [(row.kind, row.system, row.facts["class"], row.facts["kept"]) for row in told] == [
        ("retention.set", "credit", "payloads", "12 months"),
        ("retention.set", "credit", "entries", "36 months"),
        ("retention.set", "credit", "payloads", "without end"),
        ("retention.set", "credit", "payloads", "as declared"),
    ]
    assert world.queries.event(told[0].id).private == {"by": "p1", "name": "Olga", "reason": "policy 7"}
    assert not list(witness(world.control, told))
    with writing(world.control) as connection:
        connection.execute(update(retention_rules).where(retention_rules.c.months == 36).values(months=1))
    assert [(row.table, row.what) for row in witness(world.control, told)] == [("retention_rules", "changed")]


def test_a_floor_wins_and_says_which_law(world: World) -> None:
    with pytest.raises(Refused, match="EU AI Act, articles 19") as refused:
        put(world, "payloads", Floor(days=90))
    assert refused.value.code == "retention_floor" and str(refused.value.expected).startswith("at least 6 months")
    with pytest.raises(Refused):
        put(world, "payloads", Floor(months=5, days=20))
    put(world, "payloads", Floor(months=6))
    assert holding(world).payloads == Floor(months=6) and len(sealed(world)) == 1


def test_who_may_not_and_what_cannot_be_set(world: World) -> None:
    with pytest.raises(Forbidden):
        put(world, "payloads", Floor(months=12), Person(id="p2", name="Eve", roles=("admin", "auditor", "operator")))
    for of, span, reason in (
        ("heads", Floor(months=12), "x"),
        ("payloads", Floor(months=9_999), "x"),
        ("payloads", Floor(months=-1), "x"),
        ("payloads", Floor(months=12), " "),
    ):
        with pytest.raises(InputError):
            put(world, of, span, reason=reason)
    put(world, "payloads", Floor())
    with pytest.raises(InputError, match="before their payloads"):
        put(world, "entries", Floor(months=36))
    assert [in_words(each) for each in (Floor(), Floor(months=1, days=2))] == ["without end", "1 month 2 days"]


def test_a_class_of_the_installation_has_its_default_its_floor_and_no_system(world: World) -> None:
    bound = Policy(regimes=("dpdp_8_3", "eu_ai_act_docs"))

    def wide(of: str, span: Floor | None, system: str = "") -> Policy:
        return set_rule(world.control, OFFICER, system=system, of=of, span=span, declared=bound, reason="x")

    def spans() -> list[Floor]:
        with reading(world.control) as connection:
            found = wide_rules(list_rules(connection), bound.regimes)
        return [found[of].payloads for of in ("denials", "evidence", "journals")]

    assert spans() == [Floor(months=13), Floor(), Floor(days=30)]
    with pytest.raises(Refused, match="DPDP"):
        wide("denials", Floor(months=11))
    with pytest.raises(Refused, match="EU AI Act, article 18"):
        wide("evidence", Floor(months=119))
    assert wide("journals", Floor(days=1)).payloads == Floor(days=1), "all of it is in the ledger"
    assert wide("denials", Floor(months=12)).payloads == Floor(months=12)
    assert wide("evidence", Floor(months=120)).payloads == Floor(months=120)
    assert spans() == [Floor(months=12), Floor(months=120), Floor(days=1)]
    wide("journals", None)
    assert spans()[2] == Floor(days=30)
    for of, system in (("denials", "credit"), ("payloads", "")):
        with pytest.raises(InputError) as wrong:
            wide(of, Floor(months=24), system)
        assert wrong.value.faults[0]["code"] == "wrong_class"
    assert [row.facts["class"] for row in sealed(world)] == ["journals", "denials", "evidence", "journals"]
