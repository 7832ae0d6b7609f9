"""The data contract: the columns a release takes, their types, ranges, categories, and what they mean for people."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from pilotage.contracts.enrichment import CODES, Enrichment, enrichment_faults
from pilotage.contracts.expression import Type, parse_expression
from pilotage.contracts.formats import is_formatted
from pilotage.contracts.patterns import compile_pattern
from pilotage.errors import InputError
from pilotage.kernel.canonical import canonical_json
from pilotage.kernel.clock import parse_duration
from pilotage.kernel.digests import digest

__all__ = [
    "EXACT_INTEGER",
    "MOST_TEXT",
    "TEXT_LENGTH",
    "Action",
    "Column",
    "ColumnType",
    "DataContract",
    "Format",
    "Role",
    "RowRule",
    "decode_contract",
]

ColumnType = Literal["number", "integer", "string", "boolean"]
Role = Literal["feature", "subject", "target", "ignored"]
Format = Literal["", "date", "datetime", "email", "uuid"]
Action = Literal["reject", "repair", "review", "fallback"]
"""What is done about a fault: nothing is answered; a declared value takes its place; a person decides; rules answer."""

_MENDABLE = (
    "missing",
    "null",
    "wrong_type",
    "not_finite",
    "below_minimum",
    "above_maximum",
    "unseen_category",
    "too_long",
    "wrong_format",
    *CODES,
)
_MOST_RULES = 50
_MOST_KEYS = 20
_LATER = ("format", "pattern", "max_length", "example", "on_fault", "impute", "unique", "max_age", "purposes")
_PURPOSE = re.compile(r"[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?")

TEXT_LENGTH = 10_000
"""The most characters of text whose column says nothing else."""
MOST_TEXT = 1_000_000

EXACT_INTEGER = 2.0**53 - 1
"""The largest integer below which a float64 holds every integer: integer columns end here."""


class Column(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One column. `minimum` and `maximum` are inclusive; `categories` are all values allowed (numbers or text).

    `personal` marks data about a person, `protected` a characteristic that decisions must not turn on. Only
    `feature` columns and the `subject` are sent in a request. Text has a `format`, or a `pattern` that is found in it
    (a regular expression), and at most `max_length` characters (0: TEXT_LENGTH); `example` is one of it, which a
    pattern must have. `on_fault` says what is done
    about a kind of fault, by its code (`any` for all others); `impute` is what repairs one. Repairing `wrong_type` of
    a number takes the number in quotes as one where it is.

    What a file is held to beside its rows: `unique`, no value twice; `max_age`, such as `24h`, how old the newest
    moment may be. `purposes` are those that the column may be used for; empty, for any.
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
    format: Format = ""
    pattern: str = ""
    max_length: int = 0
    example: str = ""
    on_fault: dict[str, Action] = {}
    impute: float | str | bool | None = None
    unique: bool = False
    max_age: str = ""
    purposes: tuple[str, ...] = ()

    def action(self, code: str) -> Action:
        """What is done about a fault of this column."""
        return self.on_fault.get(code, self.on_fault.get("any", "reject"))

    @property
    def longest(self) -> int:
        """The most characters of text."""
        return self.max_length or TEXT_LENGTH

    @property
    def numeric(self) -> bool:
        """Whether values are numbers."""
        return self.type in ("number", "integer")


class RowRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A rule over several columns of a row. It is broken where its condition is false; unknown is not false."""

    name: str
    check: str
    message: str = ""
    action: Literal["reject", "review"] = "reject"


