"""Explanations on record: made once, told again as they were made, and gone with the person."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import func, select

from pilotage.errors import InputError, Refused
from pilotage.evaluation.reasons import Explanation
from pilotage.ledger.erasure import erase
from pilotage.ledger.verify import verify_ledger
from pilotage.replay import explanations as module
from pilotage.replay.explanations import EXPLAINED
from pilotage.storage.database import reading
from pilotage.storage.outbox import outbox
from tests.console.world import ConsoleWorld, make_console_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleWorld]:
    made = make_console_world(tmp_path_factory.mktemp("explanations"))
    yield made
    made.close()


def _waiting(world: ConsoleWorld) -> int:
    with reading(world.installation.control) as connection:
        return connection.execute(select(func.count()).where(outbox.c.kind == EXPLAINED)).scalar_one()


def _at_rest(home: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(home.rglob("*")) if path.suffix in (".db", ".db-wal", ".seg"))


def test_the_first_is_put_on_record_and_told_ever_after(world: ConsoleWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    (id_,) = world.seal(world.answered(1, seed=1))
    explanations, found = world.installation.explanations, world.installation.ledger().decision(id_)
    assert explanations.find(found) is None
    first = explanations.make(found, "ann")
    assert first.fresh
    again = explanations.make(found, "bob")  # not sealed yet
    assert (again.fresh, again.event, again.made) == (False, first.event, first.made)
    assert again.explanation == first.explanation
    assert _waiting(world) == 1
    world.seal([])
    assert _waiting(world) == 0

    def changed(*_: object) -> None:
        raise InputError("asked again", got="", mend="")

    monkeypatch.setattr(module, "explain_recorded", changed)
    kept = explanations.make(found, "bob")
    assert (kept.fresh, kept.event, kept.made) == (False, first.event, first.made)
    assert kept.explanation == first.explanation
    assert kept.as_dict()["version"] == first.explanation.version
    assert explanations.find(found) == kept
    told = world.installation.ledger().event(first.event)
    assert told.private is not None and told.private["by"] == "ann"
    assert told.event.facts["decision"] == id_
    assert set(told.event.facts) == {"decision", "method", "version", "background"}


def test_it_says_nothing_in_clear_and_ends_with_the_person(world: ConsoleWorld) -> None:
    (id_,) = world.seal(world.answered(1, seed=2))
    installation = world.installation
    found = installation.ledger().decision(id_)
    made = installation.explanations.make(found, "ann")
    sentence = (made.explanation.counterfactual or "attributions").encode()
    assert sentence not in _at_rest(installation.home.root)
    world.seal([])
    assert sentence not in _at_rest(installation.home.root)
    assert installation.ledger().event(made.event).private is not None
    erase("c-2-0", "asked", "tests", steward=world.steward)
    told = installation.ledger().event(made.event)
    assert (told.private, told.unreadable) == (None, "erased")
    gone = installation.ledger().decision(id_)
    for ask in (lambda: installation.explanations.find(gone), lambda: installation.explanations.make(gone, "ann")):
        with pytest.raises(Refused, match="any more"):
            ask()
    verdict = verify_ledger(installation.home, installation.ledger_engine, installation.keyring)
    assert verdict.ok, verdict.faults


def test_a_decision_without_an_answer_leaves_nothing_on_record(world: ConsoleWorld) -> None:
    (id_,) = world.seal(world.rejected())
    found = world.installation.ledger().decision(id_)
    with pytest.raises(Refused, match="no answer"):
        world.installation.explanations.make(found, "ann")
    assert _waiting(world) == 0


def test_an_explanation_of_an_earlier_form_is_still_told(world: ConsoleWorld) -> None:
    (id_,) = world.seal(world.answered(1, seed=3))
    found = world.installation.ledger().decision(id_)
    told = msgspec.to_builtins(world.installation.explanations.make(found, "ann").explanation)
    earlier = {name: value for name, value in told.items() if name not in ("withheld", "background_rows")}
    earlier["reasons"] = [
        {name: value for name, value in reason.items() if name not in ("approved", "direction")}
        for reason in earlier["reasons"]
    ]
    read = msgspec.convert(earlier | {"of_a_later_form": 1}, Explanation)
    assert read.attributions == told["attributions"]
