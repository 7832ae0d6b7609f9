"""The Open Inference Protocol v2 over HTTP and JSON: tensors in, tensors out, decided on the way of every request.

A request's tensors become rows by name, and these go through contract, answer and record as any others; so the record
does not tell by which protocol it was asked. The protocol knows no answer in part: when a row has none, the whole
request is an error, which lists the decisions of all its rows.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from pilotage import __version__
from pilotage.contracts.body import parse
from pilotage.contracts.faults import MalformedBody, shown_name
from pilotage.errors import InputError, NotFound, PilotageError
from pilotage.gateway.reply import Reply, json_reply
from pilotage.gateway.state import LiveSystem
from pilotage.gateway.tensors import Tensor, datatype_of, read_rows

__all__ = [
    "OUTPUTS",
    "Inference",
    "OutputUnknown",
    "infer_error",
    "infer_reply",
    "model_metadata",
    "must_be_live",
    "read_inference",
    "server_metadata",
]

OUTPUTS = {"score": "FP64", "label": "BYTES", "outcome": "BYTES", "decision_id": "BYTES", "receipt": "BYTES"}
"""The tensors of an answer, each of shape [rows], with their datatypes."""

_EXAMPLE = '{"inputs": [{"name": ..., "shape": [rows], "datatype": ..., "data": [...]}, ...]}'
_HEAD = 65_536
_OWN_HEADERS = (b"content-type", b"content-length")


class OutputUnknown(InputError):
    """An output is asked for that no answer has."""

    code, status = "output_unknown", 400


class _Wanted(msgspec.Struct, frozen=True):
    name: str
    parameters: dict[str, Any] = {}


class _Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    inputs: list[Tensor]
    id: str = ""
    parameters: dict[str, Any] = {}
    outputs: list[_Wanted] | None = None


class Inference(msgspec.Struct, frozen=True, kw_only=True):
    """A request that was read: `body` is the same rows as `decide` takes them, `outputs` the tensors to answer with."""

    id: str
    body: bytes
    outputs: list[str]


_decoder = msgspec.json.Decoder(_Request)


def server_metadata() -> dict[str, Any]:
    """What the server says of itself. It has no extension: tensors are JSON."""
    return {"name": "pilotage", "version": __version__, "extensions": []}


def model_metadata(live: LiveSystem) -> dict[str, Any]:
    """A system as a model: its version is the digest of the live release; no inputs while that cannot be loaded."""
    model = live.model
    sent = model.contract.inputs if model is not None else ()
    return {
        "name": live.route.system,
        "versions": [live.route.release],
        "platform": f"pilotage_{model.spec.runtime}" if model is not None else "pilotage",
        "inputs": [
            {"name": column.name, "datatype": datatype_of(column), "shape": [-1]}
            for column in sent
            if column.role in ("feature", "subject")
        ],
        "outputs": [{"name": name, "datatype": kind, "shape": [-1]} for name, kind in OUTPUTS.items()],
    }


def must_be_live(live: LiveSystem, version: str | None) -> None:
    """Raises NotFound when a version is asked for that is not the live release; `sha256:` may be left out."""
    release = live.route.release
    if version is not None and version not in (release, release.removeprefix("sha256:")):
        raise NotFound(
            f"this version of {live.route.system} is not live",
            got=version[:80],
            expected=release,
            mend="ask for the live version, or for none",
            code="version_not_live",
        )


def read_inference(body: bytes, live: LiveSystem) -> Inference:
    """The request in a body. Raises MalformedBody, TooManyRows, InputError `tensor_invalid` or `output_unknown` (400).

    It may take milliseconds for a large body. Nothing is read while the release cannot be loaded: it is refused anyway.
    """
    if live.model is None:
        return Inference(id="", body=b"", outputs=list(OUTPUTS))
    request, plain = _decoded(body)
    outputs = [wanted.name for wanted in request.outputs] if request.outputs else list(OUTPUTS)
    for name in outputs:
        if name not in OUTPUTS:
            raise _unknown_output(name)
    rows = read_rows(request.inputs, live.model.contract, live.route.max_rows)
    # NaN and infinities are no JSON, but the contract names their field: only Python's encoder writes them.
    inputs = msgspec.json.encode({"inputs": rows}) if plain else json.dumps({"inputs": rows}).encode()
    return Inference(id=request.id, body=inputs, outputs=outputs)


def _decoded(body: bytes) -> tuple[_Request, bool]:
    """The request, and whether it is plain JSON, without NaN or infinities."""
    try:
        return _decoder.decode(body), True
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    if b'"binary_data_size"' in body[:_HEAD]:
        raise MalformedBody(
            "tensors in binary are not taken",
            got="binary_data_size",
            expected=_EXAMPLE,
            mend="send `data` as JSON; in tritonclient: set_data_from_numpy(..., binary_data=False)",
        )
    content = parse(body)
    try:
        # JSON's escapes can spell half a character, which no answer could repeat.
        json.dumps(content, ensure_ascii=False).encode()
        return msgspec.convert(content, _Request), False
    except UnicodeEncodeError as error:
        raise MalformedBody(
            "the body holds text that is none", got="half a character", expected="whole ones", mend="mend the escapes"
        ) from error
    except (msgspec.ValidationError, RecursionError) as error:
        raise MalformedBody(
            "not an inference request", got=str(error)[:200], expected=_EXAMPLE, mend="send such an object"
        ) from error


def _unknown_output(name: str) -> OutputUnknown:
    return OutputUnknown(
        "there is no such output",
        got=shown_name(name),
        expected=", ".join(OUTPUTS),
        mend="name one of these, or none for all",
    )


def infer_reply(inference: Inference, reply: Reply, live: LiveSystem) -> Reply:
    """The protocol's form of what `decide` answered to the rows of an inference."""
    content = msgspec.json.decode(reply.body)
    headers = [header for header in reply.headers if header[0] not in _OWN_HEADERS]
    rows = content.get("decisions")
    if rows is None:
        error = content.get("error", {})
        refused = {**error, "error": _sentence(error), "request_id": content.get("request_id", "")}
        refused.pop("message", None)
        return json_reply(reply.status, refused, *headers, outcome=reply.outcome)
    if len(rows) == 1 and not any(name == b"pilotage-receipt" for name, _ in headers):
        headers.append((b"pilotage-receipt", rows[0]["receipt"].encode()))
    if any("answer" not in row for row in rows):
        status = reply.status if reply.status != 200 else 503 if _any(rows, "refused") else 422
        return json_reply(status, _not_all(content, rows), *headers, outcome=reply.outcome)
    answered = {
        "model_name": live.route.system,
        **({"model_version": rows[0]["release"]} if len({row["release"] for row in rows}) == 1 else {}),
        "id": inference.id or content["request_id"],
        "parameters": {"request_id": content["request_id"], **_of_one(rows)},
        "outputs": [
            {"name": name, "datatype": OUTPUTS[name], "shape": [len(rows)], "data": [_value(row, name) for row in rows]}
            for name in inference.outputs
        ],
    }
    return json_reply(200, answered, *headers, outcome=reply.outcome)


