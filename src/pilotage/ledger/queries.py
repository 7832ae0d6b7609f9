"""Read the ledger: what the CLI, the console, monitors and replay ask. Opens payloads when it has a keyring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import msgspec
from sqlalchemy import Engine, Row

from pilotage.errors import IntegrityError, NotFound, PilotageError
from pilotage.ledger import store, tiles
from pilotage.ledger.items import SALT, InterruptedPayload
from pilotage.ledger.keyring import Keyring
from pilotage.ledger.keys import KeyCabinet
from pilotage.ledger.notes import read_checkpoint_body
from pilotage.ledger.proofs import make_proof
from pilotage.ledger.record import Event, Interrupted, Leaf, Payload, Plain, commitment, decode_leaf
from pilotage.ledger.segments import read_payload
from pilotage.ledger.tables import ERASED, decisions, events
from pilotage.storage.database import reading
from pilotage.storage.home import Home

__all__ = [
    "CountRow",
    "DecisionFilter",
    "DecisionRow",
    "EventRow",
    "Ledger",
    "RecordedDecision",
    "RecordedEvent",
    "SystemStats",
]

_decode_plain = msgspec.json.Decoder(Plain).decode


@dataclass(frozen=True, kw_only=True)
class DecisionFilter:
    """Which decisions. Empty text and None mean any; times in Unix microseconds, `until` exclusive.

    `fault` is a part of a fault's code or path; `subject` the reference as the client sent it.
    """

    system: str = ""
    release: str = ""
    stage: str = ""
    arm: str = ""
    mode: str = ""
    outcome: str = ""
    fault: str = ""
    subject: str = ""
    since: int | None = None
    until: int | None = None
    score_min: float | None = None
    score_max: float | None = None


@dataclass(frozen=True, kw_only=True)
class DecisionRow:
    """A decision as indexed. `leaf` is its index in the tree; `fault_text` lists `code@path`; `answer_us` is the time
    its answer took. `subject` is a pseudonym; it, `score` and `label` are None after erasure. `journal` is the number
    of the journal file it came from.
    """

    leaf: int
    id: str
    at: int
    request_id: str
    system: str
    release: str
    contract: str
    plan: str
    stage: str
    arm: str
    mode: str
    kind: str
    outcome: str
    subject: str | None
    score: float | None
    label: str | None
    faults: int
    fault_text: str
    answer_us: int
    node: str
    worker: int
    journal: int
    segment: str
    offset: int
    length: int
    key_id: str


@dataclass(frozen=True, kw_only=True)
class EventRow:
    """An event as indexed. `about` is the id of the decision it is about, if any; `facts` hold no personal data."""

    leaf: int
    id: str
    at: int
    kind: str
    system: str
    release: str
    about: str | None
    facts: dict[str, Any]
    node: str
    worker: int
    journal: int
    segment: str
    offset: int
    length: int
    key_id: str


@dataclass(frozen=True, kw_only=True)
class RecordedDecision:
    """A decision with its leaf's exact bytes. `payload` is None when it cannot be read; `unreadable` says why.

    Of a stream that broke off, `plain` is its opened part and `payload` an InterruptedPayload.
    """

    row: DecisionRow
    plain: Plain
    entry: bytes
    payload: Payload | None = field(repr=False)
    unreadable: str = ""

    def payload_values(self) -> dict[str, Any] | None:
        """The payload as JSON values: the request as text, upstream answers as base64; None when unreadable."""
        if self.payload is None:
            return None
        values: dict[str, Any] = msgspec.to_builtins(self.payload)
        values["subject"] = self.payload.subject
        values["request"] = self.payload.request.decode("utf-8", errors="replace")
        return values


@dataclass(frozen=True, kw_only=True)
class RecordedEvent:
    """An event with its leaf's exact bytes and its private part, None when it cannot be read."""

    row: EventRow
    event: Event
    entry: bytes
    private: dict[str, Any] | None = field(repr=False)
    unreadable: str = ""


@dataclass(frozen=True, kw_only=True)
class CountRow:
    """Profile counts of one batch: `counts` add up over rows (profiles.counts.add)."""

    batch: str
    system: str
    release: str
    arm: str
    mode: str
    from_at: int
    to_at: int
    rows: int
    counts: dict[str, list[int]]


