"""Signatures of releases for model hubs: sigstore's own tool verifies them, and no file changes unseen."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from pilotage.errors import InputError, IntegrityError
from pilotage.releases.model_signing import sign_model, verify_model
from pilotage.releases.sealed_rows import SEALED_ROWS
from pilotage.storage.home import Home
from pilotage.testing.releases import make_release

PEM, PLAIN = serialization.Encoding.PEM, serialization.NoEncryption()


def write_keys(folder: Path, name: str = "key") -> tuple[Path, Path]:
    """A private key and its public key."""
    key = ec.generate_private_key(ec.SECP256R1())
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    private.write_bytes(key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, PLAIN))
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    public.write_bytes(key.public_key().public_bytes(PEM, spki))
    return private, public


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a release with encrypted reference rows."""
    home = Home(root=tmp_path_factory.mktemp("home"))
    return make_release(home, sampling=True).folder


@pytest.fixture
def folder(release: Path, tmp_path: Path) -> Path:
    """A copy of it that can be damaged."""
    copy = tmp_path / "release" / release.name
    shutil.copytree(release, copy)
    for path in (copy, *copy.rglob("*")):
        path.chmod(0o700)
    return copy


def test_sigstores_own_tool_verifies_it(folder: Path, tmp_path: Path) -> None:
    private, public = write_keys(tmp_path)
    bundle = tmp_path / "model.sig"
    bundle.write_bytes(sign_model(folder, private))
    tool = [sys.executable, "-m", "model_signing", "verify", "key", str(folder)]
    words = [*tool, "--signature", str(bundle), "--public_key", str(public)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    (folder / "manifest.json").write_bytes(b"{}")
    assert subprocess.run(words, capture_output=True, timeout=120, check=False).returncode == 1


def _flip(folder: Path) -> str:
    path = folder / "manifest.json"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    return "manifest.json"


def _add(folder: Path) -> str:
    (folder / "more.py").write_text("")
    return "more.py"


def _remove(folder: Path) -> str:
    (folder / "manifest.json").unlink()
    return "manifest.json"


@pytest.mark.parametrize("change", [_flip, _add, _remove])
def test_each_file_that_changed_is_named(change: Callable[[Path], str], folder: Path, tmp_path: Path) -> None:
    private, public = write_keys(tmp_path)
    bundle = tmp_path / "model.sig"
    bundle.write_bytes(sign_model(folder, private))
    verify_model(folder, bundle, public)
    name = change(folder)
    with pytest.raises(IntegrityError) as caught:
        verify_model(folder, bundle, public)
    assert name in str(caught.value.got) and caught.value.code == "signature_broken"


def test_encrypted_rows_may_be_sealed_anew(folder: Path, tmp_path: Path) -> None:
    private, public = write_keys(tmp_path)
    bundle = tmp_path / "model.sig"
    bundle.write_bytes(sign_model(folder, private))
    assert (folder / SEALED_ROWS).is_file()
    (folder / SEALED_ROWS).write_bytes(b"sealed to another key")
    moved = folder.rename(tmp_path / "elsewhere")
    verify_model(moved, bundle, public)


def test_anothers_key_and_what_is_no_bundle_prove_nothing(folder: Path, tmp_path: Path) -> None:
    private, _ = write_keys(tmp_path)
    _, other = write_keys(tmp_path, "other")
    bundle = tmp_path / "model.sig"
    bundle.write_bytes(sign_model(folder, private))
    with pytest.raises(IntegrityError):
        verify_model(folder, bundle, other)
    for content in (b"", b"{}", b"[]", b"\xff", json.dumps({"verificationMaterial": {}}).encode()):
        bundle.write_bytes(content)
        with pytest.raises(IntegrityError, match="does not prove"):
            verify_model(folder, bundle, other)


def test_a_key_that_cannot_sign_is_told_what_can(folder: Path, tmp_path: Path) -> None:
    private, public = write_keys(tmp_path)
    wrong = tmp_path / "ed25519.pem"
    made = ed25519.Ed25519PrivateKey.generate()
    wrong.write_bytes(made.private_bytes(PEM, serialization.PrivateFormat.PKCS8, PLAIN))
    for key in (wrong, public, tmp_path / "absent"):
        with pytest.raises(InputError, match="P-256") as caught:
            sign_model(folder, key)
        assert "openssl" in caught.value.mend
    bundle = tmp_path / "model.sig"
    bundle.write_bytes(sign_model(folder, private))
    with pytest.raises(InputError, match="public key"):
        verify_model(folder, bundle, private)
