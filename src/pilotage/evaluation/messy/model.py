"""What became of spoilt rows, by case; and of rows from away from the reference data."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

__all__ = ["VERDICTS", "Case", "Messy", "Strange", "Verdict"]

Verdict = Literal["caught", "absorbed", "silent", "fails", "unasked"]
VERDICTS: tuple[Verdict, ...] = ("caught", "absorbed", "silent", "fails", "unasked")
"""The door stops it; the answer stays; accepted and the answer moves; the model gives none; nobody asked the model."""


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One way to spoil rows in some columns. `door` counts rows by what became of them there.

    Shifts are of the score, over rows that were answered. `line` is what to write into the contract, and `mend` says
    what that would do; both only where the case is silent or fails.
    """

    kind: str
    group: str
    columns: tuple[str, ...]
    rows: int
    door: dict[str, int]
    verdict: Verdict
    moved: int
    labels_changed: int
    mean_shift: float
    largest_shift: float
    line: str = ""
    mend: str = ""


class Messy(msgspec.Struct, frozen=True, kw_only=True):
    """Every case; `tolerance` is how far a score may move and still count as the same answer."""

    tolerance: float
    rows: int
    cases: tuple[Case, ...]

    def counts(self) -> dict[str, int]:
        """How many cases there are of each verdict."""
        return {name: sum(each.verdict == name for each in self.cases) for name in VERDICTS}

    @property
    def silent_share(self) -> float:
        """The share of cases, of those that were judged, in which a wrong row gets another answer without a word."""
        counts = self.counts()
        judged = len(self.cases) - counts["unasked"]
        return (counts["silent"] + counts["fails"]) / judged if judged else 0.0

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON values, with counts and share."""
        return {**msgspec.to_builtins(self), "counts": self.counts(), "silent_share": self.silent_share}


class Strange(msgspec.Struct, frozen=True, kw_only=True):
    """Rows unlike the reference data: how many the door turns away, and how sure the model is of the others.

    `confidence` is the mean distance of the score from the threshold, as a share of the longest that there is on its
    side; `sure` the share of rows answered with at least the confidence that half of the held-out rows have.
    """

    kind: str
    said: str
    rows: int
    turned_away: int
    adverse: float
    confidence: float
    sure: float
    sure_low: float
    sure_high: float
    failed: bool = False
