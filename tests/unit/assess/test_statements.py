"""Statements of people: whatever is said and confirmed in whatever order counts for what the rules say, no more."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotage.assess.criteria import load_criteria
from pilotage.assess.interview import LEVELS
from pilotage.assess.score import rate
from pilotage.assess.statements import as_observations, confirm, state, statements_of
from pilotage.errors import Conflict, InputError, PilotageError, Refused
from pilotage.storage.database import open_engine, reading, writing
from pilotage.storage.migrate import migrate
from pilotage.systems.store import declare_system, find_system
from pilotage.testing.governance import GovernedHome

QUESTION = "team.sponsor"
_NUMBERS = count(1)


@pytest.fixture(scope="module")
def governed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GovernedHome]:
    root: Path = tmp_path_factory.mktemp("statements")
    engine = open_engine(f"sqlite:///{root}/control.db")
    migrate(engine, "control")
    made = GovernedHome(root / "home", engine)
    made.register()
    yield made
    engine.dispose()


def system_of_its_own(governed: GovernedHome) -> str:
    id_ = f"s-{next(_NUMBERS)}"
    with writing(governed.control) as connection:
        made = msgspec.structs.replace(find_system(connection, "example"), id=id_)
        declare_system(connection, made, by="tests", at=governed.clock())
    return id_


def worth(governed: GovernedHome, system: str) -> float:
    with reading(governed.control) as connection:
        found = list(as_observations(connection, system, {}))
    own = [each for each in found if each.criterion == QUESTION]
    return rate(load_criteria()[QUESTION], own, governed.now).score


people = st.sampled_from(["ml_engineer", "risk_officer", "business_owner"])
sayings = st.tuples(st.just("say"), people, st.sampled_from(["yes", "partly", "no"]), st.booleans())
confirmings = st.tuples(st.just("confirm"), people, st.just(""), st.just(False))


@settings(max_examples=40, deadline=None)
@given(acts=st.lists(sayings | confirmings, max_size=8))
def test_it_counts_for_what_the_newest_says_and_in_full_only_by_two_people(
    governed: GovernedHome, acts: list[tuple[str, str, str, bool]]
) -> None:
    system = system_of_its_own(governed)
    said: list[tuple[str, str, bool, bool]] = []  # by, answer, with a document, confirmed
    for number, (kind, role, answer, shown) in enumerate(acts):
        person = governed.people[role]
        if kind == "say":
            given_ = {"answer": answer, "document": f"paper {number}" if shown else "", "note": f"note {number}"}
            assert len(state(governed.control, person, system, {QUESTION: given_}, {}, at=governed.clock())) == 1
            said.append((role, answer, shown, False))
            continue
        with reading(governed.control) as connection:
            newest = next(iter(statements_of(connection, system)), None)
        if newest is None:
            continue
        by, last, with_paper, confirmed = said[-1]
        try:
            confirm(governed.control, person, system, [newest.evidence], at=governed.clock())
        except Refused:
            assert by == role
        except Conflict:
            assert confirmed
        except InputError:
            assert not with_paper
        else:
            assert by != role and with_paper and not confirmed
            said[-1] = (by, last, with_paper, True)
    assert worth(governed, system) == pytest.approx(expected(said))


def expected(said: list[tuple[str, str, bool, bool]]) -> float:
    """By the rules: the newest in full once confirmed; else a quarter at most, unless the last confirmed one stands
    because the newest says no less."""
    if not said:
        return 0.0
    level = LEVELS[said[-1][1]]
    if said[-1][3]:
        return level
    before = next((LEVELS[answer] for _, answer, _, confirmed in reversed(said) if confirmed), None)
    return before if before is not None and before <= level else min(level, 0.25)


def test_two_are_confirmed_together_or_not_at_all(governed: GovernedHome) -> None:
    system = system_of_its_own(governed)
    owner, officer = governed.people["business_owner"], governed.people["risk_officer"]
    paper = {"answer": "yes", "document": "paper"}
    [mine] = state(governed.control, officer, system, {"team.skills": paper}, {}, at=governed.clock())
    [theirs] = state(governed.control, owner, system, {QUESTION: paper}, {}, at=governed.clock())
    with pytest.raises(Refused, match="nobody confirms their own"):
        confirm(governed.control, officer, system, [theirs.evidence, mine.evidence], at=governed.clock())
    assert worth(governed, system) == 0.25
    other = system_of_its_own(governed)
    with pytest.raises(PilotageError):
        confirm(governed.control, officer, other, [theirs.evidence], at=governed.clock())
