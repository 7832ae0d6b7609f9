"""OpenAPI 3.1 of the gateway, made from the table of its addresses and the data contracts of the live systems."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from pilotage import __version__
from pilotage.gateway.addresses import ADDRESSES, Address, is_open_inference
from pilotage.gateway.describe import example_row
from pilotage.gateway.openapi_schemas import SCHEMAS, reference, row_schema
from pilotage.gateway.state import LiveSystem

__all__ = ["openapi"]

_STATUSES = {
    400: "The body cannot be read.",
    401: "No key, or one that is unknown, expired or revoked.",
    403: "The key has no scope for this, or is used from another network.",
    404: "No such address, system or version.",
    405: "The address takes other methods: see the header Allow.",
    408: "The request did not arrive in time.",
    409: "A request with this Idempotency-Key is being worked on.",
    413: "The body is too large, or has too many rows.",
    422: "The input does not fit; every fault is listed.",
    429: "Too much with this key: wait as long as Retry-After says.",
    431: "The headers are too large.",
    500: "The gateway failed on this request.",
    503: "No answer now: refused, overloaded, or not ready.",
}
_ANSWERS = {
    "live": "Live",
    "ready": "Ready",
    "v2_live": "Live",
    "v2_ready": "Ready",
    "v2_server": "Server",
    "v2_model": "Model",
    "v2_model_ready": "Ready",
    "v2_infer": "InferResponse",
    "outcome": "Told",
    "outcomes": "ToldMany",
}
_ASKED = {"outcome": "Outcome", "outcomes": "Outcomes", "v2_infer": "InferRequest"}
_READINESS = ("ready", "v2_ready", "v2_model_ready")
_DESCRIPTION = (
    "Decisions of AI systems, each on record before its answer leaves. Errors say what happened, what was got and "
    "expected, every fault of the input, and the mend. The inputs are those of the live releases' data contracts."
)


def openapi(systems: Iterable[LiveSystem]) -> dict[str, Any]:
    """The OpenAPI document with the addresses of these systems, and those of no system."""
    schemas, paths = dict(SCHEMAS), {}
    live = sorted(systems, key=lambda each: each.route.system)
    for each in live:
        if each.model is not None:
            schemas[_row_name(each)] = row_schema(each.model.contract)
    for address in ADDRESSES:
        for template, system in _templates(address, live):
            paths[template] = {method.lower(): _operation(address, method, system) for method in address.methods}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Pilotage gateway", "version": __version__, "description": _DESCRIPTION},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def _templates(address: Address, live: list[LiveSystem]) -> Iterator[tuple[str, LiveSystem | None]]:
    """The paths of an address: one for each system where it is about one."""
    if address.access != "decide":
        yield address.template, None
        return
    for each in live:
        yield address.template.replace("{system}", each.route.system), each


def _row_name(live: LiveSystem) -> str:
    return "Row." + re.sub(r"[^A-Za-z0-9._-]", "-", live.route.system)


def _operation(address: Address, method: str, live: LiveSystem | None) -> dict[str, Any]:
    name = f"{address.name}_{method.lower()}"
    operation: dict[str, Any] = {
        "operationId": f"{name}_{live.route.system}" if live is not None else name,
        "summary": address.methods[method],
        "tags": [live.route.system if live is not None else "gateway"],
        "security": [] if address.access == "open" else [{"bearer": []}, {"key": []}],
        "parameters": [*_parts(address, live), *(_HEADERS if method == "POST" else ())],
        "responses": _responses(address, method),
    }
    if "{version}" in address.template:
        operation["operationId"] += "_version"
    if method == "POST":
        operation["requestBody"] = {"required": True, "content": {"application/json": _body(address, live)}}
    return operation


_HEADERS = (
    {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "Sent again with the same body, the same answer comes.",
        "schema": {"type": "string", "minLength": 16, "maxLength": 255, "pattern": "^[!-~]{16,255}$"},
    },
    {
        "name": "traceparent",
        "in": "header",
        "description": "W3C trace context; one that cannot be read is left out of the record.",
        "schema": {"type": "string"},
    },
)


def _parts(address: Address, live: LiveSystem | None) -> Iterator[dict[str, Any]]:
    for name in re.findall(r"{(\w+)}", address.template):
        if name != "system":
            schema: dict[str, Any] = {"type": "string"}
            if name == "version" and live is not None:
                schema = {"enum": [live.route.release]}
            yield {"name": name, "in": "path", "required": True, "schema": schema}


def _body(address: Address, live: LiveSystem | None) -> dict[str, Any]:
    if address.name in _ASKED:
        return {"schema": reference(_ASKED[address.name])}
    if live is None or live.model is None:
        return {"schema": {"type": "object"}}
    row = reference(_row_name(live))
    many = {"type": "array", "items": row, "minItems": 1, "maxItems": live.route.max_rows}
    inputs = {
        "type": "object",
        "properties": {"inputs": {"anyOf": [row, many]}},
        "required": ["inputs"],
        "additionalProperties": False,
    }
    return {"schema": inputs, "example": {"inputs": example_row(live.model.contract.inputs)}}


def _responses(address: Address, method: str) -> dict[str, Any]:
    wrong = reference("InferError" if is_open_inference(address.template) else "Error")
    found: dict[str, Any] = {}
    for status, words in _STATUSES.items():
        if _may(address, method, status):
            found[str(status)] = _json(words, wrong)
    if address.name == "decide" and method == "POST":
        found["200"] = _json("The decision of the row, or those of all rows.", _either("Decision", "Decisions"))
        found["202"] = _json("A human judgement is asked for; the id is for it.", _either("Decision", "Decisions"))
        for none in (422, 503):
            found[str(none)] = _json(_STATUSES[none], _either("Error", "Decisions"))
    elif address.name == "decide":
        found["200"] = _json("The live release's contract.", reference("Description"))
    elif address.name == "metrics":
        found["200"] = {"description": "Prometheus text.", "content": {"text/plain": {"schema": {"type": "string"}}}}
    elif address.name == "openapi":
        found["200"] = _json("This document.", {"type": "object"})
    else:
        found["201" if address.access == "outcome" else "200"] = _json(
            address.methods[method], reference(_ANSWERS[address.name])
        )
    if address.name in _READINESS:
        not_ready = [reference("Ready")] if address.access == "open" else [reference("Ready"), wrong]
        found["503"] = _json("Not ready.", {"anyOf": not_ready})
    return dict(sorted(found.items()))


def _may(address: Address, method: str, status: int) -> bool:
    """Whether an address may answer with a status."""
    if address.access == "open":
        return status in (405, 408, 431, 500)
    return method == "POST" or status not in (400, 409, 413, 422)


def _either(*names: str) -> dict[str, Any]:
    return {"anyOf": [reference(name) for name in names]}


def _json(words: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": words, "content": {"application/json": {"schema": schema}}}
