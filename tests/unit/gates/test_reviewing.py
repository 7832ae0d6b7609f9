"""How protected groups fare is reviewed by two people who did not make the release, on the figures they looked at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from pilotage.errors import Conflict, Forbidden, InputError, NotFound, Refused
from pilotage.evidence.store import evidence_table, latest
from pilotage.gates.reviewing import REVIEWED, Measured, confirm, review
from pilotage.gates.service import check
from pilotage.releases.model import Release
from pilotage.storage.database import control, open_engine, reading, writing
from pilotage.storage.outbox import waiting
from pilotage.testing.governance import GovernedHome


@pytest.fixture
def house(tmp_path: Path) -> Iterator[GovernedHome]:
    engine = open_engine(f"sqlite:///{tmp_path}/control.db")
    control.create_all(engine)
    yield GovernedHome(tmp_path / "home", engine)
    engine.dispose()


@pytest.fixture
def release(house: GovernedHome) -> Release:
    return house.register()


def measured(
    *, holds: bool = True, lacks: dict[str, str] | None = None, live: bool = True, none: bool = False
) -> Measured:
    limit = {"name": "demographic_parity_difference", "limit": 0.1, "value": 0.05, "holds": holds, "certain": True}
    columns: list[dict[str, Any]] = [] if none else [{"column": "sex", "groups": [], "limits": [limit]}]
    return Measured(columns=columns, lacks=lacks or {}, live=live, since="2026-03-01", until="2026-03-30")


def said(house: GovernedHome, release: Release, by: str = "risk_officer", **changes: Any) -> Any:
    facts = {"acceptable": True, "statement": "looked at every group"} | changes
    figures = facts.pop("measured", measured())
    return review(house.control, house.people[by], release.digest, figures, **facts, at=house.clock())


def state(house: GovernedHome, release: Release) -> str:
    verdict = check(house.control, "", release.digest, "general", house.now)
    return next(each.state for each in verdict.checks if each.check == REVIEWED)


def test_what_one_says_counts_once_another_stands_for_it(house: GovernedHome, release: Release) -> None:
    first = said(house, release)
    assert state(house, release) == "missing", "one person is not enough"
    with pytest.raises(Refused, match="their own"):
        confirm(house.control, house.people["risk_officer"], first.id, at=house.clock())
    made = confirm(house.control, house.people["model_validator"], first.id, at=house.clock())
    assert (made.check, made.grade, made.passed, state(house, release)) == (REVIEWED, "E4", True, "fresh")
    assert made.figures["columns"] == first.figures["columns"] and made.figures["confirms"] == first.id
    assert (made.figures["by"], made.figures["confirmed_by"]) == (
        house.people["risk_officer"].id,
        house.people["model_validator"].id,
    )
    with reading(house.control) as connection:
        kinds = [each.kind for each in waiting(connection, 1_000)]
    assert kinds.count("fairness.proposed") == kinds.count("fairness.reviewed") == 1
    with pytest.raises(Conflict):
        confirm(house.control, house.people["business_owner"], first.id, at=house.clock())


def test_who_made_the_release_and_who_may_not_approve_reviews_nothing(house: GovernedHome) -> None:
    own = house.register(2, author=house.people["model_validator"].id)
    with pytest.raises(Refused, match="author"):
        said(house, own, by="model_validator")
    first = said(house, own)
    with pytest.raises(Refused, match="author"):
        confirm(house.control, house.people["model_validator"], first.id, at=house.clock())
    with pytest.raises(Forbidden):
        said(house, own, by="operator")
    with pytest.raises(Refused, match="admin"):
        said(house, own, by="admin")


def test_one_person_is_enough_to_say_no(house: GovernedHome, release: Release) -> None:
    first = said(house, release)
    confirm(house.control, house.people["model_validator"], first.id, at=house.clock())
    said(house, release, by="business_owner", acceptable=False, measured=measured(holds=False))
    assert state(house, release) == "failed"


@pytest.mark.parametrize(
    ("figures", "path"),
    [(measured(holds=False), "sex: demographic_parity_difference"), (measured(lacks={"age": "too few"}), "age")],
)
def test_a_broken_limit_or_an_unmeasured_column_is_not_acceptable(
    house: GovernedHome, release: Release, figures: Measured, path: str
) -> None:
    with pytest.raises(Refused) as caught:
        said(house, release, measured=figures)
    assert caught.value.code == "fairness_unsettled" and [each["path"] for each in caught.value.faults] == [path]


def test_only_the_newest_review_as_it_was_said_and_in_time_is_confirmed(house: GovernedHome, release: Release) -> None:
    validator = house.people["model_validator"]
    old, new = said(house, release), said(house, release)
    with pytest.raises(Conflict):
        confirm(house.control, validator, old.id, at=house.clock())
    with pytest.raises(Conflict):
        confirm(house.control, validator, new.id, at=new.expires)
    with pytest.raises(NotFound):
        confirm(house.control, validator, new.id, at=house.clock(), system="other")
    with writing(house.control) as connection:
        connection.execute(update(evidence_table).where(evidence_table.c.id == new.id).values(figures={"live": True}))
    with pytest.raises(Conflict):
        confirm(house.control, validator, new.id, at=house.clock())
    with pytest.raises(NotFound):
        confirm(house.control, validator, "nothing", at=house.clock())
    with pytest.raises(InputError):
        said(house, release, statement="  ")


def test_what_is_not_of_live_decisions_is_of_a_lower_class(house: GovernedHome, release: Release) -> None:
    for figures, grade in ((measured(live=False), "E3"), (measured(none=True), "E1")):
        first = said(house, release, measured=figures)
        confirm(house.control, house.people["model_validator"], first.id, at=house.clock())
        with reading(house.control) as connection:
            newest = latest(connection, release.digest, REVIEWED)
        assert newest is not None and newest.grade == grade
