"""Check rows against a contract: one typed decode when they fit, every fault in words when they do not.

Decisions that a reader may ask about:
- A number is a JSON number: in quotes it is a fault, and so is a boolean. NaN, Infinity and numbers beyond float64
  are `not_finite`.
- JSON has one kind of number: `3` fits a number column, `3.0` an integer column (`3.5` does not). Integers end at
  2**53 - 1, where float64 stops being exact.
- Every feature must be given; null is given, absent is not, so a nullable column takes `null` and never silence.
- A name given twice is a fault: readers of the record would disagree which one counted.
- Target and ignored columns are no inputs: to send them is a fault, as for any unknown field.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from pilotage.contracts.body import cut
from pilotage.contracts.faults import Fault, Repair
from pilotage.contracts.mending import Mending
from pilotage.contracts.model import EXACT_INTEGER, Action, Column, DataContract
from pilotage.contracts.rows import SUBJECT_LENGTH, RowInspection, Value

__all__ = ["CheckedBody", "CheckedRow", "RowCheck", "compile_contract"]

ROW_FAULTS = 200
BODY_FAULTS = 2_000
LATER_FAULTS = 5


class CheckedRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row: `raw` as received; `values` of the features in contract order, numbers as float64, None when faulty.

    `subject` is the text form of the subject field, also of a faulty row where it could be read. `repairs` are faults
    that were mended, `action` what is done about those that were not; for `fallback`, `known` are the values without
    those at fault.
    """

    raw: bytes
    values: tuple[Value, ...] | None
    subject: str = ""
    faults: tuple[Fault, ...] = ()
    repairs: tuple[Repair, ...] = ()
    action: Action = "reject"
    known: tuple[Value, ...] | None = None


class CheckedBody(msgspec.Struct, frozen=True, kw_only=True):
    """The rows of one request; `many` when they came as a list, also a list of one."""

    rows: list[CheckedRow]
    many: bool


def compile_contract(contract: DataContract) -> RowCheck:
    """The check of one contract, made once and used for every request; safe to share between threads."""
    mending = Mending(contract)
    return _MendingCheck(contract, mending) if mending.needed else RowCheck(contract)


class RowCheck:
    """A compiled contract. `names` are the features in order; `digest` the contract's."""

    def __init__(self, contract: DataContract) -> None:
        self.contract = contract
        self.digest = contract.digest()
        self.names = tuple(column.name for column in contract.features)
        sent = [*contract.features, *(column for column in contract.columns if column.role == "subject")]
        self._features = len(self.names)
        self._colons = len(sent)
        self._inspection = RowInspection(contract)
        row = _row_type(sent)
        self._decoder = msgspec.json.Decoder(row)
        body = msgspec.defstruct("Body", [("inputs", row)], forbid_unknown_fields=True, gc=False)
        self._body_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(body)
        self._members = [
            (index, frozenset(column.categories or ()))
            for index, column in enumerate(contract.features)
            if column.categories is not None and column.numeric and not _is_run(column)
        ]

    def check(self, body: bytes, max_rows: int | None = None) -> CheckedBody:
        """Check every row of a body; faulty rows carry their faults, the others their values.

        Raises MalformedBody (400) when the body is not `{"inputs": ...}`, TooManyRows (413) beyond `max_rows`.
        """
        raws, many = cut(body, max_rows)
        if not many:
            return CheckedBody(rows=[self._row(raws[0], "inputs", ROW_FAULTS)], many=False)
        rows, found = [], 0
        for index, raw in enumerate(raws):
            row = self._row(raw, f"inputs[{index}]", ROW_FAULTS if found < BODY_FAULTS else LATER_FAULTS)
            found += len(row.faults)
            rows.append(row)
        return CheckedBody(rows=rows, many=True)

    def fits(self, body: bytes) -> CheckedRow | None:
        """The one row of a body that fits the contract as it was sent; None for any other body: `check` says why.

        The whole body is decoded once, and the row's bytes are cut out of it afterwards.
        """
        try:
            values = msgspec.structs.astuple(self._body_decoder.decode(body).inputs)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        # One colon more than the row has leaves no room for a repeated name, of the row or around it.
        if body.count(b":") != self._colons + 1:
            return None
        start, end = body.index(b"{", body.index(b"{") + 1), body.rindex(b"}", 0, body.rindex(b"}")) + 1
        return self._fitting(body[start:end], values)

    def _row(self, raw: bytes, path: str, cap: int) -> CheckedRow:
        try:
            values = msgspec.structs.astuple(self._decoder.decode(raw))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._inspect(raw, path, cap)
        # As many colons as fields leaves no room for a repeated name; more may also be text that holds one: look.
        if raw.count(b":") != self._colons:
            return self._inspect(raw, path, cap)
        return self._fitting(raw, values) or self._inspect(raw, path, cap)

    def _fitting(self, raw: bytes, values: tuple[Value, ...]) -> CheckedRow | None:
        """A row whose types and ranges are right, if the rest is."""
        for index, members in self._members:
            if values[index] is not None and values[index] not in members:
                return None
        if self._colons == self._features:
            return CheckedRow(raw=raw, values=values)
        subject = str(values[-1])
        if subject.isspace() or len(subject) > SUBJECT_LENGTH:
            return None
        return CheckedRow(raw=raw, values=values[:-1], subject=subject)

    def _inspect(self, raw: bytes, path: str, cap: int) -> CheckedRow:
        values, subject, faults = self._inspection.inspect(raw, path, cap)
        return CheckedRow(raw=raw, values=values, subject=subject, faults=faults)


