"""Witness keys and cosignature/v1, byte for byte; and any change of a cosigned note refused."""

from __future__ import annotations

import base64
from hashlib import sha256
from pathlib import Path
from types import ModuleType

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from pilotage.errors import InputError, IntegrityError
from pilotage.ledger.cosignatures import WitnessKey, find_cosignature
from pilotage.ledger.merkle import leaf_hash
from pilotage.ledger.notes import Signer, parse_checkpoint
from pilotage.ledger.proofs import require_cosignature, verify_proof

PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
LOG = Signer("example.org/log", Ed25519PrivateKey.from_private_bytes(bytes(32)))
KEY = WitnessKey("example.org/witness", PRIVATE)
ENTRY = b"one entry"
CHECKPOINT = LOG.sign_checkpoint("example.org/log", 1, leaf_hash(ENTRY))
NOTE = CHECKPOINT + KEY.cosign(CHECKPOINT, 1_679_315_147)
PROOF = "c2sp.org/tlog-proof@v1\nindex 0\n\n"
SCRIPT = Path(__file__).parents[3] / "docs" / "verify_proof.py"


def script() -> ModuleType:
    module = ModuleType("verify_proof")
    exec(compile(SCRIPT.read_text(), str(SCRIPT), "exec"), module.__dict__)
    return module


def test_the_line_is_the_one_of_the_specification() -> None:
    public = PRIVATE.public_key().public_bytes_raw()
    key_id = sha256(b"example.org/witness\n\x04" + public).digest()[:4]
    dash, name, encoded = NOTE.split("\n")[-2].split(" ")
    content = base64.b64decode(encoded)
    assert (dash, name, len(content)) == ("—", "example.org/witness", 4 + 8 + 64)
    assert content[:4] == key_id and int.from_bytes(content[4:12], "big") == 1_679_315_147
    body = CHECKPOINT.partition("\n\n")[0] + "\n"
    signed = f"cosignature/v1\ntime 1679315147\n{body}".encode()
    Ed25519PublicKey.from_public_bytes(public).verify(content[12:], signed)
    assert KEY.vkey() == f"example.org/witness+{key_id.hex()}+{base64.b64encode(bytes([4]) + public).decode()}"


def test_the_cosigned_note_is_read_by_either_key_alone() -> None:
    found = find_cosignature(NOTE, KEY.vkey())
    assert found is not None and (found.witness, found.at) == ("example.org/witness", 1_679_315_147)
    assert parse_checkpoint(NOTE, [LOG.vkey()]).size == 1
    assert find_cosignature(CHECKPOINT, KEY.vkey()) is None


def test_a_key_of_one_kind_is_not_taken_for_the_other() -> None:
    with pytest.raises(InputError, match="verifier key"):
        find_cosignature(NOTE, LOG.vkey())
    with pytest.raises(InputError, match="verifier key"):
        parse_checkpoint(NOTE, [KEY.vkey()])


def test_a_line_that_is_there_twice_or_was_moved_to_another_checkpoint_is_wrong() -> None:
    line = NOTE.split("\n")[-2] + "\n"
    other = LOG.sign_checkpoint("example.org/log", 2, leaf_hash(ENTRY))
    for text in (NOTE + line, other + line):
        with pytest.raises(IntegrityError, match="wrong cosignature"):
            find_cosignature(text, KEY.vkey())


@given(st.integers(0, len(NOTE.encode()) - 1), st.integers(1, 255))
def test_no_byte_of_a_cosigned_note_can_be_changed(at: int, change: int) -> None:
    content = bytearray(NOTE.encode())
    content[at] ^= change
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return
    try:
        parse_checkpoint(text, [LOG.vkey()])
        found = find_cosignature(text, KEY.vkey())
    except IntegrityError:
        return
    assert found is None, "the line may become another key's, never another statement of this one"


def test_a_proof_may_be_required_to_be_cosigned_by_command_and_by_script() -> None:
    assert verify_proof(PROOF + NOTE, ENTRY, LOG.vkey()).size == 1
    assert require_cosignature(PROOF + NOTE, KEY.vkey()).at == 1_679_315_147
    with pytest.raises(IntegrityError, match="has not confirmed"):
        require_cosignature(PROOF + CHECKPOINT, KEY.vkey())
    alone = script()
    keys = alone.read_key(LOG.vkey()), alone.read_key(KEY.vkey(), True)
    assert alone.verify(PROOF + NOTE, ENTRY, *keys) == (0, "example.org/log", 1)
    with pytest.raises(alone.NotProven, match=r"not signed by example\.org/witness"):
        alone.verify(PROOF + CHECKPOINT, ENTRY, *keys)
    late = NOTE.replace(NOTE.split("\n")[-2], KEY.cosign(CHECKPOINT, 1_679_315_148).rstrip("\n"))
    first, second = (text.split("\n")[-2].split(" ")[2] for text in (NOTE, late))
    mixed = base64.b64decode(first)[:12] + base64.b64decode(second)[12:]
    forged = NOTE.replace(first, base64.b64encode(mixed).decode())
    with pytest.raises(alone.NotProven, match="is wrong"):
        alone.verify(PROOF + forged, ENTRY, *keys)
    assert len(SCRIPT.read_text().splitlines()) < 150


def test_the_script_tells_of_the_witness(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "proof").write_text(PROOF + NOTE)
    (tmp_path / "record").write_bytes(ENTRY)
    arguments = [str(tmp_path / "proof"), str(tmp_path / "record"), LOG.vkey()]
    assert script().main([*arguments, KEY.vkey()]) == 0
    assert "and the witness has confirmed" in capsys.readouterr().out
    assert script().main(arguments) == 0
    assert "witness" not in capsys.readouterr().out
    (tmp_path / "proof").write_text(PROOF + CHECKPOINT)
    assert script().main([*arguments, KEY.vkey()]) == 1


def test_the_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "witness.key"
    for number in range(20):  # a key's base64 may hold a plus sign
        other = tmp_path / f"{number}.key"
        assert WitnessKey.create_or_open(other, "w").vkey() == WitnessKey.create_or_open(other, "w").vkey()
    made = WitnessKey.create_or_open(path, "w1")
    assert path.stat().st_mode & 0o777 == 0o600
    assert WitnessKey.create_or_open(path, "another name").vkey() == made.vkey()
    path.chmod(0o644)
    with pytest.raises(InputError, match="others than its owner"):
        WitnessKey.create_or_open(path, "w1")
    path.chmod(0o600)
    path.write_text(path.read_text().replace("w1", "w2"))
    with pytest.raises(InputError, match="no witness key"):
        WitnessKey.create_or_open(path, "w1")
