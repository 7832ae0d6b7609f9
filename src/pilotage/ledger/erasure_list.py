"""The erasure list: which keys were destroyed. A restored backup loses them again before anything is read with it.

It is kept twice: as the table `erased_keys`, and as a file beside the ledger that a restored database does not take
back. A line of the file is a key id, 32 hexadecimal digits, random, of nobody who can be named.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Engine

from pilotage.ledger import store_keeping
from pilotage.storage.database import reading, writing
from pilotage.storage.home import Home

__all__ = ["apply_erasure_list", "remember_erased"]

_LINE = 33


def apply_erasure_list(home: Home, ledger: Engine) -> int:
    """Destroy again the keys that a restored database brought back; how many. Cheap when there is nothing to do."""
    path = home.erasures
    listed = path.stat().st_size // _LINE if path.exists() else 0
    with reading(ledger) as connection:
        known, back = store_keeping.count_erased(connection), store_keeping.erased_yet_there(connection)
    if listed == known and not back:
        return 0
    with reading(ledger) as connection:
        in_table = store_keeping.erased_ids(connection)
    in_file = _read(path)
    remember_erased(home, sorted(in_table - in_file))
    with writing(ledger) as connection:
        gone = store_keeping.drop_keys(connection, sorted(in_table | in_file))
    if gone:
        store_keeping.scrub(ledger)
    return gone


def remember_erased(home: Home, key_ids: Sequence[str]) -> None:
    """Add keys to the file, durably."""
    if not key_ids:
        return
    handle = os.open(home.erasures, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(handle, "".join(f"{key_id}\n" for key_id in key_ids).encode())
        os.fsync(handle)
    finally:
        os.close(handle)


def _read(path: Path) -> set[str]:
    if not path.exists():
        return set()
    return {line for line in path.read_text(encoding="ascii").splitlines() if len(line) == _LINE - 1}
