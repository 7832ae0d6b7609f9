"""All faults of one row, in plain Python: for the rows that the typed decoder turned away, or could not judge."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from pilotage.contracts.body import Repeated
from pilotage.contracts.faults import Code, Fault, expectation, shown, shown_name
from pilotage.contracts.formats import is_formatted
from pilotage.contracts.model import EXACT_INTEGER, Column, DataContract
from pilotage.contracts.patterns import compile_pattern
from pilotage.kernel.rows import Value

__all__ = ["SUBJECT_LENGTH", "RowInspection", "fault_of", "plain_value"]


SUBJECT_LENGTH = 256

_words: dict[Code, tuple[str, str]] = {
    "missing": ("is missing", "send the field"),
    "null": ("is null", "send a value: this column is never null"),
    "wrong_type": ("has the wrong type", "send the type expected"),
    "not_finite": ("is not a finite number", "send a finite number"),
    "below_minimum": ("is below the minimum", "check the value and its unit"),
    "above_maximum": ("is above the maximum", "check the value and its unit"),
    "too_long": ("is longer than the contract allows", "shorten it"),
    "wrong_format": ("is not of the form expected", "send it in the form expected"),
    "unseen_category": ("is a category that the contract does not list", "send one of the listed values"),
}


class RowInspection:
    """The slow check of one contract; `inspect` returns values or every fault."""

    def __init__(self, contract: DataContract) -> None:
        self._contract = contract
        self._sent = {column.name: column for column in contract.columns if column.role in ("feature", "subject")}
        self._features = contract.features
        self._expected = {name: expectation(column) for name, column in self._sent.items()}
        self._folded = {name.casefold(): name for name in self._sent}
        self._brought = contract.brought

    def inspect(
        self, row: dict[str, Any], path: str, cap: int, absent: Mapping[str, Fault | None] | None = None
    ) -> tuple[tuple[Value, ...] | None, str, tuple[Fault, ...]]:
        """Values of the features (None when faulty), the subject's text, and at most `cap` faults with a last note.

        `absent` are columns that are not looked at: each has its fault already, or None yet, which makes no values.
        """
        subject = row.get(self._contract.subject) if self._contract.subject else None
        text = str(subject) if _subject_fault(subject) is None else ""
        faults: list[Fault] = []
        for fault in self._faults(row, path, absent or {}):
            if len(faults) == cap:
                faults.append(_more(path, cap))
                break
            faults.append(fault)
        if faults or absent:
            return None, text, tuple(faults)
        return tuple(plain_value(row[column.name]) for column in self._features), text, ()

    def _faults(self, row: dict[str, Any], path: str, absent: Mapping[str, Fault | None]) -> Iterator[Fault]:
        repeated = row.names if isinstance(row, Repeated) else ()
        for name, column in self._sent.items():
            if name in absent:
                if (known := absent[name]) is not None:
                    yield known
                continue
            if name in repeated:
                yield Fault(
                    path=f"{path}.{name}",
                    code="duplicate_field",
                    message=f"{name} is given more than once",
                    got=shown(row[name]) + " last",
                    expected="one value",
                    mend="send it once",
                )
                continue
            code = fault_of(column, row[name]) if name in row else "missing"
            if code is not None:
                yield self._fault(column, path, code, row.get(name))
        for name in row:
            if name not in self._sent or name in absent:
                yield self._unknown(name, path, row[name])

    def _fault(self, column: Column, path: str, code: Code, value: Any) -> Fault:
        message, mend = _words[code]
        if code == "missing" and isinstance(value, str):
            message, mend = "is empty", "send who the decision is about"
        if code == "wrong_type" and column.numeric and isinstance(value, str):
            mend = "send the number without quotes"
        return Fault(
            path=f"{path}.{column.name}",
            code=code,
            message=f"{column.name} {message}",
            got=self._got(column, code, value),
            expected=self._expected[column.name],
            mend=mend,
        )

    def _got(self, column: Column, code: Code, value: Any) -> str:
        """What is told of a value to whoever asked: nothing of what a source says of the entity."""
        if column.name in self._brought:
            return f"a value of the source {self._brought[column.name].source}"
        return "nothing" if code == "missing" and value is None else shown(value)

    def _unknown(self, name: str, path: str, value: Any) -> Fault:
        column = self._contract.column(name)
        near = self._folded.get(name.casefold())
        mend = "remove the field"
        if name in self._brought:
            mend += f": the source {self._brought[name].source} brings it"
        elif column is not None:
            mend += f": the contract names it as {column.role}, which is no input"
        elif near is not None:
            mend = f"write {near}, or remove the field"
        return Fault(
            path=f"{path}.{shown_name(name)}",
            code="unknown_field",
            message="the contract has no such input",
            got=shown(value),
            expected="only the contract's inputs",
            mend=mend,
        )


def _more(path: str, cap: int) -> Fault:
    return Fault(
        path=path,
        code="more_faults",
        message=f"the row has more faults; the first {cap} are listed",
        got=f"more than {cap} faults",
        expected="none",
        mend="mend these first",
    )


def plain_value(value: Any) -> Value:
    """A value that fits, as it is recorded: numbers as float64."""
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def fault_of(column: Column, value: Any) -> Code | None:
    """The fault of one value, or None when it fits."""
    if column.role == "subject":
        return _subject_fault(value)
    if value is None:
        return None if column.nullable else "null"
    if column.type == "boolean":
        return None if isinstance(value, bool) else "wrong_type"
    if column.type == "string":
        if not isinstance(value, str) or not _is_text(value):
            return "wrong_type"
        if column.categories is None and len(value) > column.longest:
            return "too_long"
        if column.format and not is_formatted(column.format, value):
            return "wrong_format"
        if column.pattern and not compile_pattern(column.pattern)(value):
            return "wrong_format"
        return None if column.categories is None or value in column.categories else "unseen_category"
    return _number_fault(column, value)


def _number_fault(column: Column, value: Any) -> Code | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return "wrong_type"
    try:
        number = float(value)
    except OverflowError:
        return "not_finite"
    if not math.isfinite(number):
        return "not_finite"
    if column.categories is not None:
        return None if number in column.categories else "unseen_category"
    if column.type == "integer" and not number.is_integer():
        return "wrong_type"
    edge = EXACT_INTEGER if column.type == "integer" else math.inf
    if number < max(-edge, -math.inf if column.minimum is None else column.minimum):
        return "below_minimum"
    if number > min(edge, math.inf if column.maximum is None else column.maximum):
        return "above_maximum"
    return None


def _subject_fault(value: Any) -> Code | None:
    if value is None:
        return "null"
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        return "wrong_type"
    text = str(value)
    if len(text) > SUBJECT_LENGTH or not _is_text(text):
        return "wrong_type"
    return None if text.strip() else "missing"


def _is_text(value: str) -> bool:
    """Whether a string can be written as UTF-8: JSON's escapes can spell half a character."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
