"""SQLite's log moves into its database beside the work, not within a commit: that would wait for the disk twice."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing, suppress

from sqlalchemy import Engine

__all__ = ["WalBackfill"]


class WalBackfill:
    """Moves the log of an engine's database on a thread and a connection of its own; nothing to do on PostgreSQL.

    It takes no lock that a writer or a reader waits for, and can end anywhere: what was not moved stays in the log.
    """

    def __init__(self, engine: Engine) -> None:
        self._path = engine.url.database if engine.dialect.name == "sqlite" else None
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Move what was committed so far, unless that is under way."""
        if self._path and (self._thread is None or not self._thread.is_alive()):
            self._thread = threading.Thread(target=self._move, daemon=True, name="wal")
            self._thread.start()

    def wait(self) -> None:
        """Return when nothing is under way."""
        if self._thread is not None:
            self._thread.join()

    def _move(self) -> None:
        # A disk that is full shows in the next commit, which moves the log itself once it is much longer.
        with suppress(sqlite3.Error), closing(sqlite3.connect(self._path or "")) as connection:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").close()
