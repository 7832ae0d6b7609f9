"""What a caller may know of a live system: its contract, and one body that fits it."""

from __future__ import annotations

import math
from typing import Any

from pilotage.contracts.model import Column, DataContract
from pilotage.gateway.state import LiveSystem

__all__ = ["describe", "example_row"]


_EXAMPLES = {
    "": "text",
    "date": "2026-03-31",
    "datetime": "2026-03-31T12:00:00Z",
    "email": "someone@example.org",
    "uuid": "018f0000-0000-7000-8000-000000000000",
}


def describe(live: LiveSystem) -> dict[str, Any]:
    """The system's release, stage, contract and an example body; the contract is None when its release is broken."""
    contract = live.model.contract if live.model is not None else None
    return {
        "system": live.route.system,
        "release": live.route.release,
        "stage": live.route.stage,
        "stopped": live.route.stopped,
        "max_rows": live.route.max_rows,
        "contract": _told(contract) if contract is not None else None,
        "example": {"inputs": example_row(contract.inputs)} if contract is not None else None,
    }


def _told(contract: DataContract) -> dict[str, Any]:
    """The contract, of its sources what concerns a caller: not what their tables and columns are called."""
    told = contract.as_dict()
    if contract.enrichment:
        told["enrichment"] = [
            {
                "source": each.source,
                "key": list(each.key),
                "columns": list(each.columns),
                "max_age": each.max_age,
                "override": each.override,
            }
            for each in contract.enrichment
        ]
    return told


def example_row(columns: tuple[Column, ...]) -> dict[str, Any]:
    """A row that fits a contract: the middle of each range, the first of each list."""
    return {column.name: _example(column) for column in columns if column.role in ("feature", "subject")}


def _example(column: Column) -> float | str | bool:
    if column.role == "subject":
        return "example-subject"
    if column.categories is not None:
        return _shown(column, column.categories[0])
    if column.type == "boolean":
        return False
    if column.type == "string":
        return column.example or _EXAMPLES[column.format][: column.longest]
    return _shown(column, _middle(column))


def _middle(column: Column) -> float:
    """A number of a range: the whole one below its middle where there is one, 0 where nothing bounds it."""
    low, high = column.minimum, column.maximum
    if low is None and high is None:
        return 0.0
    if low is None or high is None:
        bound = low if low is not None else min(0.0, high or 0.0)
        return _whole(column, bound, up=low is not None)
    # Halved before they are added: the sum of two bounds may be too large.
    # Held to them: half of the smallest number there is is nothing.
    middle = min(high, max(low, low / 2 + high / 2))
    whole = float(math.floor(middle))
    return whole if low <= whole <= high else _whole(column, middle, up=True)


def _whole(column: Column, bound: float, *, up: bool) -> float:
    if column.type != "integer":
        return bound
    return float(math.ceil(bound) if up else math.floor(bound))


def _shown(column: Column, value: float | str) -> float | str:
    return int(value) if column.type == "integer" and not isinstance(value, str) else value
