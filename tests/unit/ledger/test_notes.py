"""Signed notes: the format byte for byte, and any change of it refused."""

from __future__ import annotations

import base64
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from pilotage.errors import InputError, IntegrityError
from pilotage.ledger.notes import Checkpoint, Signer, parse_checkpoint, read_checkpoint_body

PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SIGNER = Signer("example.org/log", PRIVATE)
OTHER = Signer("example.org/witness", Ed25519PrivateKey.from_private_bytes(bytes(32)))
ROOT = sha256(b"root").digest()
TEXT = SIGNER.sign_checkpoint("example.org/log", 42, ROOT)


def test_the_signed_text_is_the_one_of_the_specification() -> None:
    public = PRIVATE.public_key().public_bytes_raw()
    key_id = sha256(b"example.org/log\n\x01" + public).digest()[:4]
    body = f"example.org/log\n42\n{base64.b64encode(ROOT).decode()}\n"
    signature = base64.b64encode(key_id + PRIVATE.sign(body.encode())).decode()
    assert f"{body}\n— example.org/log {signature}\n" == TEXT
    assert SIGNER.vkey() == f"example.org/log+{key_id.hex()}+{base64.b64encode(bytes([1]) + public).decode()}"


def test_a_verifier_key_published_elsewhere_is_read() -> None:
    """The Go checksum database's key: whatever it signed, it has not signed our text."""
    with pytest.raises(IntegrityError, match=r"sum\.golang\.org"):
        parse_checkpoint(TEXT, ["sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"])


def test_a_signed_checkpoint_is_read_back() -> None:
    assert parse_checkpoint(TEXT, [OTHER.vkey(), SIGNER.vkey()]) == Checkpoint(
        origin="example.org/log", size=42, root=ROOT
    )
    assert read_checkpoint_body(TEXT).size == 42


def test_signatures_of_strangers_are_passed_over_but_one_must_be_known() -> None:
    cosignature = OTHER.sign_checkpoint("example.org/log", 42, ROOT).rpartition("\n\n")[2]
    assert parse_checkpoint(TEXT + cosignature, [SIGNER.vkey()]).size == 42
    assert parse_checkpoint(TEXT + cosignature, [OTHER.vkey()]).size == 42
    with pytest.raises(IntegrityError, match=r"signed by example\.org/log"):
        parse_checkpoint(TEXT, [OTHER.vkey()])
    with pytest.raises(IntegrityError):
        parse_checkpoint(TEXT, [])


def test_a_wrong_signature_of_a_known_key_spoils_the_note() -> None:
    other_text = SIGNER.sign_checkpoint("example.org/log", 43, ROOT).rpartition("\n\n")[2]
    with pytest.raises(IntegrityError, match="wrong signature"):
        parse_checkpoint(TEXT + other_text, [SIGNER.vkey()])


@given(st.integers(0, len(TEXT.encode()) - 1), st.integers(1, 255))
def test_no_byte_of_it_can_be_changed(at: int, change: int) -> None:
    content = bytearray(TEXT.encode())
    content[at] ^= change
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return
    with pytest.raises(IntegrityError):
        parse_checkpoint(text, [SIGNER.vkey()])


@given(st.integers(0, len(TEXT) - 1))
def test_no_part_of_it_can_be_cut(end: int) -> None:
    with pytest.raises(IntegrityError):
        parse_checkpoint(TEXT[:end], [SIGNER.vkey()])


@pytest.mark.parametrize(
    "body",
    [
        "example.org/log\n042\n" + base64.b64encode(ROOT).decode(),
        "example.org/log\n+42\n" + base64.b64encode(ROOT).decode(),
        "example.org/log\n４２\n" + base64.b64encode(ROOT).decode(),
        "example.org/log\n" + "9" * 5000 + "\n" + base64.b64encode(ROOT).decode(),
        "example.org/log\n42\n" + base64.b64encode(ROOT[:31]).decode(),
        "example.org/log\n42\n" + base64.b64encode(ROOT).decode().rstrip("="),
        "example.org/log\n42",
        "\n42\n" + base64.b64encode(ROOT).decode(),
        "example.org/log\n42\n" + base64.b64encode(ROOT).decode() + "\n\nmore",
        "example.org/log\r\n42\n" + base64.b64encode(ROOT).decode(),
    ],
)
def test_other_bodies_are_refused_also_when_signed(body: str) -> None:
    signed = (body + "\n").encode()
    key_id = base64.b64decode(TEXT.split(" ")[-1])[:4]
    line = base64.b64encode(key_id + PRIVATE.sign(signed)).decode()
    with pytest.raises(IntegrityError):
        parse_checkpoint(f"{body}\n\n— example.org/log {line}\n", [SIGNER.vkey()])


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "name",
        "name+00000000+AAAA",
        SIGNER.vkey().replace("example", "exemple"),
        SIGNER.vkey()[:-4],
        SIGNER.vkey() + "=",
        SIGNER.vkey().replace("+01", "+02", 1)[:-1],
    ],
)
def test_a_text_that_is_no_verifier_key_is_refused(vkey: str) -> None:
    with pytest.raises(InputError, match="verifier key"):
        parse_checkpoint(TEXT, [vkey])


def test_names_and_heads_that_would_frame_another_note_are_not_signed() -> None:
    for name in ("", "two words", "a+b", "a\nb"):
        with pytest.raises(InputError):
            Signer(name, PRIVATE)
    for origin, size, root in (("a\n7", 1, ROOT), ("", 1, ROOT), ("a", -1, ROOT), ("a", 1, ROOT[:31])):
        with pytest.raises(InputError):
            SIGNER.sign_checkpoint(origin, size, root)
