"""What is left of an entry bundle whose time is over: `kept/<N>`, named like `tile/entries/<N>`.

The entries of decisions, and of events about them, are gone; a stub says which record each leaf was. Batch leaves and
control events stay, byte for byte, and so do the sums of the decisions that went. The event of the deletion carries the
file's digest, and the hash tiles still carry every leaf's hash.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from pilotage.errors import IntegrityError
from pilotage.ledger.sums import MinuteSum
from pilotage.ledger.tables import ERASED

__all__ = [
    "PAST",
    "KeptBundle",
    "Stub",
    "grouped",
    "kept_path",
    "pack_kept",
    "read_kept",
    "stub_row",
    "unpack_kept",
]

PAST = "past_retention"
"""The `outcome` of a decision, and the `kind` of an event, in the index when its entry was deleted by retention."""

_DECISION = {
    "outcome": PAST,
    **dict.fromkeys(("request_id", "release", "contract", "plan", "stage", "arm", "mode", "kind", "fault_text"), ""),
    **dict.fromkeys(("trace", "parent"), ""),
    **dict.fromkeys(("subject", "score", "label")),
    **dict.fromkeys(("faults", "answer_us", "turn"), 0),
}
_EVENT = {"kind": PAST, "release": "", "about": None}


class Stub(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A leaf whose entry is gone: the record's id, when it was (Unix microseconds), its system.

    `segment` is the place of its payload's segment in the bundle's list; `event` whether it was one about a decision.
    """

    id: str
    at: int
    system: str
    segment: int
    event: bool = False


class KeptBundle(msgspec.Struct, frozen=True, array_like=True):
    """What is left of bundle `number`: for each of its 256 leaves the entry's bytes or a stub; paths of segments that
    the stubs name; sums of the decisions that went.
    """

    number: int
    segments: list[str]
    entries: list[bytes | Stub]
    sums: list[MinuteSum]


_encode = msgspec.msgpack.Encoder(order="deterministic").encode
_decode = msgspec.msgpack.Decoder(KeptBundle).decode


def grouped(number: int) -> str:
    """A tile's number as its path: in groups of three digits, `x001/x234/067`."""
    digits = f"{number:03d}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[start : start + 3] for start in range(0, len(digits), 3)]
    return "/".join([f"x{group}" for group in groups[:-1]] + [groups[-1]])


def kept_path(folder: Path, number: int) -> Path:
    """Where what is left of bundle `number` lies under the ledger folder."""
    return folder / "kept" / grouped(number)


def pack_kept(bundle: KeptBundle) -> bytes:
    """The bytes of the file: the same for the same bundle."""
    return _encode(bundle)


def unpack_kept(content: bytes, number: int, place: Path) -> KeptBundle:
    """The bundle in a file's bytes. Raises IntegrityError naming `place`."""
    try:
        found = _decode(content)
    except (msgspec.MsgspecError, ValueError) as error:
        raise _changed(place, str(error)) from error
    segments = range(len(found.segments))
    if found.number != number or any(isinstance(one, Stub) and one.segment not in segments for one in found.entries):
        raise _changed(place, f"bundle {found.number}")
    return found


def read_kept(folder: Path, number: int) -> KeptBundle | None:
    """What is left of a bundle; None when nothing of it was deleted. Raises IntegrityError."""
    path = kept_path(folder, number)
    try:
        return unpack_kept(path.read_bytes(), number, path)
    except FileNotFoundError:
        return None


def stub_row(leaf: int, stub: Stub, segments: Sequence[str]) -> dict[str, Any]:
    """The row of `decisions` or `events` that the index has for a leaf whose entry is gone."""
    rest: Mapping[str, Any] = {**_EVENT, "facts": {}} if stub.event else _DECISION
    place = {"node": "", "worker": -1, "journal": -1, "offset": 0, "length": 0, "key_id": ERASED}
    known = {"leaf": leaf, "id": stub.id, "at": stub.at, "system": stub.system, "segment": segments[stub.segment]}
    return {**known, **rest, **place}


def _changed(place: Path, got: str) -> IntegrityError:
    return IntegrityError(
        f"{place} is not what retention left", got=got, expected="a bundle as written", mend="restore it from a backup"
    )
