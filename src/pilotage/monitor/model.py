"""What a monitor says about a column and about a window."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["Aspect", "ColumnVerdict", "DriftReport", "Floors", "MonitorStatus", "Verdict"]

Verdict = Literal["ok", "watch", "drift", "not enough data"]
Aspect = Literal["values", "nulls", "faults"]


class Floors(msgspec.Struct, frozen=True, kw_only=True):
    """The effect, as debiased PSI, from which a significant difference is to be watched, and from which to act."""

    watch: float = 0.02
    act: float = 0.1


class ColumnVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """One column of a window against the reference. Null rate and faults of a column are verdicts of their own.

    `psi` is debiased (0 when chance alone would give as much), `js` the Jensen-Shannon divergence in bits, `ks` the
    largest gap of the distributions on bins (numbers only), `p` of the two-sample test, `n` the window's rows, `needed`
    the rows from which the act floor is found four times in five (None: the reference is too small for any window).
    """

    name: str
    aspect: Aspect = "values"
    verdict: Verdict
    psi: float
    js: float
    ks: float | None
    p: float
    n: int
    needed: int | None
    findings: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The column's name, with the aspect when it is not the values."""
        return self.name if self.aspect == "values" else f"{self.name} ({self.aspect})"


class DriftReport(msgspec.Struct, frozen=True, kw_only=True):
    """The verdicts of one window: of the inputs, and of the score apart, since inputs that move move it too."""

    columns: tuple[ColumnVerdict, ...]
    score: ColumnVerdict | None

    @property
    def shifted(self) -> list[str]:
        """The input columns that drift in any aspect, in the profile's order."""
        return list(dict.fromkeys(column.name for column in self.columns if column.verdict == "drift"))

    @property
    def watched(self) -> list[str]:
        """The input columns to watch that do not drift."""
        shifted = set(self.shifted)
        names = (column.name for column in self.columns if column.verdict == "watch" and column.name not in shifted)
        return list(dict.fromkeys(names))


class MonitorStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a system's monitor over a window of sealed decisions.

    `rows` were counted from `since` to `until` (Unix microseconds of the first and last counted decision; 0 when none).
    `reference` says what they were compared with. `false_alarms` is the measured share of windows of this size, drawn
    from the reference itself, that would show any drift; None when it was not measured.
    """

    system: str
    release: str
    arm: str
    rows: int
    batches: int
    since: int
    until: int
    reference: str
    reference_rows: int
    columns: list[ColumnVerdict]
    shifted: list[str]
    watched: list[str]
    score: ColumnVerdict | None
    false_alarms: float | None
