"""Which key signs the log, and which sizes each signed: the log itself says so.

A rotation of the signing key is an event sealed under a head that the old key signs; every later head is signed by
the new one. So whoever trusts the old key can follow to the new, and a stolen old key signs nothing that is believed
beyond that head.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from pilotage.errors import InputError, IntegrityError, Unavailable
from pilotage.ledger import store
from pilotage.ledger.keyring import Keyring
from pilotage.ledger.notes import Checkpoint, Signer, parse_checkpoint

__all__ = ["ROTATED", "KeyPeriod", "Signing", "key_periods", "parse_periods", "periods_of", "verify_checkpoint"]

ROTATED = "key.rotated"
"""The kind of the event. `facts`: {"key": master | steward | signing, "old": name, "new": name}, public parts only."""

_LINE = re.compile(r"(\S+)(?:\s+(\d{1,19})-(\d{1,19})?)?")


@dataclass(frozen=True, kw_only=True)
class KeyPeriod:
    """A verifier key, and the tree sizes whose checkpoints it signs: `first` to `last`; `last` 0 has no end yet."""

    vkey: str
    first: int = 0
    last: int = 0

    def covers(self, size: int) -> bool:
        """Whether a checkpoint of this size is this key's to sign."""
        return self.first <= size and (not self.last or size <= self.last)

    def line(self) -> str:
        """As `pilotage audit vkey --all` prints it."""
        return f"{self.vkey} {self.first}-{self.last or ''}"


def periods_of(rotations: Iterable[tuple[str, Mapping[str, Any], int]], oldest: str) -> list[KeyPeriod]:
    """Periods from (kind, facts, size of the head that seals it) of events, the oldest first.

    `oldest` is the key of a log that tells of no rotation. The old key signs the head that tells of the new one.
    """
    found: list[KeyPeriod] = []
    vkey, first = oldest, 0
    for kind, facts, size in rotations:
        if kind == ROTATED and facts.get("key") == "signing":
            found.append(KeyPeriod(vkey=str(facts.get("old")), first=first, last=size))
            vkey, first = str(facts.get("new")), size + 1
    return [*found, KeyPeriod(vkey=vkey, first=first)]


def key_periods(connection: Connection, keyring: Keyring) -> list[KeyPeriod]:
    """The periods that the index tells of, the oldest first.

    Only keys of the keyring are believed: an event row that was edited in SQL makes no key good. Raises
    Unavailable(code="keyring_outdated") when the ledger names a key that the keyring does not have.
    """
    rows = store.signing_rotations(connection, ROTATED)
    sealing = [(row, store.head_with(connection, row.leaf)) for row in rows]
    rotations = [(row.kind, row.facts, head.size if head else 0) for row, head in sealing]
    found = periods_of(rotations, keyring.vkeys[-1])
    for period in found:
        if period.vkey not in keyring.vkeys:
            raise Unavailable(
                "the ledger was signed with a key that this keyring does not have",
                got=period.vkey,
                expected=", ".join(keyring.vkeys),
                code="keyring_outdated",
                mend="install the keyring that the last rotation wrote, then start this process again",
            )
    return found


@dataclass(frozen=True, kw_only=True)
class Signing:
    """The periods of all keys, the oldest first, and what signs the next head."""

    periods: Sequence[KeyPeriod]
    signer: Signer

    @classmethod
    def read(cls, connection: Connection, keyring: Keyring) -> Signing:
        """As the ledger says now. Raises Unavailable when the keyring lacks a key that the ledger names."""
        periods = key_periods(connection, keyring)
        vkey = periods[-1].vkey
        private = keyring.signings[keyring.vkeys.index(vkey)].private
        if private is None:
            raise Unavailable("the keyring lacks the private signing key", got=vkey, mend="restore it from its backup")
        return cls(periods=periods, signer=Signer(keyring.origin, private))


def verify_checkpoint(text: str, periods: Sequence[KeyPeriod]) -> Checkpoint:
    """The checkpoint that a key has signed whose period covers its size. Raises IntegrityError."""
    shown = parse_checkpoint(text, [period.vkey for period in periods])
    good = [period.vkey for period in periods if period.covers(shown.size)]
    try:
        return parse_checkpoint(text, good)
    except IntegrityError:
        raise IntegrityError(
            "the checkpoint is signed by a key that was not in use at its size",
            got=f"size {shown.size}",
            expected="; ".join(period.line() for period in periods),
            mend="ask for a fresh checkpoint; a key that was rotated out may have been stolen",
        ) from None


def parse_periods(lines: Iterable[str]) -> list[KeyPeriod]:
    """Verifier keys as an auditor keeps them: a vkey, or a line of `pilotage audit vkey --all`. Raises InputError."""
    found = []
    for line in filter(None, (line.strip() for line in lines)):
        parts = _LINE.fullmatch(line)
        if parts is None:
            raise InputError(
                "not a verifier key",
                got=line[:120],
                expected="a vkey, or `vkey first-last`",
                mend="copy the whole lines that `pilotage audit vkey --all` prints",
            )
        found.append(KeyPeriod(vkey=parts[1], first=int(parts[2] or 0), last=int(parts[3] or 0)))
    return found
