"""Prove the many decisions of which everything is as it was sealed, at a third of the price of naming what is not.

`holds` says yes only when the payload decrypts under the key of whom it is about, is what the leaf commits to, and the
index row is the one that `rows.index_row` makes of both. Whatever it does not say yes to, `verify_part` looks at
closely, so it never decides that something is wrong.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from math import isfinite

import msgspec
from cryptography.exceptions import InvalidTag

from pilotage.ledger.items import SALT
from pilotage.ledger.keys import KeyCabinet
from pilotage.ledger.record import Payload, Plain
from pilotage.ledger.rows import place_day, split_origin
from pilotage.ledger.verify_payloads import Key, Record
from pilotage.ledger.verify_rows import Values

__all__ = ["QuickCheck"]

_sha256 = hashlib.sha256
_payload = msgspec.msgpack.Decoder(Payload).decode


class QuickCheck:
    """Checks decisions against the `keys` and index `rows` of their part. What holds is taken out of `rows` and of the
    records, and its row's values are shown to `proven`.
    """

    def __init__(
        self,
        cabinet: KeyCabinet,
        keys: dict[str, Key | None],
        rows: dict[int, Values],
        proven: Callable[[Values], None],
    ) -> None:
        self._subject_lookup, self._day_lookup = cabinet.subject_lookup, cabinet.day_lookup
        self._keys, self._rows, self._proven = keys, rows, proven
        self._days: dict[tuple[str, str], str] = {}

    def holds(self, index: int, leaf: Plain, records: dict[str, Record]) -> bool:
        """Whether all is well with the decision at tree index `index`, whose payload is among `records`."""
        record, values = records.get(leaf.id), self._rows.get(index)
        if record is None or values is None or leaf.findings:
            return False
        key = self._keys.get(record.key_id)
        if key is None:
            return False
        try:
            secret = key.aead.decrypt(record.nonce, record.ciphertext, leaf.id.encode())
            if _sha256(secret).hexdigest() != leaf.commitment:
                return False
            payload = _payload(memoryview(secret)[SALT:])
        except (InvalidTag, msgspec.MsgspecError, ValueError):
            return False
        if not self._is_owner(leaf, key, payload.subject):
            return False
        if values != expected_values(index, leaf, payload, record, key):
            return False
        del self._rows[index], records[leaf.id]
        self._proven(values)
        return True

    def _is_owner(self, leaf: Plain, key: Key, subject: str) -> bool:
        if subject:
            return key.lookup == self._subject_lookup(subject)
        day = leaf.system, place_day(leaf.times.received)
        if day not in self._days:
            self._days[day] = self._day_lookup(*day)
        return not key.personal and key.lookup == self._days[day]


def expected_values(index: int, leaf: Plain, payload: Payload, record: Record, key: Key) -> Values | None:
    """The row of `decisions` of a leaf without findings, in the order of DECISION_COLUMNS; None for one that is out of
    the ordinary. It is what `rows.decision_values` makes, without the steps between.
    """
    times, score, label = leaf.times, payload.score, payload.answer.get("label")
    if score is not None and not isfinite(score):
        return None
    node, worker, journal = split_origin(record.origin)
    values: Values = (
        leaf.id,
        times.received,
        leaf.request_id,
        leaf.system,
        leaf.release,
        leaf.contract,
        leaf.plan,
        leaf.stage,
        leaf.arm,
        leaf.mode,
        leaf.kind,
        leaf.outcome,
        score,
        label if label is None else str(label),
        0,
        "",
        times.contract + times.guard + times.answer,
        leaf.trace,
        leaf.parent,
        leaf.turn,
        node,
        worker,
        journal,
        record.offset,
        record.length,
        record.key_id,
        key.pseudonym or None,
        index,
        record.path,
    )
    # Of texts with a NUL the index holds another form.
    texts = (*values[2:12], values[13] or "", leaf.trace, leaf.parent)
    return None if "\0" in "".join(texts) else values
