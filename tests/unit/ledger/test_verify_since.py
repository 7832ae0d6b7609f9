"""Verification of what came after a head: it finds every change there, and ties the new to the old."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pilotage.ledger import store
from pilotage.ledger.tiles import tile_path
from pilotage.ledger.verify import LedgerReport, verify_ledger
from pilotage.ledger.verify_since import head_before, verify_since
from pilotage.storage.database import reading
from tests.ledger_world import World, decision, event, make_world

BATCHES, PER_BATCH = 4, 70


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Four batches: 284 entries, so that one tile is full."""
    world = make_world(tmp_path_factory.mktemp("since"))
    steward = world.steward()
    for batch in range(BATCHES):
        world.write([decision(f"p-{n}") for n in range(PER_BATCH - 1)] + [event()], worker=batch)
        steward.seal()
    return world


@pytest.fixture
def world(sealed: World) -> Iterator[World]:
    """The home, put back afterwards."""
    files = {path: path.read_bytes() for path in sealed.home.ledger.rglob("*") if path.is_file()}
    with closing(sqlite3.connect(":memory:")) as before, closing(sqlite3.connect(sealed.home.ledger_database)) as live:
        live.backup(before)
        yield sealed
        before.backup(live)
    for path, content in files.items():
        path.write_bytes(content)


def sizes(world: World) -> list[int]:
    with reading(world.ledger) as connection:
        return [int(head.size) for head in store.all_heads(connection)]


def since(world: World, size: int) -> LedgerReport:
    return verify_since(world.home, world.ledger, world.keyring, size)


def places(report: LedgerReport) -> str:
    return "\n".join(fault.place for fault in report.faults)


def edit(world: World, statement: str) -> None:
    with closing(sqlite3.connect(world.home.ledger_database, isolation_level=None)) as connection:
        assert connection.execute(statement).rowcount == 1


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_each_part_verifies_and_counts_itself(world: World) -> None:
    whole = verify_ledger(world.home, world.ledger, world.keyring)
    for number, size in enumerate([0, *sizes(world)]):
        report = since(world, size)
        assert report.ok, report.faults
        assert (report.size, report.root, report.since) == (whole.size, whole.root, size)
        assert report.decisions == (BATCHES - number) * (PER_BATCH - 1)
        assert (report.batches, report.readable) == (BATCHES - number, (BATCHES - number) * PER_BATCH)


def test_the_head_before_a_size_or_a_time(world: World) -> None:
    known, last = sizes(world), sizes(world)[-1]
    assert [head_before(world.ledger, size=size) for size in (0, known[0] - 1, known[0], known[1] + 1)] == [
        0,
        0,
        known[0],
        known[1],
    ]
    with reading(world.ledger) as connection:
        times = [int(head.at) for head in store.all_heads(connection)]
    assert head_before(world.ledger, size=last, at=times[1]) == max(
        size for size, at in zip(known, times, strict=True) if at <= times[1]
    )
    assert head_before(world.ledger, size=last, at=times[0] - 1) == 0


LAST = "WHERE size = (SELECT max(size) FROM heads)"
CHANGES: dict[str, Callable[[World, int], None]] = {
    "decisions row of leaf": lambda w, n: edit(w, f"DELETE FROM decisions WHERE leaf = {n + 1}"),
    "decisions score of leaf": lambda w, n: edit(w, f"UPDATE decisions SET score = 0.9 WHERE leaf = {n + 1}"),
    "heads root of size": lambda w, _n: edit(w, f"UPDATE heads SET root = 'x' {LAST}"),
    "heads checkpoint of size": lambda w, _n: edit(w, f"UPDATE heads SET checkpoint = 'x' {LAST}"),
    "tile/entries/": lambda w, _n: flip(newest(w, "entries"), -1),
    "tile/0/": lambda w, _n: flip(newest(w, 0), -1),
    ".seg": lambda w, _n: flip(w.home.ledger / w.segment_files()[-1], -40),
    "checkpoint": lambda w, _n: flip(w.home.ledger / "checkpoint", 40),
}


def newest(world: World, level: int | str) -> Path:
    last = sizes(world)[-1]
    return tile_path(world.home.ledger, level, last // 256, last % 256)


@pytest.mark.parametrize("place", CHANGES)
def test_a_change_after_it_is_found_and_named(world: World, place: str) -> None:
    start = sizes(world)[2]
    CHANGES[place](world, start)
    report = since(world, start)
    assert not report.ok and place.strip("/") in places(report), report.faults


def test_a_past_that_was_changed_in_the_tiles_does_not_lead_to_the_head(world: World) -> None:
    start = sizes(world)[1]
    flip(newest(world, 0).parent.with_name("000"), 5)
    report = since(world, start)
    assert not report.ok and f"heads checkpoint of size {start}" in places(report)


def test_what_lies_before_is_left_to_the_whole_run(world: World) -> None:
    edit(world, "UPDATE decisions SET score = 0.9 WHERE leaf = 3")
    assert since(world, sizes(world)[1]).ok
    assert not verify_ledger(world.home, world.ledger, world.keyring).ok


def test_a_size_that_is_no_head_is_named(world: World) -> None:
    report = since(world, sizes(world)[1] + 1)
    assert not report.ok and "heads row of size" in places(report)
