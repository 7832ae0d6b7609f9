"""What verification finds: each fault names the place that was changed."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Faults", "LedgerFault"]

_KEPT = 1_000
_SHOWN = 200


@dataclass(frozen=True, kw_only=True)
class LedgerFault:
    """One place that is not as it was sealed.

    `place` is a file, with an index or an offset where one is known, or `<table> <column> of <row>`.
    """

    place: str
    what: str
    got: str = ""
    expected: str = ""


@dataclass(kw_only=True)
class Faults:
    """Collects faults: the first 1,000 are kept, all are counted."""

    found: list[LedgerFault] = field(default_factory=list)
    count: int = 0

    def add(self, place: object, what: str, got: object = "", expected: object = "") -> None:
        """Note a fault; values are shown up to 200 characters."""
        fault = LedgerFault(place=str(place), what=what, got=str(got)[:_SHOWN], expected=str(expected)[:_SHOWN])
        self.take(fault)

    def take(self, fault: LedgerFault) -> None:
        """Note a fault that was made elsewhere."""
        self.count += 1
        if len(self.found) < _KEPT:
            self.found.append(fault)

    def absorb(self, later: Faults) -> None:
        """Take all faults of another collection, which is empty afterwards."""
        self.count += later.count
        self.found += later.found[: _KEPT - len(self.found)]
        later.found, later.count = [], 0
