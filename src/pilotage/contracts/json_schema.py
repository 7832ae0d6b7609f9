"""A contract from a JSON Schema of one row: what a contract holds is taken, what it does not is told, never dropped."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from pilotage.contracts.guessing import Guessed
from pilotage.contracts.model import Column, ColumnType, DataContract
from pilotage.contracts.personal import looks_personal, looks_protected
from pilotage.errors import InputError

__all__ = ["MOST_BYTES", "from_json_schema"]

MOST_BYTES = 4_194_304
_TYPES: dict[str, ColumnType] = {"number": "number", "integer": "integer", "string": "string", "boolean": "boolean"}
_FORMATS = {"date": "date", "date-time": "datetime", "email": "email", "uuid": "uuid"}
_HELD = {"type", "enum", "const", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "pattern", "maxLength"}
_HELD |= {"format", "description", "title", "examples", "default", "nullable", "$ref", "anyOf", "oneOf", "$comment"}


def from_json_schema(content: bytes, *, name: str, version: str = "1") -> Guessed:
    """The contract of the objects that a JSON Schema describes, with notes on what it could not hold.

    Raises InputError when the schema is not one of an object of single values.
    """
    if len(content) > MOST_BYTES:
        raise InputError("the schema is too long", got=len(content), expected=f"{MOST_BYTES} bytes", mend="shorten it")
    try:
        schema = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _refused("the JSON Schema is not JSON", error) from error
    whole = schema if isinstance(schema, dict) else {}
    row = _resolved(whole, whole)
    if row.get("type") == "array":
        items = row.get("items")
        row = _resolved(items if isinstance(items, dict) else {}, whole)
    properties = row.get("properties")
    if not isinstance(properties, dict) or not properties:
        raise _refused("the JSON Schema describes no object with properties", row.get("type"))
    required = row.get("required")
    required = set(map(str, required)) if isinstance(required, list) else set()
    columns, notes, faults = [], dict[str, list[str]](), list[dict[str, object]]()
    for field, told in properties.items():
        try:
            column, said = _column(str(field), told if isinstance(told, dict) else {}, whole)
        except _NotAValue as fault:
            faults.append({"path": f"properties.{field}", "message": str(fault), "code": "invalid_input"})
            continue
        if field not in required:
            said.append("It is not required there. A contract wants every feature in every row: null where unknown.")
        columns.append(column)
        if said:
            notes[column.name] = said
    if faults:
        raise InputError(
            "the JSON Schema has properties that are no column",
            expected="number, integer, string or boolean, also with null",
            mend="flatten the object, or take these properties out",
            faults=faults,
        )
    return Guessed(contract=DataContract(name=name, version=version, columns=tuple(columns)), notes=notes)


class _NotAValue(Exception):
    """A property that holds no single value."""


def _column(name: str, told: Mapping[str, Any], whole: Mapping[str, Any]) -> tuple[Column, list[str]]:
    told, nullable = _plain(_resolved(told, whole), whole)
    kinds = told.get("type")
    kinds = list(kinds) if isinstance(kinds, list) else [kinds] if kinds else []
    nullable = nullable or "null" in kinds or told.get("nullable") is True
    listed = told.get("enum", [told["const"]] if "const" in told else None)
    values = [value for value in listed if value is not None] if isinstance(listed, list) else None
    nullable = nullable or (isinstance(listed, list) and None in listed)
    kinds = [kind for kind in kinds if kind != "null"] or (_kinds_of(values) if values else [])
    if len(kinds) == 2 and set(kinds) == {"integer", "number"}:
        kinds = ["number"]
    if len(kinds) != 1 or kinds[0] not in _TYPES:
        raise _NotAValue(f"is no single value of one type: {', '.join(map(str, kinds)) or 'no type'}")
    kind = _TYPES[kinds[0]]
    said = [f"Not held: {key}: {json.dumps(told[key])[:80]}" for key in told if key not in _HELD]
    low, high = _bounds(told, kind) if values is None else (None, None)
    form, pattern, example = _text(told, said) if kind == "string" and values is None else ("", "", "")
    described = told.get("description") or told.get("title") or ""
    personal, protected = looks_personal(name, []), looks_protected(name)
    said += [f"CONFIRM personal: {personal}."] * bool(personal) + [f"CONFIRM protected: {protected}."] * bool(protected)
    column = Column(
        name=name,
        type=kind,
        nullable=nullable,
        minimum=low,
        maximum=high,
        categories=tuple(values) if values and kind != "boolean" else None,
        description=str(described),
        format=form,  # type: ignore[arg-type]  # one of those known
        pattern=pattern,
        example=example,
        max_length=int(told.get("maxLength", 0)) if kind == "string" and values is None else 0,
        personal=bool(personal),
        protected=bool(protected),
    )
    return column, said


def _plain(told: Mapping[str, Any], whole: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool]:
    """`anyOf` of one type and null, which many tools write, as that type; and whether null was among them."""
    for word in ("anyOf", "oneOf"):
        choices = told.get(word)
        if isinstance(choices, list):
            each = [_resolved(choice, whole) for choice in choices if isinstance(choice, dict)]
            real = [choice for choice in each if choice.get("type") != "null"]
            if len(real) != 1:
                raise _NotAValue(f"is one of {len(real)} types")
            return {**{key: value for key, value in told.items() if key != word}, **real[0]}, len(real) < len(each)
    return told, False


def _resolved(told: Mapping[str, Any], whole: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a reference within the schema refers to; others are not followed."""
    for _ in range(8):
        target = told.get("$ref")
        if not isinstance(target, str):
            return told
        if not target.startswith("#/"):
            raise _refused("a reference leads out of the JSON Schema", target)
        found: Any = whole
        for part in target[2:].split("/"):
            found = found.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
        if not isinstance(found, dict):
            raise _refused("a reference of the JSON Schema leads nowhere", target)
        told = {**found, **{key: value for key, value in told.items() if key != "$ref"}}
    raise _refused("references of the JSON Schema lead to each other", told.get("$ref"))