class DataContract(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The input contract of a release: valid from birth, else InputError with every fault of it.

    `subject` names the column that identifies the person a decision is about; empty when there is none. `enrichment`
    says which features a source brings instead of the request. `keys` are columns that no two rows of a file share.
    """

    name: str
    version: str
    columns: tuple[Column, ...]
    subject: str = ""
    rules: tuple[RowRule, ...] = ()
    enrichment: tuple[Enrichment, ...] = ()
    keys: tuple[tuple[str, ...], ...] = ()

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
    def brought(self) -> dict[str, Enrichment]:
        """The features that a source brings, each with how."""
        return {name: each for each in self.enrichment for name in each.columns}

    @property
    def asked(self) -> tuple[Column, ...]:
        """The features that a request brings, in order."""
        brought = self.brought
        return tuple(column for column in self.features if column.name not in brought)

    @property
    def inputs(self) -> tuple[Column, ...]:
        """What a request brings, the subject among it, in order."""
        brought = self.brought
        return tuple(c for c in self.columns if c.role in ("feature", "subject") and c.name not in brought)

    @property
    def optional(self) -> tuple[Column, ...]:
        """The features that a source brings unless the request does."""
        own = {name for name, each in self.brought.items() if each.override == "request"}
        return tuple(column for column in self.features if column.name in own)

    @property
    def value_types(self) -> dict[str, Type]:
        """The type of each feature's values in a condition."""
        types: dict[str, Type] = {"number": "number", "integer": "number", "string": "text", "boolean": "truth"}
        return {column.name: types[column.type] for column in self.features}

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
        # Left out where they say nothing: contracts from before there were such rules keep their digests.
        for column in values["columns"]:
            for name in _LATER:
                if column[name] in ("", {}, None, [], ()) or (name in ("max_length", "unique") and not column[name]):
                    del column[name]
        for name in ("rules", "enrichment", "keys"):
            if not values[name]:
                del values[name]
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
        impute=float(column.impute) if type(column.impute) is int else column.impute,
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
    yield from _rule_faults(contract)
    known = {column.name for column in contract.columns}
    for at, key in enumerate(contract.keys):
        if len(key) < 2 or len(set(key)) != len(key) or not known.issuperset(key) or len(contract.keys) > _MOST_KEYS:
            expected = f"two columns of the contract or more, at most {_MOST_KEYS} keys"
            yield _fault(f"keys[{at}]", "is no key of several columns", list(key), expected, "for one: `unique: true`")
    inputs = {c.name: c.type for c in contract.columns if c.role in ("feature", "subject")}
    features = {column.name for column in contract.features}
    for path, message, got, expected, mend in enrichment_faults(
        contract.enrichment, inputs, features, contract.subject
    ):
        yield _fault(path, message, got, expected, mend)
    brought = contract.brought
    for column in contract.columns:
        codes = [code for code in column.on_fault if code in CODES]
        if codes and column.name not in brought:
            path = f"columns.{column.name}"
            yield _fault(path, "no source brings this column", codes, "faults of a request", "remove the codes")
    keys = {name for each in contract.enrichment for name in each.key}
    for column in contract.columns:
        if column.name in keys and "repair" in column.on_fault.values():
            path = f"columns.{column.name}"
            yield _fault(
                path, "a key is repaired", "repair", "the key that was sent", "reject it, or let it be reviewed"
            )


def _rule_faults(contract: DataContract) -> Iterable[dict[str, object]]:
    names = [rule.name for rule in contract.rules]
    if len(set(names)) != len(names) or not all(name.strip() for name in names) or len(names) > _MOST_RULES:
        yield _fault("rules", "rules without a name, or names twice, or too many", names, "distinct names", "rename")
    for rule in contract.rules:
        try:
            parse_expression(rule.check, contract.value_types, list(contract.value_types))
        except InputError as error:
            yield _fault(f"rules.{rule.name}", error.what, error.got, str(error.expected), "mend the condition")


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
    told = {name: getattr(column, name) for name in ("format", "pattern", "max_length", "example")}
    told = {name: value for name, value in told.items() if value}
    if told and (column.type != "string" or column.categories is not None or column.role == "subject"):
        yield _fault(
            path, f"only text without categories has a {' or a '.join(told)}", column.type, "none", "remove it"
        )
    elif told:
        yield from _text_faults(column, path)
    if column.on_fault or column.impute is not None:
        yield from _mending_faults(column, path)
    yield from _file_faults(column, path)


def _file_faults(column: Column, path: str) -> Iterable[dict[str, object]]:
    """Of what a file is held to, and of purposes."""
    if column.max_age and column.format not in ("date", "datetime"):
        yield _fault(path, "only dates and moments have a `max_age`", column.type, "the format datetime", "remove it")
    elif column.max_age:
        try:
            parse_duration(column.max_age)
        except InputError as error:
            yield _fault(f"{path}.max_age", error.what, column.max_age, str(error.expected), "write it so")
    wrong = [purpose for purpose in column.purposes if not _PURPOSE.fullmatch(purpose)]
    if wrong or len(set(column.purposes)) != len(column.purposes):
        expected = "distinct small letters, digits and hyphens, such as credit-risk"
        yield _fault(f"{path}.purposes", "are not usable as names", list(column.purposes), expected, "rename them")


def _text_faults(column: Column, path: str) -> Iterable[dict[str, object]]:
    if not 0 <= column.max_length <= MOST_TEXT:
        yield _fault(path, "is longer than text may be", column.max_length, f"1 to {MOST_TEXT}", "shorten it")
    if column.format and column.pattern:
        yield _fault(path, "has a format and a pattern", column.pattern, "one of them", "remove one")
    if column.example and column.format and not is_formatted(column.format, column.example):
        yield _fault(path, "its example is not of its format", column.example, column.format, "correct one")
    if not column.pattern:
        return
    try:
        found = compile_pattern(column.pattern)
    except InputError as error:
        yield _fault(f"{path}.pattern", error.what, error.got, str(error.expected), str(error.mend))
        return
    fits = [text for text in (column.example, column.impute) if isinstance(text, str) and text]
    if not column.example or not all(map(found, fits)) or any(len(text) > column.longest for text in fits):
        mend = "give an example that fits it; so must what repairs a fault"
        yield _fault(path, "no example shows what the pattern takes", column.example, column.pattern, mend)


def _mending_faults(column: Column, path: str) -> Iterable[dict[str, object]]:
    if column.role != "feature":
        yield _fault(path, "only a feature's faults are mended", column.role, "reject", "remove `on_fault`, `impute`")
    unknown = [code for code in column.on_fault if code not in (*_MENDABLE, "any")]
    if unknown:
        yield _fault(path, "no kind of fault", unknown, ", ".join(_MENDABLE), "correct the code")
    repaired = {code for code, action in column.on_fault.items() if action == "repair"}
    if column.impute is None and repaired - ({"wrong_type"} if column.numeric else set()):
        yield _fault(path, "is repaired by nothing", sorted(repaired), "`impute`", "declare the value that is used")
    if column.impute is not None and not _may_impute(column):
        yield _fault(path, "the imputed value does not fit the column", column.impute, "one that fits", "correct it")


def _may_impute(column: Column) -> bool:
    value = column.impute
    if column.type == "boolean" or isinstance(value, bool):
        return column.type == "boolean" and isinstance(value, bool)
    if column.numeric is isinstance(value, str):
        return False
    if column.categories is not None:
        return value in column.categories
    if isinstance(value, float):
        low, high = column.minimum, column.maximum
        whole = column.type == "number" or (value.is_integer() and abs(value) <= EXACT_INTEGER)
        return math.isfinite(value) and whole and (low is None or value >= low) and (high is None or value <= high)
    return True


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
