"""An edge node's journal travels as a file: everything once, whatever is repeated, interrupted or changed."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from pilotage.errors import IntegrityError
from pilotage.kernel.clock import now_us
from pilotage.ledger.collecting import read_positions
from pilotage.ledger.record import Event
from pilotage.nodes.copies import CopyFolder
from pilotage.nodes.parcels import Imported, acknowledge, export_journal, import_journal, receipt_text
from pilotage.nodes.service import init_nodes, reader_of
from pilotage.storage.database import reading
from pilotage.storage.home import Home
from tests.integration.nodes.node_world import NodeHome, make_node
from tests.ledger_world import World, decision


@pytest.fixture
def edge(tmp_path: Path) -> NodeHome:
    return make_node(tmp_path, online=False)


def export(edge: NodeHome, to: Path) -> Path:
    export_journal(edge.home.journal, edge.identity, to, now_us())
    return to


def take_in(edge: NodeHome, source: Path, **extra: object) -> Imported:
    world = edge.world
    with reading(world.ledger) as connection:
        known = read_positions(connection)
    copies = CopyFolder(root=world.home.journal, node="edge-1", **extra)  # type: ignore[arg-type]
    return import_journal(source, edge.node, copies, known, now_us())


def receipt(edge: NodeHome, done: Imported) -> bytes:
    reader = reader_of(edge.world.home)
    assert reader is not None
    return receipt_text(done.receipt, reader.key)


def check(world: World, frames: list[tuple[object, bytes, bytes]]) -> None:
    world.steward().seal_all()
    world.check(frames, [leaf.id for leaf in world.leaves() if isinstance(leaf, Event)])  # type: ignore[arg-type]


def test_exports_overlap_repeat_and_are_acknowledged(edge: NodeHome, tmp_path: Path) -> None:
    first, second, third = ([decision(f"{n}-{i}") for i in range(3)] for n in range(3))
    edge.write(first)
    one = export(edge, tmp_path / "one.tar")
    edge.write(second)
    two = export(edge, tmp_path / "two.tar")
    done = take_in(edge, one)
    assert done.new_bytes and not take_in(edge, one).new_bytes
    edge.world.steward().seal_all()
    done = take_in(edge, two)
    assert done.new_bytes
    edge.write(third)
    deleted, kept = acknowledge(edge.home.journal, edge.identity, receipt(edge, done))
    assert (deleted, kept) == (["0-1", "0-2"], []), "the one that was in use is closed now"
    check(edge.world, [*first, *second])
    done = take_in(edge, export(edge, tmp_path / "three.tar"))
    # What was sealed and deleted here is compared with what the ledger knows of it.
    assert not take_in(edge, one).new_bytes
    check(edge.world, [*first, *second, *third])
    assert acknowledge(edge.home.journal, edge.identity, receipt(edge, done)) == ([], ["0-3"])


def test_a_file_that_grew_is_kept_by_an_older_receipt(edge: NodeHome, tmp_path: Path) -> None:
    edge.write([decision("ann")])
    edge.write([decision("bob")])
    done = take_in(edge, export(edge, tmp_path / "one.tar"))
    path = edge.folder / "0-1.log"
    path.write_bytes(path.read_bytes()[:-50])
    assert acknowledge(edge.home.journal, edge.identity, receipt(edge, done)) == ([], ["0-1", "0-2"])


def rewritten(source: Path, to: Path, name: str, change: object) -> Path:
    with tarfile.open(source) as old, tarfile.open(to, "w") as new:
        for member in old.getmembers():
            content = old.extractfile(member).read()  # type: ignore[union-attr]
            if member.name == name:
                content = change(content)  # type: ignore[operator]
            member.size = len(content)
            path = to.with_suffix(".part")
            path.write_bytes(content)
            with path.open("rb") as file:
                new.addfile(member, file)
    return to


def flipped(content: bytes) -> bytes:
    return content[:-60] + bytes([content[-60] ^ 1]) + content[-59:]


def test_a_changed_file_is_refused_and_named(edge: NodeHome, tmp_path: Path) -> None:
    edge.write([decision("ann")])
    source = export(edge, tmp_path / "one.tar")
    for name, change, says in (
        ("0-1.log", flipped, "0-1.log was changed"),
        ("0-1.log", lambda content: content[:-9], "0-1.log is cut off"),
        ("manifest.json", lambda content: content.replace(b'"finished":true', b'"finished":false'), "not signed"),
        ("manifest.sig", flipped, "not signed"),
    ):
        with pytest.raises(IntegrityError, match=says):
            take_in(edge, rewritten(source, tmp_path / "changed.tar", name, change))
    assert not list(edge.world.home.journal.rglob("*.log"))
    with tarfile.open(tmp_path / "out.tar", "w") as tar:
        tar.add(edge.home.node, arcname="../../evil")
    with pytest.raises(IntegrityError):
        take_in(edge, tmp_path / "out.tar")
    with pytest.raises(IntegrityError):
        acknowledge(edge.home.journal, edge.identity, b"{}")


def test_another_steward_cannot_acknowledge(edge: NodeHome, tmp_path: Path) -> None:
    edge.write([decision("ann")])
    edge.write([decision("bob")])
    done = take_in(edge, export(edge, tmp_path / "one.tar"))
    stranger = Home(root=tmp_path / "stranger")
    init_nodes(stranger)
    reader = reader_of(stranger)
    assert reader is not None
    with pytest.raises(IntegrityError) as refused:
        acknowledge(edge.home.journal, edge.identity, receipt_text(done.receipt, reader.key))
    assert refused.value.code == "receipt_broken" and len(list(edge.folder.glob("*.log"))) == 2


def test_a_rewritten_history_is_refused_although_the_node_signs_it(edge: NodeHome, tmp_path: Path) -> None:
    edge.write([decision("ann")])
    take_in(edge, export(edge, tmp_path / "one.tar"))
    (edge.folder / "0-1.log").unlink()
    edge.write([decision("eve")])
    with pytest.raises(IntegrityError, match="not what was sent before"):
        take_in(edge, export(edge, tmp_path / "two.tar"))
