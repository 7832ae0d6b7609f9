"""A second signature in the form that model hubs read: sigstore's `model-signing`, by an ECDSA key of the signer.

It is about every file of a release's folder but the encrypted reference rows, which another installation seals anew. It
lies wherever the signer puts it; nothing here believes it instead of the installation's own signature. Signing without
a key, by an identity that sigstore's services attest, needs the network: `model_signing sign FOLDER` does that.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from pilotage.errors import InputError, IntegrityError, MissingExtra
from pilotage.releases.sealed_rows import SEALED_ROWS

__all__ = ["sign_model", "verify_model"]

_MOST_BYTES = 16_000_000
"""The largest bundle that is read: a release of ten thousand files has one of two million bytes."""

_MAKE_KEY = "openssl ecparam -name prime256v1 -genkey -noout -out key.pem; openssl ec -in key.pem -pubout -out key.pub"


def sign_model(folder: Path, key: Path) -> bytes:
    """The sigstore bundle of a release's folder, signed by the private key in a PEM file (P-256, P-384 or P-521).

    Raises MissingExtra, and InputError for a key that cannot sign.
    """
    try:
        from model_signing import hashing, signing
    except ImportError:
        raise MissingExtra("model-signing", "sigstore") from None
    try:
        signer = signing.Config().use_elliptic_key_signer(private_key=key)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(
            f"{key} holds no private key that can sign",
            got=str(error).splitlines()[0][:200] if str(error) else type(error).__name__,
            expected="a PEM file of an unencrypted ECDSA key: P-256, P-384 or P-521",
            mend=f"make one: {_MAKE_KEY}",
        ) from None
    hashed = hashing.Config().set_ignored_paths(paths=[folder / SEALED_ROWS], ignore_git_paths=False)
    with tempfile.TemporaryDirectory() as made:
        bundle = Path(made) / "bundle.json"
        signer.set_hashing_config(hashed).sign(folder, bundle)
        return bundle.read_bytes()


def verify_model(folder: Path, bundle: Path, key: Path) -> None:
    """Hold a release's folder against its bundle and the signer's public key (PEM).

    Raises IntegrityError naming each file that is not as it was signed, InputError for what is no bundle or no key.
    """
    try:
        from model_signing import hashing, verifying
    except ImportError:
        raise MissingExtra("model-signing", "sigstore") from None
    if bundle.stat().st_size > _MOST_BYTES:
        raise InputError(
            f"{bundle} is too large to be a signature",
            got=f"{bundle.stat().st_size:,} bytes",
            expected=f"at most {_MOST_BYTES:,}",
            mend="name the file that model-signing wrote",
        )
    try:
        verifier = verifying.Config().use_elliptic_key_verifier(public_key=key)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(
            f"{key} holds no public key of the signer",
            got=str(error).splitlines()[0][:200] if str(error) else type(error).__name__,
            expected="a PEM file of an ECDSA public key: P-256, P-384 or P-521",
            mend="ask the signer for it; from a private key: openssl ec -in key.pem -pubout",
        ) from None
    hashed = hashing.Config().set_ignored_paths(paths=[folder / SEALED_ROWS], ignore_git_paths=False)
    try:
        verifier.set_hashing_config(hashed).verify(folder, bundle)
    except Exception as error:  # noqa: BLE001 - the library's errors share no base: whatever it is, nothing is proven
        raise IntegrityError(
            f"the bundle {bundle.name} does not prove {folder.name}",
            got=_said(error),
            expected="a sigstore bundle of this key, and every file as it was signed",
            code="signature_broken",
            mend="run pilotage release verify, or take the bundle and the public key that belong together",
        ) from None


def _said(error: Exception) -> str:
    """What the library says, without the digests, which `release verify` tells in full."""
    if isinstance(error, (KeyError, AttributeError, TypeError)):
        return "something that is no such bundle"
    return re.sub(r": Expected 'Digest\(.*?\)', Actual 'Digest\(.*?\)'", "", str(error) or type(error).__name__)[:2_000]
