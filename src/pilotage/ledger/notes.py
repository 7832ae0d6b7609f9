"""C2SP signed notes and checkpoints: how the ledger signs its root.

A checkpoint is a text of three lines (origin, decimal size, base64 root), a blank line, and signature lines
`— <name> base64(key id ‖ signature)`. A verifier key is `<name>+<hex key id>+base64(type ‖ public key)`, type 1 for
Ed25519; the key id is the first four bytes of SHA-256(name ‖ 0x0A ‖ type ‖ public key).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from pilotage.errors import InputError, IntegrityError

__all__ = [
    "Checkpoint",
    "Signer",
    "check_key_name",
    "key_id",
    "parse_checkpoint",
    "parse_vkey",
    "read_checkpoint_body",
    "split_note",
    "vkey_of",
]

_ED25519 = b"\x01"
_SIGNATURE_LINES = 64


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A tree's head: which log, how many entries, the root hash (32 bytes)."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """The note text that is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


class Signer:
    """An Ed25519 key with the name it signs under."""

    def __init__(self, name: str, private: Ed25519PrivateKey) -> None:
        self.name = check_key_name(name)
        self._private = private
        self._public = private.public_key().public_bytes_raw()

    def vkey(self) -> str:
        """The verifier key, which may be published."""
        return vkey_of(self.name, self._public)

    def sign_checkpoint(self, origin: str, size: int, root: bytes) -> str:
        """A signed checkpoint. The caller makes sure that it continues the one before."""
        if len(root) != 32 or size < 0 or not origin.isprintable() or not origin:
            raise InputError(
                "not a tree head",
                got=f"origin {origin!r}, size {size}, {len(root)} bytes of root",
                expected="a printable origin, a size >= 0, 32 bytes",
                mend="pass what Frontier.root() returned",
            )
        text = Checkpoint(origin=origin, size=size, root=root).text()
        signature = key_id(self.name, self._public) + self._private.sign(text.encode())
        return f"{text}\n— {self.name} {base64.b64encode(signature).decode()}\n"


def vkey_of(name: str, public: bytes) -> str:
    """The verifier key of a raw 32-byte Ed25519 public key under a name."""
    return f"{name}+{key_id(name, public).hex()}+{base64.b64encode(_ED25519 + public).decode()}"


def parse_checkpoint(text: str, vkeys: Sequence[str]) -> Checkpoint:
    """The checkpoint of a signed note that at least one of the verifier keys has signed.

    Lines of unknown keys are passed over. Raises IntegrityError for any other text, for a wrong signature of a known
    key, and when no known key has signed; InputError for a text that is no verifier key.
    """
    known = dict(parse_vkey(vkey) for vkey in vkeys)
    body, lines = split_note(text)
    signed = False
    for name, content in lines:
        public = known.get((name, content[:4]))
        if public is None:
            continue
        try:
            Ed25519PublicKey.from_public_bytes(public).verify(content[4:], body.encode())
        except InvalidSignature:
            raise _bad_note(f"a wrong signature of {name}", "a signature over this text") from None
        signed = True
    if not signed:
        names = ", ".join(name for name, _ in lines)
        raise _bad_note(f"signed by {names}", f"signed by {', '.join(name for name, _ in known)}")
    return _parse_body(body)


def read_checkpoint_body(text: str) -> Checkpoint:
    """What a signed checkpoint says, its signatures unchecked. Raises IntegrityError for any other text."""
    return _parse_body(split_note(text)[0])


def check_key_name(name: str) -> str:
    """The name, when a key may bear it. Raises InputError."""
    if not name or "+" in name or name.split() != [name] or not name.isprintable():
        raise InputError(
            "not a key name", got=repr(name), expected="text without spaces and plus signs", mend="choose another name"
        )
    return name


def split_note(text: str) -> tuple[str, list[tuple[str, bytes]]]:
    """The signed text and the (name, key id ‖ signature) of each signature line. Raises IntegrityError."""
    if any(ord(letter) < 32 and letter != "\n" for letter in text):
        raise _bad_note("control characters", "text and newlines")
    cut = text.rfind("\n\n")
    lines = text[cut + 2 :].split("\n")
    if cut < 0 or len(lines) < 2 or lines.pop() != "":
        raise _bad_note(f"{text[:60]!r}", "text, a blank line, signature lines")
    if len(lines) > _SIGNATURE_LINES:
        raise _bad_note(f"{len(lines)} signature lines", f"at most {_SIGNATURE_LINES}")
    return text[: cut + 1], [_parse_signature(line) for line in lines]


def _parse_signature(line: str) -> tuple[str, bytes]:
    dash, _, rest = line.partition(" ")
    name, _, encoded = rest.partition(" ")
    content = _decode(encoded)
    if dash != "—" or not name or "+" in name or len(content) < 5:
        raise _bad_note(f"{line[:60]!r}", "— <name> <base64>")
    return name, content


def _parse_body(body: str) -> Checkpoint:
    lines = body.split("\n")
    if len(lines) < 4 or not all(lines[:-1]):
        raise _bad_note(f"{len(lines) - 1} lines", "origin, size, root")
    origin, size, root = lines[0], lines[1], _decode(lines[2])
    if not re.fullmatch("0|[1-9][0-9]{0,18}", size) or len(root) != 32:
        raise _bad_note(f"size {size[:30]!r} and {len(root)} bytes of root", "a decimal size and a root of 32 bytes")
    return Checkpoint(origin=origin, size=int(size), root=root)


def parse_vkey(vkey: str, kind: bytes = _ED25519) -> tuple[tuple[str, bytes], bytes]:
    """((name, key id), public key of 32 bytes) of a verifier key whose type byte is `kind`. Raises InputError."""
    name, _, rest = vkey.strip().partition("+")
    claimed, _, encoded = rest.partition("+")
    try:
        key = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    public = key[1:]
    canonical = base64.b64encode(key).decode() == encoded
    if not canonical or key[:1] != kind or len(public) != 32 or key_id(name, public, kind).hex() != claimed:
        raise InputError(
            "not a verifier key",
            got=vkey[:120],
            expected="<name>+<hex key id>+<base64 of an Ed25519 key>",
            mend="copy the whole line that `pilotage audit vkey` prints (of a witness: the file witness.vkey)",
        )
    return (name, key_id(name, public, kind)), public


def key_id(name: str, public: bytes, kind: bytes = _ED25519) -> bytes:
    """The 4 bytes by which a signature line names its key."""
    return hashlib.sha256(name.encode() + b"\n" + kind + public).digest()[:4]


def _decode(encoded: str) -> bytes:
    """Strict base64: the one encoding that the bytes have, or IntegrityError."""
    try:
        content = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise _bad_note(f"{encoded[:60]!r}", "base64") from None
    if base64.b64encode(content).decode() != encoded:
        raise _bad_note(f"{encoded[:60]!r}", base64.b64encode(content).decode()[:60])
    return content


def _bad_note(got: str, expected: str) -> IntegrityError:
    return IntegrityError(
        "not a checkpoint that this log signed", got=got, expected=expected, mend="get the checkpoint and the key again"
    )
