"""The JSON schemas of what goes in and out of the gateway, for OpenAPI: fixed ones, and a row's from its contract."""

from __future__ import annotations

from typing import Any

from pilotage.contracts.model import EXACT_INTEGER, Column, DataContract
from pilotage.contracts.rows import SUBJECT_LENGTH
from pilotage.gateway.open_inference import OUTPUTS
from pilotage.gateway.tensors import DATATYPES

__all__ = ["SCHEMAS", "reference", "row_schema"]

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_TEXTS: Schema = {"type": "array", "items": _TEXT}


def reference(name: str) -> Schema:
    """A reference to a shared schema."""
    return {"$ref": f"#/components/schemas/{name}"}


def _object(required: dict[str, Any], optional: dict[str, Any] | None = None, **more: Any) -> Schema:
    properties = required | (optional or {})
    return {"type": "object", "properties": properties, "required": list(required), **more}


_FAULT = _object({"path": _TEXT, "code": _TEXT, "message": _TEXT}, {"got": _TEXT, "expected": _TEXT, "mend": _TEXT})
_FAULTS: Schema = {"type": "array", "items": reference("Fault")}
_FACTS: Schema = {"got": _TEXT, "expected": _TEXT, "faults": _FAULTS}
_OUTCOMES = ["answered", "fallback", "abstained", "review", "rejected", "refused"]
_LINEAGE: Schema = {"id": _TEXT, "system": _TEXT, "release": _TEXT, "outcome": {"enum": _OUTCOMES}}
_SHAPE: Schema = {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 1, "maxItems": 2}
_TENSOR: Schema = {"name": _TEXT, "shape": _SHAPE, "datatype": {"enum": list(DATATYPES)}, "data": {"type": "array"}}
_METADATA: Schema = {
    "type": "array",
    "items": _object({"name": _TEXT, "datatype": _TEXT, "shape": {"type": "array", "items": {"type": "integer"}}}),
}
_TOLD: Schema = {"decision": _TEXT, "event": _TEXT, "receipt": _TEXT}
_OUTCOME_FACTS: Schema = {"at": _TEXT, "source": _TEXT, "system": _TEXT}
_OUTCOME_VALUE: Schema = {"type": ["string", "number", "boolean"]}

SCHEMAS: dict[str, Schema] = {
    "Fault": _FAULT,
    "Problem": _object({"code": _TEXT, "message": _TEXT, "mend": _TEXT}, _FACTS),
    "Error": _object({"error": reference("Problem"), "request_id": _TEXT}, {"id": _TEXT}),
    "Answer": _object({"score": {"type": "number"}, "label": _TEXT}),
    "Decision": _object({**_LINEAGE, "request_id": _TEXT}, {"answer": reference("Answer")}),
    "RowDecision": _object(
        {**_LINEAGE, "receipt": _TEXT},
        {"answer": reference("Answer"), "faults": _FAULTS, "error": reference("Problem")},
    ),
    "Decisions": _object({"request_id": _TEXT, "decisions": {"type": "array", "items": reference("RowDecision")}}),
    "Description": _object(
        {
            "system": _TEXT,
            "release": _TEXT,
            "stage": _TEXT,
            "stopped": _TEXT,
            "max_rows": {"type": "integer"},
            "contract": {"type": ["object", "null"]},
            "example": {"type": ["object", "null"]},
        }
    ),
    "Outcome": _object({"value": _OUTCOME_VALUE}, _OUTCOME_FACTS, additionalProperties=False),
    "Outcomes": _object(
        {
            "outcomes": {
                "type": "array",
                "minItems": 1,
                "items": _object(
                    {"decision": _TEXT, "value": _OUTCOME_VALUE}, _OUTCOME_FACTS, additionalProperties=False
                ),
            }
        },
        additionalProperties=False,
    ),
    "Told": _object(_TOLD),
    "ToldMany": _object({"recorded": {"type": "integer"}, "outcomes": {"type": "array", "items": reference("Told")}}),
    "Live": _object({"live": {"type": "boolean"}}),
    "Ready": _object({"ready": {"type": "boolean"}}, {"plan": {"type": "integer"}, "reason": _TEXT, "name": _TEXT}),
    "Server": _object({"name": _TEXT, "version": _TEXT, "extensions": _TEXTS}),
    "Model": _object({"name": _TEXT, "versions": _TEXTS, "platform": _TEXT, "inputs": _METADATA, "outputs": _METADATA}),
    "InferRequest": _object(
        {"inputs": {"type": "array", "minItems": 1, "items": _object(_TENSOR, {"parameters": {"type": "object"}})}},
        {
            "id": _TEXT,
            "parameters": {"type": "object"},
            "outputs": {
                "type": "array",
                "items": _object({"name": {"enum": list(OUTPUTS)}}, {"parameters": {"type": "object"}}),
            },
        },
        additionalProperties=False,
    ),
    "InferResponse": _object(
        {
            "model_name": _TEXT,
            "model_version": _TEXT,
            "id": _TEXT,
            "parameters": {"type": "object"},
            "outputs": {"type": "array", "items": _object(_TENSOR)},
        }
    ),
    "InferError": _object(
        {"error": _TEXT, "code": _TEXT, "mend": _TEXT, "request_id": _TEXT},
        {**_FACTS, "decisions": {"type": "array", "items": reference("RowDecision")}},
    ),
}
"""The schemas that every answer of the gateway is described with."""


def row_schema(contract: DataContract) -> Schema:
    """What one row of a contract is: every feature that a request brings and the subject, nothing else."""
    return {
        "type": "object",
        "properties": {column.name: _column(column) for column in (*contract.inputs, *contract.optional)},
        "required": [column.name for column in contract.inputs],
        "additionalProperties": False,
    }


def _column(column: Column) -> Schema:
    words = ", ".join(each for each in (column.description, column.unit and f"in {column.unit}") if each)
    schema = _value(column) | ({"description": words} if words else {})
    if column.role == "subject" or not column.nullable:
        return schema
    if "enum" in schema:
        return schema | {"enum": [*schema["enum"], None]}
    return schema | {"type": [schema["type"], "null"]}


def _value(column: Column) -> Schema:
    if column.role == "subject":
        text = {"type": "string", "minLength": 1, "maxLength": SUBJECT_LENGTH, "pattern": r"\S"}
        return {"anyOf": [text, {"type": "integer"}]}
    if column.categories is not None:
        return {"enum": [_plain(value) for value in column.categories]}
    if column.type == "string":
        form = {"date": "date", "email": "email", "uuid": "uuid"}.get(column.format)
        told = {"maxLength": column.longest, "pattern": column.pattern or None, "format": form}
        return {"type": "string"} | {name: value for name, value in told.items() if value}
    if not column.numeric:
        return {"type": column.type}
    low, high = column.minimum, column.maximum
    if column.type == "integer":
        low = max(-EXACT_INTEGER, -EXACT_INTEGER if low is None else low)
        high = min(EXACT_INTEGER, EXACT_INTEGER if high is None else high)
    bounds = {"minimum": low, "maximum": high}
    return {"type": column.type} | {name: _plain(bound) for name, bound in bounds.items() if bound is not None}


def _plain(value: float | str) -> float | str | int:
    return int(value) if not isinstance(value, str) and value.is_integer() else value
