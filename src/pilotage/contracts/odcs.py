"""Data contracts as Open Data Contract Standard (ODCS) v3.1.0 YAML, there and back without loss.

Categories are the library rule `invalidValues`; what ODCS has no word for (role, personal, protected, unit) are custom
properties. Columns unique together are the library rule `duplicateValues`; a `max_age` is the service level
`freshness`. A rule about single values that the row check cannot hold is refused, never dropped in silence; other rules
about whole tables (`quality` of other kinds, service levels, owners) do not concern a row and are left aside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import yaml

from pilotage.contracts.enrichment import Enrichment
from pilotage.contracts.model import Column, ColumnType, DataContract, RowRule
from pilotage.errors import InputError

__all__ = ["API_VERSION", "from_odcs", "to_odcs"]

API_VERSION = "v3.1.0"
TABLE = "inputs"
ENGINE = "pilotage"
"""The `engine` of the table's quality rules that are conditions over one row."""
ENRICHMENT = "enrichment"
"""The custom property of the table that says what sources bring."""
_AGES = {word + s: word[0] for word in ("day", "hour", "minute", "second") for s in ("", "s")}

_types: dict[str, ColumnType] = {
    "number": "number",
    "integer": "integer",
    "string": "string",
    "boolean": "boolean",
    "date": "string",
    "timestamp": "string",
    "time": "string",
}


def to_odcs(contract: DataContract) -> str:
    """The contract as ODCS YAML."""
    quality = [*map(_quality, contract.rules), *map(_unique_together, contract.keys)]
    fresh = [_freshness(column) for column in contract.columns if column.max_age]
    document = {
        "apiVersion": API_VERSION,
        "kind": "DataContract",
        "id": contract.name,
        "name": contract.name,
        "version": contract.version,
        "status": "active",
        "schema": [
            {
                "name": TABLE,
                "logicalType": "object",
                "properties": [_property(column) for column in contract.columns],
                **({"quality": quality} if quality else {}),
                **({"customProperties": [_enrichment(contract)]} if contract.enrichment else {}),
            }
        ],
        **({"slaProperties": fresh} if fresh else {}),
    }
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)


def from_odcs(text: str) -> DataContract:
    """The contract in ODCS YAML, also one written by hand. Raises InputError with every fault."""
    document = _document(text)
    properties = _properties(document)
    faults: list[dict[str, object]] = []
    columns = [_column(entry, faults) for entry in properties]
    rules = _rules(document, faults)
    enrichment = _enrichments(document, faults)
    keys = _keys(document, faults)
    ages = _ages(document)
    names = {column.name for column in columns if column is not None}
    faults += [
        _fault(f"slaProperties.{name}", "the freshness of no column", name, "table.column")
        for name in ages
        if name not in names
    ]
    if faults:
        raise InputError(
            "the ODCS contract cannot be held on a row",
            mend="mend every fault listed",
            faults=faults,
            code="invalid_odcs",
        )
    known = [
        msgspec.structs.replace(column, max_age=ages.get(column.name, column.max_age))
        for column in columns
        if column is not None
    ]
    return DataContract(
        name=str(document.get("name") or document.get("id") or "contract"),
        version=str(document.get("version", "")),
        columns=tuple(known),
        subject=next((column.name for column in known if column.role == "subject"), ""),
        rules=rules,
        enrichment=enrichment,
        keys=keys,
    )


def _unique_together(key: Sequence[str]) -> dict[str, Any]:
    return {"metric": "duplicateValues", "arguments": {"properties": list(key)}, "mustBe": 0}


def _keys(document: Mapping[str, Any], faults: list[dict[str, object]]) -> tuple[tuple[str, ...], ...]:
    """The columns that are unique together, by the table's rules `duplicateValues` that allow none."""
    listed = _table(document).get("quality")
    found = []
    for entry in listed if isinstance(listed, list) else []:
        if not isinstance(entry, dict) or entry.get("metric") != "duplicateValues":
            continue
        arguments = entry.get("arguments")
        names = arguments.get("properties") if isinstance(arguments, dict) else None
        if isinstance(names, list) and len(names) > 1 and entry.get("mustBe") == 0:
            found.append(tuple(map(str, names)))
        else:
            faults.append(_fault("quality", "a key that cannot be held", entry, "`properties`, and `mustBe: 0`"))
    return tuple(found)


