"""Whether one data contract accepts every row that another does: only then may its release stand in for the other's."""

from __future__ import annotations

from collections.abc import Iterator

from pilotage.contracts.enrichment import CODES
from pilotage.contracts.expression import parse_expression
from pilotage.contracts.faults import expectation
from pilotage.contracts.model import EXACT_INTEGER, Column, DataContract

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
        *(
            fault
            for name, column in ours.items()
            if name in theirs
            for fault in _column(column, theirs[name], name in narrow.brought)
        ),
        *(
            _fault(name, "is repaired otherwise there, and a rule reads what it becomes", "the same repairs of both")
            for name in _ruled(wide)
            if name in theirs and _otherwise(ours[name], theirs[name], name in narrow.brought)
        ),
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


def _column(wide: Column, narrow: Column, brought: bool) -> Iterator[Fault]:
    if wide.role != narrow.role:
        yield _fault(wide.name, f"is {wide.role} there and {narrow.role} here", "one role")
    elif wide.role == "subject":
        return
    elif (
        wide.format not in ("", narrow.format)
        or wide.pattern not in ("", narrow.pattern)
        or not _contains(wide, narrow)
    ):
        yield _fault(wide.name, f"takes {expectation(wide)} there and {expectation(narrow)} here", expectation(narrow))
    elif not all(
        _mends(wide, code, narrow)
        for repaired in _repairs(narrow, brought)
        for code in _seen_as(repaired, wide, narrow)
    ):
        yield _fault(wide.name, "is repaired here and not there", "the same repairs, or more")


def _repairs(column: Column, brought: bool) -> list[str]:
    """The codes of the faults that a column may have and that it repairs."""
    found = {"missing", "wrong_type", *_own(column), *(CODES if brought else ())}
    found |= set() if column.nullable else {"null"}
    found |= {"not_finite"} if column.numeric else set()
    return sorted(code for code in found if column.action(code) == "repair")


def _mends(wide: Column, code: str, narrow: Column) -> bool:
    """Whether `wide` repairs a fault of what `narrow` repairs. Without an imputed value, only numbers in quotes are."""
    return wide.action(code) == "repair" and (wide.impute is not None or narrow.impute is None)


def _seen_as(code: str, wide: Column, narrow: Column) -> set[str]:
    """The faults that `wide`, which takes all that `narrow` does, may find where `narrow` finds `code`."""
    if code == "null":
        return set() if wide.nullable else {code}
    if code in ("below_minimum", "above_maximum", "wrong_format"):
        return {code} & _own(wide)
    if code == "too_long":
        return {code} | ({"wrong_format"} & _own(wide) if wide.longest > narrow.longest else set())
    if code == "unseen_category":
        return _own(wide)
    # 3.5 is no integer; there it may be a number out of range.
    fraction = code == "wrong_type" and narrow.type == "integer" and narrow.impute is not None
    return {code} | (_own(wide) if fraction and wide.type == "number" else set())


def _own(column: Column) -> set[str]:
    """The faults that a column's own bounds and forms make of values of the right type."""
    if column.categories is not None:
        return {"unseen_category"}
    if column.type == "string":
        return {"too_long"} | ({"wrong_format"} if column.format or column.pattern else set())
    if column.type == "integer":
        return {"wrong_type", "below_minimum", "above_maximum"}
    bounds = {"below_minimum": column.minimum, "above_maximum": column.maximum}
    return {code for code, bound in bounds.items() if bound is not None}


def _otherwise(wide: Column, narrow: Column, brought: bool) -> bool:
    """Whether what `narrow` repairs may become another value in `wide`, or stay what it is."""
    fields = ("type", "nullable", "minimum", "maximum", "categories", "format", "pattern", "longest", "impute")
    ours, theirs = ([getattr(column, field) for field in fields] for column in (wide, narrow))
    repairs = _repairs(narrow, brought)
    return bool(repairs) and (ours != theirs or _repairs(wide, brought) != repairs)


def _ruled(contract: DataContract) -> list[str]:
    """The columns that rules read."""
    types = contract.value_types if contract.rules else {}
    return sorted({name for rule in contract.rules for name in parse_expression(rule.check, types, list(types)).names})


def _contains(wide: Column, narrow: Column) -> bool:
    """Whether every value that `narrow` takes is one that `wide` takes."""
    if narrow.nullable and not wide.nullable:
        return False
    if wide.numeric != narrow.numeric or (not wide.numeric and wide.type != narrow.type):
        return False
    if wide.categories is not None:
        return narrow.categories is not None and set(narrow.categories) <= set(wide.categories)
    if wide.type == "string":
        lengths = [narrow.longest] if narrow.categories is None else map(len, map(str, narrow.categories))
        return wide.longest >= max(lengths)
    if wide.type == "integer" and not _whole(narrow):
        return False
    low, high = _range(narrow)
    return (wide.minimum is None or (low is not None and low >= wide.minimum)) and (
        wide.maximum is None or (high is not None and high <= wide.maximum)
    )


def _whole(column: Column) -> bool:
    if column.categories is not None:
        return all(
            isinstance(value, float) and value.is_integer() and abs(value) <= EXACT_INTEGER
            for value in column.categories
        )
    return column.type == "integer"


def _range(column: Column) -> tuple[float | None, float | None]:
    """The least and greatest number of a column; None where there is none."""
    numbers = [value for value in column.categories or () if not isinstance(value, str)]
    return (min(numbers), max(numbers)) if numbers else (column.minimum, column.maximum)
