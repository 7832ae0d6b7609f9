"""Erasure: what was readable is not, also not for one who has everything; the log still proves and verifies."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pilotage.errors import InputError, NotFound, Refused
from pilotage.ledger import store
from pilotage.ledger.erasure import erase, erase_due, place_hold, release_hold
from pilotage.ledger.proofs import verify_proof
from pilotage.ledger.queries import DecisionFilter
from pilotage.ledger.retention import Floor, after, kept_until, retention_floors
from pilotage.ledger.tables import subject_keys
from pilotage.ledger.verify import verify_ledger
from pilotage.storage.database import reading
from tests.ledger_world import START, World, decision, frame_id, make_world, opened, rejected

DAY = 86_400_000_000


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


def test_erased_means_unreadable_and_the_tree_still_verifies(world: World) -> None:
    ann = [decision("ann", score=0.7), rejected("ann"), decision("ann", system="other")]
    bob = decision("bob")
    world.write([*ann[:2], bob])
    steward = world.steward()
    steward.seal_all()
    waiting = world.queries.prove(frame_id(ann[0]))
    world.write(ann[2:])

    report = erase("ann", "request", "privacy officer", steward=steward)

    assert (report.decisions, report.unreadable, report.restricted_until) == (3, 3, 0)
    for frame in ann:
        found = world.queries.decision(frame_id(frame))
        assert (found.payload, found.unreadable) == (None, "erased")
        assert (found.row.subject, found.row.score, found.row.label) == (None, None, None)
        assert found.entry == frame[1] and found.plain.outcome == found.row.outcome
    assert world.queries.decisions(DecisionFilter(subject="ann")) == []
    assert world.queries.decision(frame_id(bob)).payload is not None
    assert world.queries.decision(frame_id(bob)).row.score == 0.25
    # The proof from before and one from now both hold.
    verify_proof(waiting, ann[0][1], world.vkey)
    verify_proof(world.queries.prove(frame_id(ann[2])), ann[2][1], world.vkey)
    verdict = verify_ledger(world.home, world.ledger, world.keyring)
    assert verdict.ok, verdict.faults


def test_the_tombstone_names_nobody(world: World) -> None:
    world.write([decision("ann")])
    steward = world.steward()
    report = erase("ann", "request", "privacy officer", steward=steward)
    tombstone = world.queries.event(report.event_id)
    assert (tombstone.row.kind, tombstone.event.facts) == ("subject.erased", {"decisions": 1, "reason": "request"})
    assert tombstone.private == {"actor": "privacy officer"}
    assert b"ann" not in tombstone.entry


def test_no_copy_of_the_key_stays_in_the_database_files(world: World) -> None:
    world.write([decision(f"s{n}") for n in range(200)])
    steward = world.steward()
    steward.seal_all()
    lookup = steward.cabinet.subject_lookup("s77")
    with reading(world.ledger) as connection:
        row = store.find_keys(connection, subject_keys, [lookup])[lookup]
    wrapped, key_id = bytes(row.wrapped), row.key_id
    files = [world.home.root / name for name in ("ledger.db", "ledger.db-wal")]
    assert any(wrapped in path.read_bytes() for path in files)
    erase("s77", "request", "privacy officer", steward=steward)
    for path in files:
        content = path.read_bytes()
        assert wrapped not in content and wrapped[12:44] not in content and lookup.encode() not in content
    with reading(world.ledger) as connection:
        assert store.find_key(connection, key_id) is None


def test_the_proof_of_unreadability_tries_to_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.write([decision("ann"), decision("ann")])
    steward = world.steward()
    steward.seal_all()
    with reading(world.ledger) as connection:
        kept = steward.cabinet.find_subject(connection, "ann")
    assert kept is not None
    # Somebody kept the key: the report must not say that nothing can be read.
    monkeypatch.setattr(steward.cabinet, "find", lambda connection, key_id: kept)
    report = erase("ann", "request", "privacy officer", steward=steward)
    assert (report.decisions, report.unreadable) == (2, 0)


def test_a_person_who_comes_back_is_somebody_new(world: World) -> None:
    world.write([decision("ann")])
    steward = world.steward()
    steward.seal_all()
    before = world.queries.decisions(DecisionFilter(subject="ann"))[0].subject
    erase("ann", "request", "privacy officer", steward=steward)
    world.write([again := decision("ann")])
    steward.seal_all()
    [row] = world.queries.decisions(DecisionFilter(subject="ann"))
    assert row.id == frame_id(again) and row.subject != before
    assert erase("ann", "request", "privacy officer", steward=steward).unreadable == 1


def test_an_unknown_subject_is_not_found_and_nothing_is_sealed(world: World) -> None:
    world.write([decision("ann")])
    steward = world.steward()
    size = steward.seal_all().size
    with pytest.raises(NotFound):
        erase("nobody", "request", "privacy officer", steward=steward)
    assert steward.seal_all().size == size


@pytest.mark.parametrize("hold", [{"subject": "ann"}, {"system": "credit"}, {}])
def test_a_legal_hold_forbids_erasure_until_it_is_released(world: World, hold: dict[str, str]) -> None:
    world.write([decision("ann")])
    steward = world.steward()
    hold_id = place_hold(world.control, world.keyring, "litigation", "counsel", **hold)
    with pytest.raises(Refused) as refused:
        erase("ann", "request", "privacy officer", steward=steward)
    assert refused.value.code == "legal_hold" and hold_id in str(refused.value)
    assert world.queries.decisions(DecisionFilter(subject="ann")) != []
    release_hold(world.control, hold_id, "counsel")
    with pytest.raises(NotFound):
        release_hold(world.control, hold_id, "counsel")
    assert erase("ann", "request", "privacy officer", steward=steward).unreadable == 1
    assert {row.kind for row in world.queries.events()} >= {
        "legal_hold.placed",
        "legal_hold.released",
        "subject.erased",
    }


@pytest.mark.parametrize("hold", [{"subject": "bob"}, {"system": "other"}])
def test_a_hold_on_others_does_not_forbid(world: World, hold: dict[str, str]) -> None:
    world.write([decision("ann")])
    place_hold(world.control, world.keyring, "litigation", "counsel", **hold)
    assert erase("ann", "request", "privacy officer", steward=world.steward()).unreadable == 1


def test_inside_a_retention_floor_erasure_is_scheduled_and_done_when_it_ends(world: World) -> None:
    now = [START + DAY]
    world.write([decision("ann", at=START)])
    steward = world.steward(clock=lambda: now[0])
    report = erase("ann", "request", "privacy officer", steward=steward, regimes=["cert_in", "eu_ai_act_logs"])
    assert report.restricted_until == kept_until(START, ["eu_ai_act_logs"]) > START + 180 * DAY
    assert report.unreadable == 0 and world.queries.decisions(DecisionFilter(subject="ann")) != []
    assert world.queries.event(report.event_id).row.kind == "erasure.scheduled"
    assert erase_due(steward) == []
    now[0] = report.restricted_until
    [done] = erase_due(steward)
    assert (done.decisions, done.unreadable) == (1, 1)
    assert erase_due(steward) == []


def test_floors_end_on_calendar_dates() -> None:
    january_31 = 1_769_817_600_000_000 + 5
    assert kept_until(january_31, []) == 0
    assert kept_until(january_31, ["eu_ai_act_logs"]) - january_31 == (28 + 31 + 30 + 31 + 30 + 31) * DAY
    assert kept_until(january_31, ["cert_in"]) - january_31 == 180 * DAY
    assert kept_until(january_31, ["cert_in", "sebi_cp"]) - january_31 == (365 * 5 + 1) * DAY
    with pytest.raises(InputError, match="unknown retention regimes"):
        kept_until(january_31, ["cert_in", "atlantis"])
    assert kept_until(january_31, ["sebi_cp", "eu_ai_act_docs"], "denials") == 0
    assert kept_until(january_31, ["sebi_cp", "eu_ai_act_docs"], "evidence") == after(january_31, Floor(months=120))
    assert len(retention_floors()) == 7


def test_files_with_copies_are_named_until_they_are_deleted(world: World) -> None:
    world.write([decision("ann")])
    steward = world.steward()
    assert erase("ann", "request", "privacy officer", steward=steward).journals == ("n1/0-1",)
    world.write([decision("bob")])
    steward.seal_all()
    assert not (world.home.journal / "n1" / "0-1.log").exists()


def test_a_stream_that_broke_off_is_erased_too(world: World) -> None:
    stream = opened("01890000-0000-7000-8000-000000000001", "ann")
    world.write([stream])
    steward = world.steward()
    assert erase("ann", "request", "privacy officer", steward=steward).unreadable == 1
    assert world.queries.decision(frame_id(stream)).payload is None


def test_a_ciphertext_is_bound_to_its_record(world: World) -> None:
    frames = [decision("ann"), decision("ann")]
    world.write(frames)
    steward = world.steward()
    steward.seal_all()
    with reading(world.ledger) as connection:
        key = steward.cabinet.find_subject(connection, "ann")
        assert key is not None and isinstance(key.aead, AESGCM)
        first = key.seal("one", "n1/0-1", b"x" * 40, bytes(12))
        assert key.open(first) == b"x" * 40


@pytest.mark.postgres
def test_erasure_on_postgresql(tmp_path: Path, postgres_url: str) -> None:
    world = make_world(tmp_path, postgres_url)
    world.write([decision("ann"), decision("bob")])
    report = erase("ann", "request", "privacy officer", steward=world.steward())
    assert (report.decisions, report.unreadable) == (1, 1)
    verdict = verify_ledger(world.home, world.ledger, world.keyring)
    assert verdict.ok, verdict.faults
    world.control.dispose()
    world.ledger.dispose()
