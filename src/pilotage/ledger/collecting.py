"""What the next batch will hold: journals and outbox read, what was sealed before left out, what broke off added."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Connection, Engine

from pilotage.kernel.clock import Clock
from pilotage.ledger import store
from pilotage.ledger.about import open_outbox_item
from pilotage.ledger.ahead import Asked, ReadAhead
from pilotage.ledger.intake import Gap, HeldFrame, JournalIntake, Position, StreamBox, Taken
from pilotage.ledger.items import Item, event_item
from pilotage.ledger.journal_reader import JournalFile
from pilotage.ledger.keyring import Keyring
from pilotage.ledger.portions import Portion, holds
from pilotage.ledger.rows import INTERRUPTED
from pilotage.ledger.tables import consumed, decisions
from pilotage.storage import outbox
from pilotage.storage.database import reading

__all__ = ["NOTHING", "Collector", "Work", "read_positions"]

NOTHING = Taken(items=[], positions=[], held=[], released=set(), broken_off=set(), gaps=[], more=False)
"""No journal was read."""

_BACKLOG = 2_000
"""Leaves of a batch, twice in a row, from which on reading ahead is worth a process."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What one batch will commit: leaves, and the bookkeeping beside them. `outbox` are the ids read from there."""

    items: list[Item]
    taken: Taken
    outbox: list[str] = field(default_factory=list)
    duplicates: int = 0
    more: bool = False

    @property
    def empty(self) -> bool:
        """Whether there is nothing to commit at all."""
        taken = self.taken
        return not (self.items or taken.portion.values or taken.positions or taken.held or taken.released)


class Collector:
    """Reads what waits to be sealed; writes nothing."""

    def __init__(self, *, journal: Path, control: Engine, ledger: Engine, keyring: Keyring, clock: Clock) -> None:
        self._control, self._ledger, self._clock = control, ledger, clock
        self._stewards = keyring.stewards
        self._box = StreamBox(*keyring.wrapping_secrets("held-frames"))
        self._ahead = ReadAhead(journal, ledger, keyring)
        self._backlogs = 0

    def close(self) -> None:
        """Read nothing ahead any more."""
        self._ahead.close()

    def collect(self, files: Sequence[JournalFile], limit: int, *, retry: bool) -> Work:
        """About `limit` frames and at most `limit` control events; with `retry`, what was read ahead is not taken, and
        broken files are tried again.
        """
        with reading(self._ledger) as connection:
            state = Asked(positions=read_positions(connection), streams=store.open_streams(connection), limit=limit)
        taken = self._take(files, state, retry)
        with reading(self._control) as connection:
            waiting = outbox.waiting(connection, limit)
        items = [*taken.items, *(open_outbox_item(event, self._stewards) for event in waiting)]
        items.sort(key=lambda item: item.at)
        fresh, duplicates = self._without_sealed(items, taken.portion)
        fresh += self._broken_off(taken)
        fresh += [_gap_item(gap, self._clock()) for gap in taken.gaps]
        fresh += [_unsound_item(item, self._clock()) for item in fresh if not item.sound]
        return Work(
            items=fresh,
            taken=taken,
            outbox=[event.id for event in waiting],
            duplicates=duplicates,
            more=taken.more or len(waiting) == limit,
        )

    def _take(self, files: Sequence[JournalFile], state: Asked, retry: bool) -> Taken:
        taken = None if retry else self._ahead.take(state)
        if taken is None or not self._holds(taken.portion):
            intake = JournalIntake(self._stewards, self._box, state.positions, state.streams, retry=retry)
            taken = intake.take(files, state.limit)
        leaves = len(taken.items) + len(taken.portion.values)
        self._backlogs = self._backlogs + 1 if taken.more and leaves >= _BACKLOG else 0
        if self._backlogs > 1:
            self._ahead.ask(state.after(taken), self._clock())
        elif not taken.more:
            self._ahead.close()
        return taken

    def _holds(self, portion: Portion) -> bool:
        with reading(self._ledger) as connection:
            return not portion.values or holds(portion, connection)

    def _without_sealed(self, items: list[Item], portion: Portion) -> tuple[list[Item], int]:
        """(items that are not leaves yet, how many were skipped); the end of a stream sealed as broken off is kept."""
        with reading(self._ledger) as connection:
            seen = store.sealed_ids(connection, [item.id for item in items]).union(portion.ids if items else ())
            late = [item for item in items if item.id in seen and item.closed]
            fresh: list[Item] = []
            for item in items:
                if item.id not in seen:
                    seen.add(item.id)
                    fresh.append(item)
            skipped = len(items) - len(fresh)
            fresh += [_late_item(item) for item in late if _was_interrupted(connection, item.id)]
        return fresh, skipped

    def _broken_off(self, taken: Taken) -> list[Item]:
        """The leaves of streams that will have no end, of the frames held before and read just now."""
        if not taken.broken_off:
            return []
        frames: dict[str, list[HeldFrame]] = {}
        with reading(self._ledger) as connection:
            sealed = store.sealed_ids(connection, taken.broken_off)
            rows = store.held_of(connection, taken.broken_off - sealed)
        before = [
            HeldFrame(id=row.id, origin=row.origin, opened=row.opened, plain=bytes(row.plain), secret=bytes(row.secret))
            for row in rows
        ]
        for frame in [*before, *taken.held]:
            if frame.id in taken.broken_off and frame.id not in sealed:
                frames.setdefault(frame.id, []).append(frame)
        return [self._box.interrupted(held, self._clock()) for held in frames.values()]


def read_positions(connection: Connection) -> dict[str, Position]:
    """The position in every journal file that was begun, by the file's name."""
    fields = [column.name for column in consumed.columns]
    rows = store.positions(connection)
    return {name: Position(**{field: getattr(row, field) for field in fields}) for name, row in rows.items()}


def _gap_item(gap: Gap, at: int) -> Item:
    return event_item("journal.gap", at, {"file": gap.file, "offset": gap.offset, "reason": gap.reason})


def _unsound_item(item: Item, at: int) -> Item:
    """A record whose payload is not what it commits to is sealed as it is, and said to be so."""
    return event_item("record.unsound", at, {"id": item.id, "journal": item.origin})


def _was_interrupted(connection: Connection, id_: str) -> bool:
    row = store.find_row(connection, decisions, id_)
    return row is not None and row.outcome == INTERRUPTED


def _late_item(item: Item) -> Item:
    """The end of a stream that was already sealed as broken off: kept beside it, under its subject's key."""
    facts = {"id": item.id, "journal": item.origin}
    private = {"plain": item.entry, "secret": item.secret}
    return event_item(
        "stream.closed_late", item.at, facts, private, system=item.system, subject=item.subject, origin=item.origin
    )
