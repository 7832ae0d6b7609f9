"""Count outcomes that were told before their slices were declared: step by step, each an event of its own.

Only the steward writes counts, and it decrypts what they need while it seals: a backfill asks for one step, waits until
that is sealed, and goes on from there. Broken off, it goes on where it stopped; done, a second run finds nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine

from pilotage.errors import Unavailable
from pilotage.ledger import said_store, store
from pilotage.ledger.outcomes import Outcomes
from pilotage.ledger.slicing import ALL, BACKFILLED, DECLARED
from pilotage.ledger.tables import events
from pilotage.storage import outbox
from pilotage.storage.database import reading, writing

__all__ = ["STEP", "BackfillReport", "backfill"]

STEP = 2_000
"""Outcomes of one step: the steward decrypts their decisions within one batch."""

_LOOK_S = 0.1
_PATIENCE_S = 60.0


@dataclass(frozen=True, kw_only=True)
class BackfillReport:
    """What a backfill did: steps, the outcomes that they looked at, and the slices that are counted whole now."""

    steps: int
    outcomes: int
    slices: tuple[str, ...]


def backfill(
    control: Engine,
    ledger: Engine,
    system: str,
    slices: Sequence[str],
    *,
    by: str,
    progress: Callable[[int, int], None] = lambda done, total: None,
    step: int = STEP,
    wait: Callable[[float], None] = time.sleep,
    patience_s: float = _PATIENCE_S,
) -> BackfillReport:
    """Count older outcomes of a system by its declared `slices`; returns when the last step is sealed.

    Raises Unavailable when nothing is sealed for `patience_s` seconds: the steps that were sealed stay done.
    """
    asking = _Asking(control=control, ledger=ledger, system=system, by=by, wait=wait, patience_s=patience_s)
    outcomes = Outcomes(ledger)
    if not {ALL, *slices} <= outcomes.slices(system).since.keys():
        asking.ask(DECLARED, {"slices": list(slices)})
    total, done, steps = outcomes.waiting(system), 0, 0
    progress(done, total)
    while waiting := outcomes.slices(system).waiting:
        first, end = min(first for first, _ in waiting.values()), max(end for _, end in waiting.values())
        with reading(ledger) as connection:
            end, found = said_store.step_end(connection, system, first, end, step)
        asking.ask(BACKFILLED, {"slices": sorted(waiting), "from": first, "until": end})
        done, steps = done + found, steps + 1
        progress(done, max(done, total))
    return BackfillReport(steps=steps, outcomes=done, slices=tuple(sorted(outcomes.slices(system).since)))


@dataclass(frozen=True, kw_only=True)
class _Asking:
    """Asks the steward by events, one at a time."""

    control: Engine
    ledger: Engine
    system: str
    by: str
    wait: Callable[[float], None]
    patience_s: float

    def ask(self, kind: str, facts: dict[str, object]) -> None:
        with writing(self.control) as connection:
            event = outbox.emit(connection, kind, system=self.system, facts=facts, private={"by": self.by})
        waited = 0.0
        while not self._sealed(event.id):
            if waited >= self.patience_s:
                raise Unavailable(
                    "the steward seals nothing",
                    got=f"no seal within {self.patience_s:g} s",
                    mend="start it (pilotage up), then run this again: it goes on where it stopped",
                )
            self.wait(_LOOK_S)
            waited += _LOOK_S

    def _sealed(self, id_: str) -> bool:
        with reading(self.ledger) as connection:
            return store.find_row(connection, events, id_) is not None
