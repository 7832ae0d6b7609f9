"""The file of a node's idempotency keys: one SQLite database for all its workers, opened by the first key that comes.

It holds no key and nothing readable: from a key is derived where its entry is, and what seals its answer.
Called from one thread of a worker; other workers of the node have the file open too.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

__all__ = ["Entry", "IdempotencyStore"]

_VERSION = 1
_BUSY_S = 5.0
_PRUNED = 2_000
_LEFT_US = 3_600_000_000
_TABLES = """
CREATE TABLE entry (
    lookup BLOB PRIMARY KEY, body BLOB NOT NULL, owner TEXT NOT NULL, created INTEGER NOT NULL, answer BLOB
);
CREATE INDEX entry_created ON entry (created);
CREATE TABLE secret (salt BLOB NOT NULL);
"""


class Entry(NamedTuple):
    """What is known of a key: the digest of its body, the process that claimed it, and the sealed answer, if any."""

    body: bytes
    owner: str
    created: int
    answer: bytes | None


class IdempotencyStore:
    """The open file. Moments are Unix microseconds. Every method may raise sqlite3.Error.

    `salt` is random and the file's own: what is derived with it means nothing in another file.
    """

    def __init__(self, path: Path) -> None:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        # Opened in one thread of the worker, closed from another at its end.
        self._db = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("BEGIN IMMEDIATE")
        with self._db:
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            if version != _VERSION:
                self._make()
        self.salt: bytes = self._db.execute("SELECT salt FROM secret").fetchone()[0]

    def _make(self) -> None:
        """Make the tables anew; entries of another version of Pilotage cannot be read, and their window is short."""
        for name in ("entry", "secret"):
            self._db.execute(f"DROP TABLE IF EXISTS {name}")
        for statement in _TABLES.split(";"):
            self._db.execute(statement)
        self._db.execute("INSERT INTO secret VALUES (?)", (os.urandom(32),))
        self._db.execute(f"PRAGMA user_version={_VERSION}")

    def claim(self, lookup: bytes, body: bytes, owner: str, at: int, since: int) -> Entry | None:
        """Claim a key for a process at a moment, or give the entry that has it. An answer before `since` is forgotten.

        A claim need not survive a power cut: nothing was answered under it.
        """
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute("BEGIN IMMEDIATE")
        with self._db:
            row = self._db.execute(
                "SELECT body, owner, created, answer FROM entry WHERE lookup=?", (lookup,)
            ).fetchone()
            if row is not None and (row[3] is None or row[2] >= since):
                return Entry(*row)
            self._db.execute("REPLACE INTO entry VALUES (?, ?, ?, ?, NULL)", (lookup, body, owner, at))
        return None

    def take_over(self, lookup: bytes, dead: str, owner: str) -> bool:
        """Take the claim of a process that is gone; False when somebody else did, or it was settled meanwhile."""
        return self._changed(
            "UPDATE entry SET owner=? WHERE lookup=? AND owner=? AND answer IS NULL", (owner, lookup, dead)
        )

    def settle(self, owner: str, answers: Sequence[tuple[bytes, bytes]]) -> list[bool]:
        """Keep the answers, (lookup, sealed), of a process's claims: on disk when this returns.

        For each whether it is kept: False when the claim is no longer this process's.
        """
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute("BEGIN IMMEDIATE")
        with self._db:
            return [
                self._changed(
                    "UPDATE entry SET answer=? WHERE lookup=? AND owner=? AND answer IS NULL", (answer, lookup, owner)
                )
                for lookup, answer in answers
            ]

    def release(self, lookup: bytes, owner: str) -> None:
        """Give up a claim: the next request with the key begins anew."""
        self._changed("DELETE FROM entry WHERE lookup=? AND owner=? AND answer IS NULL", (lookup, owner))

    def prune(self, since: int) -> int:
        """Delete answers from before `since`, some at a time, and claims that nobody came back to; how many."""
        return self._db.execute(
            "DELETE FROM entry WHERE rowid IN (SELECT rowid FROM entry"
            " WHERE created < ? AND (answer IS NOT NULL OR created < ?) LIMIT ?)",
            (since, since - _LEFT_US, _PRUNED),
        ).rowcount

    def used(self) -> int:
        """The bytes that entries take in the file."""
        values = [self._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count")]
        return int((values[0] - values[1]) * self._db.execute("PRAGMA page_size").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _changed(self, statement: str, values: tuple[object, ...]) -> bool:
        return self._db.execute(statement, values).rowcount == 1
