"""The data contract: the columns a release takes, their types, ranges, categories, and what they mean for people."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from pilotage.errors import InputError
from pilotage.kernel.canonical import canonical_json
from pilotage.kernel.digests import digest

__all__ = ["EXACT_INTEGER", "Column", "ColumnType", "DataContract", "Role", "decode_contract"]

ColumnType = Literal["number", "integer", "string", "boolean"]
Role = Literal["feature", "subject", "target", "ignored"]

EXACT_INTEGER = 2.0**53 - 1
"""The largest integer below which a float64 holds every integer: integer columns end here."""


class Column(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One column. `minimum` and `maximum` are inclusive; `categories` are all values allowed (numbers or text).

    `personal` marks data about a person, `protected` a characteristic that decisions must not turn on. Only
    `feature` columns and the `subject` are sent in a request.
    """

    name: str
    type: ColumnType
    role: Role = "feature"
    nullable: bool = False
    minimum: float | None = None
    maximum: float | None = None
    categories: tuple[float | str, ...] | None = None
    personal: bool = False
    protected: bool = False
    description: str = ""
    unit: str = ""

    @property
    def numeric(self) -> bool:
        """Whether values are numbers."""
        return self.type in ("number", "integer")


class DataContract(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The input contract of a release: valid from birth, else InputError with every fault of it.

    `subject` names the column that identifies the person a decision is about; empty when there is none.
    """

    name: str
    version: str
    columns: tuple[Column, ...]
    subject: str = ""

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "columns", tuple(_plain(column) for column in self.columns))
        faults = [*_whole_faults(self), *(fault for column in self.columns for fault in _column_faults(column))]
        if faults:
            raise InputError(
                f"the data contract {self.name!r} is not valid",
                mend="mend every fault listed, then try again",
                code="invalid_contract",
                faults=faults,
            )

    @property
    def features(self) -> tuple[Column, ...]:
        """The feature columns, in the order the model takes them."""
        return tuple(column for column in self.columns if column.role == "feature")

    @property
    def kinds(self) -> dict[str, Literal["numeric", "categorical"]]:
        """How each feature is profiled: numbers without categories in bins, everything else by value."""
        return {
            column.name: "numeric" if column.numeric and column.categories is None else "categorical"
            for column in self.features
        }

    def column(self, name: str) -> Column | None:
        """The column of a name, or None."""
        return next((column for column in self.columns if column.name == name), None)

    def as_dict(self) -> dict[str, Any]:
        """The contract as JSON values."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        return values

    def digest(self) -> str:
        """The digest of the contract's canonical JSON."""
        return digest(canonical_json(self.as_dict()))


def decode_contract(content: bytes) -> DataContract:
    """The contract in JSON bytes. Raises InputError when it is not one."""
    try:
        return msgspec.json.decode(content, type=DataContract)
    except msgspec.DecodeError as error:
        raise InputError(
            "not a data contract", got=str(error), expected="the JSON of a data contract", mend="write it anew"
        ) from error


def _plain(column: Column) -> Column:
    """The column with its numbers as float64, so that 1 and 1.0 are one contract with one digest."""
    return msgspec.structs.replace(
        column,
        minimum=None if column.minimum is None else float(column.minimum),
        maximum=None if column.maximum is None else float(column.maximum),
        categories=None
        if column.categories is None
        else tuple(value if isinstance(value, str) else float(value) for value in column.categories),
    )


def _fault(path: str, message: str, got: object, expected: str, mend: str) -> dict[str, object]:
    return {
        "path": path,
        "code": "invalid_contract",
        "message": message,
        "got": str(got),
        "expected": expected,
        "mend": mend,
    }


def _whole_faults(contract: DataContract) -> Iterable[dict[str, object]]:
    names = [column.name for column in contract.columns]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield _fault(f"columns.{name}", "two columns share a name", name, "distinct names", "rename one")
    if not any(column.role == "feature" for column in contract.columns):
        yield _fault("columns", "no column is a feature", names, "one or more", "give a column the role feature")
    subjects = [column.name for column in contract.columns if column.role == "subject"]
    if subjects != ([contract.subject] if contract.subject else []):
        yield _fault(
            "subject",
            "`subject` and the column of role subject do not agree",
            f"subject {contract.subject!r}, columns {subjects}",
            "the one column of that role, or neither",
            "name the column in `subject` and give it the role subject",
        )
    targets = [column.name for column in contract.columns if column.role == "target"]
    if len(targets) > 1:
        yield _fault("columns", "more than one target", targets, "at most one", "keep one target")


def _column_faults(column: Column) -> Iterable[dict[str, object]]:
    path = f"columns.{column.name}"
    if not column.name or any(char in '"\\' or ord(char) < 32 or 0xD800 <= ord(char) < 0xE000 for char in column.name):
        yield _fault(path, "not a usable column name", repr(column.name), "text without quotes or \\", "rename it")
    bounds = [bound for bound in (column.minimum, column.maximum) if bound is not None]
    if bounds and (not column.numeric or column.categories is not None):
        yield _fault(path, "only number columns without categories have a range", bounds, "no range", "remove it")
    if not all(math.isfinite(bound) for bound in bounds):
        yield _fault(path, "a bound is not finite", bounds, "finite numbers, or none", "remove the bound")
    elif len(bounds) == 2 and bounds[0] > bounds[1]:
        yield _fault(path, "the range is empty", bounds, "minimum <= maximum", "swap the bounds")
    if column.categories is not None:
        yield from _category_faults(column, path)


def _category_faults(column: Column, path: str) -> Iterable[dict[str, object]]:
    categories = column.categories or ()
    if not categories:
        yield _fault(path, "the list of categories is empty", "[]", "one or more, or none given", "list the values")
    if len(set(categories)) != len(categories):
        yield _fault(path, "a category is listed twice", list(categories), "distinct values", "list each once")
    if column.type == "boolean":
        yield _fault(path, "a boolean column has categories", list(categories), "none", "remove them")
        return
    wrong = [value for value in categories if isinstance(value, str) == column.numeric]
    numbers = [value for value in categories if not isinstance(value, str)]
    wrong += [value for value in numbers if not math.isfinite(value)]
    if column.type == "integer":
        wrong += [value for value in numbers if value % 1 or abs(value) > EXACT_INTEGER]
    if wrong:
        yield _fault(path, f"categories do not fit the type {column.type}", wrong, column.type, "mend them")
