"""Seal a small secret to the steward's X25519 public key: whoever seals cannot open.

ECIES with a fresh key pair for each box: X25519, HKDF-SHA256 over both public keys and the context, AES-256-GCM.
The derived key serves one box, so its nonce is constant. A box proves nothing about who sealed it.
"""

from __future__ import annotations

import hashlib

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from pilotage.errors import InputError, IntegrityError

__all__ = ["key_id", "open_box", "seal"]

_PURPOSE = b"pilotage sealed box v1\0"
_NONCE = bytes(12)
_KEY_BYTES = 32


def key_id(public: bytes) -> str:
    """The name of a public key: the first 16 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(public).hexdigest()[:16]


def seal(public: bytes, secret: bytes, context: bytes, once: bytes = b"") -> bytes:
    """A box that only the holder of the private key opens, and only with the same context: 48 bytes + the secret.

    `public` is the raw 32-byte X25519 key. Raises InputError when it is not one. `once` are 32 secret bytes for the
    box's own key pair, for boxes that must come out the same: it may serve one secret, context and receiver alone.
    """
    try:
        theirs = X25519PublicKey.from_public_bytes(public)
        ours = X25519PrivateKey.from_private_bytes(once) if once else X25519PrivateKey.generate()
        shared = ours.exchange(theirs)
    except ValueError as error:
        raise InputError(
            "the steward key is not an X25519 public key",
            got=f"{len(public)} bytes",
            expected="32 bytes, not of low order",
            mend="take `steward_key` from the serving plan",
        ) from error
    mine = ours.public_key().public_bytes_raw()
    return mine + AESGCM(_derive(shared, mine, public, context)).encrypt(_NONCE, secret, None)


def open_box(private: X25519PrivateKey, box: bytes, context: bytes) -> bytes:
    """The secret in a box. Raises IntegrityError when the box, the key or the context is another."""
    theirs, sealed = box[:_KEY_BYTES], box[_KEY_BYTES:]
    try:
        shared = private.exchange(X25519PublicKey.from_public_bytes(theirs))
        key = _derive(shared, theirs, private.public_key().public_bytes_raw(), context)
        return AESGCM(key).decrypt(_NONCE, sealed, None)
    except (ValueError, InvalidTag) as error:
        raise IntegrityError(
            "a sealed key does not open",
            expected="a box sealed to this steward's key in this place",
            mend="use the keyring that was in use when it was written; else restore the file",
        ) from error


def _derive(shared: bytes, sender: bytes, receiver: bytes, context: bytes) -> bytes:
    hkdf = HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=sender + receiver, info=_PURPOSE + context)
    return hkdf.derive(shared)
