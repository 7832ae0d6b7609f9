"""What a caller may know of a live system: its contract, and one body that fits it."""

from __future__ import annotations

from typing import Any

from pilotage.contracts.model import Column
from pilotage.gateway.state import LiveSystem

__all__ = ["describe", "example_row"]


def describe(live: LiveSystem) -> dict[str, Any]:
    """The system's release, stage, contract and an example body; the contract is None when its release is broken."""
    contract = live.model.contract if live.model is not None else None
    return {
        "system": live.route.system,
        "release": live.route.release,
        "stage": live.route.stage,
        "stopped": live.route.stopped,
        "max_rows": live.route.max_rows,
        "contract": contract.as_dict() if contract is not None else None,
        "example": {"inputs": example_row(contract.columns)} if contract is not None else None,
    }


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
        return "text"
    low, high = column.minimum, column.maximum
    if low is not None and high is not None:
        middle = low + (high - low) / 2
        return _shown(column, float(int(middle)) if int(middle) >= low else low)
    return _shown(column, low if low is not None else min(0.0, high) if high is not None else 0.0)


def _shown(column: Column, value: float | str) -> float | str:
    return int(value) if column.type == "integer" and not isinstance(value, str) else value
