"""The last copies of a retired node's journals go by themselves; nothing of them is lost, and nothing else goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from pilotage.ledger.erasure import place_hold, release_hold
from pilotage.ledger.retention import Floor
from pilotage.ledger.verify import verify_ledger
from pilotage.nodes.copies import Copy, CopyFolder
from pilotage.nodes.retiring import StoredCopies, retire_copies, survey_copies
from pilotage.nodes.service import retire
from pilotage.nodes.store import list_nodes
from pilotage.storage.database import reading
from tests.integration.nodes.node_world import ADMIN, NodeHome, make_node
from tests.ledger_world import decision

DAY = 86_400_000_000
MONTH = Floor(days=30)


@pytest.fixture
def node(tmp_path: Path) -> NodeHome:
    """A node that was killed: its last file has no end."""
    made = make_node(tmp_path, online=False)
    made.write([decision("ann"), decision("bob")], close=False)
    return made


def copied(node: NodeHome) -> Path:
    [source] = node.folder.glob("*.log")
    worker, n = (int(part) for part in source.stem.split("-"))
    root = node.world.home.journal
    content = source.read_bytes()
    copy = Copy(worker=worker, n=n)
    folder = CopyFolder(root=root, node=node.name)
    whole = Copy(worker=worker, n=n)
    folder._walk(whole, content, b"")
    folder.append(copy, content[: whole.offset])
    return folder.path(worker, n)


def survey(node: NodeHome, span: Floor = MONTH) -> list[StoredCopies]:
    with reading(node.world.control) as connection:
        return survey_copies(node.world.home.journal, list_nodes(connection), connection, span)


def test_the_last_copy_goes_a_month_after_its_node_was_retired(node: NodeHome) -> None:
    world = node.world
    copy, steward = copied(node), world.steward()
    assert steward.seal_all().decisions == 2 and copy.exists(), "its node could still add to it"
    [found] = survey(node)
    assert (found.files, found.until) == (1, 0) and found.size > 0, "a node that is not retired is only away"
    retire(world.control, ADMIN, node.name)
    [found] = survey(node)
    assert survey(node, Floor())[0].until == 0, "without end"
    assert found.until == node.node.retired + 30 * DAY and not found.due(found.until - 1) and found.due(found.until)
    hold = place_hold(world.control, world.keyring, "file 12", "officer")
    assert not survey(node)[0].due(found.until)
    release_hold(world.control, hold, "officer")
    gone, [event] = retire_copies(world.steward(), [found], "officer")
    assert gone == 1 and not copy.exists() and not list(copy.parent.glob("*.end")) and survey(node) == []
    told = world.queries.event(event)
    assert told.row.facts == {"node": node.name, "files": [f"{node.name}/{copy.stem}"]}
    assert "journal.gap" not in {row.kind for row in world.queries.events(limit=50)}
    assert all(world.queries.decision(row.id).payload for row in world.queries.decisions())
    assert len(world.queries.decisions()) == 2
    report = verify_ledger(world.home, world.ledger, world.keyring)
    assert report.ok, report.faults


def test_what_cannot_be_read_stays_for_an_inquiry(node: NodeHome) -> None:
    copy = copied(node)
    retire(node.world.control, ADMIN, node.name)
    steward = node.world.steward()
    [found] = survey(node)
    content = bytearray(copy.read_bytes())
    content[20] ^= 1
    copy.write_bytes(content)
    assert retire_copies(steward, [found], "officer") == (0, ())
    assert copy.read_bytes() == bytes(content)
