"""The cosignatures that a log holds: of each witness the newest checkpoint that it confirmed.

    <home>/ledger/cosigned/<key id>.json     {"vkey", "note"}: the signed checkpoint with the witness's line

They prove nothing to the log itself: whoever holds the log's disk can invent a witness. Their worth is with whoever
knows the witness's key from elsewhere.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
from sqlalchemy import Engine

from pilotage.errors import Conflict, InputError, IntegrityError, NotFound, Refused
from pilotage.ledger import store
from pilotage.ledger.cosignatures import Cosignature, find_cosignature
from pilotage.ledger.notes import split_note
from pilotage.ledger.signing import KeyPeriod, verify_checkpoint
from pilotage.storage.database import reading
from pilotage.storage.objects import write_durably

__all__ = [
    "COSIGNED",
    "Cosigned",
    "accept_cosignature",
    "any_cosigned",
    "cosigned_checkpoint",
    "newest_covering",
    "read_cosigned",
]

COSIGNED = "cosigned"
"""The folder's name under the ledger's."""

_MOST_WITNESSES = 32
_AHEAD_S = 300
"""How far a witness's clock may be ahead of ours."""


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    vkey: str
    note: str


class Cosigned(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint of `size` entries that `witness` confirmed at `at` (Unix seconds, by its clock)."""

    witness: str
    vkey: str
    size: int
    root: str
    at: int
    note: str


def read_cosigned(folder: Path, keys: Sequence[KeyPeriod]) -> Iterator[tuple[Path, Cosigned | IntegrityError]]:
    """Each stored cosignature, checked against both keys; what does not hold as the error that says why."""
    root = folder / COSIGNED
    for path in sorted(root.glob("*.json")) if root.is_dir() else ():
        try:
            yield path, _read(path, keys)
        except FileNotFoundError:
            continue
        except IntegrityError as error:
            yield path, error


def cosigned_checkpoint(folder: Path, checkpoint: str, keys: Sequence[KeyPeriod]) -> str:
    """The published checkpoint with the lines of all witnesses that have confirmed exactly it."""
    body, _ = split_note(checkpoint)
    lines = [
        found.note.rpartition("\n\n")[2].split("\n")[-2]
        for _, found in read_cosigned(folder, keys)
        if isinstance(found, Cosigned) and split_note(found.note)[0] == body
    ]
    return checkpoint + "".join(line + "\n" for line in lines)


def any_cosigned(folder: Path) -> bool:
    """Whether a witness has confirmed anything: else nobody needs to ask for the keys that would check it."""
    return any((folder / COSIGNED).glob("*.json"))


def newest_covering(folder: Path, index: int, keys: Sequence[KeyPeriod]) -> str | None:
    """The newest cosigned checkpoint whose tree has entry `index`; None when no witness has come that far."""
    notes = [found for _, found in read_cosigned(folder, keys) if isinstance(found, Cosigned) and found.size > index]
    return max(notes, key=lambda found: (found.size, found.at)).note if notes else None


def accept_cosignature(
    folder: Path, ledger: Engine, keys: Sequence[KeyPeriod], *, vkey: str, note: str, now_s: int
) -> Cosigned:
    """Keep what a witness sends: a checkpoint that this log signed, and its own line last.

    Raises InputError and IntegrityError for what is malformed or wrongly signed, NotFound for a tree that is none of
    this log's, Conflict for one older than the witness confirmed before, Refused beyond 32 witnesses.
    """
    found = _check(vkey, note, keys)
    if found.at > now_s + _AHEAD_S:
        raise InputError("the cosignature is from the future", got=found.at, expected=now_s, mend="set the clock right")
    with reading(ledger) as connection:
        head = store.head_of(connection, found.size)
    if head is None or split_note(str(head.checkpoint))[0] != split_note(note)[0]:
        raise NotFound("no head of this log is what was cosigned", got=found.root, mend="fetch the checkpoint again")
    (folder / COSIGNED).mkdir(mode=0o700, exist_ok=True)
    path = folder / COSIGNED / f"{vkey.split('+')[1]}.json"
    with _locked(folder / ".cosigned.lock"):
        if not path.exists() and len(list(path.parent.glob("*.json"))) >= _MOST_WITNESSES:
            raise Refused(f"this log has {_MOST_WITNESSES} witnesses", mend=f"remove one from {COSIGNED}/ first")
        if path.exists():
            _not_older(_read(path, keys), found)
        write_durably(path, msgspec.json.encode(_File(vkey=found.vkey, note=note)))
    return found


def _not_older(held: Cosigned, found: Cosigned) -> None:
    if (found.size, found.at) < (held.size, held.at):
        raise Conflict(
            "this witness has confirmed a newer checkpoint", got=found.size, expected=held.size, mend="send the newest"
        )


def _read(path: Path, keys: Sequence[KeyPeriod]) -> Cosigned:
    try:
        content = path.read_bytes()
        kept = msgspec.json.decode(content, type=_File)
        if msgspec.json.encode(kept) != content:  # JSON allows a name twice, and other ways to write the same
            raise InputError("not as it was written", mend="let the witness send it again")
        found = _check(kept.vkey, kept.note, keys)
    except (msgspec.MsgspecError, UnicodeDecodeError, InputError) as error:
        raise IntegrityError(f"{path} is no cosignature", got=error, mend="let the witness send it again") from None
    if path.stem != found.vkey.split("+")[1]:
        raise IntegrityError(f"{path} is another witness's", got=found.witness, mend="let the witness send it again")
    return found


def _check(vkey: str, note: str, keys: Sequence[KeyPeriod]) -> Cosigned:
    head = verify_checkpoint(note, keys)
    own: Cosignature | None = find_cosignature(note, vkey)
    lines = note.rpartition("\n\n")[2].count("\n")
    if own is None or lines != 2 or split_note(note)[1][-1][0] != own.witness:
        raise IntegrityError(
            "the note is not the log's checkpoint with this witness's line after it",
            got=f"{lines} signature lines",
            expected="the log's and the witness's",
            mend="append the cosignature to the checkpoint as the log signed it",
        )
    return Cosigned(witness=own.witness, vkey=own.vkey, size=head.size, root=head.root.hex(), at=own.at, note=note)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
