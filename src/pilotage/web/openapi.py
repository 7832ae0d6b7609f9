"""OpenAPI 3.1 of the control API, made from the table of its operations and the structs of their bodies."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from pilotage import __version__
from pilotage.web.filters import FIELDS
from pilotage.web.operation import Operation

__all__ = ["openapi"]

_STATUSES = {
    401: "Nobody known: no token, or one that is unknown, expired or revoked.",
    403: "A known person without the permission, or a write that did not come from this site.",
    404: "No such thing.",
    409: "It exists already, changed meanwhile, or a rule of governance says no.",
    410: "It was here, and was deleted as the retention rules say.",
    413: "The body is too large, or does not say its length.",
    422: "The input does not fit; every fault is listed.",
    500: "Stored bytes are not what was signed, or something broke.",
    503: "Not now: the same request may succeed later.",
}
_TEXT = {"type": "string"}
_FAULT_FIELDS = ("path", "code", "message", "got", "expected", "mend")
_ERROR = {
    "type": "object",
    "required": ["error"],
    "additionalProperties": False,
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "mend"],
            "additionalProperties": False,
            "properties": {
                **dict.fromkeys(("code", "message", "got", "expected", "mend"), _TEXT),
                "faults": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["path", "code", "message"],
                        "additionalProperties": False,
                        "properties": {name: {} for name in _FAULT_FIELDS},
                    },
                },
            },
        }
    },
}
_WORDS = {each.name: each.help for each in FIELDS}


def openapi(operations: Sequence[Operation]) -> dict[str, Any]:
    """The document of these operations."""
    kinds = [each.body for each in operations if each.body is not None]
    _, bodies = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    paths: dict[str, dict[str, Any]] = {}
    for each in operations:
        paths.setdefault(f"/api/v1{each.path}", {})[each.method.lower()] = _operation(each)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Pilotage control API",
            "version": __version__,
            "description": "What people and their tools do to an installation. Each operation names its permission.",
        },
        "paths": paths,
        "components": {
            "schemas": {"Error": _ERROR, **{name: _closed(schema) for name, schema in bodies.items()}},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"bearer": []}],
    }


def _closed(schema: dict[str, Any]) -> dict[str, Any]:
    """A field that a body has no use for is a fault."""
    return {**schema, "additionalProperties": False} if schema.get("type") == "object" else schema


def _operation(each: Operation) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": re.sub(r"[^a-z]+", "_", f"{each.method}{each.path}".lower()).strip("_"),
        "summary": each.says,
        "description": f"Permission: {each.permission}.",
        "parameters": list(_parameters(each)),
        "responses": _responses(each),
    }
    if each.body is not None:
        optional = not any(field.required for field in msgspec.structs.fields(each.body))
        schema = {"$ref": f"#/components/schemas/{each.body.__name__}"}
        found["requestBody"] = {"required": not optional, "content": {"application/json": {"schema": schema}}}
    return found


def _parameters(each: Operation) -> Iterator[dict[str, Any]]:
    for name in re.findall(r"{(\w+)}", each.path):
        yield {"name": name, "in": "path", "required": True, "schema": {**_TEXT, "minLength": 1}}
    for name in each.query:
        words = {"description": _WORDS[name]} if name in _WORDS else {}
        yield {"name": name, "in": "query", **words, "schema": _TEXT}


def _responses(each: Operation) -> dict[str, Any]:
    wrong = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    found = {str(status): {"description": words, "content": wrong} for status, words in _STATUSES.items()}
    for status in each.made:
        found[str(status)] = {"description": each.says, "content": {each.media: {"schema": {}}}}
    return dict(sorted(found.items()))
