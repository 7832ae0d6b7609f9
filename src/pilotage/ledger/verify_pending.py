"""Read the entries that wait to be published, for verification: the tree's walk holds them to the signed heads."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from pilotage.errors import IntegrityError
from pilotage.ledger.faults import Faults
from pilotage.ledger.pending import pending_names, pending_path, read_pending
from pilotage.ledger.record import decode_batch
from pilotage.ledger.tiles import unpack_entries
from pilotage.ledger.verify_rows import Row

__all__ = ["size_after", "waiting_entries"]


def waiting_entries(folder: Path, heads: Iterable[Row], faults: Faults) -> dict[int, bytes]:
    """Entries by leaf, of these rows of `heads`: also those published just now, whose files are still there.

    Ask before the checkpoint is read: what is not here any more is published by then.
    """
    names, found = set(pending_names(folder)), dict[int, bytes]()
    for row in heads:
        if row["batch"] not in names:
            continue
        try:
            entries = read_pending(folder, row["batch"], row["size"] - row["first"])
        except FileNotFoundError:
            continue  # published meanwhile
        except OSError as error:
            faults.add(folder / pending_path(row["batch"]), f"it cannot be read: {error.strerror}")
        except (IntegrityError, TypeError) as error:
            faults.add(folder / pending_path(row["batch"]), f"its entries cannot be told: {error}")
        else:
            found.update(enumerate(entries, row["first"]))
    return found


def size_after(folder: Path, batch: str) -> int:
    """The size of the tree with a batch that no head is of, by its own leaf; 0 when that cannot be read."""
    path = folder / pending_path(batch)
    try:
        entries = unpack_entries(path.read_bytes(), path)
        return decode_batch(entries[-1]).first + len(entries)
    except (OSError, IntegrityError, IndexError, msgspec.MsgspecError, ValueError):
        return 0
