"""What the workers of a node have counted, shared by files: they answer on one port, and a scrape reaches any one."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from pilotage.gateway.exposition import Snapshot

__all__ = ["FRESH_S", "SharedMetrics"]

FRESH_S = 15.0
"""A worker whose file is older does not run any more."""

_log = logging.getLogger(__name__)


class SharedMetrics:
    """The files `metrics-<worker>.json` of a node's `run` folder; this worker writes its own."""

    def __init__(self, folder: Path, worker: int) -> None:
        self._folder, self._own = folder, folder / f"metrics-{worker}.json"
        self._troubled = False

    def write(self, snapshot: Snapshot) -> None:
        """Let the others read it. A trouble is logged once: nothing but a scrape depends on it."""
        draft = self._own.with_suffix(".tmp")
        try:
            draft.write_bytes(msgspec.json.encode(snapshot))
            draft.replace(self._own)
            self._troubled = False
        except OSError as error:
            if not self._troubled:
                _log.warning("metrics cannot be shared with the other workers: %s", error)
            self._troubled = True

    def others(self) -> Iterator[Snapshot]:
        """What the other workers that run have counted."""
        for path in sorted(self._folder.glob("metrics-*.json")):
            try:
                if path != self._own and time.time() - path.stat().st_mtime <= FRESH_S:
                    yield msgspec.json.decode(path.read_bytes(), type=Snapshot)
            except (OSError, msgspec.DecodeError):
                continue  # it ended, or is of another version

    def forget(self) -> None:
        """This worker ends."""
        self._own.unlink(missing_ok=True)
