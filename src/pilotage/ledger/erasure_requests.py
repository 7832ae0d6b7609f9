"""What became of each request to erase somebody, from the ledger's events: nothing of it says who it was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Engine

from pilotage.ledger import store_keeping
from pilotage.ledger.queries import Ledger
from pilotage.storage.database import reading

__all__ = ["ErasureRequest", "erasure_requests"]

_NEVER = 2**62


@dataclass(frozen=True, kw_only=True)
class ErasureRequest:
    """One act. `state`: erased (the event is the tombstone), scheduled (until a floor has passed), or ended (that
    schedule was carried out or set anew). `decisions` concerned; `until` and `at` in Unix microseconds.
    """

    event: str
    at: int
    state: Literal["erased", "scheduled", "ended"]
    decisions: int
    reason: str
    until: int = 0


def erasure_requests(ledger: Ledger, engine: Engine, limit: int = 100) -> list[ErasureRequest]:
    """The newest acts, the newest first."""
    with reading(engine) as connection:
        waiting = {row.event: int(row.due) for row in store_keeping.due_erasures(connection, _NEVER)}
    rows = [*ledger.events("subject.erased", "", limit), *ledger.events("erasure.scheduled", "", limit)]
    found = [
        ErasureRequest(
            event=row.id,
            at=row.at,
            state="erased" if row.kind == "subject.erased" else "scheduled" if row.id in waiting else "ended",
            decisions=int(row.facts.get("decisions", 0)),
            reason=str(row.facts.get("reason", "")),
            until=int(row.facts.get("until", 0)),
        )
        for row in sorted(rows, key=lambda row: row.leaf, reverse=True)
    ]
    return found[:limit]
