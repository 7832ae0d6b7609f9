#!/usr/bin/env python3
# ruff: noqa: T201
"""Check offline that a ledger holds a record: needs Python 3.8 and `cryptography`, nothing of Pilotage.

    python verify_proof.py PROOF RECORD KEY [WITNESS]

PROOF   the file that `pilotage decisions prove` wrote (C2SP tlog-proof)
RECORD  the exact bytes of the record, as `pilotage decisions prove` wrote them beside it
KEY     the log's verifier key, or a file that holds it. Get it once, from somebody you trust, and keep it:
        a key that comes with the proof proves nothing.
WITNESS the verifier key of a witness, likewise: it must have confirmed the checkpoint too (C2SP cosignature/v1)

Prints what is proven and ends with 0; or says why not and ends with 1.
What it checks, in this order: the proof file is well formed; the checkpoint in it is signed by the key (Ed25519);
hashing the record up the tree with the proof's hashes (RFC 6962) gives exactly the root that was signed.
"""

import base64
import pathlib
import re
import sys
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class NotProven(Exception):
    """Why the proof does not hold."""


def main(arguments):
    if len(arguments) not in (3, 4):
        print(__doc__)
        return 2
    try:
        proof = pathlib.Path(arguments[0]).read_bytes().decode()
        record = pathlib.Path(arguments[1]).read_bytes()
        index, origin, size = verify(proof, record, *(read_key(text, n) for n, text in enumerate(arguments[2:])))
    except (NotProven, OSError, UnicodeDecodeError) as error:
        print(f"NOT PROVEN: {error}")
        return 1
    confirmed = " and the witness has confirmed" if arguments[3:] else ""
    print(f"PROVEN: the record is entry {index} of the {size} entries that {origin} has signed{confirmed}")
    return 0


def verify(proof, record, key, *witness):
    """(index, origin, size) when the log with `key` has signed a tree that holds `record`; else NotProven."""
    index, hashes, checkpoint = read_proof(proof)
    text, *_ = [check_signature(checkpoint, *each) for each in (key, *witness)]
    match = re.fullmatch(r"([^\n]+)\n(0|[1-9][0-9]{0,18})\n([^\n]+)\n(?:[^\n]+\n)*", text)
    if not match or match[1] != key[0] or len(decode(match[3])) != 32:
        raise NotProven("the signed text is not a checkpoint of this log")
    if climb(sha256(b"\x00" + record).digest(), index, int(match[2]), hashes) != decode(match[3]):
        raise NotProven("the record and the proof's hashes do not lead to the signed root")
    return index, match[1], int(match[2])


def read_key(argument, witness=False):
    """(name, kind's byte and public key) of `<name>+<hex key id>+<base64 of the kind and the public key>`."""
    text = argument if "+" in argument else pathlib.Path(argument).read_text()
    name, _, rest = text.strip().partition("+")
    key_id, _, encoded = rest.partition("+")
    content = decode(encoded)
    if content[:1] != (b"\x04" if witness else b"\x01") or len(content) != 33:
        raise NotProven("the key is not an Ed25519 verifier key of this kind")
    if sha256(name.encode() + b"\n" + content).digest()[:4].hex() != key_id:
        raise NotProven("the key's id does not belong to its name and bytes")
    return name, content


def read_proof(text):
    """(index, hashes, checkpoint): a first line, perhaps an extra line, the index, hashes, a blank line, the rest."""
    head, blank, checkpoint = text.partition("\n\n")
    lines = head.split("\n")
    if not blank or lines.pop(0) != "c2sp.org/tlog-proof@v1":
        raise NotProven("this is not a tlog-proof file")
    if lines and lines[0].startswith("extra "):
        lines.pop(0)  # nothing authenticates it, so nothing uses it
    match = re.fullmatch(r"index (0|[1-9][0-9]{0,18})", lines.pop(0) if lines else "")
    if not match:
        raise NotProven("the proof has no index line")
    hashes = [decode(line) for line in lines]
    if any(len(value) != 32 for value in hashes):
        raise NotProven("a hash in the proof does not have 32 bytes")
    return int(match[1]), hashes, checkpoint


def check_signature(note, name, public):
    """The text of a checkpoint that the key has signed: a log's, or a witness's."""
    text, blank, signatures = note.rpartition("\n\n")
    lines = signatures.split("\n")
    if not blank or lines.pop() != "":
        raise NotProven("the checkpoint is not a signed note")
    text, key_id = text + "\n", sha256(name.encode() + b"\n" + public).digest()[:4]
    signed = False
    for line in lines:
        match = re.fullmatch(r"— (\S+) (\S+)", line)
        if not match:
            raise NotProven("the checkpoint has a line that is no signature")
        content = decode(match[2])
        if (match[1], content[:4]) != (name, key_id):  # of another key
            continue
        at = int.from_bytes(content[4:12], "big")  # a witness signs its time too, 8 bytes before the signature
        head, start = (f"cosignature/v1\ntime {at}\n", 12) if public[:1] == b"\x04" else ("", 4)
        try:
            Ed25519PublicKey.from_public_bytes(public[1:]).verify(content[start:], (head + text).encode())
        except InvalidSignature:
            raise NotProven(f"the checkpoint's signature of {name} is wrong") from None
        signed = True
    if not signed:
        raise NotProven(f"the checkpoint is not signed by {name}")
    return text


def climb(value, index, size, hashes):
    """The root that a leaf hash and the hashes beside its way up lead to (RFC 9162, section 2.1.3.2)."""
    if index >= size:
        raise NotProven(f"index {index} is outside a tree of {size} entries")
    last = size - 1
    for sibling in hashes:
        if last == 0:
            raise NotProven("the proof has hashes too many")
        if index % 2 == 1 or index == last:
            value = sha256(b"\x01" + sibling + value).digest()
            while index % 2 == 0 and index > 0:  # the tree's right edge: levels without a sibling
                index, last = index // 2, last // 2
        else:
            value = sha256(b"\x01" + value + sibling).digest()
        index, last = index // 2, last // 2
    if last != 0:
        raise NotProven("the proof has hashes too few")
    return value


def decode(text):
    """The bytes of a base64 text, which must be written exactly as an encoder writes it."""
    try:
        content = base64.b64decode(text, validate=True)
    except ValueError:
        content = b""
    if base64.b64encode(content).decode() != text or not content:
        raise NotProven(f"not base64: {text[:40]!r}")
    return content


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
