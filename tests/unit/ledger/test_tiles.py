"""The published tree: its layout, its growth in steps, crashes between two writes, changed files."""

from __future__ import annotations

import json
import random
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotage.errors import InputError, IntegrityError, NotFound
from pilotage.ledger import tiles
from pilotage.ledger.merkle import Frontier, leaf_hash
from pilotage.ledger.notes import Signer
from pilotage.ledger.tiles import (
    TileReader,
    publish,
    read_checkpoint,
    read_entries,
    read_entry,
    tile_path,
    unpack_entries,
)

SIGNER = Signer("example.org/log", Ed25519PrivateKey.from_private_bytes(bytes(32)))


def entries_of(count: int) -> list[bytes]:
    return [b"entry %d" % n for n in range(count)]


def head(entries: list[bytes]) -> str:
    frontier = Frontier().append(map(leaf_hash, entries))
    return SIGNER.sign_checkpoint("example.org/log", frontier.size, frontier.root())


def grow(folder: Path, entries: list[bytes], sizes: list[int]) -> None:
    for old, new in zip([0, *sizes], sizes, strict=False):
        publish(folder, old, entries[old:new], new, head(entries[:new]))


def listing(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_paths_are_those_of_the_specification(tmp_path: Path) -> None:
    assert tile_path(tmp_path, 0, 1_234_067) == tmp_path / "tile/0/x001/x234/067"
    assert tile_path(tmp_path, 2, 0, 1) == tmp_path / "tile/2/000.p/1"
    assert tile_path(tmp_path, "entries", 999, 255) == tmp_path / "tile/entries/999.p/255"
    assert tile_path(tmp_path, 1, 1000) == tmp_path / "tile/1/x001/000"


@given(st.sampled_from([0, 1, 2, "entries"]), st.integers(0, 10**9), st.integers(1, 256))
def test_a_path_tells_which_trees_have_its_tile(level: int | str, number: int, width: int) -> None:
    folder = Path("/log")
    size = (number * 256 + width) << (0 if level == "entries" else 8 * int(level))
    assert tiles.tile_span(folder, tile_path(folder, level, number, width)) == size
    for stray in ("tile/0/0", "tile/00/000", "tile/0/000.p/0", "tile/entry/000", "tile/0/x1/000", "x/tile/0/000"):
        assert tiles.tile_span(folder, folder / stray) is None


def test_a_tree_of_70000_has_the_tiles_that_the_vectors_state(tmp_path: Path) -> None:
    vectors = json.loads((Path(__file__).parents[2] / "data" / "rfc6962_vectors.json").read_text())
    assert vectors["tlog_tiles_fact"].startswith(
        "tree of 70000 -> 273 full level-0 tiles, partial level-0 width 112, "
        "1 full level-1 tile, partial level-1 width 17, and partial level-2 width 1".replace(", and", ",")
    )
    entries = entries_of(70_000)
    grow(tmp_path, entries, [70_000])
    for level, full, partial in ((0, 273, 112), (1, 1, 17), (2, 0, 1), ("entries", 273, 112)):
        files = [p for p in (tmp_path / "tile" / str(level)).rglob("*") if p.is_file()]
        widths = [int(p.name) for p in files if p.parent.name.endswith(".p")]
        assert (len(files) - len(widths), widths) == (full, [partial])
    assert not (tmp_path / "tile" / "3").exists()
    assert tile_path(tmp_path, 0, 5).stat().st_size == 8192
    assert read_entry(tmp_path, 69_999, 70_000) == entries[69_999]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=5))
def test_growing_in_steps_ends_in_the_files_of_one_step(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int]
) -> None:
    sizes = [sum(steps[: n + 1]) for n in range(len(steps))]
    entries = entries_of(sizes[-1])
    stepped, once = tmp_path_factory.mktemp("stepped"), tmp_path_factory.mktemp("once")
    grow(stepped, entries, sizes)
    grow(once, entries, sizes[-1:])
    files, wanted = listing(stepped), listing(once)
    assert {name: files[name] for name in wanted} == wanted
    assert all("000.p" in name or ".p/" in name for name in files.keys() - wanted.keys())
    for size in sizes:
        root = Frontier().append(map(leaf_hash, entries[:size])).root()
        assert tiles.subtree_root(0, size, TileReader(stepped, size).read) == root
    assert list(read_entries(stepped, 0, sizes[-1])) == entries
    start = sizes[0] - 1
    assert list(read_entries(stepped, start, sizes[-1])) == entries[start:]


