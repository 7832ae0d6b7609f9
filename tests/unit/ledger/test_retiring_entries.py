"""Retention of entries: bundles go with their payloads gone, the tree and proofs hold, a kill costs nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete, update

from pilotage.errors import Gone, IntegrityError
from pilotage.kernel.digests import digest
from pilotage.ledger.about import emit_about
from pilotage.ledger.erasure import place_hold, release_hold
from pilotage.ledger.kept import PAST, KeptBundle, Stub, kept_path, pack_kept
from pilotage.ledger.merkle import leaf_hash
from pilotage.ledger.outside import Outside, OutsideAudit, Receipt
from pilotage.ledger.proofs import verify_proof
from pilotage.ledger.queries import DecisionFilter
from pilotage.ledger.rebuild import rebuild_index
from pilotage.ledger.retention import Floor
from pilotage.ledger.retiring import Policy, retire, survey
from pilotage.ledger.retiring_entries import StoredBundle, finish_entries, retire_entries, survey_entries
from pilotage.ledger.said import OUTCOME
from pilotage.ledger.said_tables import outcomes
from pilotage.ledger.signing import KeyPeriod
from pilotage.ledger.tables import decision_sums, decisions, events
from pilotage.ledger.tiles import published_tile, read_entry, tile_path, unpack_entries
from pilotage.ledger.verify import verify_ledger
from pilotage.ledger.verify_since import verify_since
from pilotage.ledger.witness import LogTiles, check_next
from pilotage.storage.database import reading, writing
from pilotage.storage.outbox import emit
from tests.ledger_world import START, Frame, World, decision, frame_id, in_killed_process, make_world

DAY = 86_400_000_000
SHORT = {"credit": Policy(payloads=Floor(days=30), entries=Floor(days=60))}
LATER = START + 70 * DAY
RULES = {"credit": "60 days"}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = make_world(tmp_path)
    yield made
    made.control.dispose()
    made.ledger.dispose()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    made = make_world(tmp_path, request.getfixturevalue("postgres_url") if request.param == "postgresql" else "")
    yield made
    made.control.dispose()
    made.ledger.dispose()


def filled(world: World, number: int = 300) -> list[Frame]:
    """Two full bundles: old decisions with an outcome and a control event among them, then new ones."""
    frames = [decision(f"p{n}" if n % 3 else "", score=n / 1_000) for n in range(number)]
    world.write(frames)
    world.steward(clock=lambda: START).seal_all()
    with writing(world.control) as connection:
        told = {"value": "paid", "at": START}
        emit_about(connection, world.keyring.steward_public, OUTCOME, frame_id(frames[3]), private=told, at=START)
    world.steward(clock=lambda: START).seal_all()
    world.write([decision("new", at=START + 65 * DAY) for _ in range(256)])
    world.steward(clock=lambda: START).seal_all()
    return frames


def without_payloads(world: World, now: int = LATER) -> None:
    found = survey(world.ledger, world.control, SHORT)
    retire(world.steward(clock=lambda: now), [each for each in found if each.due(now)], "officer")


def due(world: World, policies: dict[str, Policy] = SHORT, now: int = LATER) -> list[StoredBundle]:
    found = survey_entries(world.home.ledger, world.ledger, world.control, policies)
    return [bundle for bundle in found if bundle.due(now)]


def deleted(world: World) -> list[Frame]:
    """A ledger whose first bundle is gone."""
    frames = filled(world)
    without_payloads(world)
    done = retire_entries(world.steward(clock=lambda: LATER), due(world), "officer", RULES)
    assert (done.bundles, done.entries, len(done.events)) == (1, 256, 1)
    return frames


def verified(world: World) -> None:
    for report in (
        verify_ledger(world.home, world.ledger, world.keyring),
        verify_since(world.home, world.ledger, world.keyring, 0),
    ):
        assert report.ok, report.faults[:3]
        assert report.gone == 256 and report.decisions == 556


def rows_of(world: World, table: object) -> list[tuple[object, ...]]:
    with reading(world.ledger) as connection:
        found = connection.execute(table.select()).all()  # type: ignore[attr-defined]
    return sorted(tuple(str(value) for value in row) for row in found)


def test_a_bundle_goes_once_all_in_it_may_and_everything_else_holds(either: World) -> None:
    world = either
    frames = filled(world)
    early = world.queries.prove(frame_id(frames[5]))
    before = verify_ledger(world.home, world.ledger, world.keyring)
    assert before.ok, before.faults
    assert due(world) == [], "its payloads are still there"
    without_payloads(world)
    assert [bundle.number for bundle in due(world)] == [0], "the second holds newer ones"
    assert due(world, now=START + 59 * DAY) == []
    sums = rows_of(world, decision_sums)
    done = retire_entries(world.steward(clock=lambda: LATER), due(world), "officer", RULES)
    assert (done.bundles, done.entries) == (1, 256)
    assert not tile_path(world.home.ledger, "entries", 0).exists() and tile_path(world.home.ledger, 0, 0).exists()
    assert due(world) == [], "it went once"
    verified(world)
    assert rows_of(world, decision_sums) == sums, "figures of a window stay"
    # An old proof, and one made now from tiles alone, hold for whoever kept the record.
    verify_proof(early, frames[5][1], world.vkey)
    verify_proof(world.queries.prove(frame_id(frames[5])), frames[5][1], world.vkey)
    found = world.queries.decision(frame_id(frames[5]))
    assert found.past is not None and found.payload is None and found.row.outcome == PAST
    assert (found.past.rule, found.past.event) == ("60 days", done.events[0])
    assert found.unreadable.startswith("past retention (kept 60 days): deleted 2026-")
    with pytest.raises(Gone, match="past retention"):
        read_entry(world.home.ledger, 5, before.size)
    listed = world.queries.decisions(DecisionFilter(), limit=1_000)
    assert len(listed) == 556 and sum(row.outcome == PAST for row in listed) == 256
    assert [each.past is not None for each in world.queries.recorded(listed)] == [r.outcome == PAST for r in listed]


@pytest.mark.slow
def test_a_workers_last_journal_may_outlive_the_entries(world: World) -> None:
    world.write([decision(f"p{n}") for n in range(300)])
    world.steward(clock=lambda: START).seal_all()
    assert list(world.home.journal.rglob("*.log")), "nothing has succeeded it"
    without_payloads(world)
    assert retire_entries(world.steward(clock=lambda: LATER), due(world), "officer", RULES).entries == 256
    report = verify_ledger(world.home, world.ledger, world.keyring)
    assert report.ok, report.faults[:3]


@pytest.mark.slow
def test_receipts_of_what_went_still_hold(world: World) -> None:
    frames = deleted(world)
    leaf = leaf_hash(frames[7][1]).hex()
    good, forged = (Receipt(id=frame_id(frames[7]), leaf=each) for each in (leaf, "ab" * 32))
    audit = OutsideAudit(world.home, world.ledger, world.keyring, Outside(receipts=[good, forged]))
    assert [fault.place for fault in audit.faults()] == [f"receipt {forged.id}"]


def test_a_rebuilt_index_says_the_same_of_it(either: World) -> None:
    world = either
    deleted(world)
    before = {table.name: rows_of(world, table) for table in (decisions, events, outcomes, decision_sums)}
    with writing(world.ledger) as connection:
        connection.execute(delete(decisions).where(decisions.c.leaf < 256))
        connection.execute(delete(decision_sums).where(decision_sums.c.at % 2 == 0))
    report = rebuild_index(world.steward(), lambda release: None)
    assert report.gone == 256 and report.decisions == 556
    for table in (decisions, events, outcomes, decision_sums):
        assert rows_of(world, table) == before[table.name]
    verified(world)


@pytest.mark.slow
@pytest.mark.parametrize("hold", [{"system": "credit"}, {}])
def test_a_hold_wins_also_one_placed_meanwhile(world: World, hold: dict[str, str]) -> None:
    filled(world)
    without_payloads(world)
    ready = due(world)
    id_ = place_hold(world.control, world.keyring, "court", "officer", **hold)
    assert due(world) == []
    assert retire_entries(world.steward(clock=lambda: LATER), ready, "officer", RULES).bundles == 0
    release_hold(world.control, id_, "officer")
    assert retire_entries(world.steward(clock=lambda: LATER), due(world), "officer", RULES).bundles == 1


@pytest.mark.slow
def test_a_floor_wins_and_without_a_wish_for_payloads_entries_stay(world: World) -> None:
    filled(world)
    without_payloads(world)
    floored = {"credit": Policy(payloads=Floor(days=30), entries=Floor(days=60), regimes=("cert_in",))}
    assert due(world, floored) == [] and len(due(world, floored, START + 182 * DAY)) == 1
    assert due(world, {"credit": Policy(entries=Floor(days=60))}) == []
    assert due(world, {"credit": Policy(payloads=Floor(days=30))}) == [] and due(world, {}) == []


@pytest.mark.slow
@pytest.mark.parametrize("at", ["before", "written", "committed", "unlinked"])
def test_a_killed_deletion_goes_on(either: World, at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    world = either
    filled(world)
    without_payloads(world)
    ready = due(world)
    world.control.dispose()
    world.ledger.dispose()

    def killed() -> None:
        steward = world.steward(
            clock=lambda: LATER, step=lambda name: os._exit(9) if name == at and ready else None, steal=True
        )
        if at == "before":
            monkeypatch.setattr(steward, "seal_event", lambda *_: os._exit(9))
        retire_entries(steward, ready, "officer", RULES)
        os._exit(9)

    assert in_killed_process(killed) == 9
    world.steward(clock=lambda: LATER).seal_all()
    left = due(world)
    assert len(left) == (1 if at in ("before", "written") else 0)
    if at == "committed":
        report = verify_ledger(world.home, world.ledger, world.keyring)
        assert any("yet it is there" in fault.what for fault in report.faults)
        assert finish_entries(world.home.ledger, world.ledger) == 1
    elif left:
        report = verify_ledger(world.home, world.ledger, world.keyring)
        assert report.ok and report.gone == 0, report.faults
        assert finish_entries(world.home.ledger, world.ledger) == 0
    retire_entries(world.steward(clock=lambda: LATER), left, "officer", RULES)
    verified(world)


@pytest.mark.slow
@pytest.mark.parametrize("edit", ["kept", "kept lost", "row", "id", "outcome row", "sum", "event", "bundle of another"])
def test_nothing_else_may_be_missing_or_changed(world: World, edit: str) -> None:
    deleted(world)
    path = kept_path(world.home.ledger, 0)
    content = path.read_bytes()
    if edit == "kept":
        path.write_bytes(content[:-20] + bytes([content[-20] ^ 1]) + content[-19:])
    elif edit == "kept lost":
        path.unlink()
    elif edit == "bundle of another":
        tile_path(world.home.ledger, "entries", 1).unlink()
        kept_path(world.home.ledger, 1).write_bytes(content)
    changes = {
        "row": delete(decisions).where(decisions.c.leaf == 5),
        "id": update(decisions).where(decisions.c.leaf == 5).values(id="another"),
        "outcome row": update(decisions).where(decisions.c.leaf == 5).values(outcome="answered"),
        "sum": update(decision_sums).where(decision_sums.c.span == 60).values(n=1),
        "event": delete(events).where(events.c.kind == "retention.entries"),
    }
    with writing(world.ledger) as connection:
        if edit in changes:
            connection.execute(changes[edit])  # type: ignore[call-overload]
    report = verify_ledger(world.home, world.ledger, world.keyring)
    assert not report.ok
    if edit not in ("event", "row"):
        assert not verify_since(world.home, world.ledger, world.keyring, 0).ok or edit == "sum"


@pytest.mark.slow
def test_a_changed_entry_is_not_swept_away_with_its_bundle(world: World) -> None:
    filled(world)
    without_payloads(world)
    path = tile_path(world.home.ledger, "entries", 0)
    path.write_bytes(path.read_bytes().replace(b'"stage":"internal"', b'"stage":"interna1"', 1))
    with pytest.raises(IntegrityError, match="not the one in the tree"):
        retire_entries(world.steward(clock=lambda: LATER), due(world), "officer", RULES)
    assert path.exists()


@pytest.mark.slow
def test_who_approved_is_kept_when_the_systems_payloads_go(world: World) -> None:
    world.write([decision("ann")])
    with writing(world.control) as connection:
        emit(connection, "approval.granted", system="credit", private={"name": "Olga"}, at=START)
    world.steward(clock=lambda: START).seal_all()
    without_payloads(world)
    assert world.queries.decisions()[0].key_id == "erased"
    [row] = world.queries.events("approval.granted")
    assert world.queries.event(row.id).private == {"name": "Olga"}
    assert verify_ledger(world.home, world.ledger, world.keyring).ok


@pytest.mark.slow
def test_a_witness_goes_on_from_before_the_deletion_to_after_it(world: World) -> None:
    filled(world)
    keys = [KeyPeriod(vkey=world.vkey)]

    def shown(size: int) -> LogTiles:
        return LogTiles(size, lambda *tile: published_tile(world.home.ledger, *tile, size))

    held = check_next(None, world.queries.checkpoint(), keys, shown).held
    without_payloads(world)
    retire_entries(world.steward(clock=lambda: LATER), due(world), "officer", RULES)
    found = check_next(held, world.queries.checkpoint(), keys, shown)
    assert found.held.size > held.size and found.proof
    with pytest.raises(Gone):
        published_tile(world.home.ledger, "entries", 0, 256, found.held.size)


@pytest.mark.slow
def test_a_deletion_that_no_leaf_tells_of_is_found(world: World) -> None:
    deleted(world)
    bundle, forged = tile_path(world.home.ledger, "entries", 1), kept_path(world.home.ledger, 1)
    entries: list[bytes | Stub] = list(unpack_entries(bundle.read_bytes(), bundle))
    entries[200] = Stub("01a2", START, "credit", 0)
    content = pack_kept(KeptBundle(number=1, segments=["segments/credit/x.seg"], entries=entries, sums=[]))
    forged.write_bytes(content)
    bundle.unlink()
    with writing(world.ledger) as connection:
        [row] = connection.execute(events.select().where(events.c.kind == "retention.entries")).all()
        facts = {**row.facts, "bundles": {**row.facts["bundles"], "1": digest(content)}}
        connection.execute(update(events).where(events.c.leaf == row.leaf).values(facts=facts))
    report = verify_ledger(world.home, world.ledger, world.keyring)
    assert f"events facts of leaf {row.leaf}" in {fault.place for fault in report.faults}
    with pytest.raises(IntegrityError):
        rebuild_index(world.steward(), lambda release: None)
