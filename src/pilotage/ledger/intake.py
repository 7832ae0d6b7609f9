"""Read what waits in the journals, from where the last batch stopped. Decides nothing about the ledger, writes nothing.

Files of one worker are read in order. A file that is damaged, was replaced, vanished, or does not continue the one
before it is reported once as a gap, and the others are read on. Frames of a stream are held until its end comes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import groupby

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pilotage.errors import IntegrityError, PilotageError
from pilotage.ledger.frames import NO_CHAIN, FrameKind
from pilotage.ledger.items import Item, decision_item, interrupted_item, journal_event_item
from pilotage.ledger.journal_reader import FrameScan, JournalFile, OpenedFrame, read_groups
from pilotage.ledger.portions import Portion
from pilotage.ledger.record import Plain

__all__ = ["Gap", "HeldFrame", "JournalIntake", "Position", "StreamBox", "Taken"]

_MAX_OPENED = 60_000
_PLACE_BYTES = 4_096
"""Frames are counted by what they hold, so that a batch of large payloads takes no more memory than one of small."""

_RESTARTED = frozenset({"journal.recovered", "journal.damaged"})
_plain = msgspec.json.Decoder(Plain).decode


class _ChunkPlain(msgspec.Struct, frozen=True):
    id: str
    n: int = 0


_chunk = msgspec.json.Decoder(_ChunkPlain).decode


@dataclass(frozen=True, kw_only=True)
class Position:
    """How far a journal file was consumed. `chain` is hex; `identity` tells a file from another of the same name.

    `state`: reading; whole (consumed to its end); deleted; broken (cannot be read on); lost (vanished before its end).
    """

    name: str
    offset: int = 0
    chain: str = ""
    identity: str = ""
    state: str = "reading"


@dataclass(frozen=True, kw_only=True)
class Gap:
    """Something a journal should hold and does not: named in an event `journal.gap` and in the seal's report."""

    file: str
    offset: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class HeldFrame:
    """An `opened` or `chunk` frame of a stream that has not ended. `secret` is encrypted by `StreamBox`."""

    id: str
    origin: str
    opened: bool
    plain: bytes
    secret: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What one reading found. `released` are streams whose held frames are no longer needed, `broken_off` those among
    them that will never end. `positions` are the changed ones only, `streams` those open afterwards, by id. Of what
    was read ahead, most decisions are not among the items, but ready in a `portion`.
    """

    items: list[Item]
    positions: list[Position]
    held: list[HeldFrame]
    released: set[str]
    broken_off: set[str]
    gaps: list[Gap]
    more: bool
    streams: dict[str, str] = field(default_factory=dict)
    portion: Portion = field(default_factory=Portion)


class StreamBox:
    """Encrypts held frames under a key derived from the newest master, bound to the stream's id; older ones open too.

    `keys` are the newest first (`Keyring.wrapping_secrets`).
    """

    def __init__(self, *keys: bytes) -> None:
        self._aeads = [AESGCM(key) for key in keys]

    def shut(self, id_: str, secret: bytes) -> bytes:
        """nonce ‖ ciphertext."""
        nonce = os.urandom(12)
        return nonce + self._aeads[0].encrypt(nonce, secret, id_.encode())

    def open(self, id_: str, content: bytes) -> bytes:
        """The secret again. Raises InvalidTag."""
        return self._opened(id_, content)[0]

    def renew(self, id_: str, content: bytes) -> bytes | None:
        """The content under the newest key; None when it is already. Raises InvalidTag."""
        secret, newest = self._opened(id_, content)
        return None if newest else self.shut(id_, secret)

    def _opened(self, id_: str, content: bytes) -> tuple[bytes, bool]:
        for aead in self._aeads:
            with suppress(InvalidTag):
                return aead.decrypt(content[:12], content[12:], id_.encode()), aead is self._aeads[0]
        raise InvalidTag

    def interrupted(self, frames: Sequence[HeldFrame], at: int) -> Item:
        """The leaf of a stream that broke off, of its held frames in order, the opened one first."""
        first = frames[0]
        chunks = [self.open(frame.id, frame.secret) for frame in frames[1:]]
        return interrupted_item(first.plain, self.open(first.id, first.secret), chunks, first.origin, at)


class JournalIntake:
    """One reading of all journals. `streams` maps the id of each stream held open to the file it was opened in."""

    def __init__(
        self,
        stewards: Sequence[X25519PrivateKey],
        box: StreamBox,
        positions: Mapping[str, Position],
        streams: Mapping[str, str],
        *,
        retry: bool = False,
    ) -> None:
        """`stewards` are the private keys that a file may be sealed to.

        With `retry`, broken files are tried again: one may have been restored.
        """
        self._stewards, self._box = stewards, box
        self._known = dict(positions)
        self._streams = dict(streams)
        self._retry = retry
        self._reported = {name: place.offset for name, place in positions.items() if place.state == "broken"}
        self._changed: dict[str, Position] = {}
        self._taken = Taken(items=[], positions=[], held=[], released=set(), broken_off=set(), gaps=[], more=False)
        self._room = 0

    def take(self, files: Sequence[JournalFile], limit: int) -> Taken:
        """Read about `limit` frames, fewer when they are large, shared fairly between the workers."""
        by_worker = [list(group) for _, group in groupby(files, key=lambda file: (file.node, file.worker))]
        more = False
        for worker_files in by_worker:
            self._room = max(1, limit // len(by_worker))
            more |= not self._take_worker(worker_files)
        self._report_vanished({file.name for file in files})
        alive = {_worker(file.name) for file in files if self._alive(file)}
        self._break_off(lambda opened: _worker(opened) not in alive)
        return replace(self._taken, positions=list(self._changed.values()), more=more, streams=self._streams)

    def _take_worker(self, files: Sequence[JournalFile]) -> bool:
        """False when there was no room to read all."""
        for file in files:
            position = self._begin(file)
            if position.state == "reading":
                position = self._read(file, position)
                self._note(position)
            if position.state == "reading":
                return not file.finished and self._room > 0
        return True

    def _begin(self, file: JournalFile) -> Position:
        """The position to read on from; a file met for the first time must continue the one before it."""
        known = self._known.get(file.name)
        try:
            identity = hashlib.sha256(file.header.sealed.encode()).hexdigest()
        except FileNotFoundError:
            return Position(name=file.name, state="deleted")
        except (PilotageError, OSError) as error:
            return self._break(known or Position(name=file.name), error)
        if known is not None and known.identity in (identity, ""):
            retried = known.state == "lost" or (known.state == "broken" and self._retry)
            return replace(known, identity=identity, state="reading") if retried else known
        fresh = Position(name=file.name, identity=identity)
        if known is not None:
            self._gap(file.name, 0, "it is not the file of this name that was read before")
        elif not self._continues(file):
            self._gap(file.name, 0, "it does not continue the file before it: records are missing between them")
        self._note(fresh)
        return fresh

    def _continues(self, file: JournalFile) -> bool:
        before = self._known.get(f"{file.node}/{file.worker}-{file.n - 1}")
        if before is None:
            return file.header.previous == NO_CHAIN.hex()
        return before.state in ("broken", "lost") or file.header.previous == before.chain

    def _read(self, file: JournalFile, position: Position) -> Position:
        """The position reached: whole, at the end of a finished file; broken; or to be read on."""
        offset, name = position.offset, file.name
        chain = bytes.fromhex(position.chain if offset else file.header.previous)
        try:
            for group in read_groups(file, self._stewards, offset, chain):
                # A group is taken whole or not at all: there is no place to read on from within one.
                records = [_read_record(name, frame) for frame in group]
                for frame, record in zip(group, records, strict=True):
                    self._take(name, frame, record)
                    self._room -= 1 + len(frame.secret) // _PLACE_BYTES
                    offset, chain = frame.end, frame.chain
                if self._room <= 0:
                    return replace(position, offset=offset, chain=chain.hex())
            if not offset and file.finished:
                chain = FrameScan(file).chain
        except FileNotFoundError:
            return self._at(position, offset, chain)
        except (PilotageError, OSError, ValueError) as error:
            return self._break(self._at(position, offset, chain), error)
        reached = self._at(position, offset, chain)
        return replace(reached, chain=chain.hex(), state="whole") if file.finished else reached

    def _at(self, position: Position, offset: int, chain: bytes) -> Position:
        """The position moved on; nothing was consumed at offset 0, so that there is no chain value yet."""
        return replace(position, offset=offset, chain=chain.hex()) if offset else position

    def _take(self, origin: str, frame: OpenedFrame, record: Item | str) -> None:
        """Take what a frame holds, as `_read_record` read it."""
        if isinstance(record, Item):
            self._taken.items.append(record)
            if frame.kind == FrameKind.closed:
                self._taken.released.add(record.id)
                self._streams.pop(record.id, None)
            elif record.leaf is not None and record.leaf.kind in _RESTARTED:
                self._break_off(lambda opened: _worker(opened) == _worker(origin) and opened != origin)
        elif frame.kind == FrameKind.opened or record in self._streams:
            self._hold(record, origin, frame)

    def _hold(self, id_: str, origin: str, frame: OpenedFrame) -> None:
        opened = frame.kind == FrameKind.opened
        if opened and id_ in self._streams:
            return
        self._streams.setdefault(id_, origin)
        secret = self._box.shut(id_, frame.secret)
        self._taken.held.append(HeldFrame(id=id_, origin=origin, opened=opened, plain=frame.plain, secret=secret))

    def _alive(self, file: JournalFile) -> bool:
        """Whether frames may still come out of a file."""
        position = self._known.get(file.name)
        return position is None or position.state == "reading" or not file.finished

    def _break_off(self, ended: Callable[[str], bool]) -> None:
        """Streams that were opened in files whose writer is no more will have no end."""
        for id_, origin in list(self._streams.items()):
            if ended(origin):
                self._taken.released.add(id_)
                self._taken.broken_off.add(id_)
                del self._streams[id_]

    def _report_vanished(self, present: set[str]) -> None:
        for name, position in self._known.items():
            if name in present or position.state in ("deleted", "lost"):
                continue
            if position.state == "whole":
                self._note(replace(position, state="deleted"))
                continue
            self._gap(name, position.offset, "it vanished before it was consumed to its end")
            self._note(replace(position, state="lost"))

    def _break(self, position: Position, error: Exception) -> Position:
        if self._reported.get(position.name) != position.offset:
            self._gap(position.name, position.offset, _reason(error))
        broken = replace(position, state="broken")
        self._note(broken)
        return broken

    def _note(self, position: Position) -> None:
        if self._known.get(position.name) != position:
            self._known[position.name] = self._changed[position.name] = position

    def _gap(self, file: str, offset: int, reason: str) -> None:
        self._taken.gaps.append(Gap(file=file, offset=offset, reason=reason))


def _read_record(origin: str, frame: OpenedFrame) -> Item | str:
    """What a frame becomes: an item; or, of an opened frame or a chunk, the id of its stream. Raises ValueError."""
    match frame.kind:
        case FrameKind.decision | FrameKind.closed:
            return decision_item(frame.plain, frame.secret, origin, closed=frame.kind == FrameKind.closed)
        case FrameKind.event:
            return journal_event_item(frame.plain, frame.secret, origin)
        case FrameKind.opened:
            if len(frame.plain) > _MAX_OPENED:
                raise ValueError(f"an opened frame of {len(frame.plain)} bytes")
            return _plain(frame.plain).id
        case FrameKind.chunk:
            return _chunk(frame.plain).id


def _worker(name: str) -> str:
    """`node/worker` of a file's name."""
    return name.rpartition("-")[0]


def _reason(error: Exception) -> str:
    """Why, without the path: it becomes part of a leaf."""
    if isinstance(error, IntegrityError):
        return error.what.partition("): ")[2] or error.what
    return str(error) if isinstance(error, PilotageError | ValueError) else type(error).__name__
