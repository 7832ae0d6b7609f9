"""DSSE v1 envelopes of in-toto Statements v1, signed with Ed25519.

What is signed is `DSSEv1 <length> <type> <length> <payload>`. The `keyid` is the whole verifier key (see `notes`), so
that an envelope shows by itself that no byte of it was changed. Whose key it is, and whether anybody should believe
it, is for the reader to know: pass the keys that are trusted.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from pilotage.errors import InputError, IntegrityError
from pilotage.kernel.canonical import canonical_json
from pilotage.ledger.keyring import Keyring
from pilotage.ledger.notes import parse_vkey, vkey_of

__all__ = ["MAX_ENVELOPE", "PAYLOAD_TYPE", "STATEMENT", "Opened", "open_envelope", "sign_statement", "statement"]

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
MAX_ENVELOPE = 16 << 20
"""Bytes of an envelope that are read at most."""

_MEND = "get the file again from where it was signed"


class _Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keyid: str
    sig: str


class _Envelope(msgspec.Struct, frozen=True, rename={"payload_type": "payloadType"}, forbid_unknown_fields=True):
    payload: str
    payload_type: str
    signatures: list[_Signature]


@dataclass(frozen=True, kw_only=True)
class Opened:
    """An envelope whose signature holds: the statement, and the verifier key that signed it."""

    statement: dict[str, Any]
    vkey: str

    @property
    def predicate(self) -> dict[str, Any]:
        """The statement's predicate."""
        found = self.statement.get("predicate")
        return found if isinstance(found, dict) else {}

    @property
    def subjects(self) -> dict[str, str]:
        """The digest (`sha256:<hex>`) of each subject by name."""
        return {str(each["name"]): f"sha256:{each['digest']['sha256']}" for each in self.statement["subject"]}


def statement(predicate_type: str, subjects: dict[str, str], predicate: dict[str, Any]) -> dict[str, Any]:
    """An in-toto Statement v1 about subjects: names and their digests (`sha256:<hex>`)."""
    return {
        "_type": STATEMENT,
        "subject": [
            {"name": name, "digest": {"sha256": value.removeprefix("sha256:")}} for name, value in subjects.items()
        ],
        "predicateType": predicate_type,
        "predicate": predicate,
    }


def sign_statement(keyring: Keyring, said: dict[str, Any]) -> bytes:
    """The envelope of a statement, signed by the keyring's newest signing key; the same statement, the same bytes.

    Raises Unavailable when the keyring has no private signing key.
    """
    payload, private = canonical_json(said), keyring.signing
    vkey = vkey_of(keyring.origin, private.public_key().public_bytes_raw())
    signature = {"keyid": vkey, "sig": base64.b64encode(private.sign(_signed(payload))).decode()}
    payload_text = base64.b64encode(payload).decode()
    return canonical_json({"payload": payload_text, "payloadType": PAYLOAD_TYPE, "signatures": [signature]})


def open_envelope(content: bytes, name: str, trusted: Collection[str] | None = None) -> Opened:
    """The statement in an envelope with one signature. `trusted` are the verifier keys to believe; None: any.

    Raises IntegrityError, naming `name`, for anything else, also for the key of somebody who is not trusted.
    """
    try:
        if len(content) > MAX_ENVELOPE:
            raise ValueError("too long")
        envelope = msgspec.json.decode(content, type=_Envelope)
        payload = base64.b64decode(envelope.payload, validate=True)
        (signature,) = envelope.signatures
        _, public = parse_vkey(signature.keyid)
        Ed25519PublicKey.from_public_bytes(public).verify(
            base64.b64decode(signature.sig, validate=True), _signed(payload)
        )
        said = msgspec.json.decode(payload, type=dict[str, Any])
        opened = Opened(statement=said, vkey=signature.keyid)
        # One form only: what is not covered by the signature (spaces, order, base64) cannot be changed unseen either.
        same = content == canonical_json(msgspec.to_builtins(envelope)) and payload == canonical_json(said)
        if not same or envelope.payload_type != PAYLOAD_TYPE or said["_type"] != STATEMENT or not opened.subjects:
            raise ValueError("not an in-toto Statement v1 in canonical form")
    except (msgspec.MsgspecError, binascii.Error, ValueError, KeyError, TypeError, InvalidSignature, InputError) as why:
        raise IntegrityError(
            f"{name} is no envelope that its key signed",
            got=str(why).split("\n")[0][:120] or "a wrong signature",
            expected="a DSSE envelope of an in-toto Statement v1 with one Ed25519 signature",
            code="signature_broken",
            mend=_MEND,
        ) from None
    if trusted is not None and opened.vkey not in trusted:
        raise IntegrityError(
            f"{name} is signed by a key that is not trusted here",
            got=opened.vkey,
            expected=", ".join(trusted) or "no key is trusted",
            code="signature_untrusted",
            mend="compare the key with its owner's (pilotage audit vkey --all), then name it",
        )
    return opened


def _signed(payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)
