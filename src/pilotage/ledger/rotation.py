"""Rotate what wraps, seals and signs: without rewriting a payload, resumable, while the service answers.

A rotation first puts the new secret in front of the keyring, where every process finds it, then moves what hangs on
the old one, and at last, by `pruned`, drops the old one once nothing needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from sqlalchemy import Engine, Row, Table

from pilotage.errors import IntegrityError, PilotageError
from pilotage.kernel.sealedbox import key_id
from pilotage.ledger import store_keeping
from pilotage.ledger.intake import StreamBox
from pilotage.ledger.items import event_item
from pilotage.ledger.journal_reader import journal_files
from pilotage.ledger.keyring import Keyring, SigningKey, fingerprint
from pilotage.ledger.keys import KeyCabinet
from pilotage.ledger.sealing import Steward
from pilotage.ledger.signing import ROTATED, key_periods
from pilotage.ledger.tables import day_keys, held_frames, subject_keys
from pilotage.storage.database import reading, writing

__all__ = [
    "Progress",
    "Rewrapped",
    "announce_signing",
    "journals_sealed_to",
    "names",
    "new_master",
    "new_signing",
    "new_steward",
    "rewrap",
    "unannounced",
]

BATCH = 2_000
"""Rows rewrapped in one transaction: some 20 ms."""

Progress = Callable[[int, int], None]
"""Called with (rows looked at, rows there are)."""


@dataclass(frozen=True, kw_only=True)
class Rewrapped:
    """What a pass over all wrapped rows did: rows looked at, and those that an older master wrapped until now."""

    rows: int
    moved: int


def new_master(keyring: Keyring, secret: bytes) -> Keyring:
    """The keyring with a new master in front."""
    return replace(keyring, masters=(secret, *keyring.masters))


def new_steward(keyring: Keyring) -> Keyring:
    """The keyring with a new key of the steward in front."""
    return replace(keyring, stewards=(X25519PrivateKey.generate(), *keyring.stewards))


def new_signing(keyring: Keyring) -> Keyring:
    """The keyring with a new signing key in front; it signs nothing before `announce_signing`."""
    return replace(keyring, signings=(SigningKey.of(Ed25519PrivateKey.generate()), *keyring.signings))


def rewrap(
    ledger: Engine, keyring: Keyring, progress: Progress = lambda done, total: None, batch: int = BATCH
) -> Rewrapped:
    """Wrap every data key, and every held frame of an open stream, by the newest master.

    Killed anywhere, it is simply run again. It needs no lease: a row is changed only if it is still what was read, so
    an erasure meanwhile stays one. Raises IntegrityError for a row that no master of the keyring opens.
    """
    cabinet, box = KeyCabinet(keyring), StreamBox(*keyring.wrapping_secrets("held-frames"))
    work: Sequence[tuple[Table, str, str, Callable[[Row[Any]], bytes | None]]] = (
        (subject_keys, "key_id", "wrapped", cabinet.rewrap),
        (day_keys, "key_id", "wrapped", cabinet.rewrap),
        (held_frames, "position", "secret", lambda row: _renewed(box, row)),
    )
    with reading(ledger) as connection:
        total = sum(store_keeping.count_rows(connection, table) for table, *_ in work)
    rows = moved = 0
    for table, key, column, renew in work:
        for found in _pages(ledger, table, key, batch):
            changes = [(row, new) for row in found if (new := renew(row)) is not None]
            if changes:
                with writing(ledger) as connection:
                    moved += store_keeping.replace_values(connection, table, key, column, changes)
            rows += len(found)
            progress(rows, max(total, rows))
    if moved:
        store_keeping.scrub(ledger)
    return Rewrapped(rows=rows, moved=moved)


def unannounced(ledger: Engine, keyring: Keyring) -> bool:
    """Whether the newest signing key of the keyring is not yet the one that signs."""
    with reading(ledger) as connection:
        return key_periods(connection, keyring)[-1].vkey != keyring.vkeys[0]


def announce_signing(steward: Steward, actor: str) -> str:
    """Let the newest signing key sign from now on; the id of the event that says so, sealed under the old key's head.

    The steward needs the lease: nobody else signs meanwhile.
    """
    with reading(steward.ledger) as connection:
        old = key_periods(connection, steward.keyring)[-1].vkey
    facts = {"key": "signing", "old": old, "new": steward.keyring.vkeys[0]}
    item = event_item(ROTATED, steward.clock(), facts, {"actor": actor})
    steward.seal_event(item)
    return item.id


def journals_sealed_to(root: Path, public: bytes) -> list[str]:
    """The journal files whose keys are sealed to this public key of the steward, or whose headers cannot be read."""
    wanted, found = key_id(public), []
    for file in journal_files(root):
        try:
            sealed = file.header.steward == wanted
        except FileNotFoundError:
            continue
        except PilotageError:
            sealed = True
        if sealed:
            found.append(file.name)
    return found


def names(keyring: Keyring) -> dict[str, list[str]]:
    """The public names of all secrets, the newest first."""
    return {
        "master": [fingerprint(master) for master in keyring.masters],
        "steward": [key.public_key().public_bytes_raw().hex() for key in keyring.stewards],
        "signing": list(keyring.vkeys),
    }


def _renewed(box: StreamBox, row: Row[Any]) -> bytes | None:
    try:
        return box.renew(str(row.id), bytes(row.secret))
    except InvalidTag:
        raise IntegrityError(
            f"a held frame of stream {row.id} does not open under this keyring",
            mend="bring the keyring it was made with; run: pilotage audit verify",
        ) from None


def _pages(ledger: Engine, table: Table, key: str, size: int) -> Iterator[Sequence[Row[Any]]]:
    after: object = None
    while True:
        with reading(ledger) as connection:
            found = store_keeping.page_after(connection, table, key, after, size)
        if not found:
            return
        yield found
        after = getattr(found[-1], key)
