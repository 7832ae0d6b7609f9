"""The keyring: the secrets of one installation, in a file of mode 0600 or in the environment, never in a database.

Whoever holds it can read every payload whose key still lives, and can sign heads: on one machine only a witness
defends against its administrator.
"""

from __future__ import annotations

import base64
import os
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pilotage.errors import Conflict, InputError

__all__ = ["ENVIRONMENT", "Keyring"]

ENVIRONMENT = "PILOTAGE_KEYRING"
"""The environment variable whose value, a keyring's JSON text, is used in place of the file."""


class _Written(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The JSON form: secrets of 32 bytes in base64."""

    version: int
    origin: str
    master: bytes
    steward: bytes
    signing: bytes


@dataclass(frozen=True, kw_only=True)
class Keyring:
    """The master secret (32 bytes), the steward's X25519 key that journals are sealed to, and the Ed25519 signing key.

    `origin` names the log in its checkpoints.
    """

    origin: str
    master: bytes = field(repr=False)
    steward: X25519PrivateKey = field(repr=False)
    signing: Ed25519PrivateKey = field(repr=False)

    @property
    def steward_public(self) -> bytes:
        """The steward's public key, 32 bytes: it goes into the serving plan."""
        return self.steward.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def secret(self, purpose: str) -> bytes:
        """A 32-byte secret for one purpose, derived from the master (HKDF-SHA256); another purpose gives another."""
        derive = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"pilotage/" + purpose.encode())
        return derive.derive(self.master)

    @classmethod
    def create(cls, origin: str = "") -> Keyring:
        """A new keyring of fresh random secrets, not written anywhere."""
        return cls(
            origin=origin or f"pilotage.local/{os.urandom(6).hex()}",
            master=os.urandom(32),
            steward=X25519PrivateKey.generate(),
            signing=Ed25519PrivateKey.generate(),
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
            _create_file(path, cls.create().to_json())
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise InputError(
                f"others may read the keyring {path}",
                got=f"mode {mode:04o}",
                expected="mode 0600",
                code="keyring_exposed",
                mend=f"run: chmod 600 {path} (and if anyone may have read it, make new keys)",
            )
        return cls.from_json(path.read_bytes(), where=str(path))

    @classmethod
    def from_json(cls, content: bytes, where: str = "the text given") -> Keyring:
        """The keyring in its JSON form. Raises InputError, which never shows a secret."""
        try:
            written = msgspec.json.decode(content, type=_Written)
        except msgspec.MsgspecError:
            raise _not_a_keyring(where) from None
        if written.version != 1 or any(len(key) != 32 for key in (written.master, written.steward, written.signing)):
            raise _not_a_keyring(where)
        return cls(
            origin=written.origin,
            master=written.master,
            steward=X25519PrivateKey.from_private_bytes(written.steward),
            signing=Ed25519PrivateKey.from_private_bytes(written.signing),
        )

    def to_json(self) -> bytes:
        """The JSON form, which holds every secret: for the file, a backup, or the environment of a container."""
        return msgspec.json.format(
            msgspec.json.encode(
                {
                    "version": 1,
                    "origin": self.origin,
                    "master": base64.b64encode(self.master).decode(),
                    "steward": base64.b64encode(self.steward.private_bytes_raw()).decode(),
                    "signing": base64.b64encode(self.signing.private_bytes_raw()).decode(),
                }
            )
        )


def _create_file(path: Path, content: bytes) -> None:
    """Write the file whole with mode 0600; when another process was first, its file stays."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".keyring-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(name, path)
        except FileExistsError:
            return
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise Conflict(f"cannot write the keyring {path}", got=error, mend="make its folder writable") from error
    finally:
        Path(name).unlink(missing_ok=True)


def _not_a_keyring(where: str) -> InputError:
    return InputError(
        f"{where} is no keyring",
        expected="JSON with version 1, origin, master, steward and signing (32 bytes each, base64)",
        code="keyring_broken",
        mend="restore it from its backup: without it no payload can be read",
    )
