"""Kill the steward wherever it writes: the next one resumes to one tree, without gap, duplicate or orphan."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import Connection

from pilotage.errors import NotFound
from pilotage.kernel.ids import uuid7
from pilotage.ledger import collecting, tiles
from pilotage.ledger.frames import FrameKind
from pilotage.ledger.merkle import EMPTY_ROOT, Frontier, leaf_hash
from pilotage.ledger.notes import parse_checkpoint
from pilotage.ledger.portions import Portion, holds
from pilotage.ledger.record import Batch
from pilotage.ledger.verify import verify_ledger
from pilotage.storage import outbox
from pilotage.storage.database import reading, writing
from pilotage.storage.home import Home
from tests.ledger_world import (
    START,
    Frame,
    World,
    chunk,
    decision,
    event,
    frame_id,
    in_killed_process,
    make_world,
    opened,
    rejected,
)

KILLED = 9
LIMIT = 6


def frames_of_all_kinds() -> list[list[Frame]]:
    """Three files: two of one worker (the first can be deleted), one of another; a stream over a batch's border."""
    stream = uuid7()
    tomorrow = START + 86_400_000_000
    return [
        [
            decision("ann"),
            opened(stream, "bob"),
            decision("cleo", at=tomorrow),
            rejected("ann"),
            chunk(stream, 0, "text"),
        ],
        [decision("dan"), decision("bob", kind=FrameKind.closed, id_=stream), event(code="no_key"), decision("")],
        [decision("ann", system="other"), decision("eve"), decision("eve")],
    ]


def fill(world: World, files: list[list[Frame]]) -> str:
    """Journal the frames and one control event; the event's id."""
    world.write(files[0])
    world.write(files[1])
    world.write(files[2], worker=1)
    with writing(world.control) as connection:
        return outbox.emit(connection, "approval.granted", system="credit", facts={"stage": "internal"}).id


def leaf_frames(files: list[list[Frame]]) -> list[Frame]:
    return [frame for file in files for frame in file if frame[0] not in (FrameKind.opened, FrameKind.chunk)]


def seal_until(world: World, step: Callable[[str], None], limit: int = LIMIT) -> None:
    steward = world.steward("doomed", step=step)
    while steward.seal(limit=limit).more:
        pass


def seal_what_was_made_ready(world: World, step: Callable[[str], None]) -> None:
    """In a child: seal by portions of the process that reads ahead, of which there must have been some."""
    held: list[bool] = []

    def noted(portion: Portion, connection: Connection) -> bool:
        held.append(holds(portion, connection))
        return held[-1]

    setattr(collecting, "_BACKLOG", 1)  # noqa: B010 - a name of another module, and of this child only
    setattr(collecting, "holds", noted)  # noqa: B010
    seal_until(world, step, limit=2)
    assert held.count(True) >= 3, held


def stepping(stop_at: int, names: list[str]) -> Callable[[str], None]:
    """A step that ends the process at the `stop_at`-th write point."""
    numbers = count()

    def step(name: str) -> None:
        names.append(name)
        if next(numbers) == stop_at:
            os._exit(KILLED)

    return step


def file_steps(step: Callable[[str], None]) -> None:
    """In a child: whatever changes a file or a folder is a write point too, before it and after it."""
    for name in ("fsync", "fdatasync", "replace", "rename", "link", "unlink"):
        setattr(os, name, stepped(getattr(os, name), name, step))


def stepped(act: Callable[..., None], name: str, step: Callable[[str], None]) -> Callable[..., None]:
    def run(*words: object, **named: object) -> None:
        step(f"before {name}")
        act(*words, **named)
        step(f"after {name}")

    return run


def check_resumed(world: World, files: list[list[Frame]], emitted: str, before: str) -> None:
    """Seal what is left as another steward would; the log that was published before is a part of the one now."""
    report = world.steward("next").seal_all()
    assert not report.gaps
    world.check(leaf_frames(files), [emitted])
    with reading(world.control) as connection:
        assert outbox.waiting(connection) == []
    assert sorted(path.name for path in (world.home.journal / "n1").glob("*.log")) == ["0-2.log", "1-1.log"]
    verdict = verify_ledger(world.home, world.ledger, world.keyring)
    assert verdict.ok, verdict.faults
    if before:
        old = parse_checkpoint(before, [world.vkey])
        root = Frontier().append(map(leaf_hash, world.entries()[: old.size])).root()
        assert root == old.root != EMPTY_ROOT