def test_partial_files_stay_until_their_tile_is_full(tmp_path: Path) -> None:
    entries = entries_of(300)
    grow(tmp_path, entries, [10, 200])
    assert [tiles.partial_widths(tiles.tile_path(tmp_path, level, 0)) for level in (0, "entries")] == 2 * [[10, 200]]
    grow(tmp_path, entries, [10, 200, 256])
    assert [tiles.partial_widths(tiles.tile_path(tmp_path, level, 0)) for level in (0, "entries")] == 2 * [[]]
    assert read_entry(tmp_path, 9, 10) == entries[9]


@pytest.mark.parametrize("stop", range(12))
def test_a_crash_at_any_write_leaves_a_readable_tree_and_is_mended_by_repeating(
    tmp_path: Path, stop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = entries_of(700)
    grow(tmp_path, entries, [100])
    before = read_checkpoint(tmp_path)
    writes = 0
    replace = Path.replace

    def dying(self: Path, target: Path) -> Path:
        nonlocal writes
        writes += 1
        if writes > stop:
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patched, suppress(KeyboardInterrupt):
        patched.setattr(Path, "replace", dying)
        publish(tmp_path, 100, entries[100:700], 700, head(entries))
    assert read_checkpoint(tmp_path) == (before if writes > stop else head(entries))
    assert list(read_entries(tmp_path, 0, 100)) == entries[:100]
    assert (
        tiles.subtree_root(0, 100, TileReader(tmp_path, 100).read)
        == Frontier().append(map(leaf_hash, entries[:100])).root()
    )
    for old in (100, 0, 100):
        publish(tmp_path, old, entries[old:700], 700, head(entries))
    whole = tmp_path / "whole"
    grow(whole, entries, [700])
    wanted = listing(whole)
    shutil.rmtree(whole)
    assert {name: content for name, content in listing(tmp_path).items() if ".new-" not in name} == wanted


def test_a_changed_old_tile_is_not_signed_onward(tmp_path: Path) -> None:
    entries = entries_of(100)
    grow(tmp_path, entries, [40])
    before = read_checkpoint(tmp_path)
    for place in (tile_path(tmp_path, 0, 0, 40), tile_path(tmp_path, "entries", 0, 40)):
        good = place.read_bytes()
        place.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        with pytest.raises(IntegrityError, match=r"tile/.*/000\.p/40"):
            publish(tmp_path, 40, entries[40:], 100, head(entries))
        place.write_bytes(good)
    assert read_checkpoint(tmp_path) == before


def test_a_checkpoint_over_another_tree_is_not_published(tmp_path: Path) -> None:
    entries = entries_of(20)
    for wrong in (head(entries_of(19)), head([*entries[:19], b"other"])):
        with pytest.raises(IntegrityError, match="does not sign"):
            publish(tmp_path, 0, entries, 20, wrong)
    with pytest.raises(NotFound):
        read_checkpoint(tmp_path)


def test_entries_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    grow(tmp_path, [b"x" * tiles.ENTRY_BYTES, b""], [2])
    assert list(read_entries(tmp_path, 0, 2)) == [b"x" * tiles.ENTRY_BYTES, b""]
    for old, new, entries in ((2, 3, [b"x" * (tiles.ENTRY_BYTES + 1)]), (2, 4, [b"x"]), (-1, 0, [b"x"])):
        with pytest.raises(InputError):
            publish(tmp_path, old, entries, new, head(entries))
    for index in (-1, 2):
        with pytest.raises(InputError):
            read_entry(tmp_path, index, 2)


def test_reading_what_is_cut_or_missing_names_the_file(tmp_path: Path) -> None:
    grow(tmp_path, entries_of(30), [30])
    bundle, tile = tile_path(tmp_path, "entries", 0, 30), tile_path(tmp_path, 0, 0, 30)
    for place, read in (
        (bundle, lambda: read_entry(tmp_path, 0, 30)),
        (tile, lambda: TileReader(tmp_path, 30).read(0, 0)),
    ):
        good = place.read_bytes()
        for wrong in (good[:-1], good[:-32], b""):
            place.write_bytes(wrong)
            with pytest.raises(IntegrityError, match=str(place)):
                read()
        place.unlink()
        with pytest.raises(IntegrityError, match=str(place)):
            read()


@given(st.binary(max_size=200))
def test_any_bytes_are_a_bundle_or_refused(content: bytes) -> None:
    try:
        entries = unpack_entries(content, Path("place"))
    except IntegrityError:
        return
    assert tiles.pack_entries(entries) == content


def test_random_reads_agree(tmp_path: Path) -> None:
    entries = entries_of(1500)
    grow(tmp_path, entries, [1, 255, 256, 257, 1500])
    reader = TileReader(tmp_path, 1500)
    pick = random.Random(7)
    for _ in range(200):
        level = pick.randrange(0, 11)
        index = pick.randrange(0, 1500 >> level)
        part = entries[index << level : (index + 1) << level]
        assert reader.read(level, index) == Frontier().append(map(leaf_hash, part)).root()
