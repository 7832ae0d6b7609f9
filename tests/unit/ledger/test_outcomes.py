"""Outcomes: the truth told later finds its decision, the newest counts, every decision counts once, erasure clears."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import Table, select, update

from pilotage.errors import InputError
from pilotage.kernel.ids import uuid7
from pilotage.ledger.about import emit_about
from pilotage.ledger.erasure import erase
from pilotage.ledger.frames import FrameKind
from pilotage.ledger.outcomes import Outcomes, Told, read_told
from pilotage.ledger.record import Event, commitment
from pilotage.ledger.said import OUTCOME, OVERRIDE
from pilotage.ledger.said_tables import outcome_counts, outcomes, overrides
from pilotage.ledger.sealing import Steward
from pilotage.ledger.verify import verify_ledger
from pilotage.profiles.build import build_profile
from pilotage.storage.database import reading, writing
from tests.ledger_world import RELEASE, START, Frame, World, decision, frame_id, make_world

PROFILE = build_profile(
    {"age": "numeric", "income": "numeric"}, [[20.0 + n, 10.0 * n] for n in range(100)], [n / 100 for n in range(100)]
)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    made = make_world(tmp_path, request.getfixturevalue("postgres_url") if request.param == "postgresql" else "")
    made.profile = PROFILE
    yield made
    made.control.dispose()
    made.ledger.dispose()


def told(about: str, value: object, *, at: int = START + 9, system: str = "credit") -> Frame:
    """An outcome as a gateway journals it."""
    content = msgspec.msgpack.encode({"value": value, "at": at, "source": "collections", "by": "key:k1"})
    salt = os.urandom(32)
    leaf = Event(
        id=uuid7(),
        kind=OUTCOME,
        at=START,
        system=system,
        facts={"decision": about},
        commitment=commitment(salt, content),
    )
    return FrameKind.event, msgspec.json.encode(leaf), salt + content


def seal(world: World, steward: Steward, *frames: Frame) -> None:
    world.write(frames)
    steward.seal_all()
    prove_sound(world)


def prove_sound(world: World) -> None:
    verdict = verify_ledger(world.home, world.ledger, world.keyring)
    assert verdict.ok, verdict.faults


def listed(world: World, **wanted: Any) -> list[tuple[str, str, str | None]]:
    rows = Outcomes(world.ledger).list(**wanted)
    return [(row.decision, row.state, row.value) for row in rows]


def counted(world: World) -> dict[str, int]:
    """How many decisions count for each outcome."""
    return {value: sum(cells) for value, cells in Outcomes(world.ledger).by_score("credit", RELEASE).items()}


def rows_of(world: World, table: Table) -> list[dict[str, Any]]:
    with reading(world.ledger) as connection:
        return [dict(row._mapping) for row in connection.execute(select(table))]


def test_it_finds_its_decision_whichever_is_sealed_first(world: World) -> None:
    steward = world.steward()
    early, same, late = decision("ann"), decision("bob", score=0.9), decision("", score=0.4)
    seal(world, steward, told(frame_id(late), "paid"))
    assert listed(world) == [(frame_id(late), "unmatched", "paid")] and counted(world) == {}
    seal(world, steward, early, same, told(frame_id(same), "default"))
    seal(world, steward, late, told(frame_id(early), 1))

    found = {row.decision: row for row in Outcomes(world.ledger).list()}
    assert {id_: row.state for id_, row in found.items()} == dict.fromkeys(
        map(frame_id, (early, same, late)), "current"
    )
    row = found[frame_id(same)]
    assert (row.value, row.number, row.at, row.score, row.label) == ("default", None, START + 9, 0.9, "adverse")
    assert (row.system, row.release, row.arm, row.stage) == ("credit", RELEASE, "champion", "internal")
    assert (found[frame_id(early)].value, found[frame_id(early)].number) == ("1", 1.0)
    assert counted(world) == {"1": 1, "default": 1, "paid": 1}
    cells = Outcomes(world.ledger).by_score("credit", RELEASE)
    assert cells["1"].index(1) < cells["paid"].index(1) < cells["default"].index(1)


def test_a_later_outcome_takes_the_place_of_the_earlier_and_both_stay(world: World) -> None:
    steward, one = world.steward(), decision("ann")
    first, again, second = (told(frame_id(one), value) for value in ("paid", "paid", "default"))
    seal(world, steward, one, first)
    seal(world, steward, again)
    assert counted(world) == {"paid": 1}
    seal(world, steward, second, told(frame_id(one), "default"))
    assert counted(world) == {"default": 1}
    assert [state for _, state, _ in listed(world)] == ["current", "superseded", "superseded", "superseded"]
    assert len(world.queries.about(frame_id(one))) == 4
    assert Outcomes(world.ledger).known([frame_id(one), "other"]) == {frame_id(one): ("default", START + 9)}
    assert listed(world, state="superseded", limit=1) == [(frame_id(one), "superseded", "default")]


def test_a_key_of_another_system_tells_nothing(world: World) -> None:
    steward, one = world.steward(), decision("ann")
    seal(world, steward, one, told(frame_id(one), "paid"))
    seal(world, steward, told(frame_id(one), "default", system="other"))
    assert listed(world) == [(frame_id(one), "other_system", "default"), (frame_id(one), "current", "paid")]
    assert counted(world) == {"paid": 1}
    seal(world, steward, told(frame_id(one), "late", system=""))
    assert counted(world) == {"late": 1}


def test_erasure_clears_the_index_and_the_count_stays(world: World) -> None:
    steward, ann, bob, before = world.steward(), decision("ann"), decision("bob"), decision("ann")
    seal(world, steward, told(frame_id(before), "early secret"))
    seal(world, steward, ann, bob, before, told(frame_id(ann), "the secret"), told(frame_id(bob), "default"))
    override(world, frame_id(ann))
    steward.seal_all()
    prove_sound(world)

    report = erase("ann", "request", "privacy officer", steward=steward)

    assert (report.events, report.events_unreadable) == (3, 3)
    prove_sound(world)
    states = {(id_, state) for id_, state, _ in listed(world)}
    assert states == {(frame_id(ann), "erased"), (frame_id(before), "erased"), (frame_id(bob), "current")}
    [row] = rows_of(world, overrides)
    assert (row["reviewer"], row["value"]) == (None, None)
    assert counted(world) == {"the secret": 1, "early secret": 1, "default": 1}
    seal(world, steward, told(frame_id(ann), "once more"))
    assert counted(world) == {"the secret": 1, "early secret": 1, "default": 1}
    if world.url == "":
        files = [world.home.root / name for name in ("ledger.db", "ledger.db-wal")]
        assert not any(b"person-7" in path.read_bytes() for path in files)


def override(world: World, id_: str) -> None:
    private = {"value": "favourable", "reason": "income proven", "person": "person-7", "name": "Rita"}
    with writing(world.control) as connection:
        emit_about(connection, world.keyring.steward_public, OVERRIDE, id_, system="credit", private=private, at=START)


def test_who_decided_otherwise_is_in_the_index_as_a_keyed_hash_only(world: World) -> None:
    steward, one = world.steward(), decision("ann")
    seal(world, steward, one)
    override(world, frame_id(one))
    steward.seal_all()
    prove_sound(world)
    [row] = rows_of(world, overrides)
    assert (row["decision"], row["value"]) == (frame_id(one), "favourable")
    assert row["reviewer"] == steward.cabinet.reviewer_lookup("person-7") != steward.cabinet.subject_lookup("person-7")
    assert world.queries.event(world.queries.about(frame_id(one))[0].id).private == {
        "value": "favourable",
        "reason": "income proven",
        "person": "person-7",
        "name": "Rita",
    }


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        (outcomes, "value", "paid too"),
        (outcomes, "number", 0.5),
        (outcomes, "at", 7),
        (outcomes, "decision", "another"),
        (outcomes, "system", "another"),
        (overrides, "reviewer", "0" * 64),
        (overrides, "value", "adverse"),
        (overrides, "decision", "another"),
        (outcome_counts, "counts", {"paid": [5]}),
        (outcome_counts, "day", "1999-01-01"),
    ],
)
def test_verification_finds_every_edit(world: World, table: Table, column: str, value: object) -> None:
    steward, one = world.steward(), decision("ann")
    seal(world, steward, one, told(frame_id(one), "paid"))
    override(world, frame_id(one))
    steward.seal_all()
    prove_sound(world)
    with writing(world.ledger) as connection:
        connection.execute(update(table).values({column: value}))
    faults = verify_ledger(world.home, world.ledger, world.keyring).faults
    assert any(table.name in fault.place for fault in faults), faults


@pytest.mark.parametrize("table", [outcomes, overrides, outcome_counts])
@pytest.mark.parametrize("change", ["removed", "added"])
def test_verification_finds_rows_removed_and_added(world: World, table: Table, change: str) -> None:
    steward, one = world.steward(), decision("ann")
    seal(world, steward, one, told(frame_id(one), "paid"))
    override(world, frame_id(one))
    steward.seal_all()
    [row] = rows_of(world, table)
    with writing(world.ledger) as connection:
        if change == "removed":
            connection.execute(table.delete())
        else:
            connection.execute(table.insert().values({**row, next(iter(row)): 0 if "leaf" in row else uuid7()}))
    faults = verify_ledger(world.home, world.ledger, world.keyring).faults
    assert any(table.name in fault.place or "profile_counts" in fault.place for fault in faults), faults


def test_every_fault_of_an_outcome_is_named() -> None:
    with pytest.raises(InputError) as caught:
        read_told(
            {"decision": "x", "value": float("nan"), "at": "2031-01-01", "source": "a\nb", "system": "A B", "extra": 1},
            START,
            "outcomes/3/",
        )
    assert {fault["path"] for fault in caught.value.faults} == {
        f"outcomes/3/{name}" for name in ("decision", "value", "at", "source", "system", "extra")
    }
    id_ = uuid7()
    assert read_told({"decision": id_, "value": True}, START) == Told(decision=id_, value=True, at=START)
    for wrong in (None, "", " ", "x" * 201, [], 2**63, {"decision": 1}):
        with pytest.raises(InputError):
            read_told({"decision": id_, "value": wrong}, START)
