"""The power fails while an edge node's journal is imported and sealed: the same file again, and all is there once."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from pilotage.ledger.collecting import read_positions
from pilotage.ledger.record import Event
from pilotage.ledger.verify import verify_ledger
from pilotage.nodes.copies import CopyFolder, mend_copies
from pilotage.nodes.parcels import export_journal, import_journal
from pilotage.nodes.store import find_node
from pilotage.storage.database import reading
from pilotage.storage.home import Home
from tests.integration.ledger.test_steward_power_cut import Cuts, Found, SyncTwin, close, watched
from tests.integration.nodes.node_world import make_node
from tests.ledger_world import Frame, World, decision


def take_in(world: World, source: Path, step: object = lambda name: None) -> None:
    with reading(world.ledger) as connection:
        known = read_positions(connection)
    with reading(world.control) as connection:
        node = find_node(connection, "edge-1")
    copies = CopyFolder(root=world.home.journal, node="edge-1", step=step)  # type: ignore[arg-type]
    import_journal(source, node, copies, known, 1)


def check_after(found: Found, source: Path, frames: list[Frame]) -> None:
    world = World(home=Home(root=found.root))
    try:
        mend_copies(world.home.journal)
        steward = world.steward("next")
        assert not steward.seal_all().gaps, "what the cut left is read without complaint"
        take_in(world, source)
        assert not steward.seal_all().gaps
        world.check(frames, [leaf.id for leaf in world.leaves() if isinstance(leaf, Event)])
        verdict = verify_ledger(world.home, world.ledger, world.keyring)
        assert verdict.ok, verdict.faults
    finally:
        close(world)


def import_under_cuts(folder: Path, seed: int, share: float) -> int:
    chance = random.Random(seed)
    edge = make_node(folder, online=False)
    frames: list[Frame] = []
    exports = []
    for number in range(3):
        some = [decision(f"{number}-{n}") for n in range(4)]
        edge.write(some, close=number != 1)
        frames += some
        exports.append(folder / f"{number}.tar")
        export_journal(edge.home.journal, edge.identity, exports[-1], number)
    world = edge.world
    cuts = Cuts(SyncTwin(world.home.root), world.home, folder / "cut", chance, share)
    with watched(cuts):
        steward = world.steward(step=cuts.perhaps)
        for source in exports:
            take_in(world, source, cuts.perhaps)
            steward.seal_all()
    cuts.twin.close()
    for found in cuts.made:
        check_after(found, exports[-1], frames)
        shutil.rmtree(found.root.parent)
    close(world)
    return len(cuts.made)


@pytest.mark.parametrize(
    "least",
    [pytest.param(8, id="some"), pytest.param(100, id="many", marks=[pytest.mark.slow, pytest.mark.timeout(900)])],
)
def test_a_cut_under_an_import_loses_and_doubles_nothing(tmp_path: Path, least: int) -> None:
    made = seed = 0
    while made < least:
        made += import_under_cuts(tmp_path / str(seed), seed, 0.08 if least == 8 else 0.3)
        seed += 1
    print(f"cuts {made}, lost 0, twice 0")
