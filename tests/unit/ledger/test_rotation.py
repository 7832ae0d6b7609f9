"""Rotation: what was sealed stays readable and provable, the old secrets become needless, a kill costs nothing."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import func, select

from pilotage.errors import IntegrityError, Unavailable
from pilotage.ledger import store, tiles
from pilotage.ledger.erasure import erase
from pilotage.ledger.intake import StreamBox
from pilotage.ledger.keyring import Keyring
from pilotage.ledger.keys import KeyCabinet
from pilotage.ledger.notes import Signer
from pilotage.ledger.proofs import verify_proof
from pilotage.ledger.queries import DecisionFilter
from pilotage.ledger.rotation import (
    announce_signing,
    journals_sealed_to,
    new_master,
    new_signing,
    new_steward,
    rewrap,
    unannounced,
)
from pilotage.ledger.signing import KeyPeriod, key_periods, parse_periods
from pilotage.ledger.tables import events, held_frames, subject_keys
from pilotage.ledger.verify import verify_ledger
from pilotage.storage.database import reading, writing
from tests.ledger_world import World, decision, frame_id, in_killed_process, make_world

STREAM = "01890000-0000-7000-8000-000000000001"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


def verified(world: World) -> None:
    report = verify_ledger(world.home, world.ledger, world.keyring)
    assert report.ok, report.faults


def sealed(world: World, count: int = 30) -> list[tuple[object, ...]]:
    frames = [decision(f"s{n}") for n in range(count)] + [decision()]
    world.write(frames)
    world.steward().seal_all()
    return frames


def pseudonyms(world: World) -> dict[str, str | None]:
    return {row.id: row.subject for row in world.queries.decisions(limit=1_000)}


def test_after_a_rotation_of_the_master_nothing_needs_the_old_one_and_lookups_are_the_same(world: World) -> None:
    frames = sealed(world)
    before, old = pseudonyms(world), world.keyring
    seen: list[tuple[int, int]] = []
    world.keyring = new_master(old, os.urandom(32))
    done = rewrap(world.ledger, world.keyring, lambda *at: seen.append(at), batch=7)
    assert (done.rows, done.moved) == (31, 31) and len(seen) == 6 and seen[-1] == (31, 31)
    assert rewrap(world.ledger, world.keyring).moved == 0
    world.keyring = replace(world.keyring, masters=world.keyring.masters[:1])
    assert pseudonyms(world) == before
    for frame in frames:
        assert world.queries.decision(frame_id(frame)).payload is not None
    [row] = world.queries.decisions(DecisionFilter(subject="s7"))
    assert row.id == frame_id(frames[7])
    verified(world)
    world.keyring = old
    with pytest.raises(IntegrityError, match="does not unwrap"):
        world.queries.decisions(DecisionFilter(subject="s7"))


def test_a_killed_rewrapping_goes_on(world: World) -> None:
    sealed(world)
    world.keyring = new_master(world.keyring, os.urandom(32))

    def killed() -> None:
        rewrap(world.ledger, world.keyring, lambda done, total: os._exit(9) if done >= 14 else None, batch=7)

    assert in_killed_process(killed) == 9
    # In between both masters wrap some: everything is readable, and sealing goes on.
    world.write([again := decision("s3"), decision("new")])
    world.steward().seal_all()
    assert {row.id for row in world.queries.decisions(DecisionFilter(subject="s3"))} >= {frame_id(again)}
    verified(world)
    assert 0 < rewrap(world.ledger, world.keyring, batch=7).moved < 31
    world.keyring = replace(world.keyring, masters=world.keyring.masters[:1])
    verified(world)


def test_a_key_erased_meanwhile_stays_erased(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    sealed(world, 5)
    world.keyring = new_master(world.keyring, os.urandom(32))
    steward = world.steward()
    kept = KeyCabinet.rewrap
    erased: list[str] = []

    def erasing(self: KeyCabinet, row: object) -> bytes | None:
        if not erased:
            erased.append(erase("s2", "request", "officer", steward=steward).event_id)
        return kept(self, row)  # type: ignore[arg-type]

    monkeypatch.setattr(KeyCabinet, "rewrap", erasing)
    assert rewrap(world.ledger, world.keyring).moved == 5
    with reading(world.ledger) as connection:
        assert connection.execute(select(func.count()).select_from(subject_keys)).scalar() == 4
    verified(world)


def test_frames_of_open_streams_are_wrapped_anew_too(world: World) -> None:
    old = world.keyring
    world.keyring = new_master(old, os.urandom(32))
    secret = StreamBox(*old.wrapping_secrets("held-frames")).shut(STREAM, b"hello")
    row = {"id": STREAM, "origin": "n1/0-1", "opened": True, "plain": b"{}", "secret": secret}
    with writing(world.ledger) as connection:
        store.add_rows(connection, held_frames, [row])
    assert rewrap(world.ledger, world.keyring).moved == 1
    with reading(world.ledger) as connection:
        [held] = store.held_of(connection, [STREAM])
    newest = StreamBox(world.keyring.wrapping_secrets("held-frames")[0])
    assert newest.open(STREAM, held.secret) == b"hello"
    with pytest.raises(IntegrityError, match="does not open"):
        rewrap(world.ledger, old)


def test_journals_of_both_steward_keys_are_read_until_the_old_ones_are_gone(world: World) -> None:
    old = world.keyring
    world.write([first := decision("ann")])
    world.keyring = new_steward(old)
    world.write([second := decision("ann")])
    assert journals_sealed_to(world.home.journal, old.steward_public) == ["n1/0-1"]
    assert journals_sealed_to(world.home.journal, world.keyring.steward_public) == ["n1/0-2"]
    world.steward().seal_all()
    assert journals_sealed_to(world.home.journal, old.steward_public) == []
    world.check([first, second])
    world.keyring = replace(world.keyring, stewards=world.keyring.stewards[:1])
    verified(world)


def rotate_signing(world: World) -> str:
    world.keyring = new_signing(world.keyring)
    return announce_signing(world.steward(), "admin")


def test_the_log_itself_leads_from_the_old_signing_key_to_the_new(world: World) -> None:
    frames = [decision("ann")]
    world.write(frames)
    world.steward().seal_all()
    old, early = world.vkey, world.queries.prove(frame_id(frames[0]))
    rotate_signing(world)
    new = world.vkey
    announced = tiles.read_checkpoint(world.home.ledger)
    verify_proof(early, frames[0][1], old)
    world.write([decision("bob")])
    world.steward().seal_all()
    late = world.queries.prove(frame_id(frames[0]))
    with reading(world.ledger) as connection:
        periods = key_periods(connection, world.keyring)
    size = int(announced.splitlines()[1])
    assert periods == [KeyPeriod(vkey=old, last=size), KeyPeriod(vkey=new, first=size + 1)]
    assert parse_periods([period.line() for period in periods]) == periods
    # The event is under a head of the old key: who trusts only that one learns of the new one.
    [row] = world.queries.events("key.rotated")
    assert row.facts == {"key": "signing", "old": old, "new": new} and row.leaf < size
    verify_proof(world.queries.prove(row.id), world.queries.entry(row.leaf), new)
    for proof in (early, late):
        verify_proof(proof, frames[0][1], periods)
    with pytest.raises(IntegrityError):
        verify_proof(late, frames[0][1], old)
    verified(world)


def test_a_stolen_old_key_signs_nothing_that_is_believed(world: World) -> None:
    world.write([frame := decision("ann")])
    world.steward().seal_all()
    stolen = world.keyring.signing
    rotate_signing(world)
    world.write([decision("bob")])
    size = world.steward().seal_all().size
    with reading(world.ledger) as connection:
        periods = key_periods(connection, world.keyring)
    honest = world.queries.prove(frame_id(frame))
    root = world.queries.checkpoint().splitlines()[2]
    forged = Signer(world.keyring.origin, stolen).sign_checkpoint(world.keyring.origin, size, _decoded(root))
    with pytest.raises(IntegrityError, match="not in use at its size"):
        verify_proof(honest.partition("\n\n")[0] + "\n\n" + forged, frame[1], periods)
    path = world.home.ledger / "checkpoint"
    path.write_text(forged)
    report = verify_ledger(world.home, world.ledger, world.keyring)
    assert not report.ok and any(str(path) in fault.place for fault in report.faults)


def _decoded(text: str) -> bytes:
    import base64

    return base64.b64decode(text)


@pytest.mark.parametrize("at", ["intent", "written", "committed", "published"])
def test_a_killed_announcement_is_made_once(world: World, at: str) -> None:
    world.write([decision("ann")])
    world.steward().seal_all()
    world.keyring = new_signing(world.keyring)

    def killed() -> None:
        announce_signing(world.steward(step=lambda name: os._exit(9) if name == at else None), "admin")

    assert in_killed_process(killed) == 9
    done = not unannounced(world.ledger, world.keyring)
    assert done == (at in ("committed", "published"))
    world.write([decision("bob")])
    world.steward().seal_all()
    verified(world)
    if not done:
        announce_signing(world.steward(), "admin")
    assert len(world.queries.events("key.rotated")) == 1
    verified(world)


def test_a_process_with_an_older_keyring_signs_nothing(world: World) -> None:
    older = world.keyring
    world.write([decision("ann")])
    rotate_signing(world)
    world.keyring = older
    world.write([decision("bob")])
    with pytest.raises(Unavailable) as refused:
        world.steward().seal_all()
    assert refused.value.code == "keyring_outdated"


def test_without_its_private_part_an_old_signing_key_still_verifies(world: World) -> None:
    world.write([decision("ann")])
    world.steward().seal_all()
    rotate_signing(world)
    first, second = world.keyring.signings
    world.keyring = replace(world.keyring, signings=(first, replace(second, private=None)))
    world.write([decision("bob")])
    world.steward().seal_all()
    verified(world)


@pytest.mark.parametrize("edit", ["facts", "gone"])
def test_an_edited_rotation_is_found(world: World, edit: str) -> None:
    world.write([decision("ann")])
    world.steward().seal_all()
    rotate_signing(world)
    world.write([decision("bob")])
    world.steward().seal_all()
    mine = Keyring.create(world.keyring.origin)
    with writing(world.ledger) as connection:
        [row] = connection.execute(events.select().where(events.c.kind == "key.rotated")).all()
        change = (
            events.delete() if edit == "gone" else events.update().values(facts={**row.facts, "new": mine.vkeys[0]})
        )
        connection.execute(change.where(events.c.leaf == row.leaf))
    report = verify_ledger(world.home, world.ledger, world.keyring)
    assert any(f"of leaf {row.leaf}" in fault.place for fault in report.faults)


def test_a_running_steward_follows_the_keyring(world: World) -> None:
    now: list[Keyring] = [world.keyring]
    world.write([decision("ann")])
    steward = world.steward()
    steward._keyring_now = lambda: now[0]  # as the wiring passes it
    steward.seal_all()
    now[0] = world.keyring = new_signing(new_steward(new_master(world.keyring, os.urandom(32))))
    rewrap(world.ledger, world.keyring)
    announce_signing(steward, "admin")
    world.write([last := decision("ann")])
    steward.seal_all()
    world.keyring = replace(world.keyring, masters=world.keyring.masters[:1], stewards=world.keyring.stewards[:1])
    assert len(world.queries.decisions(DecisionFilter(subject="ann"))) == 2
    assert world.queries.decision(frame_id(last)).payload is not None
    verified(world)


@pytest.mark.postgres
def test_rotation_on_postgresql(tmp_path: Path, postgres_url: str) -> None:
    world = make_world(tmp_path, postgres_url)
    sealed(world)
    world.keyring = new_master(world.keyring, os.urandom(32))
    assert rewrap(world.ledger, world.keyring, batch=7).moved == 31
    rotate_signing(world)
    world.keyring = replace(world.keyring, masters=world.keyring.masters[:1])
    world.write([decision("ann")])
    world.steward().seal_all()
    verified(world)
    world.control.dispose()
    world.ledger.dispose()
