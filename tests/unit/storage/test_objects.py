"""Objects under their digest, and files that are there whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from pilotage.errors import IntegrityError, NotFound
from pilotage.kernel.digests import digest
from pilotage.storage.objects import Objects, new_name, write_all_durably, write_durably


def test_bytes_come_back_under_their_digest(tmp_path: Path) -> None:
    objects = Objects(root=tmp_path)
    name = objects.put(b"a card")
    assert name == digest(b"a card")
    assert objects.get(name) == b"a card"
    assert stat.S_IMODE(objects.path(name).stat().st_mode) == 0o400


def test_the_same_bytes_again_change_nothing(tmp_path: Path) -> None:
    objects = Objects(root=tmp_path)
    name = objects.put(b"same")
    before = objects.path(name).stat()
    assert objects.put(b"same") == name
    assert (objects.path(name).stat().st_ino, len(list(tmp_path.rglob("*")))) == (before.st_ino, 3)


def test_a_changed_object_is_named_and_not_handed_out(tmp_path: Path) -> None:
    objects = Objects(root=tmp_path)
    name = objects.put(b"genuine")
    objects.path(name).chmod(0o600)
    objects.path(name).write_bytes(b"genuinf")
    with pytest.raises(IntegrityError, match=str(objects.path(name))) as caught:
        objects.get(name)
    assert (caught.value.got, caught.value.expected) == (digest(b"genuinf"), name)


def test_a_missing_object_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="backup"):
        Objects(root=tmp_path).get(digest(b"never stored"))


@pytest.mark.parametrize("broken", ["write", "fsync", "rename"])
def test_a_failure_at_any_step_leaves_the_old_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    target = tmp_path / "folder" / "file"
    write_durably(target, b"old")

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    if broken == "write":
        monkeypatch.setattr(os, "fchmod", fail)
    elif broken == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    else:
        monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="No space left"):
        write_durably(target, b"new")
    monkeypatch.undo()
    assert target.read_bytes() == b"old"
    assert [path.name for path in target.parent.iterdir()] == ["file"]


def test_content_is_synced_before_the_name_and_the_folder_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def watched_fsync(handle: int) -> None:
        steps.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else f"file of {os.fstat(handle).st_size}")
        fsync(handle)

    def watched_replace(self: Path, target: Path) -> Path:
        steps.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "replace", watched_replace)
    write_durably(tmp_path / "file", b"12345")
    assert steps == ["file of 5", "rename", "folder"]


def test_the_mode_is_the_owners_unless_said_otherwise(tmp_path: Path) -> None:
    write_durably(tmp_path / "one", b"")
    write_durably(tmp_path / "two", b"", mode=0o644)
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("one", "two")] == [0o600, 0o644]


@pytest.mark.parametrize("number", [3, 40])
def test_many_files_have_their_names_only_once_all_are_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    files = {tmp_path / f"day-{n % 4}" / "deep" / f"{n}.seg": b"%d" % n for n in range(number)}
    synced: list[Path] = []
    named: list[int] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        fsync(descriptor)
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        named.append(sum(path.exists() for path in files))

    monkeypatch.setattr(os, "fsync", noted)
    write_all_durably(files)
    assert {*synced[:number]} == {new_name(path) for path in files}
    assert {*named[:number]} == {0}
    folders = {tmp_path, *(folder for path in files for folder in (path.parent, path.parent.parent))}
    assert sorted(synced[number:]) == sorted(folders)
    assert {path: path.read_bytes() for path in files} == files
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == {*files}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
