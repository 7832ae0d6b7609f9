"""Write one worker's journal: what was submitted is on the disk before its future is done.

The event loop encrypts and chains each frame when it is submitted. One thread writes and syncs whatever waits as soon
as its last sync returned (natural group commit, no fixed wait), and comes back to the loop once for each group.
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
from typing import Protocol

import msgspec

from pilotage.errors import IntegrityError, PilotageError, Unavailable
from pilotage.kernel.clock import Clock, now_us
from pilotage.kernel.ids import uuid7
from pilotage.ledger.disk import Disk, OsDisk
from pilotage.ledger.frames import GROUP_BYTES, NO_CHAIN, FrameKind, FrameSealer, encode_header, make_header
from pilotage.ledger.journal_reader import FrameScan, node_files
from pilotage.ledger.journal_segments import Segment, SegmentFiles
from pilotage.ledger.record import Event, commitment

__all__ = ["MAX_AGE_S", "Acknowledged", "JournalWriter", "Recovery"]

MAX_AGE_S = 600.0
"""How long a journal file with records is written to, at most."""


_log = logging.getLogger(__name__)
_MEBIBYTE = 1 << 20
_GROUP_LIMIT_BYTES = 4 * _MEBIBYTE
_RESERVED_BYTES = 256


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


_Entry = tuple[Segment, bytes, "Acknowledged | None"]


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """How the worker's file before this one was found.

    `previous` is its name, empty when there is none; `clean` whether it was closed cleanly; `end` where its good
    frames end, `frames` how many they are; `torn` the bytes behind that a crash left unfinished and that were cut;
    `damage` says what else was wrong with it, and then nothing was cut.
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
        self._queue: deque[_Entry | None] = deque()
        self._wake = threading.Lock()
        self._wake.acquire()
        self._idle = False
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
        """How many submitted records no sync has begun for."""
        return len(self._queue)

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
        segment = self._segment
        size = len(plain) + len(secret) + _RESERVED_BYTES
        if segment.used + size > segment.capacity and segment.sealer.counter:
            segment = self._rotate()
        frame = segment.sealer.frame(kind, plain, secret)
        segment.used += len(frame) + GROUP_BYTES
        self._append((segment, frame, waiter))

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
        if not self._state and (changed or self._segment.sealer.counter):
            self._append((self._rotate(), b"", None))

    async def close(self) -> None:
        """Write what waits, end the file cleanly, and let go. Safe to call again and after a failure."""
        if self._timer is not None:
            self._timer.cancel()
        if self._closed is None:
            return
        if not self._closing and not self.failed:
            self._closing = True
            self._state = "the journal is closed"
            self._append(None)
        await asyncio.shield(self._closed)
        self._thread.join()

    # On the event loop

    def _append(self, entry: _Entry | None) -> None:
        self._queue.append(entry)
        if self._idle and not self._kicking:
            self._kicking = True
            self._loop.call_soon(self._kick)

    def _kick(self) -> None:
        self._kicking = False
        if self._idle:
            self._idle = False
            # Only this loop releases, so a lock seen locked stays locked; one seen unlocked wakes the thread anyway.
            if self._wake.locked():
                self._wake.release()

    def _rotate(self) -> Segment:
        self._segment = self._next_segment(self._segment.n + 1, self._segment.sealer.chain, self._sizes[1])
        return self._segment

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
        self.groups += 1
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
        waiting = waiters + [entry[2] for entry in self._queue if entry is not None and entry[2] is not None]
        self._queue.clear()
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
            while (group := self._take()) is not None:
                taken, frames, waiters = group
                if taken is not segment:
                    self._files.begin(taken)
                    segment = taken
                if frames:
                    self._files.write(frames)
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

    def _take(self) -> tuple[Segment, list[bytes], list[Acknowledged]] | None:
        """Whatever waits for one segment, up to a limit; waits itself when nothing does; None to end."""
        queue = self._queue
        while not queue:
            self._idle = True
            if not queue:
                self._wake.acquire()
            self._idle = False
        first = queue[0]
        if first is None:
            return None
        segment, size = first[0], 0
        frames: list[bytes] = []
        waiters: list[Acknowledged] = []
        while queue and size < _GROUP_LIMIT_BYTES and (entry := queue[0]) is not None and entry[0] is segment:
            queue.popleft()
            if entry[2] is not None:
                frames.append(entry[1])
                waiters.append(entry[2])
                size += len(entry[1])
        return segment, frames, waiters

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
            frames=scan.frames,
            torn=scan.torn,
            damage=damage,
        )
        return recovery, last.n + 1, scan.chain

    def _post(self, call: Callable[..., object], *arguments: object) -> None:
        # A loop that was closed without closing the journal: nobody is left to tell.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call, *arguments)