def _freshness(column: Column) -> dict[str, Any]:
    return {
        "property": "freshness",
        "value": int(column.max_age.strip()[:-1]),
        "unit": column.max_age.strip()[-1],
        "element": f"{TABLE}.{column.name}",
    }


def _ages(document: Mapping[str, Any]) -> dict[str, str]:
    """How old the newest moment of each column may be, by the service levels `freshness` of the table's columns."""
    listed = document.get("slaProperties")
    found = {}
    for entry in listed if isinstance(listed, list) else []:
        if isinstance(entry, dict) and entry.get("property") == "freshness":
            unit = _AGES.get(str(entry.get("unit", "")).lower(), str(entry.get("unit", "")))
            element = str(entry.get("element", ""))
            found[element.partition(".")[2] or element] = f"{entry.get('value')}{unit}"
    return found


def _quality(rule: RowRule) -> dict[str, Any]:
    implementation = {"check": rule.check, "action": rule.action}
    entry = {"name": rule.name, "type": "custom", "engine": ENGINE, "implementation": implementation}
    return entry | ({"description": rule.message} if rule.message else {})


def _rules(document: Mapping[str, Any], faults: list[dict[str, object]]) -> tuple[RowRule, ...]:
    """The rules of rows among the table's `quality`; those of other engines are about tables and left aside."""
    listed = _table(document).get("quality")
    found = []
    for entry in listed if isinstance(listed, list) else []:
        if not isinstance(entry, dict) or entry.get("engine") != ENGINE:
            continue
        held = entry.get("implementation")
        values = {"name": entry.get("name"), "message": entry.get("description", "")}
        values |= held if isinstance(held, dict) else {"check": held}
        try:
            found.append(msgspec.convert(values, RowRule))
        except msgspec.ValidationError as error:
            faults.append(_fault(str(entry.get("name")), "a rule that cannot be read", error, "check, and action"))
    return tuple(found)


def _enrichment(contract: DataContract) -> dict[str, Any]:
    return {"property": ENRICHMENT, "value": [_stated(each) for each in contract.enrichment]}


def _stated(each: Enrichment) -> dict[str, Any]:
    """What differs from the defaults."""
    plain = Enrichment(source=each.source, key=each.key, columns=each.columns)
    always = ("source", "key", "columns")
    values: dict[str, Any] = msgspec.to_builtins(each)
    return {name: value for name, value in values.items() if name in always or value != getattr(plain, name)}


def _enrichments(document: Mapping[str, Any], faults: list[dict[str, object]]) -> tuple[Enrichment, ...]:
    """What sources bring, among the table's custom properties."""
    listed = _table(document).get("customProperties")
    pairs = [pair for pair in listed if isinstance(pair, dict)] if isinstance(listed, list) else []
    value = next((pair.get("value") for pair in pairs if pair.get("property") == ENRICHMENT), None)
    try:
        return msgspec.convert(value or [], tuple[Enrichment, ...])
    except msgspec.ValidationError as error:
        faults.append(_fault(ENRICHMENT, "cannot be read", error, "a list of source, key, columns"))
        return ()


def _number(value: float | str | bool) -> int | float | str | bool:
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


def _property(column: Column) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": column.name, "logicalType": column.type, "required": not column.nullable}
    if column.unique:
        entry["unique"] = True
    if column.description:
        entry["description"] = column.description
    options = {name: _number(bound) for name in ("minimum", "maximum") if (bound := getattr(column, name)) is not None}
    if column.pattern:
        options["pattern"] = column.pattern
    if column.max_length:
        options["maxLength"] = column.max_length
    if options:
        entry["logicalTypeOptions"] = options
    if column.example:
        entry["examples"] = [column.example]
    if column.personal:
        entry["classification"] = "personal"
    if column.categories is not None:
        values = [_number(value) for value in column.categories]
        entry["quality"] = [{"metric": "invalidValues", "arguments": {"validValues": values}, "mustBe": 0}]
    custom: dict[str, Any] = {"role": column.role}
    if column.personal:
        custom["personal"] = True
    if column.protected:
        custom["protected"] = True
    if column.unit:
        custom["unit"] = column.unit
    if column.format:
        custom["format"] = column.format
    if column.on_fault:
        custom["on_fault"] = dict(column.on_fault)
    if column.impute is not None:
        custom["impute"] = _number(column.impute)
    if column.purposes:
        custom["purposes"] = list(column.purposes)
    entry["customProperties"] = [{"property": name, "value": value} for name, value in custom.items()]
    return entry


