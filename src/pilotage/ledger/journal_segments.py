"""The files of one journal writer on its disk: filled with zeros ahead of need, begun, written in groups, finished."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pilotage.errors import Conflict
from pilotage.ledger.disk import Disk
from pilotage.ledger.frames import FrameSealer, end_mark, group_mark

__all__ = ["Segment", "SegmentFiles"]

_ZEROS = bytes(1 << 20)


@dataclass(kw_only=True, eq=False)
class Segment:
    """One file as the event loop sees it: it decides what goes in, the drain thread writes it."""

    n: int
    header: bytes
    sealer: FrameSealer
    capacity: int
    used: int


class SegmentFiles:
    """Opens and writes the segments of one worker. For one thread; every method may raise OSError."""

    def __init__(self, disk: Disk, folder: Path, worker: int, first_bytes: int, segment_bytes: int) -> None:
        self._disk = disk
        self._folder = folder
        self._worker = worker
        self._sizes = (first_bytes, segment_bytes)
        self._claim = -1
        self._segment: Segment | None = None
        self._descriptor = -1
        self._durable = 0
        self._frames = 0
        self._ahead: _Ahead | None = None

    def path(self, n: int) -> Path:
        """Where the n-th file of this worker lies."""
        return self._folder / f"{self._worker}-{n}.log"

    def claim(self) -> None:
        """Make the folder and keep every other writer of this worker out. Raises Conflict when there is one."""
        missing = [path for path in (self._folder, *self._folder.parents) if not path.exists()]
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in reversed(missing):
            self._disk.sync_folder(path.parent)
        lock = self._folder / f"{self._worker}.lock"
        self._claim = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(
                "another process writes the journal of this worker",
                code="journal_in_use",
                got=str(lock),
                expected="one writer for each worker of a node",
                mend="stop the other gateway, or give this one another node name",
            ) from None

    def begin(self, segment: Segment) -> None:
        """Finish the present file, if any; make the next one durable with its header and name, then prepare another."""
        self.finish()
        size = self._sizes[0] if self._ahead is None else self._sizes[1]
        descriptor = self._ahead.take() if self._ahead else None
        if descriptor is None:
            descriptor = _fill(self._disk, self._prepared, size)
        self._descriptor = descriptor
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._disk.write(descriptor, segment.header, 0)
        self._disk.sync(descriptor)
        self._disk.rename(self._prepared, self.path(segment.n))
        self._disk.sync_folder(self._folder)
        self._segment, self._durable, self._frames = segment, len(segment.header), 0
        self._ahead = _Ahead(self._disk, self._prepared, self._sizes[1])

    def write(self, frame: bytes) -> None:
        """Write the frame of a group; when this returns, it is on the disk."""
        content = group_mark(self._durable, self._frames) + frame
        self._disk.write(self._descriptor, content, self._durable)
        self._disk.sync(self._descriptor)
        self._durable += len(content)
        self._frames += 1

    def finish(self) -> None:
        """Close the present file cleanly: end mark, no zeros behind it."""
        if self._segment is None:
            return
        mark = end_mark(self._durable, self._frames, self._segment.sealer.chain)
        self._disk.write(self._descriptor, mark, self._durable)
        self._disk.sync(self._descriptor)
        self._disk.truncate(self.path(self._segment.n), self._durable + len(mark))
        self._segment = None
        self._release()

    def abandon(self) -> None:
        """Give up after a failure: cut what was never acknowledged, if the disk still allows it, and let go."""
        if self._segment is not None:
            with suppress(OSError):
                self._disk.truncate(self.path(self._segment.n), self._durable)
        self._segment = None
        self._release()

    def close(self) -> None:
        """Let go of everything; what was prepared ahead is removed."""
        if self._ahead is not None:
            descriptor = self._ahead.take(wait=False)
            with suppress(OSError):
                if descriptor is not None:
                    self._disk.close(descriptor)
                self._disk.remove(self._prepared)
            self._ahead = None
        if self._claim >= 0:
            os.close(self._claim)
            self._claim = -1

    @property
    def _prepared(self) -> Path:
        return self._folder / f"{self._worker}.next"

    def _release(self) -> None:
        if self._descriptor >= 0:
            with suppress(OSError):
                self._disk.close(self._descriptor)
        self._descriptor = -1


class _Ahead:
    """A file that a background thread fills with zeros, so that a rotation need not wait for it."""

    def __init__(self, disk: Disk, path: Path, size: int) -> None:
        self._job = (disk, path, size)
        self._descriptor: int | None = None
        self._cancelled = False
        self._thread = threading.Thread(target=self._run, name=f"journal-prepare-{path.stem}", daemon=True)
        self._thread.start()

    def take(self, wait: bool = True) -> int | None:
        """The descriptor of the filled file; None when filling failed (then filling it now says why)."""
        self._cancelled = not wait
        self._thread.join()
        return self._descriptor

    def _run(self) -> None:
        with suppress(OSError):
            self._descriptor = _fill(*self._job, cancelled=lambda: self._cancelled)


def _fill(disk: Disk, path: Path, size: int, cancelled: Callable[[], bool] = lambda: False) -> int:
    """A new file of zeros, synced piece by piece so that no long write-back delays the syncs of the present file."""
    descriptor = disk.create(path)
    try:
        for start in range(0, size, len(_ZEROS)):
            if cancelled():
                return descriptor
            disk.write(descriptor, _ZEROS[: size - start], start)
            disk.sync(descriptor)
    except OSError:
        disk.close(descriptor)
        raise
    return descriptor
