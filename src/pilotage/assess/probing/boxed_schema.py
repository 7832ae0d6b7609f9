"""Inside the box: what a service's own OpenAPI document says of its inputs. Standard library only."""

from __future__ import annotations

from typing import Any

__all__ = ["example_of", "optional_of"]


def optional_of(document: dict[str, Any], path: str) -> set[str]:
    """The inputs that the service's own schema says may be left out."""
    try:
        schema = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        found: Any = document if "$ref" in schema else schema
        for part in schema["$ref"].removeprefix("#/").split("/") if "$ref" in schema else ():
            found = found[part]
        return set(found.get("properties", {})) - set(found.get("required", []))
    except (KeyError, TypeError, AttributeError):
        return set()


def example_of(schema: Any, document: Any, row: dict[str, Any], depth: int, name: str = "") -> Any:
    """A value that a JSON schema describes: its example or default, the pilot's own row by name, else by type."""
    if depth > 6:
        return None
    if "$ref" in schema:
        found: Any = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        return example_of(found, document, row, depth + 1, name)
    for known in ("example", "default"):
        if known in schema:
            return schema[known]
    if schema.get("examples"):
        return schema["examples"][0]
    if name in row:
        return row[name]
    if schema.get("enum"):
        return schema["enum"][0]
    for choice in ("anyOf", "oneOf", "allOf"):
        if schema.get(choice):
            return example_of(schema[choice][0], document, row, depth + 1, name)
    if "properties" in schema:
        return {key: example_of(each, document, row, depth + 1, key) for key, each in schema["properties"].items()}
    if schema.get("type") == "array":
        length = max(1, min(64, int(schema.get("minItems", 1))))
        return [example_of(schema.get("items", {}), document, row, depth + 1)] * length
    low = schema.get("minimum", schema.get("exclusiveMinimum", 0))
    plain = {"integer": int(low) + 1, "number": float(low) + 1.0, "boolean": True, "string": "a", "object": {}}
    return plain.get(schema.get("type", ""), 1)
