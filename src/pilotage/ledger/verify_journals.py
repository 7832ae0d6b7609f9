"""Verify the journal files still on disk: chains, secrets, positions, and that what was consumed was sealed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag

from pilotage.errors import PilotageError
from pilotage.ledger.faults import Faults
from pilotage.ledger.frames import NO_CHAIN, FrameKind
from pilotage.ledger.intake import StreamBox
from pilotage.ledger.journal_reader import JournalFile, OpenedFrame, journal_files, read_frames
from pilotage.ledger.keyring import Keyring
from pilotage.ledger.record import Plain
from pilotage.ledger.verify_kept import GoneLeaf
from pilotage.ledger.verify_rows import Row

__all__ = ["JournalAudit"]

_STATES = frozenset({"reading", "whole", "deleted", "broken", "lost"})
_GIVEN_UP = frozenset({"broken", "lost"})


class _Named(msgspec.Struct, frozen=True):
    """What every plain part has."""

    id: str


_INTERRUPTED = b'{"t":"interrupted",'
_DECISION = b'{"t":"decision","id":"'
_ID = 36
"""The characters of a decision's id as gateways write it."""

_named = msgspec.json.Decoder(_Named).decode


@dataclass(kw_only=True)
class _Expected:
    """A leaf that a consumed frame must have become."""

    place: str
    digest: bytes
    closed: bool


@dataclass(kw_only=True)
class _Scanned:
    """A file as read: where its good frames end, and the chain value at the consumed position."""

    end: int = 0
    at_position: str | None = None


