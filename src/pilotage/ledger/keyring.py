"""The keyring: the secrets of one installation, in a file of mode 0600, the environment or a command's output.

Whoever holds it can read every payload whose key still lives, and can sign heads: on one machine only a witness
defends against its administrator. Each kind of secret is a list, the newest first: a rotation adds one in front, and
the old ones stay until nothing needs them (see `rotation`). The index secret is apart from them: lookups, pseudonyms
and masks come from it, and are the same before and after a rotation.
"""

from __future__ import annotations

import base64
import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from pilotage.errors import InputError, Unavailable
from pilotage.ledger.keyring_file import create_file
from pilotage.ledger.notes import vkey_of

__all__ = ["ENVIRONMENT", "Keyring", "SigningKey", "fingerprint", "require_owner_only"]

ENVIRONMENT = "PILOTAGE_KEYRING"
"""The environment variable whose value, a keyring's JSON text, is used in place of the file."""

_OF_MASTER = ("data-key-lookup", "segment-key-id-mask")
"""What a keyring of version 1 derived from its master and must stay: kept apart, so that the master can go."""

_BYTES = 32
_MOST = 64


class _Old(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Version 1: secrets of 32 bytes in base64, one of each kind."""

    version: int
    origin: str
    master: bytes
    steward: bytes
    signing: bytes


class _WrittenSigning(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    public: bytes
    private: bytes | None = None


class _Written(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Version 2: every kind a list, the newest first."""

    version: int
    origin: str
    index: bytes
    kept: dict[str, bytes] = {}
    masters: list[bytes]
    stewards: list[bytes]
    signings: list[_WrittenSigning]


@dataclass(frozen=True, kw_only=True)
class SigningKey:
    """An Ed25519 key: its public part (32 bytes) for ever, its private part while it may sign."""

    public: bytes
    private: Ed25519PrivateKey | None = field(repr=False)

    @classmethod
    def of(cls, private: Ed25519PrivateKey) -> SigningKey:
        """A key that can sign."""
        return cls(public=private.public_key().public_bytes_raw(), private=private)

    def written(self) -> dict[str, str | None]:
        """The JSON form."""
        private = _text(self.private.private_bytes_raw()) if self.private else None
        return {"public": _text(self.public), "private": private}


@dataclass(frozen=True, kw_only=True)
class Keyring:
    """Master secrets (32 bytes), the steward's X25519 keys that journals are sealed to, Ed25519 signing keys.

    Each list has the newest first and is never empty. `origin` names the log in its checkpoints. `index` is the root
    of what must not change; `kept` are such secrets by purpose, taken over from a keyring that derived them otherwise.
    """

    origin: str
    index: bytes = field(repr=False)
    kept: Mapping[str, bytes] = field(repr=False)
    masters: tuple[bytes, ...] = field(repr=False)
    stewards: tuple[X25519PrivateKey, ...] = field(repr=False)
    signings: tuple[SigningKey, ...] = field(repr=False)

    @property
    def master(self) -> bytes:
        """The newest master secret."""
        return self.masters[0]

    @property
    def steward(self) -> X25519PrivateKey:
        """The newest of the steward's keys."""
        return self.stewards[0]

    @property
    def steward_public(self) -> bytes:
        """The steward's newest public key, 32 bytes: it goes into the serving plan."""
        return self.steward.public_key().public_bytes_raw()

    @property
    def signing(self) -> Ed25519PrivateKey:
        """The newest signing key. Which one signs, the ledger says (`signing.current_vkey`)."""
        newest = self.signings[0].private
        if newest is None:
            raise Unavailable("the keyring has no private signing key", mend="restore the keyring from its backup")
        return newest

    @property
    def vkeys(self) -> tuple[str, ...]:
        """The verifier keys of all signing keys, the newest first."""
        return tuple(vkey_of(self.origin, key.public) for key in self.signings)

    def secret(self, purpose: str) -> bytes:
        """A 32-byte secret for one purpose, the same whatever is rotated; another purpose gives another."""
        return self.kept.get(purpose) or _derive(self.index, purpose)

    def wrapping_secrets(self, purpose: str) -> tuple[bytes, ...]:
        """A 32-byte secret for one purpose from each master (HKDF-SHA256), the newest first: wrap with the first."""
        return tuple(_derive(master, purpose) for master in self.masters)

    @classmethod
    def create(cls, origin: str = "") -> Keyring:
        """A new keyring of fresh random secrets, not written anywhere."""
        return cls(
            origin=origin or f"pilotage.local/{os.urandom(6).hex()}",
            index=os.urandom(_BYTES),
            kept={},
            masters=(os.urandom(_BYTES),),
            stewards=(X25519PrivateKey.generate(),),
            signings=(SigningKey.of(Ed25519PrivateKey.generate()),),
        )

    @classmethod
    def create_or_open(cls, path: Path, environ: Mapping[str, str] | None = None) -> Keyring:
        """The keyring of an installation: from the environment, else from its file, which is made when absent.

        Raises InputError when others than its owner may read the file, or when it is not a keyring.
        """
        text = (os.environ if environ is None else environ).get(ENVIRONMENT, "")
        if text:
            return cls.from_json(text.encode(), where=f"the environment variable {ENVIRONMENT}")
        if not path.exists():
            create_file(path, cls.create().to_json())
        require_owner_only(path)
        return cls.from_json(path.read_bytes(), where=str(path))

    @classmethod
    def from_json(cls, content: bytes, where: str = "the text given") -> Keyring:
        """The keyring in its JSON form, version 1 or 2. Raises InputError, which never shows a secret."""
        try:
            version = msgspec.json.decode(content, type=_Version).version
            if version == 1:
                return _from_old(msgspec.json.decode(content, type=_Old))
            if version == 2:
                return _from_written(msgspec.json.decode(content, type=_Written))
        except (msgspec.MsgspecError, ValueError):
            pass
        raise _not_a_keyring(where) from None

    def to_json(self) -> bytes:
        """The JSON form, which holds every secret: for the file, a backup, or the environment of a container."""
        written = {
            "version": 2,
            "origin": self.origin,
            "index": _text(self.index),
            "kept": {purpose: _text(secret) for purpose, secret in self.kept.items()},
            "masters": [_text(master) for master in self.masters],
            "stewards": [_text(key.private_bytes_raw()) for key in self.stewards],
            "signings": [
                {
                    "public": _text(key.public),
                    "private": _text(key.private.private_bytes_raw()) if key.private else None,
                }
                for key in self.signings
            ],
        }
        return msgspec.json.format(msgspec.json.encode(written))


class _Version(msgspec.Struct, frozen=True):
    version: int


def require_owner_only(path: Path) -> None:
    """Raise InputError when others than its owner may read a file."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise InputError(
            f"others may read the keyring {path}",
            got=f"mode {mode:04o}",
            expected="mode 0600",
            code="keyring_exposed",
            mend=f"run: chmod 600 {path} (and if anyone may have read it, make new keys)",
        )


def fingerprint(secret: bytes) -> str:
    """16 hexadecimal digits that name a secret of 32 random bytes and tell nothing of it."""
    return hashlib.sha256(_derive(secret, "fingerprint")).hexdigest()[:16]


def _from_old(old: _Old) -> Keyring:
    _require_lengths(old.master, old.steward, old.signing)
    return Keyring(
        origin=old.origin,
        index=_derive(old.master, "index"),
        kept={purpose: _derive(old.master, purpose) for purpose in _OF_MASTER},
        masters=(old.master,),
        stewards=(X25519PrivateKey.from_private_bytes(old.steward),),
        signings=(SigningKey.of(Ed25519PrivateKey.from_private_bytes(old.signing)),),
    )


def _from_written(written: _Written) -> Keyring:
    signings = tuple(_signing(each) for each in written.signings)
    _require_lengths(written.index, *written.kept.values(), *written.masters, *written.stewards)
    if not all(0 < len(each) <= _MOST for each in (written.masters, written.stewards, signings)):
        raise ValueError("an empty list, or too long a one")
    return Keyring(
        origin=written.origin,
        index=written.index,
        kept=written.kept,
        masters=tuple(written.masters),
        stewards=tuple(map(X25519PrivateKey.from_private_bytes, written.stewards)),
        signings=signings,
    )


def _signing(written: _WrittenSigning) -> SigningKey:
    _require_lengths(written.public)
    if written.private is None:
        return SigningKey(public=written.public, private=None)
    key = SigningKey.of(Ed25519PrivateKey.from_private_bytes(written.private))
    if key.public != written.public:
        raise ValueError("a public key of another private one")
    return key


def _require_lengths(*secrets: bytes) -> None:
    if any(len(secret) != _BYTES for secret in secrets):
        raise ValueError("not 32 bytes")


def _derive(root: bytes, purpose: str) -> bytes:
    derive = HKDF(algorithm=SHA256(), length=_BYTES, salt=None, info=b"pilotage/" + purpose.encode())
    return derive.derive(root)


def _text(secret: bytes) -> str:
    return base64.b64encode(secret).decode()


def _not_a_keyring(where: str) -> InputError:
    return InputError(
        f"{where} is no keyring",
        expected="JSON: version (1 or 2), origin, and secrets of 32 bytes in base64",
        code="keyring_broken",
        mend="restore it from its backup: without it no payload can be read",
    )
