"""Explanations on record: made once, sealed under the decision's own key, and read from then on.

The first explanation of a decision becomes an event about it (`decision.explained`). Whoever asks later is told the
same, with when and by which version of the explainer it was made. Erasing the person ends it with the decision.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Engine

from pilotage.evaluation.reasons import Explanation
from pilotage.kernel.clock import now_us
from pilotage.ledger.about import emit_about
from pilotage.ledger.queries import Ledger, RecordedDecision
from pilotage.replay.reasons import check_explainable, explain_recorded
from pilotage.storage.database import reading, writing
from pilotage.storage.outbox import waiting_about

__all__ = ["EXPLAINED", "Explanations", "KeptExplanation"]

EXPLAINED = "decision.explained"


class KeptExplanation(msgspec.Struct, frozen=True, kw_only=True):
    """An explanation and its place on record: when it was made (Unix microseconds), and the event's id.

    `fresh` says that this very call made it.
    """

    explanation: Explanation
    made: int
    event: str
    fresh: bool

    def as_dict(self) -> dict[str, Any]:
        """The explanation as JSON values, with `made`, `event` and `fresh` beside its own fields."""
        told: dict[str, Any] = msgspec.to_builtins(self.explanation)
        return told | {"made": self.made, "event": self.event, "fresh": self.fresh}


@dataclass(frozen=True, kw_only=True)
class Explanations:
    """Makes and finds explanations.

    `steward_public` is the 32-byte key that what waits is sealed to, `rows_key` opens the releases' reference rows.
    """

    ledger: Ledger
    control: Engine
    releases: Path
    steward_public: bytes
    rows_key: bytes = field(repr=False)

    def find(self, recorded: RecordedDecision) -> KeptExplanation | None:
        """The explanation on record, or None. Raises Refused when there is nothing to explain, or no longer."""
        check_explainable(recorded)
        for row in self.ledger.about(recorded.row.id):
            if row.kind != EXPLAINED:
                continue
            private = self.ledger.event(row.id).private
            if private is not None:
                told = msgspec.convert(private["explanation"], Explanation)
                return KeptExplanation(explanation=told, made=row.at, event=row.id, fresh=False)
        return None

    def make(self, recorded: RecordedDecision, by: str) -> KeptExplanation:
        """The explanation on record; made now, and put on record in the name of `by`, where there is none.

        Raises as `find`, and as `explain_recorded`. Must not be called on an event loop's thread.
        """
        id_ = recorded.row.id
        with reading(self.control) as connection:
            before = waiting_about(connection, EXPLAINED, id_)  # looked at first: sealing moves it the other way
        kept = self.find(recorded)
        if kept is not None:
            return kept
        told = explain_recorded(recorded, self.releases, self.rows_key)
        with writing(self.control) as connection:
            waits = before or waiting_about(connection, EXPLAINED, id_)
            if waits is not None:  # made a moment ago: the same rows and release give the same explanation
                return KeptExplanation(explanation=told, made=waits.at, event=waits.id, fresh=False)
            event = emit_about(
                connection,
                self.steward_public,
                EXPLAINED,
                id_,
                system=recorded.plain.system,
                release=recorded.plain.release,
                facts={"method": told.method, "version": told.version, "background": told.background},
                private={"explanation": msgspec.to_builtins(told), "by": by},
                at=now_us(),
            )
        return KeptExplanation(explanation=told, made=event.at, event=event.id, fresh=True)