def _document(text: str) -> Mapping[str, Any]:
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise InputError("the ODCS contract is not YAML", got=str(error), mend="mend the YAML") from error
    if not isinstance(document, dict) or document.get("kind") != "DataContract":
        raise InputError(
            "not an ODCS data contract",
            got=type(document).__name__,
            expected="kind: DataContract",
            mend="name the file",
        )
    version = str(document.get("apiVersion", ""))
    if not version.startswith("v3."):
        raise InputError("another version of ODCS", got=version, expected=API_VERSION, mend="convert it to v3")
    return document


def _table(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The one table of inputs, empty when there is not one."""
    tables = document.get("schema")
    tables = [table for table in tables if isinstance(table, dict)] if isinstance(tables, list) else []
    chosen = [table for table in tables if table.get("name") == TABLE] or tables
    return chosen[0] if len(chosen) == 1 else {}


def _properties(document: Mapping[str, Any]) -> list[Any]:
    properties = _table(document).get("properties")
    if not isinstance(properties, list):
        tables = document.get("schema")
        raise InputError(
            "the ODCS contract has no one table of inputs",
            got=f"{len(tables) if isinstance(tables, list) else 0} schema objects",
            expected=f"one schema object with properties, or one named {TABLE}",
            mend=f"name the table of inputs {TABLE!r}",
        )
    return properties


def _column(entry: Any, faults: list[dict[str, object]]) -> Column | None:
    """The column of one ODCS property; faults found on the way are added to `faults`."""
    name = entry.get("name") if isinstance(entry, dict) else None
    if not isinstance(name, str):
        faults.append(_fault("schema", "a property has no name", entry, "a mapping with a name"))
        return None
    before = len(faults)
    kind = _types.get(str(entry.get("logicalType")))
    if kind is None:
        faults.append(_fault(name, "not a type of a single value", entry.get("logicalType"), ", ".join(_types)))
    options = entry.get("logicalTypeOptions") or {}
    held = {"minimum", "maximum", "format", "pattern", "maxLength"}
    if not isinstance(options, dict) or (set(options) - held):
        faults.append(
            _fault(name, "a rule that the row check does not hold", options, "minimum, maximum, maxLength, pattern")
        )
    if len(faults) > before:
        return None
    custom = _custom(entry)
    values = {
        "name": name,
        "type": kind,
        "nullable": not entry.get("required", False),
        "unique": entry.get("unique", False),
        "minimum": options.get("minimum"),
        "maximum": options.get("maximum"),
        "categories": _categories(entry),
        "pattern": options.get("pattern", ""),
        "max_length": options.get("maxLength", 0),
        "example": _example(entry) if kind == "string" else "",
        "description": str(entry.get("description", "")),
        **custom,
        "personal": custom.get("personal", entry.get("classification") == "personal"),
    }
    try:
        return msgspec.convert(values, Column)
    except msgspec.ValidationError as error:
        faults.append(_fault(name, "a value of the wrong type", error, "as ODCS says"))
        return None


def _custom(entry: Mapping[str, Any]) -> dict[str, Any]:
    listed = entry.get("customProperties")
    pairs = [pair for pair in listed if isinstance(pair, dict)] if isinstance(listed, list) else []
    known = ("role", "personal", "protected", "unit", "format", "on_fault", "impute", "purposes")
    return {pair["property"]: pair.get("value") for pair in pairs if pair.get("property") in known}


def _example(entry: Mapping[str, Any]) -> str:
    """The first text among a property's examples, where there are no categories to choose from."""
    listed = entry.get("examples")
    texts = [each for each in listed if isinstance(each, str)] if isinstance(listed, list) else []
    return texts[0] if texts and _categories(entry) is None else ""


def _categories(entry: Mapping[str, Any]) -> Any:
    rules = entry.get("quality")
    for rule in rules if isinstance(rules, list) else []:
        arguments = rule.get("arguments") if isinstance(rule, dict) and rule.get("metric") == "invalidValues" else None
        if isinstance(arguments, dict) and "validValues" in arguments:
            return arguments["validValues"]
    return None


def _fault(path: str, message: str, got: object, expected: str) -> dict[str, object]:
    return {
        "path": path,
        "code": "invalid_odcs",
        "message": message,
        "got": str(got)[:120],
        "expected": expected,
        "mend": "change it, or check it elsewhere and remove it here",
    }
