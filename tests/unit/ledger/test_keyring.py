"""Where the keyring comes from, its two forms, and how a running process follows a change of it."""

from __future__ import annotations

import base64
import json
import os
import stat
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from pilotage.errors import InputError, Unavailable
from pilotage.ledger.keyring import ENVIRONMENT, Keyring
from pilotage.ledger.keyring_source import KeyringSource, run_command
from pilotage.ledger.rotation import new_master, new_signing, new_steward


def text(secret: bytes) -> str:
    return base64.b64encode(secret).decode()


def printing(path: Path, content: bytes, code: int = 0) -> str:
    """A command that prints bytes, and complains on standard error."""
    path.write_bytes(content)
    program = (
        f"import sys;sys.stdout.buffer.write(open('{path}','rb').read());sys.stderr.write('noise');sys.exit({code})"
    )
    return f'{sys.executable} -c "{program}"'


def test_a_keyring_of_version_1_keeps_its_lookups_and_masks_without_its_master() -> None:
    master, steward, signing = os.urandom(32), X25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    old = {
        "version": 1,
        "origin": "example.org/log",
        "master": text(master),
        "steward": text(steward.private_bytes_raw()),
        "signing": text(signing.private_bytes_raw()),
    }

    def as_version_1_did(purpose: str) -> bytes:
        return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"pilotage/" + purpose.encode()).derive(master)

    keyring = Keyring.from_json(json.dumps(old).encode())
    assert keyring.wrapping_secrets("data-key-wrapping") == (as_version_1_did("data-key-wrapping"),)
    rotated = Keyring.from_json(replace(new_master(keyring, os.urandom(32)), masters=(os.urandom(32),)).to_json())
    for purpose in ("data-key-lookup", "segment-key-id-mask"):
        assert keyring.secret(purpose) == rotated.secret(purpose) == as_version_1_did(purpose)
    assert text(master) not in rotated.to_json().decode()


def test_rotations_put_the_new_secret_in_front_and_survive_the_json_form() -> None:
    first = Keyring.create()
    then = new_signing(new_steward(new_master(first, os.urandom(32))))
    again = Keyring.from_json(then.to_json())
    assert again.masters == then.masters and again.masters[1] == first.master != again.master
    assert again.vkeys == then.vkeys and again.vkeys[1] == first.vkeys[0]
    assert again.stewards[1].private_bytes_raw() == first.steward.private_bytes_raw()
    assert again.secret("data-key-lookup") == first.secret("data-key-lookup")
    public_only = replace(again, signings=(again.signings[0], replace(again.signings[1], private=None)))
    assert Keyring.from_json(public_only.to_json()).vkeys == again.vkeys


def test_a_swapped_public_key_is_refused() -> None:
    written = json.loads(Keyring.create().to_json())
    written["signings"][0]["public"] = text(os.urandom(32))
    with pytest.raises(InputError) as refused:
        Keyring.from_json(json.dumps(written).encode())
    assert refused.value.code == "keyring_broken"


def test_a_process_follows_a_change_of_the_file(tmp_path: Path) -> None:
    ours, theirs = (KeyringSource(tmp_path / "keyring.json", {}) for _ in range(2))
    first = ours.current()
    assert ours.current() is first and theirs.current().master == first.master
    theirs.keep(new_master(theirs.current(), b"n" * 32))
    assert ours.current().masters == (b"n" * 32, first.master)
    assert stat.S_IMODE((tmp_path / "keyring.json").stat().st_mode) == 0o600
    (tmp_path / "keyring.json").unlink()
    assert ours.current().master == b"n" * 32, "what is known still holds"


def test_a_command_may_print_the_whole_keyring(tmp_path: Path) -> None:
    keyring = Keyring.create("example.org/log")
    source = KeyringSource(tmp_path / "home" / "keyring.json", {}, printing(tmp_path / "said", keyring.to_json()))
    assert source.current().vkeys == keyring.vkeys and not source.in_place
    assert not (tmp_path / "home").exists()
    with pytest.raises(InputError) as refused:
        source.keep(new_master(keyring, b"n" * 32))
    assert refused.value.code == "keyring_elsewhere"
    output = tmp_path / "new.json"
    source.keep(new_master(keyring, b"n" * 32), output)
    assert stat.S_IMODE(output.stat().st_mode) == 0o600 and Keyring.from_json(output.read_bytes()).master == b"n" * 32
    with pytest.raises(InputError, match="there already"):
        source.keep(keyring, output)


@pytest.mark.parametrize("form", ["raw", "hex", "base64"])
def test_a_command_may_print_the_secret_that_opens_the_file(tmp_path: Path, form: str) -> None:
    secret = b"0" + os.urandom(30) + b"1"
    said = {"raw": secret, "hex": secret.hex().encode() + b"\n", "base64": base64.b64encode(secret) + b"\n"}[form]
    path, command = tmp_path / "keyring.json", printing(tmp_path / "said", said)
    made = KeyringSource(path, {}, command).current()
    assert text(made.master) not in path.read_text() and made.origin not in path.read_text()
    again = KeyringSource(path, {}, command)
    assert again.current().master == made.master and again.in_place
    again.keep(new_master(made, b"n" * 32))
    assert KeyringSource(path, {}, command).current().masters == (b"n" * 32, made.master)
    for other in ("", printing(tmp_path / "other", os.urandom(31) + b"x")):
        with pytest.raises(InputError) as refused:
            KeyringSource(path, {}, other).current()
        assert refused.value.code == "keyring_broken"


def test_a_file_in_clear_is_encrypted_once_a_command_has_a_secret(tmp_path: Path) -> None:
    path = tmp_path / "keyring.json"
    before = KeyringSource(path, {}).current()
    assert text(before.master) in path.read_text()
    after = KeyringSource(path, {}, printing(tmp_path / "said", b"ab" * 32)).current()
    assert after.master == before.master and text(before.master) not in path.read_text()


def test_the_environment_goes_before_the_command(tmp_path: Path) -> None:
    keyring = Keyring.create()
    source = KeyringSource(tmp_path / "k.json", {ENVIRONMENT: keyring.to_json().decode()}, "/nonexistent")
    assert source.current().master == keyring.master and not source.in_place


def test_a_command_that_fails_says_so_and_shows_nothing(tmp_path: Path) -> None:
    secret = b"c2VjcmV0LXNlY3JldC1zZWNyZXQ"
    for command in (
        "/nonexistent/program",
        "unbalanced 'quote",
        printing(tmp_path / "a", secret, code=3),
        printing(tmp_path / "b", b""),
        printing(tmp_path / "c", secret),
        printing(tmp_path / "d", b"x" * 70_000),
    ):
        with pytest.raises(Unavailable) as refused:
            KeyringSource(tmp_path / "k.json", {}, command).current()
        assert refused.value.code == "keyring_command"
        assert secret.decode() not in str(refused.value) and "noise" not in str(refused.value)
    assert not (tmp_path / "k.json").exists()


def test_a_command_runs_without_a_shell(tmp_path: Path) -> None:
    assert run_command(f"/bin/echo one; touch {tmp_path}/shell").startswith(b"one; touch")
    assert not (tmp_path / "shell").exists()
