"""Entries that were committed and not published yet lie in a file: found, held to the signed head, and never lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pilotage.errors import IntegrityError
from pilotage.ledger import tiles
from pilotage.ledger.pending import pending_names, pending_path
from pilotage.ledger.segments import intents
from pilotage.ledger.verify import LedgerReport, verify_ledger
from pilotage.ledger.verify_since import verify_since
from tests.ledger_world import World, decision, event, frame_id, make_world

FIRST = [decision("p-1"), decision()]
SECOND = [decision("p-2"), event(), decision("p-3")]


class Ended(Exception):
    """Where the steward is stopped."""


def stop_at(name: str) -> Callable[[str], None]:
    def step(reached: str) -> None:
        if reached == name:
            raise Ended

    return step


def stopped(world: World, at: str) -> Path:
    """A second batch whose steward ends there; the file of its entries."""
    world.write(FIRST, worker=0)
    world.steward().seal_all()
    world.write(SECOND, worker=1)
    steward = world.steward(step=stop_at(at), steal=True)
    with pytest.raises(Ended):
        steward.seal()
    [name] = pending_names(world.home.ledger)
    return world.home.ledger / pending_path(name)


def verified(world: World) -> LedgerReport:
    return verify_ledger(world.home, world.ledger, world.keyring)


def named(report: LedgerReport, path: Path) -> bool:
    return any(str(path) in fault.place or "pending" in fault.place for fault in report.faults)


def test_what_waits_is_found_verified_and_published_by_the_next_steward(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    path = stopped(world, "committed")
    assert path.stat().st_mode & 0o777 == 0o600
    found = world.queries.decision(frame_id(SECOND[0]))
    assert found.payload is not None and found.entry == SECOND[0][1]
    report = verified(world)
    assert report.ok and report.published < report.size, report.faults
    assert verify_since(world.home, world.ledger, world.keyring, report.published).ok
    world.steward(steal=True)
    world.check([*FIRST, *SECOND])
    assert not path.exists() and verified(world).ok


@pytest.mark.parametrize("place", ["length", "entry", "end"])
def test_a_changed_file_is_named_and_not_published(tmp_path: Path, place: str) -> None:
    world = make_world(tmp_path)
    path = stopped(world, "committed")
    whole, shown = path.read_bytes(), tiles.read_checkpoint(world.home.ledger)
    at = {"length": 1, "entry": 40, "end": len(whole) - 1}[place]
    path.write_bytes(whole[:at] if place == "end" else whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    report = verified(world)
    assert not report.ok and named(report, path), report.faults
    with pytest.raises(IntegrityError):
        world.steward(steal=True)
    assert tiles.read_checkpoint(world.home.ledger) == shown
    path.write_bytes(whole)
    world.steward(steal=True)
    world.check([*FIRST, *SECOND])


def test_a_lost_file_is_named_and_the_mend_told(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    path = stopped(world, "committed")
    whole = path.read_bytes()
    path.unlink()
    report = verified(world)
    assert not report.ok and named(report, path)
    assert not verify_since(world.home, world.ledger, world.keyring, report.published).ok
    with pytest.raises(IntegrityError, match="wait to be published are not there"):
        world.steward(steal=True)
    path.write_bytes(whole)
    world.steward(steal=True)
    world.check([*FIRST, *SECOND])


def test_a_checkpoint_that_was_lost_after_publishing_is_written_again(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    world.write(FIRST)
    world.steward().seal_all()
    checkpoint = world.home.ledger / "checkpoint"
    shown = checkpoint.read_text()
    checkpoint.unlink()
    assert not verified(world).ok
    world.steward(steal=True)
    assert checkpoint.read_text() == shown and verified(world).ok


def test_the_file_of_a_batch_that_was_never_committed_goes(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    path = stopped(world, "files")
    assert any(pending_path(path.name) in paths for paths in intents(world.home.ledger).values())
    assert verified(world).ok, "its steward clears it up itself"
    world.steward(steal=True).seal_all()
    world.check([*FIRST, *SECOND])
    assert not path.exists()


def test_a_file_of_no_batch_is_named(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    world.write(FIRST)
    world.steward().seal_all()
    path = world.home.ledger / pending_path("01a")
    path.write_bytes(b"")
    report = verified(world)
    assert [fault.place for fault in report.faults] == [str(path)]


def test_a_file_that_a_kill_left_behind_after_publishing_goes(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    path = stopped(world, "published")
    assert verified(world).ok
    world.steward(steal=True)
    assert not path.exists()
    world.check([*FIRST, *SECOND])
