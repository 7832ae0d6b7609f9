"""Write one worker's journal: what was submitted is on the disk before its future is done.

What is submitted while a sync runs is the next group: as soon as the loop hears that the sync returned it encrypts and
chains that group, as one frame, and hands it to one thread that writes and syncs it (natural group commit, no fixed
wait). Thread and loop so change hands twice for each group, and never for a record.
After any failure of the disk the journal stays failed: no journal, no answer.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Protocol

import msgspec

from pilotage.errors import InputError, IntegrityError, PilotageError, Unavailable
from pilotage.kernel.clock import Clock, now_us
from pilotage.kernel.ids import uuid7
from pilotage.ledger.disk import Disk, OsDisk
from pilotage.ledger.frames import (
    GROUP_BYTES,
    GROUPING_BYTES,
    MOST_RECORD_BYTES,
    NO_CHAIN,
    RECORD_BYTES,
    FrameKind,
    FrameSealer,
    encode_header,
    make_header,
    record_head,
)
from pilotage.ledger.journal_reader import FrameScan, node_files
from pilotage.ledger.journal_segments import Segment, SegmentFiles
from pilotage.ledger.record import Event, commitment

__all__ = ["MAX_AGE_S", "Acknowledged", "JournalWriter", "Recovery"]

MAX_AGE_S = 600.0
"""How long a journal file with records is written to, at most."""


_log = logging.getLogger(__name__)
_MEBIBYTE = 1 << 20
_GROUP_LIMIT_BYTES = 4 * _MEBIBYTE


class Acknowledged(Protocol):
    """Who hears that a record is on the disk, or that it cannot be: an `asyncio.Future[None]`, or what acts as one.

    Called on the event loop, once; it must not raise.
    """

    def done(self) -> bool:
        """Whether nobody needs to be told any more."""

    def set_result(self, result: None, /) -> None:
        """The record is on the disk."""

    def set_exception(self, error: BaseException, /) -> None:
        """It is not, and will not be."""


_Group = tuple[Segment, bytes, "list[Acknowledged]"]
"""The file it goes into, its frame (empty: only begin the file), who waits for it."""


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """How the worker's file before this one was found.

    `previous` is its name, empty when there is none; `clean` whether it was closed cleanly; `end` where its good
    frames end, `frames` how many records they hold; `torn` the bytes behind that a crash left unfinished and that were
    cut; `damage` says what else was wrong with it, and then nothing was cut.
    """

    previous: str = ""
    clean: bool = True
    end: int = 0
    frames: int = 0
    torn: int = 0
    damage: str = ""


class JournalWriter:
    """The journal of one gateway worker, in the folder `journal/<node>`. Use it from one event loop only.

    `steward_key` is the steward's raw X25519 public key. A file ends at `segment_bytes` (the first one, made at
    start-up, at `first_bytes`) or `max_age_s` after it began, so that the steward can delete what it consumed.
    """

    def __init__(
        self,
        folder: Path,
        *,
        worker: int,
        steward_key: bytes,
        disk: Disk | None = None,
        clock: Clock = now_us,
        first_bytes: int = 8 * _MEBIBYTE,
        segment_bytes: int = 64 * _MEBIBYTE,
        max_age_s: float = MAX_AGE_S,
    ) -> None:
        self._folder = folder
        self._worker = worker
        self._steward_key = steward_key
        self._disk = disk or OsDisk()
        self._clock = clock
        self._sizes = (first_bytes, segment_bytes)
        self._max_age_s = max_age_s
        self._files = SegmentFiles(self._disk, folder, worker, first_bytes, segment_bytes)
        self._groups: SimpleQueue[_Group | None] = SimpleQueue()
        self._at_work = 0
        self._records: list[bytes] = []
        self._waiters: list[Acknowledged] = []
        self._bytes = self._room = 0
        self._kicking = False
        self._state = "the journal is not open"
        self._failure: BaseException | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closed: asyncio.Future[None] | None = None
        self._closing = False
        self._segment: Segment
        self.records = 0
        self.groups = 0

    @property
    def failed(self) -> bool:
        """Whether the disk failed: this writer accepts nothing more."""
        return self._failure is not None

    @property
    def waiting(self) -> int:
        """How many submitted records are not yet with the thread that syncs them."""
        return len(self._waiters)

    async def open(self) -> Recovery:
        """Look at what the last writer left, begin a new file, and record what was cut. At most once.

        Raises Conflict when another process writes for this worker, Unavailable when the disk does not let us.
        """
        self._loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[Recovery] = self._loop.create_future()
        self._closed = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, name=f"journal-{self._worker}", daemon=True)
        self._thread.start()
        recovery = await self._opened
        self._state = ""
        self._timer = self._loop.call_later(self._max_age_s, self._grown_old)
        if not recovery.clean:
            await self._report(recovery)
        return recovery

    def submit(self, kind: FrameKind, plain: bytes, secret: bytes) -> asyncio.Future[None]:
        """A future that is done when the record is on the disk; it raises Unavailable when the disk fails.

        Raises as `put`.
        """
        if self._state:
            raise self._refusal()
        future: asyncio.Future[None] = self._loop.create_future()
        self.put(kind, plain, secret, future)
        return future

    def put(self, kind: FrameKind, plain: bytes, secret: bytes, waiter: Acknowledged) -> None:
        """Append a record with the next group, and tell `waiter` afterwards.

        `secret` is 32 bytes of salt and the payload.
        Raises Unavailable (`journal_failed`, `journal_closed`) when nothing can be recorded, InputError when the
        record is too long; the waiter hears of Unavailable when the disk fails.
        """
        if self._state:
            raise self._refusal()
        size = self._bytes + RECORD_BYTES + len(plain) + len(secret)
        if size > self._room:
            size = self._make_room(size - self._bytes)
        self._records += (record_head(kind, len(plain), len(secret)), plain, secret)
        self._waiters.append(waiter)
        self._bytes = size
        if not self._kicking and not self._at_work:
            self._kicking = True
            self._loop.call_soon(self._kick)

    async def record(self, kind: FrameKind, plain: bytes, secret: bytes) -> None:
        """Submit and wait until it is on the disk."""
        await self.submit(kind, plain, secret)

    def begin_new_file(self, steward_key: bytes | None = None) -> None:
        """Begin a new file, so that the steward can soon delete this one; from now on sealed to `steward_key`.

        Nothing happens to a file without a record, unless the key changes, nor after a failure.
        """
        changed = steward_key is not None and steward_key != self._steward_key
        if steward_key is not None:
            self._steward_key = steward_key
        if self._state:
            return
        self._hand_over()
        if changed or self._segment.sealer.counter:
            self._rotate()
            self._give((self._segment, b"", []))

    async def close(self) -> None:
        """Write what waits, end the file cleanly, and let go. Safe to call again and after a failure."""
        if self._timer is not None:
            self._timer.cancel()
        if self._closed is None:
            return
        if not self._closing and not self.failed:
            self._closing = True
            self._state = "the journal is closed"
            self._hand_over()
            self._groups.put(None)
        await asyncio.shield(self._closed)
        self._thread.join()

    # On the event loop

    def _kick(self) -> None:
        self._kicking = False
        if not self._at_work:
            self._hand_over()

    def _hand_over(self) -> None:
        """Make what was submitted one frame, and give it to the thread."""
        segment, waiters = self._segment, self._waiters
        if not waiters:
            return
        frame = segment.sealer.group(len(waiters), self._records)
        segment.used += GROUP_BYTES + len(frame)
        self._records, self._waiters, self._bytes = [], [], 0
        self._room = _room(segment)
        self._give((segment, frame, waiters))

    def _give(self, group: _Group) -> None:
        self._at_work += 1
        self._groups.put(group)

    def _make_room(self, size: int) -> int:
        """Begin a group, in another file if this one is full, that has room for a record of this size: its size."""
        if size > MOST_RECORD_BYTES:
            raise InputError(
                "the record is too long for the journal",
                code="record_too_long",
                got=f"{size} bytes",
                expected=f"at most {MOST_RECORD_BYTES}",
                mend="send fewer or smaller inputs",
            )
        self._hand_over()
        if size > _room(self._segment) and self._segment.sealer.counter:
            self._rotate()
        self._room = max(size, _room(self._segment))
        return size

    def _rotate(self) -> None:
        self._segment = self._next_segment(self._segment.n + 1, self._segment.sealer.chain, self._sizes[1])
        self._room = 0

    def _grown_old(self) -> None:
        self._timer = self._loop.call_later(self._max_age_s, self._grown_old)
        self.begin_new_file()

    def _begun(self, recovery: Recovery) -> None:
        if not self._opened.done():
            self._opened.set_result(recovery)

    def _ended(self) -> None:
        if self._closed is not None and not self._closed.done():
            self._closed.set_result(None)

    def _acknowledge(self, waiters: list[Acknowledged]) -> None:
        self._at_work -= 1
        if not self._at_work:
            self._hand_over()  # before anything else, so that the disk is at work while answers leave
        self.groups += bool(waiters)
        self.records += len(waiters)
        for waiter in waiters:
            try:
                if not waiter.done():
                    waiter.set_result(None)
            except Exception:  # noqa: BLE001 - one that cannot be told must not keep the others from hearing
                _log.exception("a record is on the disk, but who waits for it could not be told")

    def _fail(self, failure: BaseException, waiters: list[Acknowledged]) -> None:
        self._failure = failure
        self._state = "the journal failed: nothing can be recorded, so nothing is answered"
        waiting = list(waiters)
        with suppress(Empty):
            while True:
                group = self._groups.get_nowait()
                waiting += group[2] if group is not None else []
        waiting += self._waiters
        self._records, self._waiters = [], []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_exception(self._refusal())
        if not self._opened.done():
            self._opened.set_exception(failure if isinstance(failure, PilotageError) else self._refusal())

    def _refusal(self) -> Unavailable:
        error = Unavailable(
            self._state,
            code="journal_failed" if self.failed else "journal_closed",
            got=self._failure,
            mend="free space or mend the disk, then restart the gateway" if self.failed else "open the journal first",
        )
        error.__cause__ = self._failure
        return error

    async def _report(self, recovery: Recovery) -> None:
        salt, private = os.urandom(32), msgspec.msgpack.encode({"damage": recovery.damage})
        event = Event(
            id=uuid7(),
            kind="journal.damaged" if recovery.damage else "journal.recovered",
            at=self._clock(),
            facts={
                "file": recovery.previous,
                "end": recovery.end,
                "frames": recovery.frames,
                "torn_bytes": recovery.torn,
            },
            commitment=commitment(salt, private),
        )
        await self.record(FrameKind.event, msgspec.json.encode(event), salt + private)
        if recovery.torn and not recovery.damage:
            with suppress(OSError):
                path = self._folder / f"{recovery.previous.rpartition('/')[2]}.log"
                await asyncio.to_thread(self._disk.truncate, path, recovery.end)

    # In the thread

    def _run(self) -> None:
        waiters: list[Acknowledged] = []
        failure: BaseException | None = RuntimeError("the journal's thread ended")
        try:
            self._files.claim()
            recovery, n, chain = self._look_back()
            self._segment = segment = self._next_segment(n, chain, self._sizes[0])
            self._files.begin(segment)
            self._post(self._begun, recovery)
            while (group := self._groups.get()) is not None:
                begun, frame, waiters = group
                if begun is not segment:
                    self._files.begin(begun)
                    segment = begun
                if frame:
                    self._files.write(frame)
                self._post(self._acknowledge, waiters)
            self._files.finish()
            failure = None
        except (OSError, PilotageError) as error:
            failure = error
        finally:
            if failure is not None:
                self._files.abandon()
                self._post(self._fail, failure, waiters)
            self._files.close()
            self._post(self._ended)

    def _next_segment(self, n: int, previous: bytes, capacity: int) -> Segment:
        key = os.urandom(32)
        header = encode_header(
            make_header(
                key,
                self._steward_key,
                node=self._folder.name,
                worker=self._worker,
                n=n,
                created=self._clock(),
                previous=previous,
            )
        )
        return Segment(n=n, header=header, sealer=FrameSealer(key, header[-32:]), capacity=capacity, used=len(header))

    def _look_back(self) -> tuple[Recovery, int, bytes]:
        """(what the last writer left, the number of the next file, the chain value it continues)."""
        own = [file for file in node_files(self._folder) if file.worker == self._worker]
        if not own:
            return Recovery(), 1, NO_CHAIN
        last, damage = own[-1], ""
        try:
            scan = FrameScan(last)
        except IntegrityError as error:
            return Recovery(previous=last.name, clean=False, damage=str(error)), last.n + 1, NO_CHAIN
        try:
            deque(scan, maxlen=0)
        except IntegrityError as error:
            damage = str(error)
        recovery = Recovery(
            previous=last.name,
            clean=scan.clean,
            end=scan.offset,
            frames=scan.records,
            torn=scan.torn,
            damage=damage,
        )
        return recovery, last.n + 1, scan.chain

    def _post(self, call: Callable[..., object], *arguments: object) -> None:
        # A loop that was closed without closing the journal: nobody is left to tell.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call, *arguments)


def _room(segment: Segment) -> int:
    """The bytes of records that the next group of a file may have."""
    return min(_GROUP_LIMIT_BYTES, segment.capacity - segment.used - GROUPING_BYTES)
