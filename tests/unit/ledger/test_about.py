"""Events about a decision: what was said of a person lies under their key, wherever it came from, and dies with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from sqlalchemy import select, update

from pilotage.errors import InputError
from pilotage.kernel.ids import uuid7
from pilotage.ledger.about import emit_about
from pilotage.ledger.erasure import erase
from pilotage.ledger.frames import FrameKind
from pilotage.ledger.items import event_item
from pilotage.ledger.record import Event, commitment
from pilotage.ledger.tables import decisions, events, subject_keys
from pilotage.ledger.verify import verify_ledger
from pilotage.storage import outbox
from pilotage.storage.database import reading, writing
from tests.ledger_world import START, Frame, World, decision, frame_id, make_world

TOLD = "paid back in full"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    made = make_world(tmp_path, request.getfixturevalue("postgres_url") if request.param == "postgresql" else "")
    yield made
    made.control.dispose()
    made.ledger.dispose()


def said(about: str, *, at: int = START + 9, system: str = "credit", text: str = TOLD) -> Frame:
    """An event frame about a decision."""
    salt, content = os.urandom(32), msgspec.msgpack.encode({"value": text})
    leaf = Event(
        id=uuid7(),
        kind="note.taken",
        at=at,
        system=system,
        facts={"decision": about},
        commitment=commitment(salt, content),
    )
    return FrameKind.event, msgspec.json.encode(leaf), salt + content


def key_ids(world: World) -> dict[str, str]:
    with reading(world.ledger) as connection:
        rows = [*connection.execute(select(decisions)), *connection.execute(select(events))]
    return {row.id: row.key_id for row in rows}


def prove_sound(world: World) -> None:
    verdict = verify_ledger(world.home, world.ledger, world.keyring)
    assert verdict.ok, verdict.faults


def test_it_lies_under_the_key_of_its_decision_and_is_found_by_it(world: World) -> None:
    ann, nobody = decision("ann"), decision("", at=START + 40 * 86_400_000_000, system="other")
    before, early = said(frame_id(ann)), said(frame_id(nobody))
    world.write([before, ann, nobody, early])
    steward = world.steward()
    steward.seal_all()
    after, late = said(frame_id(ann)), said(frame_id(nobody))
    world.write([after, late])
    with writing(world.control) as connection:
        emitted = emit_about(
            connection, world.keyring.steward_public, "note.taken", frame_id(ann), private={"value": TOLD}, at=START
        )
    steward.seal_all()
    own = event_item("note.taken", START, {"decision": frame_id(ann)}, {"value": TOLD})
    steward.seal_event(own)

    keys = key_ids(world)
    assert {keys[frame_id(each)] for each in (ann, before, after)} | {keys[emitted.id], keys[own.id]} == {
        keys[frame_id(ann)]
    }
    assert keys[frame_id(early)] == keys[frame_id(late)] == keys[frame_id(nobody)] != keys[frame_id(ann)]
    found = world.queries.about(frame_id(ann))
    assert [row.id for row in found] == [frame_id(before), emitted.id, frame_id(after), own.id]
    assert all(world.queries.event(row.id).private == {"value": TOLD} for row in found)
    assert world.queries.about("no such decision") == []
    prove_sound(world)


@pytest.mark.parametrize("order", ["before", "same batch", "after"])
def test_erasing_the_person_ends_it_whichever_came_first(world: World, order: str) -> None:
    ann, bob = decision("ann"), decision("bob")
    about_ann, about_bob = said(frame_id(ann)), said(frame_id(bob))
    steward = world.steward()
    for batch in {
        "before": [[about_ann, about_bob], [ann, bob]],
        "same batch": [[about_ann, ann, bob, about_bob]],
        "after": [[ann, bob], [about_ann, about_bob]],
    }[order]:
        world.write(batch)
        steward.seal_all()
    assert world.queries.event(frame_id(about_ann)).private == {"value": TOLD}
    prove_sound(world)

    report = erase("ann", "request", "privacy officer", steward=steward)

    assert (report.decisions, report.unreadable, report.events, report.events_unreadable) == (1, 1, 1, 1)
    told = world.queries.event(frame_id(about_ann))
    assert (told.private, told.unreadable) == (None, "erased")
    assert told.entry == about_ann[1] and told.row.about == frame_id(ann)
    assert world.queries.event(frame_id(about_bob)).private == {"value": TOLD}
    prove_sound(world)


def test_of_an_erased_decision_nothing_more_is_kept(world: World) -> None:
    ann = decision("ann")
    world.write([ann])
    steward = world.steward()
    erase("ann", "request", "privacy officer", steward=steward)
    late = said(frame_id(ann), text="a very long text " * 90)
    world.write([late])
    steward.seal_all()
    told = world.queries.event(frame_id(late))
    assert (told.private, told.unreadable, told.row.key_id) == (None, "erased", "erased")
    assert told.entry == late[1] and told.row.length < 300  # a record, and no payload in it
    prove_sound(world)


def test_it_does_not_wait_in_clear(world: World) -> None:
    ann = decision("ann")
    world.write([ann])
    with writing(world.control) as connection:
        emit_about(connection, world.keyring.steward_public, "note.taken", frame_id(ann), private={"value": TOLD})
        rows = connection.execute(select(outbox.outbox)).all()
    assert TOLD.encode() not in b"".join(bytes(row.private) for row in rows)
    assert [row.facts for row in rows] == [{"decision": frame_id(ann)}]
    with writing(world.control) as connection, pytest.raises(InputError):
        emit_about(connection, world.keyring.steward_public, "note.taken", "", private={"value": TOLD})


def test_a_box_that_does_not_open_stops_nothing_and_is_told(world: World) -> None:
    ann, other = decision("ann"), X25519PrivateKey.generate().public_key().public_bytes_raw()
    world.write([ann])
    with writing(world.control) as connection:
        broken = emit_about(connection, other, "note.taken", frame_id(ann), private={"value": TOLD})
    world.steward().seal_all()
    assert set(world.queries.event(broken.id).private or {}) == {"sealed_to_steward"}
    [unsound] = world.queries.events("record.unsound")
    assert unsound.facts["id"] == broken.id
    prove_sound(world)


def test_verification_finds_what_would_outlive_an_erasure(world: World) -> None:
    ann, bob = decision("ann"), decision("bob")
    about_ann = said(frame_id(ann))
    world.write([ann, bob, about_ann])
    steward = world.steward()
    steward.seal_all()
    with writing(world.ledger) as connection:
        connection.execute(update(events).where(events.c.id == frame_id(about_ann)).values(about=frame_id(bob)))
    assert places(world) == {f"events about of leaf {world.queries.event(frame_id(about_ann)).row.leaf}"}
    with writing(world.ledger) as connection:
        connection.execute(update(events).values(about=frame_id(ann)))
    prove_sound(world)
    # A steward that seals it under another person's key.
    wrong = said(frame_id(ann))
    steward.cabinet.find = lambda connection, key_id: steward.cabinet.find_subject(connection, "bob")  # type: ignore[method-assign,assignment,return-value]
    world.write([wrong])
    steward.seal_all()
    leaf = world.queries.event(frame_id(wrong)).row.leaf
    assert places(world) == {f"leaf {leaf}"}


def test_verification_finds_a_key_destroyed_in_an_erasures_shadow(world: World) -> None:
    ann, bob = decision("ann"), decision("bob")
    world.write([said(frame_id(bob)), ann])
    steward = world.steward()
    steward.seal_all()
    world.write([bob])
    report = erase("ann", "request", "privacy officer", steward=steward)
    prove_sound(world)
    [key_id] = {
        key for id_, key in key_ids(world).items() if id_ in {row.id for row in world.queries.about(frame_id(bob))}
    }
    at = world.queries.event(report.event_id).row.at
    with writing(world.ledger) as connection:
        connection.execute(subject_keys.delete().where(subject_keys.c.key_id == key_id))
        connection.exec_driver_sql(
            f"INSERT INTO erased_keys (key_id, event, at) VALUES ('{key_id}', '{report.event_id}', {at})"
        )
        connection.execute(update(events).where(events.c.key_id == key_id).values(key_id="erased"))
    assert f"erased_keys row {key_id}" in places(world)


def places(world: World) -> set[str]:
    return {fault.place for fault in verify_ledger(world.home, world.ledger, world.keyring).faults}
