"""Read journals: which files there are, and their frames, checked one by one.

Nobody needs a key to check lengths, checksums and chains (`FrameScan`); the steward's private key opens the secrets
(`read_frames`). Frames are synced before they are handed out: what was sealed cannot vanish from the journal later.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pilotage.errors import IntegrityError, PilotageError
from pilotage.kernel.sealedbox import key_id
from pilotage.ledger.frames import (
    END_BYTES,
    GROUP_BYTES,
    MARK_LENGTH,
    MAX_FRAME_BYTES,
    FrameKind,
    Header,
    RawFrame,
    file_key,
    find_mark,
    frame_length,
    open_secret,
    parse_end,
    parse_frame,
    parse_group,
    parse_header,
    records_in,
)

__all__ = [
    "COPIED",
    "FrameScan",
    "JournalFile",
    "OpenedFrame",
    "journal_files",
    "node_files",
    "read_frames",
    "read_groups",
]

COPIED = ".copied"
"""The file that marks a folder of copies of another machine's journal; there `<worker>-<n>.end` ends a file."""

_FILE_NAME = re.compile(r"(\d+)-(\d+)\.log")
_WINDOW_BYTES = 1 << 20
_HEADER_READ_BYTES = 4096
_KINDS = {int(kind): kind for kind in FrameKind}


@dataclass(frozen=True, kw_only=True)
class JournalFile:
    """One file of one worker. `finished`: its writer will add nothing; `newest`: the last one of its worker."""

    path: Path
    node: str
    worker: int
    n: int
    finished: bool
    newest: bool

    @property
    def name(self) -> str:
        """`node/worker-n`: unique for ever."""
        return f"{self.node}/{self.worker}-{self.n}"

    @property
    def removable(self) -> bool:
        """Whether it may be deleted once all of it is consumed: a worker continues number and chain of its newest."""
        return self.finished and not self.newest

    @property
    def header(self) -> Header:
        """What the file says of itself. Raises IntegrityError when it was changed."""
        return self._start[0]

    def sibling(self, step: int) -> JournalFile | None:
        """The file `step` numbers after this one (-1: before), as it is now; None when there is none."""
        n = self.n + step
        return next((file for file in node_files(self.path.parent) if (file.worker, file.n) == (self.worker, n)), None)

    @cached_property
    def _start(self) -> tuple[Header, int, bytes]:
        with self.path.open("rb") as file:
            content = file.read(_HEADER_READ_BYTES)
        try:
            header, length, chain = parse_header(content)
        except (ValueError, msgspec.MsgspecError) as error:
            raise _damaged(self, 0, str(error)) from error
        if (header.node, header.worker, header.n) != (self.node, self.worker, self.n):
            raise _damaged(
                self, 0, "it was renamed", got=self.name, expected=f"{header.node}/{header.worker}-{header.n}"
            )
        return header, length, chain


