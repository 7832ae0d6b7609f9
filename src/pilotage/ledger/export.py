"""Export decisions: any filter, any size, in constant memory; each export is an event, written before its first row.

An export takes data out of where erasure reaches, so it is itself on record: who, which filter, how many rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Engine

from pilotage.kernel.chunks import weighed
from pilotage.ledger.columns import COLUMNS, PAYLOAD_COLUMNS, payload_values, row_values
from pilotage.ledger.queries import DecisionFilter, DecisionRow, Ledger
from pilotage.ledger.row_file import Progress, RowFile
from pilotage.storage import outbox
from pilotage.storage.database import writing

__all__ = ["Export", "begin_export"]

_PAYLOAD_PAGE = 64
_NAMED = frozenset({"stage", "mode", "kind", "outcome", "release", "since", "until", "score_min", "score_max"})
"""Filters that cannot hold a person's data, whatever is typed: choices, digests and numbers."""


@dataclass(frozen=True, kw_only=True)
class Export:
    """An export that is on record and may be read. `rows` is how many decisions it has, as of leaf `before`.

    `format` is one of FORMATS; with `payload` the columns of the payload come too.
    """

    ledger: Ledger
    wanted: DecisionFilter
    format: str
    payload: bool
    rows: int
    before: int

    @property
    def file(self) -> RowFile:
        """The file of it."""
        columns = {**COLUMNS, **PAYLOAD_COLUMNS} if self.payload else COLUMNS
        return RowFile(columns=columns, format=self.format, pages=self._pages)

    def _pages(self, progress: Progress) -> Iterator[list[Sequence[Any]]]:
        done = 0
        for page in self.ledger.each(self.wanted, before=self.before):
            for some in weighed(page, lambda row: row.length, most=_PAYLOAD_PAGE) if self.payload else [page]:
                yield self._values(some)
                done += len(some)
                progress(done)

    def _values(self, rows: Sequence[DecisionRow]) -> list[Sequence[Any]]:
        if not self.payload:
            return [tuple(row_values(row).values()) for row in rows]
        found = self.ledger.recorded(rows)
        return [(*row_values(each.row).values(), *payload_values(each).values()) for each in found]


def begin_export(
    ledger: Ledger, control: Engine, by: str, wanted: DecisionFilter, *, format_: str, payload: bool
) -> Export:
    """Put an export on record as event `decisions.exported`, then let it be read. `by` is a person's id.

    What was typed as text could be somebody's name, so it is in the event's encrypted part. Whether the person may do
    this is the caller's to check.
    """
    before = ledger.next_leaf()
    rows = ledger.count(wanted, before=before)
    given = {name: value for name, value in asdict(wanted).items() if value not in ("", None)}
    facts = {
        "format": format_,
        "payload": payload,
        "decisions": rows,
        "filter": {name: value for name, value in given.items() if name in _NAMED},
        "filtered_by": sorted(given),
    }
    with writing(control) as connection:
        outbox.emit(
            connection,
            "decisions.exported",
            system=wanted.system if rows else "",
            facts=facts,
            private={"by": by, "filter": given},
        )
    return Export(ledger=ledger, wanted=wanted, format=format_, payload=payload, rows=rows, before=before)