class JournalAudit:
    """First `scan` the files, then show it every leaf (`meet`) and every batch (`consumed_by`), then `finish`."""

    def __init__(
        self, root: Path, keyring: Keyring, positions: Sequence[Row], held: Sequence[Row], faults: Faults
    ) -> None:
        self._root, self._keyring, self._faults = root, keyring, faults
        self._box = StreamBox(*keyring.wrapping_secrets("held-frames"))
        self._positions = {str(row["name"]): row for row in positions}
        self._held = held
        self._expected: dict[str, list[_Expected]] = {}
        self._streams: dict[str, list[tuple[str, str, OpenedFrame]]] = {}
        self._scanned: dict[str, _Scanned] = {}
        self._files: dict[str, JournalFile] = {}
        self._batches: dict[str, tuple[int, str]] = {}
        self._gaps: set[str] = set()
        self._awaited: set[bytes] = set()
        self.frames = 0
        self.missing: list[str] = []
        """Files that were still to be read when the view was taken, and are not there."""
        self.without_previous: list[tuple[JournalFile, str]] = []
        """Files that continue another, by name, which the view does not know and which is not there."""

    def scan(self) -> None:
        """Read every file to its end: headers, frames, chains, secrets."""
        for file in journal_files(self._root):
            self._files[file.name] = file
            row = self._positions.get(file.name)
            if row is None or row["state"] not in _GIVEN_UP:
                self._scan_file(file, row)
        self._awaited = {id_.encode("utf-8", "surrogatepass") for id_ in (*self._expected, *self._streams)}

    def waits(self) -> bool:
        """Whether frames are still to be found among the leaves."""
        return bool(self._expected or self._streams)

    def meet(self, first: int, entries: Sequence[object]) -> None:
        """Leaves of the tree from index `first` on: the frames that were to become them are found."""
        awaited, start, end = self._awaited, len(_DECISION), len(_DECISION) + _ID
        for index, entry in enumerate(entries, first):
            # Most are plainly decisions of another id: to decode them all takes seconds.
            if type(entry) is bytes and entry[:start] == _DECISION and entry[end : end + 1] == b'"':
                id_ = entry[start:end]
                if id_ not in awaited and b"\\" not in id_:
                    continue
            self._look_at(index, entry)

    def _look_at(self, index: int, entry: object) -> None:
        if isinstance(entry, GoneLeaf):  # a worker's last file outlives the entries of its decisions
            self._expected.pop(entry.row["id"], None)
            self._streams.pop(entry.row["id"], None)
        if not isinstance(entry, bytes):
            return
        try:
            id_ = _named(entry).id
        except (msgspec.MsgspecError, ValueError):
            return
        if id_ in self._expected or id_ in self._streams:
            self._meet(index, id_, entry)

    def _meet(self, index: int, id_: str, entry: bytes) -> None:
        for expected in self._expected.pop(id_, ()):
            late = expected.closed and entry.startswith(_INTERRUPTED)
            if not late and hashlib.sha256(entry).digest() != expected.digest:
                self._faults.add(expected.place, f"leaf {index} holds other bytes than this frame")
        self._streams.pop(id_, None)

    def gap(self, file: str) -> None:
        """An event says that something is missing in this file."""
        self._gaps.add(file)

    def consumed_by(self, consumed: Mapping[str, tuple[int, str]]) -> None:
        """A batch leaf: the positions it commits to."""
        self._batches.update(consumed)

    def finish(self) -> None:
        """Compare positions with what the batches commit to, report frames that became no leaf, check held frames."""
        for place in (expected.place for group in self._expected.values() for expected in group):
            self._faults.add(place, "this frame was consumed, but the ledger has no leaf for it")
        for name in self._batches.keys() - self._positions.keys():
            if name in self._files:
                self._faults.add(f"consumed row {name}", "it is missing; a batch commits to a position in this file")
        for name, row in self._positions.items():
            self._check_position(name, row)
        self._check_held()

    def _scan_file(self, file: JournalFile, row: Row | None) -> None:
        """Read a file. One that the steward deletes meanwhile is gone; the one after it is then read again."""
        for _ in range(3):
            try:
                self._read(file, row)
            except FileNotFoundError:
                self._scanned.pop(file.name, None)
                if file.path.exists():
                    continue
                self._files.pop(file.name)
            except (PilotageError, OSError, ValueError) as error:
                what = error.what if isinstance(error, PilotageError) else str(error)
                self._faults.add(file.path, what, getattr(error, "got", ""), getattr(error, "expected", ""))
                self._scanned.pop(file.name, None)
            return

    def _read(self, file: JournalFile, row: Row | None) -> None:
        consumed = int(row["offset"]) if row and isinstance(row["offset"], int) else 0
        self._check_identity(file, row)
        scanned = self._scanned[file.name] = _Scanned()
        count, taken = 0, []
        for frame in read_frames(file, self._keyring.stewards):
            count += 1
            scanned.end = frame.end
            if frame.end == consumed:
                scanned.at_position = frame.chain.hex()
            if frame.end <= consumed:
                taken.append(frame)
        self.frames += count
        for frame in taken:
            self._expect(file, frame)

    def _check_identity(self, file: JournalFile, row: Row | None) -> None:
        identity = hashlib.sha256(file.header.sealed.encode()).hexdigest()
        if row is not None and row["identity"] not in (identity, ""):
            self._faults.add(f"consumed identity of {file.name}", "not this file's", row["identity"], identity)
        previous = f"{file.node}/{file.worker}-{file.n - 1}"
        before = self._positions.get(previous)
        if before is None and previous not in self._files:
            if file.header.previous != NO_CHAIN.hex() and row is None:
                self.without_previous.append((file, previous))
        elif before is not None and before["state"] in ("whole", "deleted") and before["chain"] != file.header.previous:
            got, expected = before["chain"], file.header.previous
            self._faults.add(f"consumed chain of {before['name']}", "not the end of that file", got, expected)

    def _expect(self, file: JournalFile, frame: OpenedFrame) -> None:
        place = f"{file.path} at byte {frame.offset}"
        try:
            id_ = _named(frame.plain).id
        except (msgspec.MsgspecError, ValueError):
            self._faults.add(place, "this frame names no record")
            return
        if frame.kind in (FrameKind.opened, FrameKind.chunk):
            self._streams.setdefault(id_, []).append((place, file.name, frame))
            return
        self._streams.pop(id_, None)
        digest, closed = hashlib.sha256(frame.plain).digest(), frame.kind == FrameKind.closed
        self._expected.setdefault(id_, []).append(_Expected(place=place, digest=digest, closed=closed))

    def _check_position(self, name: str, row: Row) -> None:
        offset, chain, state, place = row["offset"], row["chain"], row["state"], f"of {name}"
        if state not in _STATES or not isinstance(offset, int) or offset < 0:
            self._faults.add(f"consumed state {place}", "not a position", f"{state} at {offset}")
            return
        sealed_offset, sealed_chain = self._batches.get(name, (0, ""))
        if offset < sealed_offset or ((offset == sealed_offset) != (chain == sealed_chain) and name in self._batches):
            expected = f"byte {sealed_offset}, chain {sealed_chain}"
            what = "not the position that the last batch of this file commits to"
            self._faults.add(f"consumed offset {place}", what, f"byte {offset}, chain {chain}", expected)
        if offset and name not in self._batches:
            self._faults.add(f"consumed row {place}", "no batch commits to a position in this file", f"byte {offset}")
        if state in _GIVEN_UP:
            if name not in self._gaps:
                self._faults.add(f"consumed state {place}", "given up, but no event of the ledger says so", state)
        elif name in self._scanned:
            self._check_against_file(name, row)
        elif name not in self._files and state == "reading":
            self.missing.append(name)

    def _check_against_file(self, name: str, row: Row) -> None:
        scanned, file = self._scanned[name], self._files[name]
        offset, chain, state = row["offset"], row["chain"], row["state"]
        if offset and scanned.at_position is None:
            what = "no good frame ends at the byte up to which this file was consumed"
            self._faults.add(file.path, what, f"good frames up to byte {scanned.end}", f"byte {offset}")
        elif offset and scanned.at_position != chain:
            self._faults.add(f"consumed chain of {name}", "not the chain value there", chain, scanned.at_position)
        if state == "deleted":
            self._faults.add(f"consumed state of {name}", "the file is there", state, "reading or whole")
        if state == "whole" and offset != scanned.end:
            self._faults.add(file.path, "frames follow although it was consumed whole", scanned.end, offset)

    def _check_held(self) -> None:
        """Frames of open streams: each decrypts, is the frame in its journal, and none is left over or missing."""
        opened: set[str] = set()
        counts: dict[str, int] = {}
        for row in self._held:
            id_, place = str(row["id"]), f"held_frames row {row['position']}"
            frames = self._streams.get(id_, [])
            at = counts.get(id_, 0)
            counts[id_] = at + 1
            try:
                secret = self._box.open(id_, row["secret"])
            except (InvalidTag, TypeError, ValueError):
                self._faults.add(place, "its secret does not decrypt")
                continue
            if bool(row["opened"]) != (id_ not in opened):
                self._faults.add(place, "a stream begins with one opened frame")
            opened.add(id_)
            self._check_held_row(place, row, secret, frames, at)
        for id_, frames in self._streams.items():
            if counts.get(id_, 0) < len(frames) and frames[0][2].kind == FrameKind.opened:
                what = "the stream is open, but not all its frames are held"
                self._faults.add(f"held_frames rows of {id_}", what, counts.get(id_, 0), frames[-1][0])

    def _check_held_row(
        self, place: str, row: Row, secret: bytes, frames: Sequence[tuple[str, str, OpenedFrame]], at: int
    ) -> None:
        if frames and frames[0][2].kind == FrameKind.opened:
            if at >= len(frames):
                self._faults.add(place, "no frame in the journal is this one")
                return
            _, name, frame = frames[at]
            if (row["plain"], secret, row["origin"]) != (frame.plain, frame.secret, name):
                self._faults.add(place, "it is not the frame of the journal", row["origin"], frames[at][0])
        elif row["opened"]:
            try:
                plain = msgspec.json.decode(row["plain"], type=Plain)
            except (msgspec.MsgspecError, TypeError, ValueError):
                self._faults.add(place, "its plain part cannot be read")
                return
            if plain.id != row["id"] or plain.commitment != hashlib.sha256(secret).hexdigest():
                self._faults.add(place, "its payload is not what it commits to")