class OpenedFrame(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A record in clear. `secret` is salt and payload; `offset` is that of its frame, `end` and `chain` are where and
    with what to resume after that frame: all records of a group have the same.
    """

    kind: FrameKind
    plain: bytes
    secret: bytes
    offset: int
    end: int
    chain: bytes


def journal_files(root: Path) -> list[JournalFile]:
    """Every journal file under `journal/`, by node, worker and number."""
    if not root.is_dir():
        return []
    return [file for folder in sorted(root.iterdir()) if folder.is_dir() for file in node_files(folder)]


def node_files(folder: Path) -> list[JournalFile]:
    """The journal files of one node, by worker and number."""
    found = [match for path in folder.iterdir() if (match := _FILE_NAME.fullmatch(path.name))]
    numbers = sorted((int(match[1]), int(match[2]), match[0]) for match in found)
    files, copied = [], (folder / COPIED).exists()
    for _, group in groupby(numbers, key=lambda entry: entry[0]):
        entries = list(group)
        for worker, n, name in entries:
            path, newest = folder / name, n == entries[-1][1]
            finished = _finished(path, copied) if newest else True
            if finished is not None:
                files.append(
                    JournalFile(path=path, node=folder.name, worker=worker, n=n, finished=finished, newest=newest)
                )
    return files


def read_frames(
    file: JournalFile,
    steward_private: X25519PrivateKey | Sequence[X25519PrivateKey],
    offset: int = 0,
    chain: bytes | None = None,
) -> Iterator[OpenedFrame]:
    """The records of a file from an offset on, opened, as `read_groups` gives them."""
    for group in read_groups(file, steward_private, offset, chain):
        yield from group


def read_groups(
    file: JournalFile,
    steward_private: X25519PrivateKey | Sequence[X25519PrivateKey],
    offset: int = 0,
    chain: bytes | None = None,
) -> Iterator[list[OpenedFrame]]:
    """The records of each frame of a file from an offset on; stops at its end, and at the torn or unfinished tail.

    Of several private keys the one is used that the file's header names.

    To resume, pass the last frame's `end` and `chain`. At offset 0, `chain` is the value that ended the worker's file
    before this one; None compares with that file if it is still there. Raises IntegrityError naming file and offset
    for any damage before the end, for a wrong chain, and for a file that does not continue the one before it.
    """
    aead = AESGCM(_key(file, steward_private))
    unchecked = offset == 0 and chain is None
    for at, before, frame in FrameScan(file, offset, chain):
        if unchecked:
            _check_continues(file)
            unchecked = False
        try:
            records = records_in(frame, open_secret(aead, frame, before))
        except IntegrityError as error:
            raise _damaged(file, at, error.what) from error
        if unknown := {number for number, _, _ in records} - _KINDS.keys():
            raise _damaged(file, at, "a record of an unknown kind", got=sorted(unknown), expected=sorted(_KINDS))
        end = at + frame.length
        yield [
            OpenedFrame(kind=_KINDS[number], plain=plain, secret=secret, offset=at, end=end, chain=frame.chain)
            for number, plain, secret in records
        ]


class FrameScan:
    """Iterates over (offset, chain value before, frame), all checked but not decrypted.

    After it, `offset` and `chain` are where the good frames end, `records` how many they hold, `clean` whether the
    file was closed cleanly, `torn` the bytes of an unfinished write behind the end (known of a finished file only).
    """

    def __init__(self, file: JournalFile, offset: int = 0, chain: bytes | None = None) -> None:
        header, start, first = file._start
        if offset == 0 and chain is not None and chain.hex() != header.previous:
            raise _discontinued(file, header.previous, chain)
        if offset and chain is None:
            raise ValueError("to resume, pass the chain value too")
        self.file = file
        self.offset = offset or start
        self.chain = chain if offset and chain is not None else first
        self.records = 0
        self.clean = False
        self.torn = 0

    def __iter__(self) -> Iterator[tuple[int, bytes, RawFrame]]:
        with self.file.path.open("rb", buffering=0) as opened:
            self._window = _Window(opened.fileno())
            if self._window.size() < self.offset:
                raise _damaged(self.file, self.offset, "it ends before the place reached earlier", self._window.size())
            while (frame := self._next()) is not None:
                at, before = self.offset, self.chain
                if frame.chain_after(before) != frame.chain:
                    raise _damaged(self.file, at, "a frame does not continue the chain")
                self.offset, self.chain = at + frame.length, frame.chain
                self.records += frame.records
                yield at, before, frame
        if self.file.finished:
            self._check_next()

    def _next(self) -> RawFrame | None:
        """The whole frame at the present offset, past any group mark; None at the end."""
        retried = -1
        while not self.clean:
            length = frame_length(*self._window.at(self.offset, 4))
            if length == MARK_LENGTH and self._passed_mark():
                continue
            frame = parse_frame(*self._window.at(self.offset, length))
            if frame is not None:
                return frame
            if not self._durable_behind():
                break
            if retried == self.offset:
                raise _damaged(self.file, self.offset, "a frame was changed or is missing; later ones follow it")
            retried = self.offset
            self._window.forget()
        return None

    def _passed_mark(self) -> bool:
        data, at = self._window.at(self.offset, END_BYTES)
        if parse_group(data, at, self.offset) is not None:
            self.offset += GROUP_BYTES
            return True
        ended = parse_end(data, at, self.offset)
        if ended is None:
            return False
        if ended != self.chain:
            raise _damaged(self.file, self.offset, "the end mark does not continue the chain")
        self.clean = True
        return True

    def _durable_behind(self) -> bool:
        """Whether a later write vouches for the bad frame here: then it is damage, or was being written just now."""
        if not self.file.finished and frame_length(*self._window.at(self.offset, 4)) == 0:
            return False
        rest = self._window.rest(self.offset)
        if find_mark(rest, self.offset) is not None:
            return True
        self.torn = len(rest.rstrip(b"\0")) if self.file.finished else 0
        return False

    def _check_next(self) -> None:
        following = self.file.sibling(1)
        if following is not None and following.header.previous != self.chain.hex():
            raise _damaged(
                self.file,
                self.offset,
                f"it does not end as {following.name} says",
                got=self.chain.hex(),
                expected=following.header.previous,
            )


class _Window:
    """A part of a file in memory, read anew when another part is asked for."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.forget()

    def forget(self) -> None:
        self._data, self._base = b"", 0

    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def at(self, offset: int, need: int) -> tuple[bytes, int]:
        """(data, place in it) holding `need` bytes from a file offset on, or as many as the file has."""
        place = offset - self._base
        if not 0 <= place <= len(self._data) - need:
            need = need if need <= MAX_FRAME_BYTES else 0
            self._base, place = offset, 0
            self._data = os.pread(self._descriptor, max(_WINDOW_BYTES, need), offset)
            if frame_length(self._data, 0):
                os.fdatasync(self._descriptor)
        return self._data, place

    def rest(self, offset: int) -> bytes:
        return b"".join(iter(_Pieces(self._descriptor, offset)))


class _Pieces:
    def __init__(self, descriptor: int, offset: int) -> None:
        self._descriptor, self._offset = descriptor, offset

    def __iter__(self) -> Iterator[bytes]:
        while piece := os.pread(self._descriptor, 16 * _WINDOW_BYTES, self._offset):
            self._offset += len(piece)
            yield piece


def _finished(path: Path, copied: bool) -> bool | None:
    return path.with_suffix(".end").exists() if copied else _unlocked(path)


def _unlocked(path: Path) -> bool | None:
    """Whether no living writer holds the file; None when it is gone."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except FileNotFoundError:
        return None
    return True


def _key(file: JournalFile, private: X25519PrivateKey | Sequence[X25519PrivateKey]) -> bytes:
    if not isinstance(private, X25519PrivateKey):
        named = file.header.steward
        private = next((key for key in private if key_id(key.public_key().public_bytes_raw()) == named), private[0])
    try:
        return file_key(file.header, private)
    except IntegrityError as error:
        raise _damaged(file, 0, error.what) from error


def _check_continues(file: JournalFile) -> None:
    before = file.sibling(-1)
    if before is not None:
        # Reading it to its end compares that end with this file's header.
        deque(FrameScan(before), maxlen=0)


def _discontinued(file: JournalFile, got: str, expected: bytes) -> PilotageError:
    return _damaged(file, 0, "it does not continue the file before it", got=got, expected=expected.hex())


def _damaged(file: JournalFile, offset: int, what: str, got: object = None, expected: object = None) -> IntegrityError:
    return IntegrityError(
        f"journal {file.name} is damaged at byte {offset} ({file.path}): {what}",
        got=got,
        expected=expected,
        mend="restore the file from a copy of the disk; keep the damaged one for the inquiry",
    )