class _MendingCheck(RowCheck):
    """The check of a contract that says more than types and ranges: forms, rules over columns, what faults become."""

    def __init__(self, contract: DataContract, mending: Mending) -> None:
        super().__init__(contract)
        self._mending = mending

    def _fitting(self, raw: bytes, values: tuple[Value, ...]) -> CheckedRow | None:
        row = super()._fitting(raw, values)
        return row if row is None or row.values is None or self._mending.fits(row.values) else None

    def _inspect(self, raw: bytes, path: str, cap: int) -> CheckedRow:
        values, subject, faults = self._inspection.inspect(raw, path, cap)
        found = self._mending.mend(raw, path, values, faults)
        return CheckedRow(
            raw=raw,
            values=found.values,
            subject=subject,
            faults=found.faults,
            repairs=found.repairs,
            action=found.action,
            known=found.known,
        )


def _is_run(column: Column) -> bool:
    """Whether the categories are integers without a gap, which a range and a step of one describe exactly."""
    numbers = sorted(float(value) for value in column.categories or ())
    return all(number.is_integer() for number in numbers) and numbers[-1] - numbers[0] == len(numbers) - 1


def _row_type(sent: list[Column]) -> type[msgspec.Struct]:
    names = {f"f{index}": column.name for index, column in enumerate(sent)}
    return msgspec.defstruct(
        "Row",
        [(field, _type(column)) for field, column in zip(names, sent, strict=True)],
        rename=names,
        forbid_unknown_fields=True,
        gc=False,
    )


def _type(column: Column) -> Any:
    if column.role == "subject":
        return int | Annotated[str, msgspec.Meta(min_length=1, max_length=SUBJECT_LENGTH)]
    return _value_type(column) | None if column.nullable else _value_type(column)


def _value_type(column: Column) -> Any:
    if column.type == "boolean":
        return bool
    if column.type == "string":
        return str if column.categories is None else Literal[column.categories]
    low, high, step = column.minimum, column.maximum, None
    if column.categories is not None:
        numbers = [float(value) for value in column.categories]
        low, high, step = min(numbers), max(numbers), 1 if _is_run(column) else None
    elif column.type == "integer":
        low = -EXACT_INTEGER if low is None else max(low, -EXACT_INTEGER)
        high = EXACT_INTEGER if high is None else min(high, EXACT_INTEGER)
        step = 1
    # Numbers decode as float64 whatever their type, since that is what is recorded and what a model takes.
    return Annotated[float, msgspec.Meta(ge=low, le=high, multiple_of=step)]
