"""Which parts of a window a decision belongs to: stage, old answer, and the slices that the candidate declares."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import msgspec

from pilotage.ledger.queries import RecordedDecision
from pilotage.profiles.slices import quarters
from pilotage.releases.load import LoadedRelease

__all__ = ["Segments", "fields_of"]

_LONGEST = 60


class Segments:
    """The dimensions of one candidate: its declared slices, numbers in quarters of its reference profile."""

    def __init__(self, candidate: LoadedRelease) -> None:
        self._slices = candidate.system().pilot.slices
        columns = {name: candidate.profile.column(name) for name in self._slices}
        self._cuts = {name: quarters(column) if column else () for name, column in columns.items()}

    def of(self, decision: RecordedDecision, features: Mapping[str, Any]) -> list[tuple[str, str]]:
        """(dimension, value) pairs. `features` are the request's fields, as received."""
        found = [("stage", decision.plain.stage)]
        label = decision.payload.answer.get("label") if decision.payload else None
        if label:
            found.append(("answer", str(label)))
        return found + [(name, self._value(name, features)) for name in self._slices]

    def _value(self, name: str, features: Mapping[str, Any]) -> str:
        value = features.get(name)
        if value is None:
            return "null" if name in features else "not given"
        cuts = self._cuts[name]
        if not cuts or isinstance(value, bool) or not isinstance(value, int | float):
            return str(value)[:_LONGEST] if isinstance(value, str | int | float) else "not a value"
        texts = [f"below {cuts[0]:g}", *(f"{a:g} to {b:g}" for a, b in pairwise(cuts)), f"from {cuts[-1]:g}"]
        return texts[bisect_right(cuts, value)]


def fields_of(request: bytes) -> dict[str, Any]:
    """The fields of a row as received; none when it is no object."""
    try:
        found = msgspec.json.decode(request)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
