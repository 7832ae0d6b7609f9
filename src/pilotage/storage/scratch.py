"""Folders for what is written before it has its name: for their owner only, and gone with the process that made them.

A process holds a lock on its folder; the system drops the lock however the process ends. So whoever works in the same
place next can tell what was left behind from what somebody is writing now, and removes it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

__all__ = ["PREFIX", "remove_left_over", "scratch_folder"]

PREFIX = ".pilotage-export-"
"""How the names begin, wherever a user lets us write."""


@contextmanager
def scratch_folder(place: Path | None = None) -> Iterator[Path]:
    """A folder of mode 0700 in `place` (None: the system's folder for temporary files), removed at the end.

    What killed processes left there goes first.
    """
    place = Path(tempfile.gettempdir()) if place is None else place
    remove_left_over(place)
    made, descriptor = _claimed(place)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        os.close(descriptor)


def remove_left_over(place: Path) -> int:
    """Remove the folders in `place` that no process holds any more; how many. Those of other users stay."""
    gone = 0
    for path in place.glob(f"{PREFIX}*"):
        with suppress(OSError), closing(_Opened(path)) as folder:
            fcntl.flock(folder.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(folder.descriptor).st_uid == os.geteuid():
                shutil.rmtree(path)
                gone += 1
    return gone


class _Opened:
    """A folder, open; never through a symbolic link."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)

    def close(self) -> None:
        os.close(self.descriptor)


def _claimed(place: Path) -> tuple[Path, int]:
    """A new folder and the descriptor that holds its lock; anew if another removed it before we held it."""
    while True:
        made = Path(tempfile.mkdtemp(dir=place, prefix=PREFIX))
        with suppress(FileNotFoundError):
            descriptor = _Opened(made).descriptor
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if made.exists():
                return made, descriptor
            os.close(descriptor)
