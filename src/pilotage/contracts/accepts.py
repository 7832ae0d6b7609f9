"""Whether one data contract accepts every row that another does: only then may its release stand in for the other's."""

from __future__ import annotations

from collections.abc import Iterator

from pilotage.contracts.faults import expectation
from pilotage.contracts.model import Column, DataContract

__all__ = ["differences"]

Fault = dict[str, object]


def differences(wide: DataContract, narrow: DataContract) -> list[Fault]:
    """Why `wide` does not accept all that `narrow` does, one fault for each column; nothing when it does.

    Both must take the same inputs: a field that `wide` does not know would be a fault of every request.
    """
    theirs, ours = _sent(narrow), _sent(wide)
    return [
        # What was drawn for the one is all that the other gets: sources are asked once.
        *(
            _fault(name, "a source brings it there or here only, or otherwise", "the same enrichment of both")
            for name in {**wide.brought, **narrow.brought}
            if wide.brought.get(name) != narrow.brought.get(name)
        ),
        *(
            _fault(name, "the other contract has no such input", "an input of both")
            for name in theirs
            if name not in ours
        ),
        *(_fault(name, "the other contract demands it", "an input of both") for name in ours if name not in theirs),
        *(fault for name, column in ours.items() if name in theirs for fault in _column(column, theirs[name])),
        *(
            _fault(f"rules.{rule.name}", "is a rule of the other contract only", rule.check)
            for rule in wide.rules
            if rule.check not in {each.check for each in narrow.rules}
        ),
    ]


def _sent(contract: DataContract) -> dict[str, Column]:
    return {column.name: column for column in contract.columns if column.role in ("feature", "subject")}


def _fault(name: str, message: str, expected: str) -> Fault:
    return {"path": name, "code": "fallback_incompatible", "message": f"{name}: {message}", "expected": expected}


def _column(wide: Column, narrow: Column) -> Iterator[Fault]:
    if wide.role != narrow.role:
        yield _fault(wide.name, f"is {wide.role} there and {narrow.role} here", "one role")
    elif wide.role == "subject":
        return
    elif {code for code, done in narrow.on_fault.items() if done == "repair" and wide.action(code) != "repair"}:
        yield _fault(wide.name, "is repaired here and not there", "the same repairs, or more")
    elif (
        wide.format not in ("", narrow.format)
        or wide.pattern not in ("", narrow.pattern)
        or not _contains(wide, narrow)
    ):
        yield _fault(wide.name, f"takes {expectation(wide)} there and {expectation(narrow)} here", expectation(narrow))


def _contains(wide: Column, narrow: Column) -> bool:
    """Whether every value that `narrow` takes is one that `wide` takes."""
    if narrow.nullable and not wide.nullable:
        return False
    if wide.numeric != narrow.numeric or (not wide.numeric and wide.type != narrow.type):
        return False
    if wide.categories is not None:
        return narrow.categories is not None and set(narrow.categories) <= set(wide.categories)
    if wide.type == "string":
        return narrow.categories is not None or wide.longest >= narrow.longest
    if wide.type == "integer" and not _whole(narrow):
        return False
    low, high = _range(narrow)
    return (wide.minimum is None or (low is not None and low >= wide.minimum)) and (
        wide.maximum is None or (high is not None and high <= wide.maximum)
    )


def _whole(column: Column) -> bool:
    if column.categories is not None:
        return all(isinstance(value, float) and value.is_integer() for value in column.categories)
    return column.type == "integer"


def _range(column: Column) -> tuple[float | None, float | None]:
    """The least and greatest number of a column; None where there is none."""
    numbers = [value for value in column.categories or () if not isinstance(value, str)]
    return (min(numbers), max(numbers)) if numbers else (column.minimum, column.maximum)
