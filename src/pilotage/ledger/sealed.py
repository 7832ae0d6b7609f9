"""What sealing came to, batch by batch."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pilotage.ledger.intake import Gap

__all__ = ["SealReport"]


@dataclass(frozen=True, kw_only=True)
class SealReport:
    """One batch. `decisions` and `events` are new leaves, `interrupted` of the decisions broke off; `size` is the
    tree's; `more` says that more waits; `duplicates` were seen before and skipped.
    """

    size: int
    decisions: int = 0
    events: int = 0
    interrupted: int = 0
    duplicates: int = 0
    more: bool = False
    gaps: tuple[Gap, ...] = ()
    batch: str = ""

    def after(self, before: SealReport) -> SealReport:
        """This report with the counts of the one before it added."""
        return replace(
            self,
            decisions=before.decisions + self.decisions,
            events=before.events + self.events,
            interrupted=before.interrupted + self.interrupted,
            duplicates=before.duplicates + self.duplicates,
            gaps=before.gaps + self.gaps,
            batch=self.batch or before.batch,
        )