@dataclass(frozen=True, kw_only=True)
class SystemStats:
    """Live decisions since a moment. `per_second`: (Unix second, decisions), only seconds that had any, ascending.

    `p50_us` and `p99_us` are of `answer_us`; 0 without decisions.
    """

    decisions: int
    outcomes: dict[str, int]
    faults: int
    per_second: list[tuple[int, int]]
    p50_us: int
    p99_us: int


class Ledger:
    """The ledger of one installation, for reading; safe to use from several threads and processes."""

    def __init__(self, *, home: Home, engine: Engine, keyring: Keyring | None = None) -> None:
        self._folder = home.ledger
        self._engine = engine
        self._cabinet = KeyCabinet(keyring) if keyring is not None else None

    def decisions(
        self, wanted: DecisionFilter | None = None, limit: int = 100, before: int | None = None
    ) -> list[DecisionRow]:
        """The newest decisions that match, by descending `leaf`; the next page has the last row's leaf as `before`.

        Raises NotFound when a subject is asked for without a keyring.
        """
        wanted = wanted or DecisionFilter()
        with reading(self._engine) as connection:
            key_id = None
            if wanted.subject:
                key = self._require_cabinet().find_subject(connection, wanted.subject)
                if key is None:
                    return []
                key_id = key.key_id
            where = store.decision_conditions(**_plain_conditions(wanted), key_id=key_id, before=before)
            return [_row(DecisionRow, row) for row in store.find_decisions(connection, where, limit)]

    def count(self, wanted: DecisionFilter | None = None) -> int:
        """How many sealed decisions match. Raises NotFound when a subject is asked for without a keyring."""
        wanted = wanted or DecisionFilter()
        with reading(self._engine) as connection:
            key_id = None
            if wanted.subject:
                key = self._require_cabinet().find_subject(connection, wanted.subject)
                if key is None:
                    return 0
                key_id = key.key_id
            where = store.decision_conditions(**_plain_conditions(wanted), key_id=key_id)
            return sum(count for _, count, _ in store.count_outcomes(connection, where))

    def decision(self, id_: str) -> RecordedDecision:
        """One decision by its id. Raises NotFound; IntegrityError when its leaf is not the one indexed."""
        with reading(self._engine) as connection:
            found = store.find_row(connection, decisions, id_)
        if found is None:
            raise NotFound(
                "no such decision is sealed", got=id_, mend="check the id; a fresh one is sealed within seconds"
            )
        row = _row(DecisionRow, found)
        entry = self.entry(row.leaf)
        leaf = _leaf(entry, row.leaf, row.id, (Plain, Interrupted))
        plain = _decode_plain(leaf.opened) if isinstance(leaf, Interrupted) else leaf
        kind = InterruptedPayload if isinstance(leaf, Interrupted) else Payload
        secret, unreadable = self._secret(row, leaf.commitment)
        payload = None if secret is None else msgspec.msgpack.decode(secret[SALT:], type=kind)
        return RecordedDecision(row=row, plain=plain, entry=entry, payload=payload, unreadable=unreadable)

    def events(self, kind: str = "", system: str = "", limit: int = 100) -> list[EventRow]:
        """The newest events, by descending leaf."""
        with reading(self._engine) as connection:
            return [_row(EventRow, row) for row in store.find_events(connection, kind, system, limit)]

    def about(self, decision: str) -> list[EventRow]:
        """The events about a decision, by its id, the oldest first: outcomes, overrides, explanations."""
        with reading(self._engine) as connection:
            return [_row(EventRow, row) for row in store.events_about(connection, decision)]

    def event(self, id_: str) -> RecordedEvent:
        """One event by its id. Raises NotFound; IntegrityError when its leaf is not the one indexed."""
        with reading(self._engine) as connection:
            found = store.find_row(connection, events, id_)
        if found is None:
            raise NotFound(
                "no such event is sealed", got=id_, mend="check the id; a fresh one is sealed within seconds"
            )
        row = _row(EventRow, found)
        entry = self.entry(row.leaf)
        leaf = _leaf(entry, row.leaf, row.id, (Event,))
        secret, unreadable = self._secret(row, leaf.commitment)
        private = None if secret is None else msgspec.msgpack.decode(secret[SALT:])
        return RecordedEvent(row=row, event=leaf, entry=entry, private=private, unreadable=unreadable)

    def entry(self, index: int) -> bytes:
        """The exact bytes of a leaf, published or about to be. Raises NotFound, IntegrityError."""
        try:
            size = read_checkpoint_body(self.checkpoint()).size
        except NotFound:
            size = 0
        if index < size:
            return tiles.read_entry(self._folder, index, size)
        with reading(self._engine) as connection:
            waiting = store.waiting_entry(connection, index)
        if waiting is not None:
            return waiting
        published = read_checkpoint_body(self.checkpoint()).size
        if index < published:
            return tiles.read_entry(self._folder, index, published)
        raise NotFound("no such leaf", got=index, expected=f"0 to {published - 1}", mend="use an index of the ledger")

    def checkpoint(self) -> str:
        """The published checkpoint. Raises NotFound before the first batch."""
        return tiles.read_checkpoint(self._folder)

    def prove(self, id_: str) -> str:
        """A tlog-proof of a decision or an event, against the published checkpoint. Raises NotFound."""
        with reading(self._engine) as connection:
            row = store.find_row(connection, decisions, id_) or store.find_row(connection, events, id_)
        if row is None:
            raise NotFound(
                "no such decision or event is sealed",
                got=id_,
                mend="check the id; a fresh one is sealed within seconds",
            )
        return make_proof(self._folder, int(row.leaf), self.checkpoint())

    def profile_counts(
        self,
        system: str,
        release: str = "",
        arm: str = "",
        since: int | None = None,
        until: int | None = None,
        mode: str = "live",
    ) -> list[CountRow]:
        """The counts of every batch that overlaps [since, until), the oldest first."""
        where = store.count_conditions(system=system, release=release, arm=arm, mode=mode, since=since, until=until)
        with reading(self._engine) as connection:
            return [_row(CountRow, row) for row in store.find_counts(connection, where)]

    def stats(self, system: str = "", since: int | None = None, seconds: int = 300) -> SystemStats:
        """Figures of the live decisions since a moment; `per_second` has at most `seconds` entries."""
        where = store.decision_conditions(system=system, mode="live", since=since)
        with reading(self._engine) as connection:
            outcomes = store.count_outcomes(connection, where)
            total = sum(count for _, count, _ in outcomes)
            ranks = [total * part // 100 for part in (50, 99)] if total else []
            quantiles = [store.answer_quantile(connection, where, rank) for rank in ranks] or [0, 0]
            per_second = store.count_seconds(connection, where, seconds)
        return SystemStats(
            decisions=total,
            outcomes={outcome: count for outcome, count, _ in outcomes},
            faults=sum(faults for _, _, faults in outcomes),
            per_second=per_second,
            p50_us=quantiles[0],
            p99_us=quantiles[1],
        )

    def _require_cabinet(self) -> KeyCabinet:
        if self._cabinet is None:
            raise NotFound("no keyring: subjects cannot be looked up", mend="run this where the keyring is")
        return self._cabinet

    def _secret(self, row: DecisionRow | EventRow, committed: str) -> tuple[bytes | None, str]:
        """(salt ‖ payload, "") or (None, why it cannot be read)."""
        if row.key_id == ERASED:
            return None, "erased"
        if self._cabinet is None:
            return None, "no keyring"
        try:
            sealed = read_payload(self._folder, row.segment, row.offset, row.length, self._cabinet.mask_key)
            with reading(self._engine) as connection:
                key = self._cabinet.find(connection, row.key_id)
            if sealed.id != row.id:
                raise IntegrityError("the payload is another record's", got=sealed.id, expected=row.id, mend="verify")
            secret = key.open(sealed)
        except NotFound:
            return None, "erased"
        except PilotageError as error:
            return None, f"damaged: {error.what}"
        if commitment(secret[:SALT], secret[SALT:]) != committed:
            return None, "damaged: the payload is not the one that its leaf commits to"
        return secret, ""


def _plain_conditions(wanted: DecisionFilter) -> dict[str, Any]:
    conditions = asdict(wanted)
    del conditions["subject"]
    return conditions


def _row(kind: type[Any], row: Row[Any]) -> Any:
    return kind(**row._mapping)


def _leaf(entry: bytes, index: int, id_: str, kinds: Sequence[type[Any]]) -> Any:
    try:
        leaf: Leaf = decode_leaf(entry)
    except msgspec.DecodeError as error:
        raise IntegrityError(f"leaf {index} cannot be read", got=error, mend="run: pilotage audit verify") from error
    if not isinstance(leaf, tuple(kinds)) or leaf.id != id_:
        raise IntegrityError(
            f"leaf {index} is not the record that the index says",
            got=leaf.id,
            expected=id_,
            mend="run: pilotage audit verify",
        )
    return leaf
