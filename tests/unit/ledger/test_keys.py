"""Keyring, data keys, payload segments: what is secret stays so, what was changed is noticed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from pilotage.errors import InputError, IntegrityError, NotFound
from pilotage.ledger import store
from pilotage.ledger.keyring import ENVIRONMENT, Keyring
from pilotage.ledger.keys import KeyCabinet, KeyNeeds, KeyRow
from pilotage.ledger.record import Segment
from pilotage.ledger.rotation import new_master
from pilotage.ledger.segments import (
    SealedPayload,
    SegmentBuilder,
    iterate_segment,
    mask,
    read_payload,
    segment_files,
    segment_path,
)
from pilotage.ledger.tables import day_keys, subject_keys
from pilotage.storage.database import reading, writing
from pilotage.storage.objects import write_all_durably
from tests.ledger_world import START, World, make_world

MASK_KEY = b"m" * 32


def _written(folder: Path, builders: list[SegmentBuilder]) -> list[Segment]:
    segments, files = segment_files(builders)
    write_all_durably({folder / path: content for path, content in files.items()})
    return segments


def test_the_keyring_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "home" / "keyring.json"
    made = Keyring.create_or_open(path, {})
    again = Keyring.create_or_open(path, {})
    assert path.stat().st_mode & 0o777 == 0o600
    assert (made.master, made.steward_public, made.origin) == (again.master, again.steward_public, again.origin)
    assert made.secret("console") == again.secret("console") != made.secret("other")
    assert len(made.secret("console")) == 32 and made.secret("console") != made.master
    assert [file.name for file in path.parent.iterdir()] == ["keyring.json"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o700 | 0o044])
def test_a_keyring_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "keyring.json"
    Keyring.create_or_open(path, {})
    path.chmod(mode)
    with pytest.raises(InputError, match="chmod 600") as refused:
        Keyring.create_or_open(path, {})
    assert refused.value.code == "keyring_exposed"


def test_the_environment_goes_before_the_file(tmp_path: Path) -> None:
    other = Keyring.create("example.org/log")
    opened = Keyring.create_or_open(tmp_path / "none.json", {ENVIRONMENT: other.to_json().decode()})
    assert (opened.master, opened.origin) == (other.master, "example.org/log")
    assert not (tmp_path / "none.json").exists()


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"version": 1, "origin": "x", "master": "c2hvcnQ="}'])
def test_a_broken_keyring_is_refused_without_showing_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keyring.json"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(InputError) as refused:
        Keyring.create_or_open(path, {})
    assert refused.value.code == "keyring_broken" and "c2hvcnQ" not in str(refused.value)


def test_secrets_are_in_no_representation() -> None:
    keyring = Keyring.create()
    assert keyring.origin in repr(keyring)
    assert repr(keyring.master)[2:-1] not in repr(keyring)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


def make_keys(world: World, cabinet: KeyCabinet, *subjects: str) -> None:
    with writing(world.ledger) as connection:
        of_subjects, of_days = cabinet.gather(
            connection, KeyNeeds(subjects=frozenset(subjects), days=frozenset({("credit", "2026-03-01")})), START
        )
        store.add_rows(connection, subject_keys, [key.row._asdict() for key in of_subjects.values() if key.row])
        store.add_rows(connection, day_keys, [key.row._asdict() for key in of_days.values() if key.row])


def test_keys_are_found_again_and_differ(world: World) -> None:
    cabinet = KeyCabinet(world.keyring)
    make_keys(world, cabinet, "ann", "bob")
    with reading(world.ledger) as connection:
        ann, again, bob = (cabinet.find_subject(connection, name) for name in ("ann", "ann", "bob"))
        assert ann is not None and again is not None and bob is not None
        assert cabinet.find_subject(connection, "cleo") is None
        with pytest.raises(NotFound):
            cabinet.find(connection, "00" * 16)
        assert cabinet.find(connection, ann.key_id).pseudonym == ann.pseudonym == again.pseudonym
    assert ann.pseudonym != bob.pseudonym
    assert again.open(ann.seal("id", "o", b"secret", os.urandom(12))) == b"secret"
    for wrong in (bob.open, lambda sealed: ann.open(replace(sealed, id="other"))):
        with pytest.raises(IntegrityError):
            wrong(ann.seal("id", "o", b"secret", os.urandom(12)))


def test_no_name_is_in_the_key_tables_and_another_keyring_opens_nothing(world: World) -> None:
    make_keys(world, KeyCabinet(world.keyring), "ann")
    stranger = KeyCabinet(Keyring.create())
    with reading(world.ledger) as connection:
        rows = connection.execute(subject_keys.select()).all()
        assert "ann" not in str(rows)
        assert stranger.find_subject(connection, "ann") is None
        with pytest.raises(IntegrityError, match="does not unwrap"):
            stranger.open_row(rows[0])


def test_a_wrapped_key_moved_to_another_row_does_not_unwrap(world: World) -> None:
    cabinet = KeyCabinet(world.keyring)
    make_keys(world, cabinet, "ann", "bob")
    with writing(world.ledger) as connection:
        first, second = connection.execute(subject_keys.select()).all()
        connection.execute(
            subject_keys.update().where(subject_keys.c.key_id == first.key_id).values(wrapped=second.wrapped)
        )
    with reading(world.ledger) as connection, pytest.raises(IntegrityError):
        cabinet.find(connection, first.key_id)


def test_a_key_vouches_for_when_it_was_made_and_an_older_form_stays_readable(world: World) -> None:
    cabinet = KeyCabinet(world.keyring)
    make_keys(world, cabinet, "ann")
    with reading(world.ledger) as connection:
        row = KeyRow(*connection.execute(subject_keys.select()).one())
    key = cabinet.open_row(row)
    with pytest.raises(IntegrityError, match="its row was changed"):
        cabinet.open_row(row._replace(created=row.created - 1))
    secret, nonce = os.urandom(32), os.urandom(12)
    wrapping = AESGCM(world.keyring.wrapping_secrets("data-key-wrapping")[0])
    older = row._replace(wrapped=nonce + wrapping.encrypt(nonce, secret, (row.key_id + row.lookup).encode()))
    assert key.open(key.seal("id", "o", b"what", os.urandom(12))) == b"what"
    assert AESGCM(secret).decrypt(nonce, cabinet.open_row(older).aead.encrypt(nonce, b"what", None), None) == b"what"
    turned = KeyCabinet(new_master(world.keyring, os.urandom(32)))
    for before in (row, older):
        after = turned.rewrap(before)
        assert after is not None and len(after) == len(before.wrapped) and after != before.wrapped
        assert turned.open_row(before._replace(wrapped=after)).pseudonym == cabinet.open_row(before).pseudonym


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=12, max_size=12))
def test_masking_twice_gives_the_key_id(key_id: bytes, nonce: bytes) -> None:
    masked = mask(key_id.hex(), nonce, MASK_KEY)
    assert mask(masked.hex(), nonce, MASK_KEY) == key_id


def payload(n: int, size: int = 40) -> SealedPayload:
    return SealedPayload(
        id=f"id-{n}", origin="n1/0-1", key_id=f"{n:032x}", nonce=os.urandom(12), ciphertext=os.urandom(16 + size)
    )


@settings(max_examples=25)
@given(st.lists(st.integers(0, 300), min_size=1, max_size=8))
def test_a_segment_gives_back_what_it_took(tmp_path_factory: pytest.TempPathFactory, sizes: list[int]) -> None:
    folder = tmp_path_factory.mktemp("segments")
    taken = [payload(n, size) for n, size in enumerate(sizes)]
    builder = SegmentBuilder(segment_path("credit", "2026-03-01", "b1"), MASK_KEY)
    places = [builder.add(one) for one in taken]
    [segment] = _written(folder, [builder])
    assert segment.records == len(taken)
    read = [read_payload(folder, segment.path, *place, MASK_KEY) for place in places]
    assert read == taken == [one for *_, one in iterate_segment(folder / segment.path, MASK_KEY)]


def test_records_of_one_key_are_not_alike_in_the_file(tmp_path: Path) -> None:
    builder = SegmentBuilder("segments/s/d/b.seg", MASK_KEY)
    for n in range(5):
        builder.add(replace(payload(n), key_id="ab" * 16))
    _written(tmp_path, [builder])
    content = (tmp_path / "segments/s/d/b.seg").read_bytes()
    assert b"\xab" * 16 not in content and b"ab" * 16 not in content
    assert {one.key_id for *_, one in iterate_segment(tmp_path / "segments/s/d/b.seg", MASK_KEY)} == {"ab" * 16}


@pytest.mark.parametrize("cut", [0, 3, 9, 30, -1])
def test_a_broken_segment_is_named(tmp_path: Path, cut: int) -> None:
    builder = SegmentBuilder("segments/s/d/b.seg", MASK_KEY)
    offset, length = builder.add(payload(1))
    _written(tmp_path, [builder])
    path = tmp_path / "segments/s/d/b.seg"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(IntegrityError, match=r"b\.seg"):
        read_payload(tmp_path, "segments/s/d/b.seg", offset, length, MASK_KEY)
    with pytest.raises(IntegrityError, match=r"b\.seg"):
        iterate_segment(path, MASK_KEY)


@pytest.mark.parametrize("system", ["../../etc", "a/b", "..", ".", "a\x00b", "x" * 500, "ünï"])
def test_a_segment_stays_in_its_folder(system: str) -> None:
    parts = Path(segment_path(system, "2026-03-01", "b")).parts
    assert len(parts) == 4 and ".." not in parts and "\x00" not in parts[1]