def _any(rows: Sequence[dict[str, Any]], outcome: str) -> bool:
    return any(row["outcome"] == outcome for row in rows)


def _of_one(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What a reply says beside its tensors; that an answer is degraded holds when one row's is."""
    told: dict[str, Any] = {"decision_id": rows[0]["id"], "receipt": rows[0]["receipt"]} if len(rows) == 1 else {}
    return told | ({"degraded": True} if any("degraded" in row for row in rows) else {})


def _value(row: dict[str, Any], name: str) -> Any:
    if name == "decision_id":
        return row["id"]
    return row[name] if name in row else row["answer"].get(name)


def _not_all(content: dict[str, Any], rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The error of a request of which some rows have no answer: what is wrong with them, and every row's decision."""
    without = [(place, row) for place, row in enumerate(rows) if "answer" not in row]
    place, first = without[0]
    faults = [fault for _, row in without for fault in row.get("faults", ())]
    error = first.get("error") or _withheld(first)
    if faults:
        why = f"{faults[0]['message']}, got: {faults[0]['got']}, expected: {faults[0]['expected']}"
    else:
        why = str(error.get("message", first["outcome"]))
    told: dict[str, Any] = {
        "error": f"{len(without)} of {len(rows)} rows have no answer; row {place}: {why}",
        "code": error["code"],
        "mend": error["mend"],
        "request_id": content["request_id"],
        "decisions": [{name: value for name, value in row.items() if name != "faults"} for row in rows],
    }
    return told | ({"faults": faults} if faults else {})


def _withheld(row: dict[str, Any]) -> dict[str, Any]:
    if "because" in row:
        return {"code": row["because"], "mend": "ask the system's owner, with the decision's id"}
    return {"code": "contract", "mend": "mend every fault listed, then send the rows again"}


def infer_error(error: PilotageError, request_id: str, *headers: tuple[bytes, bytes]) -> Reply:
    """An error in the protocol's form: `error` is a sentence, beside it code, mend and faults as everywhere."""
    content = error.as_dict()
    told = {"error": _sentence(content), **content, "request_id": request_id}
    told.pop("message", None)
    return json_reply(error.status, told, *headers, outcome=error.code)


def _sentence(error: dict[str, Any]) -> str:
    facts = [f"{name}: {error[name]}" for name in ("got", "expected") if name in error]
    faults = error.get("faults") or ()
    facts += [f"{fault['path']}: {fault['message']}, got: {fault['got']}" for fault in faults[:1]]
    return "; ".join([str(error.get("message", "the request failed")), *facts])
