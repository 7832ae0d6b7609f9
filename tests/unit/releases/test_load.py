"""A release is what its digest says, or it is not opened."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pilotage.errors import IntegrityError, NotFound
from pilotage.ledger.keyring import Keyring
from pilotage.releases.folder import describe_files, seal_folder, write_folder
from pilotage.releases.load import LoadedRelease, open_release
from pilotage.releases.sealed_rows import ROWS, SEALED_ROWS, rows_key
from pilotage.storage.home import Home
from pilotage.testing.releases import make_release


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> LoadedRelease:
    return make_release(Home(root=tmp_path_factory.mktemp("home")))


def _copy(release: LoadedRelease, releases: Path) -> Path:
    """A writable copy, so that it can be damaged."""
    folder = releases / release.folder.name
    shutil.copytree(release.folder, folder)
    folder.chmod(0o700)
    for path in folder.iterdir():
        path.chmod(0o600)
    return folder


def test_any_byte_changed_is_found_and_named(release: LoadedRelease, tmp_path: Path) -> None:
    folder = _copy(release, tmp_path)
    assert open_release(tmp_path, release.digest).digest == release.digest
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        for at in {0, len(content) // 2, len(content) - 1}:
            path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
            with pytest.raises(IntegrityError, match=path.name):
                open_release(tmp_path, release.digest)
        path.write_bytes(content)
    assert open_release(tmp_path, release.digest).digest == release.digest


def test_a_file_too_few_or_too_many_is_found(release: LoadedRelease, tmp_path: Path) -> None:
    folder = _copy(release, tmp_path)
    (folder / "extra.txt").write_text("?")
    with pytest.raises(IntegrityError, match=r"extra\.txt"):
        open_release(tmp_path, release.digest)
    (folder / "extra.txt").unlink()
    (folder / "card.md").unlink()
    (folder / "profile.json").unlink()
    with pytest.raises(IntegrityError) as caught:
        open_release(tmp_path, release.digest)
    assert [fault["path"] for fault in caught.value.faults] == ["card.md", "profile.json"]


def test_another_releases_folder_under_this_name_is_refused(release: LoadedRelease, tmp_path: Path) -> None:
    other = make_release(Home(root=tmp_path), shift=0.5)
    other.folder.rename(other.folder.with_name(release.folder.name))
    with pytest.raises(IntegrityError, match=r"manifest\.json"):
        open_release(other.folder.parent, release.digest)
    with pytest.raises(NotFound):
        open_release(other.folder.parent, other.digest)


def test_the_same_inputs_give_the_same_release_and_others_do_not(release: LoadedRelease, tmp_path: Path) -> None:
    assert make_release(Home(root=tmp_path)).digest == release.digest
    assert make_release(Home(root=tmp_path), threshold=0.6).digest != release.digest
    assert not [path for path in (tmp_path / "releases").iterdir() if path.name.startswith(".")]


def test_a_release_is_read_only_and_written_once(release: LoadedRelease) -> None:
    assert {path.stat().st_mode & 0o777 for path in release.folder.iterdir()} == {0o400}
    assert release.folder.stat().st_mode & 0o777 == 0o500
    files = {name: release.file(name) for name in release.manifest.files}
    before = {path: path.stat().st_mtime_ns for path in release.folder.iterdir()}
    assert write_folder(release.folder.parent, release.manifest, files) == (release.digest, release.folder)
    assert {path: path.stat().st_mtime_ns for path in release.folder.iterdir()} == before
    assert describe_files(files) == release.manifest.files


def test_its_parts_are_read(release: LoadedRelease) -> None:
    assert release.contract.digest() == release.manifest.contract
    assert release.system().id == "example"
    assert release.explainer().names == release.serving.names
    assert len(release.background()) == 100
    with pytest.raises(NotFound):
        release.file("../../keyring.json")


def test_encrypted_rows_are_those_of_the_digest_or_none(tmp_path: Path) -> None:
    home = Home(root=tmp_path / "home").create()
    sampled = make_release(home, sampling=True)
    key = rows_key(Keyring.create_or_open(home.keyring))
    assert make_release(Home(root=tmp_path / "other").create(), sampling=True).digest == sampled.digest, (
        "whatever the key"
    )
    assert len(sampled.background(key)) == 100
    file = _copy(sampled, tmp_path) / SEALED_ROWS
    content = file.read_bytes()
    for at in (len(b"PLGROWS1"), len(content) // 2, len(content) - 1):
        file.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with pytest.raises(IntegrityError, match="rows do not open"):
            open_release(tmp_path, sampled.digest).background(key)
    file.write_bytes(content)
    with pytest.raises(IntegrityError, match="rows do not open"):
        open_release(tmp_path, sampled.digest).background(bytes(32))
    for wrong in (content[:-1], b"X" + content[1:]):
        file.write_bytes(wrong)
        with pytest.raises(IntegrityError, match=SEALED_ROWS.replace(".", r"\.")):
            open_release(tmp_path, sampled.digest)
    file.unlink()
    with pytest.raises(IntegrityError, match=r"background\.json"):
        open_release(tmp_path, sampled.digest)


def test_rows_of_a_release_built_before_are_encrypted_later(tmp_path: Path) -> None:
    """At every step, ended there or not, the release opens and says the same."""
    home = Home(root=tmp_path).create()
    made, key = make_release(home), rows_key(Keyring.create_or_open(home.keyring))
    before = made.background()
    made.folder.chmod(0o700)
    (made.folder / SEALED_ROWS).write_bytes(b"half a fi")  # the first try was ended here
    assert open_release(home.releases, made.digest).background(key) == before
    assert seal_folder(made.folder, key) and not seal_folder(made.folder, key)
    assert not (made.folder / ROWS).exists() and made.folder.stat().st_mode & 0o777 == 0o500
    assert open_release(home.releases, made.digest).background(key) == before
