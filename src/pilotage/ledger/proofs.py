"""Proof that one entry is in the ledger, verified offline: C2SP tlog-proof files.

c2sp.org/tlog-proof@v1
index 73894
<base64 hash>            from the leaf's sibling up to the root's child, one a line
(blank line)
<the signed checkpoint, verbatim>
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pilotage.errors import InputError, IntegrityError
from pilotage.ledger.cosignatures import Cosignature, find_cosignature
from pilotage.ledger.merkle import inclusion_proof, leaf_hash, verify_inclusion
from pilotage.ledger.notes import Checkpoint, read_checkpoint_body
from pilotage.ledger.signing import KeyPeriod, verify_checkpoint
from pilotage.ledger.tiles import TileReader

__all__ = ["Proof", "make_proof", "parse_proof", "require_cosignature", "verify_proof"]

_FIRST_LINE = "c2sp.org/tlog-proof@v1"


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What a proof file says, unchecked: the index, the inclusion hashes (32 bytes each), the checkpoint's text."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: str


def make_proof(folder: Path, index: int, checkpoint_text: str) -> str:
    """The text of the proof that entry `index` is in the tree which `checkpoint_text` signs.

    `folder` holds the published tiles. Raises InputError for an index beyond the checkpoint's size.
    """
    size = read_checkpoint_body(checkpoint_text).size
    hashes = inclusion_proof(index, size, TileReader(folder, size).read)
    lines = [_FIRST_LINE, f"index {index}", *(base64.b64encode(value).decode() for value in hashes)]
    return "\n".join(lines) + "\n\n" + checkpoint_text


def parse_proof(text: str) -> Proof:
    """The parts of a proof file; an `extra` line, which nothing authenticates, is passed over. Raises InputError."""
    head, blank, checkpoint = text.partition("\n\n")
    lines = head.split("\n")
    if not blank or lines[0] != _FIRST_LINE:
        raise _no_proof(f"{text[:60]!r}", f"a text that begins with {_FIRST_LINE}, with a checkpoint at its end")
    rest = lines[2:] if len(lines) > 1 and lines[1].startswith("extra ") else lines[1:]
    word, _, digits = rest[0].partition(" ") if rest else ("", "", "")
    if word != "index" or not re.fullmatch("0|[1-9][0-9]{0,18}", digits):
        raise _no_proof(f"{rest[:1]}", "index <decimal number>")
    return Proof(index=int(digits), hashes=tuple(_decode_hash(line) for line in rest[1:]), checkpoint=checkpoint)


def verify_proof(proof_text: str, entry: bytes, vkey: str | Sequence[KeyPeriod]) -> Checkpoint:
    """Check that the log with verifier key `vkey` has signed a tree that holds exactly this entry; its checkpoint.

    Of a log whose key was rotated, pass the periods (`signing.parse_periods`): each key is believed in its own only.
    Needs nothing else: no ledger and no network. Raises InputError for a text that is no proof, IntegrityError for
    one that does not hold.
    """
    proof = parse_proof(proof_text)
    periods = [KeyPeriod(vkey=vkey)] if isinstance(vkey, str) else vkey
    checkpoint = verify_checkpoint(proof.checkpoint, periods)
    verify_inclusion(leaf_hash(entry), proof.index, checkpoint.size, proof.hashes, checkpoint.root)
    if checkpoint.origin != periods[0].vkey.partition("+")[0]:
        raise IntegrityError(
            "the checkpoint is of another log",
            got=checkpoint.origin,
            expected=periods[0].vkey.partition("+")[0],
            mend="use the key of the log that made the proof",
        )
    return checkpoint


def require_cosignature(proof_text: str, witness_vkey: str) -> Cosignature:
    """The cosignature of a witness on a proof's checkpoint. Raises IntegrityError when it has none, or a wrong one."""
    found = find_cosignature(parse_proof(proof_text).checkpoint, witness_vkey)
    if found is None:
        raise IntegrityError(
            "the witness has not confirmed this proof's checkpoint",
            got="no cosignature under its key",
            expected=witness_vkey.partition("+")[0],
            mend="make the proof again after the witness's next round: pilotage decisions prove",
        )
    return found


def _decode_hash(line: str) -> bytes:
    try:
        value = base64.b64decode(line, validate=True)
    except (binascii.Error, ValueError):
        value = b""
    if len(value) != 32 or base64.b64encode(value).decode() != line:
        raise _no_proof(f"{line[:60]!r}", "the base64 of 32 bytes")
    return value


def _no_proof(got: str, expected: str) -> InputError:
    return InputError("not a proof file", got=got, expected=expected, mend="write it again: pilotage decisions prove")
