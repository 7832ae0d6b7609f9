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

from collections.abc import Mapping
from itertools import chain
from typing import Annotated, Any, Literal

import msgspec

from pilotage.contracts.body import cut, parse
from pilotage.contracts.enriching import Enriching, Key
from pilotage.contracts.enrichment import REQUEST, Drawn
from pilotage.contracts.faults import Fault, Repair
from pilotage.contracts.mending import Mending
from pilotage.contracts.model import EXACT_INTEGER, Action, Column, DataContract
from pilotage.contracts.rows import SUBJECT_LENGTH, RowInspection
from pilotage.kernel.rows import Value

__all__ = ["AskingRow", "CheckedBody", "CheckedRow", "EnrichedRow", "EnrichingCheck", "RowCheck", "compile_contract"]

ROW_FAULTS = 200
BODY_FAULTS = 2_000
LATER_FAULTS = 5
_astuple = msgspec.structs.astuple


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


class AskingRow(CheckedRow, frozen=True, kw_only=True):
    """A row as it was sent, of which sources bring the rest: it has no values before `EnrichingCheck.complete`.

    `keys` are those to ask for, one for each declaration; None where there is nothing to ask.
    """

    row: dict[str, Any]
    path: str
    keys: tuple[Key | None, ...]


class EnrichedRow(CheckedRow, frozen=True, kw_only=True):
    """A row with what was drawn for it. `lookups` are calls of sources for its request: (source, ms, status)."""

    drawn: tuple[Drawn, ...] = ()
    lookups: tuple[tuple[str, float, str], ...] = ()


class CheckedBody(msgspec.Struct, frozen=True, kw_only=True):
    """The rows of one request; `many` when they came as a list, also a list of one."""

    rows: list[CheckedRow]
    many: bool


def compile_contract(contract: DataContract) -> RowCheck:
    """The check of one contract, made once and used for every request; safe to share between threads."""
    mending = Mending(contract)
    if contract.enrichment:
        return EnrichingCheck(contract, mending)
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
        self._decode_body = msgspec.json.Decoder(body).decode
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

    def again(self, raw: bytes, drawn: Mapping[str, Drawn], *, other: bool = False) -> CheckedRow:
        """One row of a record, as received, with what was drawn for it then: no source is asked.

        `other`: the record is that of another release, which may have had another part of the row from sources.
        """
        if not drawn:
            return self._row(raw, "inputs", ROW_FAULTS)
        whole: dict[str, Any] = parse(raw)
        whole |= {name: each.value for name, each in drawn.items() if each.status == "ok" and name not in whole}
        return self._judge(raw, whole, "inputs", ROW_FAULTS)

    def fits(self, body: bytes) -> CheckedRow | None:
        """The one row of a body that fits the contract as it was sent; None for any other body: `check` says why.

        The whole body is decoded once, and the row's bytes are cut out of it afterwards.
        """
        try:
            values: tuple[Value, ...] = _astuple(self._decode_body(body).inputs)  # type: ignore[attr-defined]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        # One colon more than the row has leaves no room for a repeated name, of the row or around it.
        if body.count(b":") != self._colons + 1:
            return None
        start = body.index(b"{", body.index(b"{") + 1)
        end = -1 if body.endswith(b"}}") else body.rindex(b"}", 0, body.rindex(b"}")) + 1
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
        return self._judge(raw, parse(raw), path, cap)

    def _judge(self, raw: bytes, row: dict[str, Any], path: str, cap: int) -> CheckedRow:
        values, subject, faults = self._inspection.inspect(row, path, cap)
        return CheckedRow(raw=raw, values=values, subject=subject, faults=faults)


