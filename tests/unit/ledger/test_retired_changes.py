"""What retention left is held like everything else: each random change of its files and rows is found and named."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pilotage.ledger.kept import kept_path
from pilotage.ledger.tiles import tile_path
from tests.ledger_world import make_world
from tests.unit.ledger.test_retiring_entries import deleted
from tests.unit.ledger.test_verify import Mutator, Restorer, World, check_random_changes, missed


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A ledger of 559 leaves, whose first bundle and its payloads are gone."""
    made = make_world(tmp_path_factory.mktemp("retired"))
    deleted(made)
    made.control.dispose()
    made.ledger.dispose()
    found = World(made.home, made.keyring)
    report = found.verify()
    assert report.ok and report.gone == 256, report.faults
    return found


@pytest.fixture
def restorer(world: World, tmp_path: Path) -> Iterator[Restorer]:
    made = Restorer.of(world, tmp_path)
    yield made
    made.restore()


def changes_of_kept(world: World, restorer: Restorer, seed: int, count: int) -> list[str]:
    mutator = Mutator(world, seed)
    place = kept_path(world.home.ledger, 0)
    assert place in mutator.files
    found = []
    for _ in range(count):
        change = mutator.shape() if mutator.pick.random() < 0.6 else mutator.flip()
        while str(place.parent) not in change.place:
            change = mutator.shape()
        found.append(missed(world, restorer, change))
    return [wrong for wrong in found if wrong]


def test_changes_of_what_is_left_of_a_bundle_are_found_and_named(world: World, restorer: Restorer) -> None:
    assert not changes_of_kept(world, restorer, 1, 8)


def test_a_copy_of_what_is_left_is_no_part_of_the_ledger(world: World, restorer: Restorer) -> None:
    content = kept_path(world.home.ledger, 0).read_bytes()
    strays = [kept_path(world.home.ledger, 7), kept_path(world.home.ledger, 0).with_name("000.old")]
    for stray in strays:
        stray.write_bytes(content)
    report = world.verify()
    restorer.restore()
    assert [fault.place for fault in report.faults] == sorted(map(str, strays))


def test_a_hash_of_which_the_entry_is_gone_is_named_by_its_tile(world: World, restorer: Restorer) -> None:
    tile = tile_path(world.home.ledger, 0, 0)
    for at in (5, 200):
        content = bytearray(tile.read_bytes())
        content[32 * at] ^= 1
        tile.write_bytes(content)
        report = world.verify()
        restorer.restore()
        assert str(tile) in [fault.place for fault in report.faults]


def test_random_changes_after_retention_are_found_and_named(world: World, restorer: Restorer) -> None:
    check_random_changes(world, restorer, 2, 10)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 15))
def test_a_thousand_random_changes_after_retention(world: World, restorer: Restorer, seed: int) -> None:
    assert not changes_of_kept(world, restorer, seed, 100)
    mutator = Mutator(world, seed)
    wrong = [text for _ in range(100) if (text := missed(world, restorer, mutator.draw()))]
    assert wrong == []


@pytest.mark.parametrize("table", ["subject_keys", "day_keys"])
@pytest.mark.parametrize("by", [-1, -86_400_000_000, 1])
def test_a_key_made_at_another_time_is_named(world: World, restorer: Restorer, table: str, by: int) -> None:
    """Also one moved to before the first payload that is left, as keys of payloads that went are."""
    with closing(sqlite3.connect(world.home.root / "ledger.db")) as database, database:
        key_id, wrapped = database.execute(f"SELECT key_id, wrapped FROM {table} ORDER BY key_id DESC").fetchone()
        assert len(wrapped) == 61, "bound to its row"
        database.execute(f"UPDATE {table} SET created = created + ? WHERE key_id = ?", (by, key_id))
    report = world.verify()
    restorer.restore()
    assert f"{table} wrapped of {key_id}" in [fault.place for fault in report.faults]
