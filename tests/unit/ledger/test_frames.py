"""Frames: whole or not at all, in order, bound to their place."""

from __future__ import annotations

import os

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from pilotage.errors import IntegrityError, NotFound
from pilotage.ledger.frames import (
    FrameKind,
    FrameSealer,
    encode_header,
    end_mark,
    file_key,
    find_mark,
    group_mark,
    make_header,
    open_secret,
    parse_end,
    parse_frame,
    parse_group,
    parse_header,
    record_head,
    records_in,
)

KEY = bytes(range(32))
FIRST = bytes(32)
STEWARD = X25519PrivateKey.generate()
PUBLIC = STEWARD.public_key().public_bytes_raw()
records = st.lists(st.tuples(st.sampled_from(FrameKind), st.binary(max_size=200), st.binary(max_size=300)), max_size=8)


@given(records=records, before=st.binary(max_size=9))
def test_what_goes_in_comes_out(records: list[tuple[FrameKind, bytes, bytes]], before: bytes) -> None:
    sealer, aead = FrameSealer(KEY, FIRST), AESGCM(KEY)
    data = before + b"".join(sealer.frame(*record) for record in records)
    at, chain = len(before), FIRST
    for counter, (kind, plain, secret) in enumerate(records):
        frame = parse_frame(data, at)
        assert frame is not None
        assert (frame.kind, frame.counter, frame.plain) == (kind, counter, plain)
        assert open_secret(aead, frame, chain) == secret
        assert frame.chain_after(chain) == frame.chain
        at, chain = at + frame.length, frame.chain
    assert at == len(data)
    assert chain == sealer.chain


@given(plain=st.binary(max_size=60), secret=st.binary(max_size=60))
def test_a_cut_or_changed_frame_is_no_frame(plain: bytes, secret: bytes) -> None:
    data = FrameSealer(KEY, FIRST).frame(FrameKind.decision, plain, secret)
    assert all(parse_frame(data[:cut], 0) is None for cut in range(len(data)))
    assert all(parse_frame(data[:cut] + bytes(len(data) - cut), 0) is None for cut in range(len(data) - 8))
    for at in range(len(data)):
        assert parse_frame(data[:at] + bytes((data[at] ^ 0x80,)) + data[at + 1 :] + bytes(300), 0) is None


def test_a_frame_does_not_open_elsewhere() -> None:
    sealer, aead = FrameSealer(KEY, FIRST), AESGCM(KEY)
    frames = [parse_frame(sealer.frame(FrameKind.decision, b"p", b"s"), 0) for _ in range(2)]
    first, second = frames
    assert first is not None
    assert second is not None
    assert open_secret(aead, second, first.chain) == b"s"
    with pytest.raises(IntegrityError):
        open_secret(aead, second, FIRST)
    with pytest.raises(IntegrityError):
        open_secret(AESGCM(bytes(32)), first, FIRST)


def test_who_lacks_the_key_cannot_forge_the_plain_part() -> None:
    forger = FrameSealer(bytes(32), FIRST)
    forged = parse_frame(forger.frame(FrameKind.decision, b"forged", b"s"), 0)
    assert forged is not None
    assert forged.chain_after(FIRST) == forged.chain, "chain and checksum alone can be computed by anybody"
    with pytest.raises(IntegrityError):
        open_secret(AESGCM(KEY), forged, FIRST)


@given(records=records)
def test_a_group_holds_its_records_in_order(records: list[tuple[FrameKind, bytes, bytes]]) -> None:
    parts = [
        part for kind, plain, secret in records for part in (record_head(kind, len(plain), len(secret)), plain, secret)
    ]
    frame = parse_frame(FrameSealer(KEY, FIRST).group(len(records), parts), 0)
    assert frame is not None
    assert frame.records == len(records)
    assert records_in(frame, open_secret(AESGCM(KEY), frame, FIRST)) == records


@pytest.mark.parametrize(("count", "cut"), [(1, 0), (3, 0), (2, 1)])
def test_a_group_with_other_records_than_it_says_is_refused(count: int, cut: int) -> None:
    content = 2 * (record_head(1, 5, 6) + b"plain" + b"secret")
    frame = parse_frame(FrameSealer(KEY, FIRST).group(count, [content[: len(content) - cut]]), 0)
    assert frame is not None
    with pytest.raises(IntegrityError, match="does not hold the records"):
        records_in(frame, open_secret(AESGCM(KEY), frame, FIRST))


def header_bytes(key: bytes = KEY) -> bytes:
    header = make_header(key, PUBLIC, node="n", worker=1, n=2, created=5, previous=FIRST)
    return encode_header(header)


def test_a_header_keeps_the_files_key_for_the_steward_alone() -> None:
    content = header_bytes()
    header, length, chain = parse_header(content + b"more")
    assert (header.node, header.worker, header.n, header.created, header.previous) == ("n", 1, 2, 5, FIRST.hex())
    assert (length, chain) == (len(content), content[-32:])
    assert file_key(header, STEWARD) == KEY
    assert KEY not in content
    with pytest.raises(NotFound) as caught:
        file_key(header, X25519PrivateKey.generate())
    assert caught.value.code == "steward_key_unknown"


def test_any_changed_byte_or_cut_of_a_header_is_noticed() -> None:
    content = header_bytes()
    for at in range(len(content)):
        with pytest.raises(ValueError, match="it"):
            parse_header(content[:at] + bytes((content[at] ^ 4,)) + content[at + 1 :])
        with pytest.raises(ValueError, match="it"):
            parse_header(content[:at])


def test_marks_hold_only_at_their_own_place() -> None:
    group, end = group_mark(100, 7), end_mark(100, 7, FIRST)
    assert parse_group(group, 0, 100) == 7
    assert parse_end(end, 0, 100) == FIRST
    assert parse_group(group, 0, 101) is None
    assert parse_end(end, 0, 99) is None
    assert parse_group(end, 0, 100) is None
    for mark, parse in ((group, parse_group), (end, parse_end)):
        for at in range(len(mark)):
            assert parse(mark[:at] + bytes((mark[at] ^ 1,)) + mark[at + 1 :], 0, 100) is None  # type: ignore[operator]
            assert parse(mark[:at], 0, 100) is None  # type: ignore[operator]


@given(noise=st.binary(max_size=100), offset=st.integers(0, 2**40))
def test_a_mark_is_found_behind_anything(noise: bytes, offset: int) -> None:
    decoy = b"\xff\xff\xff\xff" + os.urandom(3)
    assert find_mark(noise + decoy, offset) is None
    place = offset + len(noise) + len(decoy)
    assert find_mark(noise + decoy + group_mark(place, 1), offset) == place
    assert find_mark(noise + decoy + group_mark(place + 1, 1), offset) is None
