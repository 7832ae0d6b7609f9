"""The disk twin forgets exactly what was not synced."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from pilotage.testing.disk_twin import DiskTwin, FailingDisk


def outcomes(disk: DiskTwin, into: Path, name: str, cuts: int = 40) -> set[bytes | None]:
    found: set[bytes | None] = set()
    for seed in range(cuts):
        target = into / f"{name}-{seed}"
        disk.power_cut(target, random.Random(seed))
        path = target / name
        found.add(path.read_bytes() if path.exists() else None)
    return found


def test_a_name_is_kept_only_when_its_folder_was_synced(tmp_path: Path) -> None:
    root = tmp_path / "disk"
    root.mkdir()
    disk = DiskTwin(root)
    file = disk.create(root / "a")
    disk.write(file, b"one", 0)
    disk.sync(file)
    assert outcomes(disk, tmp_path, "a") == {None, b"one"}
    disk.sync_folder(root)
    assert outcomes(disk, tmp_path / "later", "a") == {b"one"}


def test_a_rename_is_all_or_nothing_until_the_folder_is_synced(tmp_path: Path) -> None:
    root = tmp_path / "disk"
    root.mkdir()
    (root / "old").write_bytes(b"x")
    disk = DiskTwin(root)
    disk.rename(root / "old", root / "new")
    for seed in range(20):
        disk.power_cut(tmp_path / str(seed), random.Random(seed))
        assert len(list((tmp_path / str(seed)).iterdir())) == 1
    disk.sync_folder(root)
    assert outcomes(disk, tmp_path / "later", "new") == {b"x"}
    assert outcomes(disk, tmp_path / "later", "old") == {None}


def test_unsynced_sectors_are_lost_one_by_one(tmp_path: Path) -> None:
    root = tmp_path / "disk"
    root.mkdir()
    disk = DiskTwin(root)
    file = disk.create(root / "a")
    disk.write(file, bytes(2048), 0)
    disk.sync(file)
    disk.sync_folder(root)
    disk.write(file, b"z" * 1500, 100)
    results = outcomes(disk, tmp_path, "a", 200)
    assert bytes(2048) in results
    assert bytes(100) + b"z" * 1500 + bytes(448) in results
    holes = [found for found in results if found and found[600:601] == b"\0" and found[1200:1201] == b"z"]
    assert holes, "a later sector may survive an earlier one"
    assert all(found is not None and len(found) == 2048 and not found[:100].strip(b"\0") for found in results)
    disk.sync(file)
    assert outcomes(disk, tmp_path / "later", "a") == {bytes(100) + b"z" * 1500 + bytes(448)}


def test_a_disk_whose_syncs_do_nothing_keeps_only_what_was_there(tmp_path: Path) -> None:
    root = tmp_path / "disk"
    root.mkdir()
    (root / "a").write_bytes(b"before")
    disk = DiskTwin(root, syncs=False)
    disk.truncate(root / "a", 3)
    file = disk.create(root / "b")
    disk.write(file, b"new", 0)
    disk.sync(file)
    disk.sync_folder(root)
    assert b"before" in outcomes(disk, tmp_path, "a")
    assert None in outcomes(disk, tmp_path, "b")


def test_a_failing_disk_fails_what_it_is_told_to(tmp_path: Path) -> None:
    disk = FailingDisk()
    file = disk.create(tmp_path / "a")
    disk.write(file, b"x", 0)
    disk.failing = frozenset({"write"})
    with pytest.raises(OSError, match="Input/output"):
        disk.write(file, b"y", 0)
    disk.sync(file)
    disk.close(file)
    assert (tmp_path / "a").read_bytes() == b"x"
