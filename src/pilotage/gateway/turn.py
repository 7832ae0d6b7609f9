"""Rows that arrive in one turn of the event loop go through a step together: all are scored, then all are recorded.

Each is recorded alone, and scored alone where no release proved that company changes no answer. Going step by step
instead of row by row keeps a step's code and data in the processor's caches: with 64 requests at once this halves what
scoring and recording cost.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable

import msgspec

from pilotage.contracts.compile import CheckedRow
from pilotage.gateway.answer import answer_inline, answer_together
from pilotage.gateway.record import Asked, Chance, Journal, Settled, write
from pilotage.gateway.state import LiveSystem
from pilotage.ledger.journal import Acknowledged

__all__ = ["UNSETTLED", "Awaited", "Pending", "Turn"]

UNSETTLED = Settled("opened", None)
"""Stands for how a row ends until the end of the turn, when it is scored inline."""


class Pending(msgspec.Struct, eq=False):
    """One decision on its way. While it is `UNSETTLED` its row waits to be scored inline, before `deadline_ns`.

    When `durable` is done, `settled` says how it ended, and `leaf` is the hex RFC 6962 hash of its leaf.
    """

    live: LiveSystem
    asked: Asked
    id: str
    row: CheckedRow | None
    deadline_ns: int
    settled: Settled
    leaf: str

    @property
    @abstractmethod
    def durable(self) -> Acknowledged:
        """What the journal settles when the record is on the disk, or cannot be."""

    @property
    def receipt(self) -> str:
        """What a client keeps: the id and the leaf's hash."""
        return f"{self.id} {self.leaf}"


class Awaited(Pending, eq=False):
    """A decision that a coroutine waits for."""

    future: asyncio.Future[None]

    @property
    def durable(self) -> asyncio.Future[None]:
        """Done when the record is on the disk; raises Unavailable when it cannot be."""
        return self.future


class Turn:
    """The decisions of the present turn of one event loop, for one journal.

    `watched` hears of every decision that was added, when it is durable.
    """

    def __init__(self, journal: Journal, chance: Chance) -> None:
        self._loop = asyncio.get_running_loop()
        self._journal, self._chance = journal, chance
        self._pending: list[Pending] = []
        self.watched: Callable[[Pending], None] | None = None

    def add(
        self,
        live: LiveSystem,
        asked: Asked,
        id_: str,
        row: CheckedRow | None,
        deadline_ns: int,
        settled: Settled = UNSETTLED,
    ) -> Awaited:
        """Decide and record at the end of this turn; await its `durable`, which raises Unavailable when it failed."""
        pending = Awaited(live, asked, id_, row, deadline_ns, settled, "", self._loop.create_future())
        if (watched := self.watched) is not None:
            pending.durable.add_done_callback(lambda done: done.exception() or watched(pending))
        self.take(pending)
        return pending

    def take(self, pending: Pending) -> None:
        """Decide and record this one at the end of this turn; its `durable` hears of it."""
        if not self._pending:
            self._loop.call_soon(self._end)
        self._pending.append(pending)

    def _end(self) -> None:
        rows, self._pending = self._pending, []
        several, together = len(rows) > 1, dict[int, list[Pending]]()
        for each in rows:
            if each.settled is UNSETTLED:
                if several and each.live.together:
                    together.setdefault(id(each.live), []).append(each)
                else:
                    each.settled = answer_inline(each.live, each.row, each.deadline_ns)
        for group in together.values():
            ended = answer_together(group[0].live, [(each.row, each.deadline_ns) for each in group])
            for each, settled in zip(group, ended, strict=True):
                each.settled = settled
        journal, chance = self._journal, self._chance
        for each in rows:
            try:
                each.leaf = write(journal, chance, each.live, each.asked, each.settled, each.id, each.durable)
            except Exception as error:  # noqa: BLE001 - whatever it is, the one who waits must hear of it
                if not each.durable.done():
                    each.durable.set_exception(error)
