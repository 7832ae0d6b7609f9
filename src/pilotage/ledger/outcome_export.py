"""Export outcomes, each with what was decided: any number, in constant memory; on record before its first row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine

from pilotage.kernel.clock import rfc3339
from pilotage.ledger.outcomes import OutcomeRow, Outcomes
from pilotage.ledger.row_file import Progress, RowFile
from pilotage.storage import outbox
from pilotage.storage.database import writing

__all__ = ["COLUMNS", "STATES", "OutcomeExport", "begin_outcome_export"]

COLUMNS: Mapping[str, str] = {
    "leaf": "BIGINT",
    "event": "VARCHAR",
    "told": "VARCHAR",
    "decision": "VARCHAR",
    "state": "VARCHAR",
    "value": "VARCHAR",
    "number": "DOUBLE",
    "known": "VARCHAR",
    "system": "VARCHAR",
    "release": "VARCHAR",
    "arm": "VARCHAR",
    "stage": "VARCHAR",
    "decided": "VARCHAR",
    "label": "VARCHAR",
    "score": "DOUBLE",
}
"""Name and SQL type. `told` is when it was recorded, `known` when it became known, `decided` when the decision was
made: RFC 3339."""

STATES = ("current", "superseded", "erased", "unmatched", "other_system")
"""How an outcome counts, by which an export and a list may be narrowed."""

_PAGE = 2_000


@dataclass(frozen=True, kw_only=True)
class OutcomeExport:
    """An export that is on record and may be read; `before` is the leaf after the newest event."""

    outcomes: Outcomes
    system: str
    state: str
    format: str
    before: int

    @property
    def file(self) -> RowFile:
        """The file of it."""
        return RowFile(columns=COLUMNS, format=self.format, pages=self._pages)

    def _pages(self, progress: Progress) -> Iterator[list[Sequence[Any]]]:
        before, done = self.before, 0
        while page := self.outcomes.list(system=self.system, state=self.state, before=before, limit=_PAGE):
            yield [_values(row) for row in page]
            before, done = page[-1].leaf, done + len(page)
            progress(done)


def begin_outcome_export(
    outcomes: Outcomes, control: Engine, by: str, *, system: str, state: str, format_: str, before: int
) -> OutcomeExport:
    """Put an export on record as event `outcomes.exported`, then let it be read. `by` is a person's id."""
    facts = {"format": format_, "filter": {name: value for name, value in (("state", state),) if value}}
    with writing(control) as connection:
        outbox.emit(connection, "outcomes.exported", system=system, facts=facts, private={"by": by})
    return OutcomeExport(outcomes=outcomes, system=system, state=state, format=format_, before=before)


def _values(row: OutcomeRow) -> Sequence[Any]:
    at = {"told": row.told, "known": row.at, "decided": row.decided}
    return [
        (None if at[name] is None else rfc3339(at[name] or 0)) if name in at else getattr(row, name) for name in COLUMNS
    ]
