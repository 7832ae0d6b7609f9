"""The rows that answers are explained against are rows of people: at rest they are encrypted.

The manifest pins the digest of the rows themselves, so that the same inputs give the same release whatever the key.
The file holds magic ‖ nonce 12 ‖ AES-256-GCM ciphertext, bound to that digest. The key comes from the keyring and is
the same after any rotation, as a release's folder is never written again.
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pilotage.errors import IntegrityError, NotFound
from pilotage.kernel.digests import digest
from pilotage.ledger.keyring import Keyring

__all__ = ["ROWS", "SEALED_ROWS", "is_sealed", "open_rows", "rows_key", "seal_rows"]

ROWS = "background.json"
"""The file of a release as its manifest names it."""

SEALED_ROWS = f"{ROWS}.sealed"
"""The file that holds it. Releases that were built before it was there hold ROWS itself."""

_MAGIC = b"PLGROWS1"
_NONCE = 12
_OVERHEAD = len(_MAGIC) + _NONCE + 16
_MEND = "use the keyring of the installation that built the release, or build it again here"


def rows_key(keyring: Keyring) -> bytes:
    """The 32-byte key of all releases of an installation."""
    return keyring.secret("release-rows")


def seal_rows(key: bytes, content: bytes) -> bytes:
    """The file for these rows."""
    nonce = os.urandom(_NONCE)
    return _MAGIC + nonce + AESGCM(key).encrypt(nonce, content, digest(content).encode())


def is_sealed(sealed: bytes, size: int) -> bool:
    """Whether this has the form of `size` bytes of rows. That it is unchanged shows when it is opened."""
    return sealed.startswith(_MAGIC) and len(sealed) == size + _OVERHEAD


def open_rows(key: bytes | None, sealed: bytes, name: str) -> bytes:
    """The rows whose digest is `name`. Raises NotFound without a key, IntegrityError when they are not those."""
    if key is None:
        raise NotFound("the release's reference rows are encrypted, and no keyring is here", mend=_MEND)
    nonce, ciphertext = sealed[len(_MAGIC) :][:_NONCE], sealed[len(_MAGIC) + _NONCE :]
    try:
        content = AESGCM(key).decrypt(nonce, ciphertext, name.encode())
    except (InvalidTag, ValueError):
        raise IntegrityError(
            "the release's reference rows do not open",
            expected=f"{SEALED_ROWS} as it was built, of rows {name}",
            mend=_MEND,
        ) from None
    if digest(content) != name:
        raise IntegrityError("the release's reference rows are others", got=digest(content), expected=name, mend=_MEND)
    return content
