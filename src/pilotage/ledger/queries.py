"""Read the ledger: what the CLI, the console, monitors and replay ask. Opens payloads when it has a keyring."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Engine, Row

from pilotage.errors import Gone, IntegrityError, NotFound
from pilotage.ledger import store, tiles
from pilotage.ledger.cosigned import Cosigned, any_cosigned, cosigned_checkpoint, newest_covering, read_cosigned
from pilotage.ledger.items import SALT, InterruptedPayload
from pilotage.ledger.kept import PAST
from pilotage.ledger.keyring import Keyring
from pilotage.ledger.keys import KeyCabinet, KeyRow
from pilotage.ledger.look_up_store import KEY_COLUMNS, decision_with_key, leaf_of
from pilotage.ledger.merkle import leaf_hash
from pilotage.ledger.notes import read_checkpoint_body
from pilotage.ledger.opening import PayloadOpener
from pilotage.ledger.pending import read_pending
from pilotage.ledger.proofs import make_proof
from pilotage.ledger.record import Event, Interrupted, Leaf, Payload, Plain, decode_leaf
from pilotage.ledger.retired import PastRetention, past_plain, past_retention
from pilotage.ledger.said_store import overridden_by
from pilotage.ledger.signing import KeyPeriod, key_periods
from pilotage.ledger.sums import newest_seconds, quantile_us
from pilotage.ledger.sums_store import find_second_sums, find_sums
from pilotage.ledger.tables import decisions, events
from pilotage.storage.database import looking_up, reading
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

_PAGE = 2_000
_decode_plain = msgspec.json.Decoder(Plain).decode


@dataclass(frozen=True, kw_only=True)
class DecisionFilter:
    """Which decisions. Empty text and None mean any; times in Unix microseconds, `until` exclusive.

    `fault` is a part of a fault's code or path; `subject` the reference as the client sent it; `kind` who answered
    (model, tool, retrieval, human, rules); `reviewer` the id of a person who gave another answer.
    """

    system: str = ""
    release: str = ""
    stage: str = ""
    arm: str = ""
    mode: str = ""
    kind: str = ""
    outcome: str = ""
    label: str = ""
    fault: str = ""
    subject: str = ""
    reviewer: str = ""
    request_id: str = ""
    trace: str = ""
    since: int | None = None
    until: int | None = None
    score_min: float | None = None
    score_max: float | None = None


@dataclass(frozen=True, kw_only=True)
class DecisionRow:
    """A decision as indexed. `leaf` is its index in the tree; `fault_text` lists `code@path`; `answer_us` is the time
    its answer took. `subject` is a pseudonym; it, `score` and `label` are None after erasure. `journal` is the number
    of the journal file it came from. `parent` is the id of the decision that asked for it, within one `trace`.
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
    trace: str
    parent: str
    turn: int


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

    Of a stream that broke off, `plain` is its opened part and `payload` an InterruptedPayload. With `past`, retention
    deleted the entry: `entry` is empty, and of `plain` only id, system and time are what they were.
    """

    row: DecisionRow
    plain: Plain
    entry: bytes
    payload: Payload | None = field(repr=False)
    unreadable: str = ""
    past: PastRetention | None = None

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

    `p50_us`, `p95_us` and `p99_us` are of `answer_us`, at most 1/32 off; 0 without decisions.
    """

    decisions: int
    outcomes: dict[str, int]
    faults: int
    per_second: list[tuple[int, int]]
    p50_us: int
    p95_us: int
    p99_us: int


