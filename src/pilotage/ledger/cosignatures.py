"""C2SP cosignature/v1: a witness confirms a log's checkpoint with its own Ed25519 key, at a time.

What is signed is `cosignature/v1`, `time <Unix seconds>` and the checkpoint's text. The signature line holds the key
id (of type 4), the time as 8 bytes, big-endian, and 64 bytes of signature.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from pilotage.errors import InputError, IntegrityError
from pilotage.ledger.notes import check_key_name, key_id, parse_vkey, split_note
from pilotage.storage.objects import write_durably

__all__ = ["KIND", "Cosignature", "WitnessKey", "find_cosignature"]

KIND = b"\x04"
_LENGTH = 4 + 8 + 64
_PRIVATE = "PRIVATE+KEY"


@dataclass(frozen=True, kw_only=True)
class Cosignature:
    """That a witness confirmed a checkpoint. `witness` is its key's name, `at` Unix seconds by its clock."""

    witness: str
    vkey: str
    at: int


class WitnessKey:
    """A witness's Ed25519 key with its name."""

    def __init__(self, name: str, private: Ed25519PrivateKey) -> None:
        self.name = check_key_name(name)
        self._private = private
        self._public = private.public_key().public_bytes_raw()

    @classmethod
    def create_or_open(cls, path: Path, name: str) -> WitnessKey:
        """The key in a file that only its owner may read, made with `name` when there is none.

        Raises InputError when others may read it, or when it is no such key.
        """
        if not path.exists():
            made = cls(name, Ed25519PrivateKey.generate())
            write_durably(path, made._text().encode())
        if path.stat().st_mode & 0o077:
            raise InputError(
                f"others than its owner may read {path}",
                code="keyring_exposed",
                mend="chmod 600 it; if anyone may have read it, begin with a new folder and key",
            )
        return cls._parse(path)

    def vkey(self) -> str:
        """The verifier key, which may be published."""
        key = base64.b64encode(KIND + self._public).decode()
        return f"{self.name}+{key_id(self.name, self._public, KIND).hex()}+{key}"

    def cosign(self, checkpoint: str, at: int) -> str:
        """The signature line, with its newline, over a signed checkpoint's text, at Unix seconds `at`."""
        body, _ = split_note(checkpoint)
        signature = self._private.sign(_message(body, at))
        content = key_id(self.name, self._public, KIND) + at.to_bytes(8, "big") + signature
        return f"— {self.name} {base64.b64encode(content).decode()}\n"

    def _text(self) -> str:
        secret = base64.b64encode(KIND + self._private.private_bytes_raw()).decode()
        return f"{_PRIVATE}+{self.name}+{key_id(self.name, self._public, KIND).hex()}+{secret}\n"

    @classmethod
    def _parse(cls, path: Path) -> WitnessKey:
        text = path.read_text(encoding="utf-8")
        name, _, rest = text.removeprefix(_PRIVATE + "+").rstrip("\n").partition("+")
        encoded = rest.partition("+")[2]
        try:
            secret = base64.b64decode(encoded, validate=True)
            key = cls(name, Ed25519PrivateKey.from_private_bytes(secret[1:]))
        except ValueError:
            key = None
        if key is None or key._text() != text:
            raise InputError(f"{path} is no witness key", mend="restore it: a new key would be another witness")
        return key


def find_cosignature(note: str, vkey: str) -> Cosignature | None:
    """What the witness with verifier key `vkey` (type 4) says in a note; None when it has not signed it.

    Raises IntegrityError for a wrong signature under its key id and for a text that is no note, InputError for a text
    that is no verifier key of a witness.
    """
    known, public = parse_vkey(vkey, KIND)
    body, lines = split_note(note)
    found = None
    for name, content in lines:
        if (name, content[:4]) != known:
            continue
        at = int.from_bytes(content[4:12], "big")
        try:
            if len(content) != _LENGTH or found is not None:
                raise InvalidSignature
            Ed25519PublicKey.from_public_bytes(public).verify(content[12:], _message(body, at))
        except InvalidSignature:
            raise IntegrityError(
                f"a wrong cosignature of {name}",
                got=base64.b64encode(content).decode()[:60],
                expected="one signature over this checkpoint and its time",
                mend="get the cosigned checkpoint from the witness again",
            ) from None
        found = Cosignature(witness=name, vkey=vkey.strip(), at=at)
    return found


def _message(body: str, at: int) -> bytes:
    return f"cosignature/v1\ntime {at}\n{body}".encode()