class _MendingCheck(RowCheck):
    """The check of a contract that says more than types and ranges: forms, rules over columns, what faults become."""

    def __init__(self, contract: DataContract, mending: Mending) -> None:
        super().__init__(contract)
        self._mending = mending

    def _fitting(self, raw: bytes, values: tuple[Value, ...]) -> CheckedRow | None:
        row = super()._fitting(raw, values)
        return row if row is None or row.values is None or self._mending.fits(row.values) else None

    def _judge(self, raw: bytes, row: dict[str, Any], path: str, cap: int) -> CheckedRow:
        values, subject, faults = self._inspection.inspect(row, path, cap)
        found = self._mending.mend(row, path, values, faults)
        return CheckedRow(
            raw=raw,
            values=found.values,
            subject=subject,
            faults=found.faults,
            repairs=found.repairs,
            action=found.action,
            known=found.known,
        )


class EnrichingCheck(RowCheck):
    """The check of a contract of which sources bring a part: what was sent first, the whole when they were asked."""

    def __init__(self, contract: DataContract, mending: Mending) -> None:
        super().__init__(contract)
        self._mending = mending
        self._enriching = Enriching(contract)
        self._sent = {column.name: column for column in contract.columns if column.role in ("feature", "subject")}

    def fits(self, body: bytes) -> CheckedRow | None:
        """None: no row fits before the sources were asked."""
        return None

    def complete(
        self, row: AskingRow, drawn: Mapping[str, Drawn], lookups: tuple[tuple[str, float, str], ...] = ()
    ) -> EnrichedRow:
        """The row with what was drawn for it by column; a column without is one whose source failed."""
        whole, absent, told = self._enriching.complete(row.row, row.path, drawn)
        values, subject, faults = self._inspection.inspect(whole, row.path, ROW_FAULTS, absent)
        if not faults and values is None:  # nothing is absent without a fault of its own
            raise AssertionError("a column is absent without a fault")
        found = self._mending.mend(whole, row.path, values, faults)
        codes = {each.path: each.code for each in chain(faults, found.faults)}
        return EnrichedRow(
            raw=row.raw,
            values=found.values,
            subject=subject,
            faults=found.faults,
            repairs=found.repairs,
            action=found.action,
            known=found.known,
            drawn=tuple(
                msgspec.structs.replace(each, fault=codes.get(f"{row.path}.{each.column}", "")) for each in told
            ),
            lookups=lookups,
        )

    def again(self, raw: bytes, drawn: Mapping[str, Drawn], *, other: bool = False) -> CheckedRow:
        """As above. A column of another release's request counts as drawn from it."""
        if other:
            row: dict[str, Any] = parse(raw)
            own = {
                name: Drawn(column=name, source=REQUEST, value=row[name])
                for name in self._enriching.brought
                if name in row and isinstance(row[name], float | int | str | None)
            }
            sent = msgspec.json.encode({name: value for name, value in row.items() if name not in own})
            asking, drawn = self._row(sent, "inputs", ROW_FAULTS), own | dict(drawn)
        else:
            asking = self._row(raw, "inputs", ROW_FAULTS)
        return self.complete(asking, drawn) if isinstance(asking, AskingRow) else asking

    def _row(self, raw: bytes, path: str, cap: int) -> CheckedRow:
        row: dict[str, Any] = parse(raw)
        _, subject, faults = self._inspection.inspect(row, path, cap, self._enriching.unread(row))
        if any(self._turns_away(fault, path) for fault in faults):
            return CheckedRow(raw=raw, values=None, subject=subject, faults=faults)
        keys = self._enriching.keys(row)
        return AskingRow(raw=raw, values=None, subject=subject, row=row, path=path, keys=keys)

    def _turns_away(self, fault: Fault, path: str) -> bool:
        """Whether nothing that a source says could save the row: then none is asked about anybody."""
        column = self._sent.get(fault.path[len(path) + 1 :])
        return column is None or column.role == "subject" or column.action(fault.code) == "reject"


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
        if column.categories is not None:
            return Literal[column.categories]
        return Annotated[str, msgspec.Meta(max_length=column.longest)]
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