class Ledger:
    """The ledger of one installation, for reading; safe to use from several threads and processes."""

    def __init__(self, *, home: Home, engine: Engine, keyring: Keyring | None = None) -> None:
        self._folder = home.ledger
        self._engine = engine
        self._cabinet = KeyCabinet(keyring) if keyring is not None else None
        self._opener = PayloadOpener(self._folder, engine, self._cabinet)
        self._keyring = keyring

    def decisions(
        self, wanted: DecisionFilter | None = None, limit: int = 100, before: int | None = None
    ) -> list[DecisionRow]:
        """The newest decisions that match, by descending `leaf`; the next page has the last row's leaf as `before`.

        Raises NotFound when a subject is asked for without a keyring.
        """
        with reading(self._engine) as connection:
            where = self._where(connection, wanted or DecisionFilter(), before)
            if where is None:
                return []
            return [_row(DecisionRow, row) for row in store.find_decisions(connection, where, limit)]

    def count(self, wanted: DecisionFilter | None = None, before: int | None = None) -> int:
        """How many decisions match. Raises NotFound when a subject is asked for without a keyring."""
        with reading(self._engine) as connection:
            where = self._where(connection, wanted or DecisionFilter(), before)
            return 0 if where is None else store.count_decisions(connection, where)

    def next_leaf(self) -> int:
        """The tree index after the newest leaf: what is sealed from now on lies behind it."""
        with reading(self._engine) as connection:
            head = store.last_head(connection)
        return 0 if head is None else int(head.size)

    def each(
        self, wanted: DecisionFilter, before: int | None = None, limit: int | None = None
    ) -> Iterator[list[DecisionRow]]:
        """The decisions that match in pages, newest first, so that a list of any size streams."""
        while limit is None or limit > 0:
            page = self.decisions(wanted, limit=_PAGE if limit is None else min(_PAGE, limit), before=before)
            if page:
                yield page
            if len(page) < _PAGE:
                return
            before, limit = page[-1].leaf, None if limit is None else limit - len(page)

    def _where(
        self, connection: Connection, wanted: DecisionFilter, before: int | None
    ) -> list[ColumnElement[bool]] | None:
        """The conditions of a filter; None when they are of a subject that nobody knows."""
        key_id = None
        if wanted.subject:
            key = self._require_cabinet().find_subject(connection, wanted.subject)
            if key is None:
                return None
            key_id = key.key_id
        where = store.decision_conditions(**_plain_conditions(wanted), key_id=key_id, before=before)
        if wanted.reviewer:
            where.append(overridden_by(self._require_cabinet().reviewer_lookup(wanted.reviewer)))
        return where

    def decision(self, id_: str) -> RecordedDecision:
        """One decision by its id. Raises NotFound; IntegrityError when its leaf is not the one indexed."""
        opener = PayloadOpener(self._folder, self._engine, self._cabinet)
        with looking_up(self._engine) as connection:
            found = decision_with_key(connection, id_)
        if found is None:
            raise NotFound(
                "no such decision is sealed", got=id_, mend="check the id; a fresh one is sealed within seconds"
            )
        values = dict(found._mapping)
        lookup, wrapped, created = (values.pop(f"key_{name}") for name in KEY_COLUMNS)
        row = DecisionRow(**values)
        if wrapped is not None and row.outcome != PAST:
            opener.hold(KeyRow(row.key_id, lookup, wrapped, created))
        return self._past(row) if row.outcome == PAST else self._recorded(row, self.entry(row.leaf), opener)

    def trace(self, ref: str, limit: int = 10_000) -> list[DecisionRow]:
        """The decisions of one trace, or of one request, the oldest first and at most `limit`.

        `ref` is a trace's or a request's id, or the id of any decision in it. Raises NotFound.
        """
        with reading(self._engine) as connection:
            one = store.find_row(connection, decisions, ref)
            if one is not None:
                ref = one.trace or one.request_id
            found = store.find_trace(connection, ref, limit)
        if not found:
            raise NotFound(
                "no decision of such a trace or request is sealed",
                got=ref,
                mend="check the id; those from before an upgrade are found after: pilotage ledger rebuild-index",
            )
        return [_row(DecisionRow, row) for row in found]

    def recorded(self, rows: Sequence[DecisionRow]) -> Iterator[RecordedDecision]:
        """The decisions of some rows with their payloads; cheaper than one by one when they lie near each other."""
        opener = PayloadOpener(self._folder, self._engine, self._cabinet, rows)
        for start in range(0, len(rows), tiles.TILE_WIDTH):
            some = rows[start : start + tiles.TILE_WIDTH]
            entries = self._entries([row.leaf for row in some if row.outcome != PAST])
            for row in some:
                yield self._past(row) if row.outcome == PAST else self._recorded(row, next(entries), opener)

    def _past(self, row: DecisionRow) -> RecordedDecision:
        """What can be said of a decision whose entry retention deleted."""
        with reading(self._engine) as connection:
            past = past_retention(connection, row.leaf, row.system)
        plain = past_plain(row.id, row.system, row.at)
        return RecordedDecision(row=row, plain=plain, entry=b"", payload=None, unreadable=str(past), past=past)

    def hash_of(self, leaf: int) -> bytes:
        """The hash of a leaf (32 bytes): of its entry, or from the tree where retention deleted that. Raises NotFound,
        IntegrityError.
        """
        try:
            return leaf_hash(self.entry(leaf))
        except Gone:
            return tiles.TileReader(self._folder, self._published()).read(0, leaf)

    def _recorded(self, row: DecisionRow, entry: bytes, opener: PayloadOpener) -> RecordedDecision:
        leaf = _leaf(entry, row.leaf, row.id, (Plain, Interrupted))
        plain = _decode_plain(leaf.opened) if isinstance(leaf, Interrupted) else leaf
        kind = InterruptedPayload if isinstance(leaf, Interrupted) else Payload
        secret, unreadable = opener.secret(row, leaf.commitment)
        payload = None if secret is None else msgspec.msgpack.decode(secret[SALT:], type=kind)
        return RecordedDecision(row=row, plain=plain, entry=entry, payload=payload, unreadable=unreadable)

    def _entries(self, indexes: Sequence[int]) -> Iterator[bytes]:
        """The entries of some leaves; a bundle is read once for neighbours."""
        size = self._published()
        number, bundle = -1, list[bytes]()
        for index in indexes:
            if index >= size:
                yield self.entry(index)
                continue
            if index // tiles.TILE_WIDTH != number:
                number = index // tiles.TILE_WIDTH
                first = number * tiles.TILE_WIDTH
                bundle = list(tiles.read_entries(self._folder, first, min(first + tiles.TILE_WIDTH, size)))
            yield bundle[index % tiles.TILE_WIDTH]

    def _published(self) -> int:
        try:
            return read_checkpoint_body(self.checkpoint()).size
        except NotFound:
            return 0

    def events(self, kind: str = "", system: str = "", limit: int = 100) -> list[EventRow]:
        """The newest events, by descending leaf."""
        with reading(self._engine) as connection:
            return [_row(EventRow, row) for row in store.find_events(connection, kind, system, limit)]

    def about(self, decision: str) -> list[EventRow]:
        """The events about a decision, by its id, the oldest first: outcomes, overrides, explanations."""
        with reading(self._engine) as connection:
            return [_row(EventRow, row) for row in store.events_about(connection, decision)]

    def each_event(self, first: int, end: int) -> Iterator[list[EventRow]]:
        """The events of leaves [first, end) in pages, the oldest first."""
        while first < end:
            with reading(self._engine) as connection:
                page = [_row(EventRow, row) for row in store.events_between(connection, first, end, _PAGE)]
            if page:
                yield page
            if len(page) < _PAGE:
                return
            first = page[-1].leaf + 1

    def event(self, id_: str) -> RecordedEvent:
        """One event by its id. Raises NotFound; Gone past retention; IntegrityError when its leaf is another."""
        with reading(self._engine) as connection:
            found = store.find_row(connection, events, id_)
        if found is None:
            raise NotFound(
                "no such event is sealed", got=id_, mend="check the id; a fresh one is sealed within seconds"
            )
        row = _row(EventRow, found)
        entry = self.entry(row.leaf)
        leaf = _leaf(entry, row.leaf, row.id, (Event,))
        secret, unreadable = self._opener.secret(row, leaf.commitment)
        private = None if secret is None else msgspec.msgpack.decode(secret[SALT:])
        return RecordedEvent(row=row, event=leaf, entry=entry, private=private, unreadable=unreadable)

    def entry(self, index: int) -> bytes:
        """The exact bytes of a leaf, published or about to be. Raises NotFound, IntegrityError, Gone past retention."""
        size = self._published()
        if index < size:
            return tiles.read_entry(self._folder, index, size)
        with reading(self._engine) as connection:
            head = store.head_with(connection, index)
        if head is not None:
            with suppress(FileNotFoundError):  # published meanwhile
                waiting = read_pending(self._folder, head.batch, head.size - head.first)
                return waiting[index - int(head.first)]
        published = read_checkpoint_body(self.checkpoint()).size
        if index < published:
            return tiles.read_entry(self._folder, index, published)
        raise NotFound("no such leaf", got=index, expected=f"0 to {published - 1}", mend="use an index of the ledger")

    def checkpoint(self) -> str:
        """The published checkpoint. Raises NotFound before the first batch."""
        return tiles.read_checkpoint(self._folder)

    def prove(self, id_: str) -> str:
        """A tlog-proof of a decision or an event, against the newest checkpoint that a witness confirmed and that
        covers it, else against the published one. Raises NotFound."""
        index = self.leaf_of(id_)
        keys = self._keys() if any_cosigned(self._folder) else ()
        published = self.checkpoint()
        cosigned = newest_covering(self._folder, index, keys)
        return make_proof(self._folder, index, cosigned or published)

    def leaf_of(self, id_: str) -> int:
        """The leaf of a decision or an event. Raises NotFound."""
        with looking_up(self._engine) as connection:
            leaf = leaf_of(connection, id_)
        if leaf is None:
            raise NotFound(
                "no such decision or event is sealed",
                got=id_,
                mend="check the id; a fresh one is sealed within seconds",
            )
        return leaf

    def checkpoint_with_cosignatures(self) -> str:
        """The published checkpoint with the lines of the witnesses that confirmed exactly it. Raises NotFound."""
        return cosigned_checkpoint(self._folder, self.checkpoint(), self._keys())

    def cosigned(self) -> list[Cosigned]:
        """The newest checkpoint that each witness confirmed; those that do not hold are left to `audit verify`."""
        return [found for _, found in read_cosigned(self._folder, self._keys()) if isinstance(found, Cosigned)]

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

    def stats(self, system: str = "", since: int | None = None, seconds: int = 300, release: str = "") -> SystemStats:
        """Figures of the live decisions since a moment, which is rounded down to its minute, from sums made at sealing;
        `per_second` is exact and has at most `seconds` entries. Of a `release` only what it answered, and what a
        fallback answered in its place; but for `per_second`, which is of the system.
        """
        second = None if since is None else since // 1_000_000
        outcomes: dict[str, int] = {}
        times: dict[str, int] = {}
        faults = 0
        with reading(self._engine) as connection:
            for row in find_sums(connection, system, second):
                if release and row.release != release and row.outcome != "fallback":
                    continue
                outcomes[row.outcome] = outcomes.get(row.outcome, 0) + row.n
                faults += row.faults
                for name, count in row.times.items():
                    times[name] = times.get(name, 0) + count
            per_second = newest_seconds(find_second_sums(connection, system, second), second, seconds)
        return SystemStats(
            decisions=sum(outcomes.values()),
            outcomes=outcomes,
            faults=faults,
            per_second=per_second,
            p50_us=quantile_us(times, 50),
            p95_us=quantile_us(times, 95),
            p99_us=quantile_us(times, 99),
        )

    def _keys(self) -> Sequence[KeyPeriod]:
        """The log's verifier keys; none without a keyring, so that no cosignature is believed then."""
        with reading(self._engine) as connection:
            return self._keys_in(connection)

    def _keys_in(self, connection: Connection) -> Sequence[KeyPeriod]:
        return () if self._keyring is None else key_periods(connection, self._keyring)

    def _require_cabinet(self) -> KeyCabinet:
        if self._cabinet is None:
            raise NotFound("no keyring: subjects cannot be looked up", mend="run this where the keyring is")
        return self._cabinet


def _plain_conditions(wanted: DecisionFilter) -> dict[str, Any]:
    conditions = asdict(wanted)
    del conditions["subject"], conditions["reviewer"]
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
