"""The steward is killed at every write point of a pull and of an import, and of sealing what came: all is there once.

Before each kill the node has written a new file, of which the first round sees only a beginning: so every kind of write
point is met, on both databases.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pilotage.kernel.clock import now_us
from pilotage.ledger.collecting import read_positions
from pilotage.ledger.record import Event
from pilotage.ledger.verify import verify_ledger
from pilotage.nodes.copies import CopyFolder, mend_copies
from pilotage.nodes.parcels import export_journal, import_journal
from pilotage.storage.database import reading
from tests.integration.nodes.node_world import NodeHome, make_node
from tests.ledger_world import Frame, World, decision, in_killed_process, make_world

Step = Callable[[str], None]
COPYING = ["copies_begun", "copy_written", "copy_begun", "copy_grown", "copy_ended"]
SEALING = ["intent", "files", "written", "committed", "published", "pending_dropped", "journal_deleted"]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=[pytest.mark.postgres, pytest.mark.slow])])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else ""
    made = make_world(tmp_path / "steward", url)
    yield made
    made.control.dispose()
    made.ledger.dispose()


def kill_everywhere(node: NodeHome, points: list[str], work: Callable[[NodeHome, Step], None]) -> list[Frame]:
    """Let a child do the work and die when it first comes to each write point; all that the node journalled."""
    world, frames = node.world, list[Frame]()
    for point in points:
        fresh = [decision(f"{point}-{n}") for n in range(2)]
        node.write(fresh)
        frames += fresh
        newest = max(node.folder.glob("0-*.log"), key=lambda path: int(path.stem[2:]))
        whole = newest.read_bytes()
        newest.write_bytes(whole[:-50])
        world.control.dispose()
        world.ledger.dispose()

        def doomed(point: str = point, newest: Path = newest, whole: bytes = whole) -> None:
            own = NodeHome.__new__(NodeHome)
            own.__dict__.update(node.__dict__, world=World(home=world.home, url=world.url), pulls=[])

            def step(name: str) -> None:
                if name == point:
                    os._exit(9)

            with newest.open("rb") as claim:
                fcntl.flock(claim, fcntl.LOCK_EX)  # as the worker that still writes it
                work(own, step)
                newest.write_bytes(whole)
            work(own, step)
            work(own, step)

        assert in_killed_process(doomed) == 9, f"it never came to {point}"
        newest.write_bytes(whole)
    return frames


def pull_and_seal(node: NodeHome, step: Step) -> None:
    mend_copies(node.world.home.journal)
    pull = node.pull(step=step)
    pull.round()
    node.world.steward(step=step).seal_all()
    pull.round()


def import_and_seal(node: NodeHome, step: Step) -> None:
    mend_copies(node.world.home.journal)
    source = node.home.root.parent / f"{now_us()}.tar"
    export_journal(node.home.journal, node.identity, source, now_us())
    with reading(node.world.ledger) as connection:
        known = read_positions(connection)
    copies = CopyFolder(root=node.world.home.journal, node=node.name, step=step)
    import_journal(source, node.node, copies, known, now_us())
    node.world.steward(step=step).seal_all()


def all_is_there_once(world: World, frames: list[Frame]) -> None:
    steward = world.steward()
    assert not steward.seal_all().gaps
    world.check(frames, [leaf.id for leaf in world.leaves() if isinstance(leaf, Event)])
    verdict = verify_ledger(world.home, world.ledger, world.keyring)
    assert verdict.ok, verdict.faults


@pytest.mark.slow
def test_a_pull_killed_at_each_write_point_goes_on(world: World, tmp_path: Path) -> None:
    node = make_node(tmp_path, world=world)
    node.serve()
    try:
        frames = kill_everywhere(node, [*COPYING, *SEALING, "acknowledged"], pull_and_seal)
        pull_and_seal(node, lambda name: None)
    finally:
        node.end()
    all_is_there_once(world, frames)
    assert len(list(node.folder.glob("*.log"))) == 1, "what is sealed, and not the newest, is deleted on the node"


@pytest.mark.slow
def test_an_import_killed_at_each_write_point_goes_on(world: World, tmp_path: Path) -> None:
    node = make_node(tmp_path, world=world, online=False)
    frames = kill_everywhere(node, [*COPYING, *SEALING], import_and_seal)
    import_and_seal(node, lambda name: None)
    all_is_there_once(world, frames)