def close(world: World) -> None:
    world.control.dispose()
    world.ledger.dispose()


def published(world: World) -> str:
    try:
        return tiles.read_checkpoint(world.home.ledger)
    except NotFound:
        return ""


STRIDES = [
    pytest.param(37, id="sampled"),
    pytest.param(1, id="all", marks=[pytest.mark.slow, pytest.mark.timeout(1_800)]),
]


@pytest.mark.parametrize("stride", STRIDES)
def test_killed_at_write_points(tmp_path: Path, stride: int) -> None:
    killed_at_write_points(tmp_path, stride, seal_until)


@pytest.mark.slow
@pytest.mark.parametrize("stride", [pytest.param(53, id="sampled"), pytest.param(7, id="more", marks=pytest.mark.slow)])
def test_killed_at_write_points_of_batches_that_were_made_ready(tmp_path: Path, stride: int) -> None:
    killed_at_write_points(tmp_path, stride, seal_what_was_made_ready)


def killed_at_write_points(tmp_path: Path, stride: int, seal: Callable[[World, Callable[[str], None]], None]) -> None:
    files = frames_of_all_kinds()
    origin = make_world(tmp_path / "origin")
    emitted = fill(origin, files)
    close(origin)
    seen: set[str] = set()
    for kill in count(0, stride):
        home = Home(root=tmp_path / str(kill) / "home")
        shutil.copytree(origin.home.root, home.root)

        def doomed(home: Home = home, kill: int = kill) -> None:
            step = stepping(kill, [])
            file_steps(step)
            seal(World(home=home), step)

        status = in_killed_process(doomed)
        world = World(home=home)
        seen.add(published(world))
        check_resumed(world, files, emitted, published(world))
        close(world)
        shutil.rmtree(home.root)
        if status == 0:
            break
        assert status == KILLED, f"write point {kill}"
    assert kill > 100, "there are more write points than that"
    assert len(seen) >= 4, "kills came before, between and after the batches"


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.parametrize("stride", STRIDES)
def test_killed_at_steps_on_postgresql(tmp_path: Path, fresh_postgres: Callable[[], str], stride: int) -> None:
    files = frames_of_all_kinds()
    for kill in count(0, stride):
        world = make_world(tmp_path / str(kill), fresh_postgres())
        emitted = fill(world, files)
        close(world)

        def doomed(home: Home = world.home, url: str = world.url, kill: int = kill) -> None:
            step = stepping(kill, [])
            file_steps(step)
            seal_until(World(home=home, url=url), step)

        status = in_killed_process(doomed)
        check_resumed(world, files, emitted, published(world))
        close(world)
        if status == 0:
            break
        assert status == KILLED, f"write point {kill}"
    assert kill > 100


def test_the_order_of_write_points(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    files = frames_of_all_kinds()
    fill(world, files)
    names: list[str] = []
    steward = world.steward(step=stepping(-1, names))
    while steward.seal(limit=100).more:
        pass
    assert names == [
        "intent",
        "files",
        "written",
        "committed",
        "published",
        "pending_dropped",
        "outbox_dropped",
        "journal_deleted",
    ]
    assert sum(isinstance(leaf, Batch) for leaf in world.leaves()) == 1
    assert len({frame_id(frame) for frame in leaf_frames(files)}) == len(leaf_frames(files))


def test_kills_come_between_the_renames_of_one_batch(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    fill(world, frames_of_all_kinds())
    close(world)
    told = tmp_path / "told"

    def whole() -> None:
        names: list[str] = []
        step = stepping(-1, names)
        file_steps(step)
        seal_until(World(home=world.home), step, limit=100)
        told.write_text("\n".join(names))

    assert in_killed_process(whole) == 0
    names = told.read_text().split("\n")
    published = names[names.index("committed") : names.index("published")]
    assert published.count("after replace") >= 3, "tiles, bundles and the checkpoint each come by a rename of their own"
    assert "after unlink" in names, "journal files go, too"