def _kinds_of(values: list[Any]) -> list[str]:
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string"}
    return sorted({kinds.get(type(value), type(value).__name__) for value in values})


def _bounds(told: Mapping[str, Any], kind: ColumnType) -> tuple[float | None, float | None]:
    """The range, bounds included: what lies next to a bound that is excluded."""
    low, high = _number(told.get("minimum")), _number(told.get("maximum"))
    above, below = _number(told.get("exclusiveMinimum")), _number(told.get("exclusiveMaximum"))
    if kind == "integer":
        above = None if above is None else math.floor(above) + 1.0
        below = None if below is None else math.ceil(below) - 1.0
    else:
        above = None if above is None else math.nextafter(above, math.inf)
        below = None if below is None else math.nextafter(below, -math.inf)
    lows, highs = ([each for each in pair if each is not None] for pair in ((low, above), (high, below)))
    if kind not in ("number", "integer"):
        return None, None
    return max(lows, default=None), min(highs, default=None)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _text(told: Mapping[str, Any], said: list[str]) -> tuple[str, str, str]:
    """Format, pattern and example of text; what cannot be held is said."""
    form = _FORMATS.get(str(told.get("format", "")), "")
    if "format" in told and not form:
        said.append(f"Not held: format {told['format']}; write a pattern with an example.")
    pattern = str(told.get("pattern", ""))
    listed = [*(told.get("examples") or []), told.get("default")]
    example = next((text for text in listed if isinstance(text, str) and text), "")
    if pattern and (form or not example):
        why = "beside its format" if form else "without an example that fits it: add both"
        said.append(f"Not held: pattern {pattern}, {why}.")
        pattern = ""
    return form, pattern, example if pattern else ""


def _refused(what: str, got: object) -> InputError:
    return InputError(
        what, got=str(got)[:120], expected="the JSON Schema of an object of single values", mend="give such a schema"
    )
