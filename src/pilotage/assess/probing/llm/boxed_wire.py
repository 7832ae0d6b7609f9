"""What applications send to providers of language models, read in one way, and answers in each provider's words.

OpenAI (chat completions, completions, responses, embeddings), Anthropic (messages) and Ollama (chat, generate,
embeddings). Standard library only: it runs in the box.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

__all__ = ["SYSTEM", "Asked", "Message", "Reply", "Tool", "answer", "filled", "pieces"]

SYSTEM = ("system", "developer")
_ENDS = {
    "/chat/completions": "chat",
    "/completions": "completion",
    "/responses": "responses",
    "/messages": "anthropic",
    "/embeddings": "embeddings",
    "/api/chat": "ollama",
    "/api/generate": "generate",
    "/api/embed": "embed",
    "/api/embeddings": "embed",
}
_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "num_predict")
_DEPTH = 6


@dataclass(frozen=True)
class Message:
    """`role` is system, developer, user, assistant or tool."""

    role: str
    text: str


@dataclass(frozen=True)
class Tool:
    """A tool that the model is offered; `schema` is the JSON schema of its arguments."""

    name: str
    about: str
    schema: dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """What the twin answers: a text, calls of tools (name, arguments), a status with raw bytes, or nothing for long."""

    text: str = ""
    calls: tuple[tuple[str, dict[str, Any]], ...] = ()
    status: int = 200
    raw: bytes | None = None
    hangs: bool = False


@dataclass(frozen=True)
class Asked:
    """One request as it came. `body` is empty for what is no JSON object."""

    path: str
    body: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """Which of the interfaces it is; empty for another address."""
        path = self.path.partition("?")[0].rstrip("/")
        return next((kind for end, kind in _ENDS.items() if path.endswith(end)), "")

    @property
    def speaks(self) -> bool:
        """Whether a model is asked to write."""
        return self.kind not in ("", "embeddings", "embed")

    @cached_property
    def messages(self) -> list[Message]:
        """All texts with the role under which they were sent."""
        return [each for each in _messages(self.body) if each.text]

    @cached_property
    def text(self) -> str:
        return "\n".join(each.text for each in self.messages)

    @property
    def streams(self) -> bool:
        return bool(self.body.get("stream", self.kind in ("ollama", "generate")))

    @property
    def limited(self) -> bool:
        """Whether the length of the answer is limited."""
        options = self.body.get("options")
        return any(each.get(name) for each in (self.body, options) if isinstance(each, dict) for name in _LIMITS)

    @property
    def tools(self) -> list[Tool]:
        """The tools that it declares."""
        found = []
        for each in [*_listed(self.body.get("tools")), *_listed(self.body.get("functions"))]:
            function = each.get("function")
            inner: dict[str, Any] = function if isinstance(function, dict) else each
            schema = inner.get("parameters") or inner.get("input_schema") or {}
            if isinstance(inner.get("name"), str):
                told = inner.get("description")
                found.append(Tool(inner["name"], str(told or ""), schema if isinstance(schema, dict) else {}))
        return found

    @property
    def forced(self) -> Tool | None:
        """The tool that must be called: a way to ask for an answer of a given shape."""
        chosen = self.body.get("tool_choice")
        if not isinstance(chosen, dict):
            return None
        inner = chosen.get("function")
        name = inner.get("name") if isinstance(inner, dict) else chosen.get("name")
        return next((each for each in self.tools if each.name == name), None)

    @property
    def shape(self) -> dict[str, Any] | None:
        """The JSON schema of the answer that it wants; an empty one for any object; None for plain text."""
        for form in (self.body.get("response_format"), _inside(self.body, "text", "format"), self.body.get("format")):
            if form == "json" or (isinstance(form, dict) and form.get("type") == "json_object"):
                return {}
            if isinstance(form, dict) and form.get("type") == "json_schema":
                inner = form.get("json_schema")
                schema = inner.get("schema") if isinstance(inner, dict) else form.get("schema")
                return schema if isinstance(schema, dict) else {}
            if isinstance(form, dict) and form.get("type") == "object":
                return form
        return None


def _listed(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _inside(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _messages(body: dict[str, Any]) -> Iterator[Message]:
    for name in ("system", "instructions"):
        if name in body:
            yield Message("system", _plain(body[name]))
    for name in ("prompt", "input"):
        if isinstance(body.get(name), str):
            yield Message("user", body[name])
    if isinstance(body.get("prompt"), list):
        yield Message("user", _plain(body["prompt"]))
    for each in [*_listed(body.get("messages")), *_listed(body.get("input"))]:
        if each.get("type") == "function_call_output":
            yield Message("tool", _plain(each.get("output")))
            continue
        results = [part for part in _listed(each.get("content")) if part.get("type") == "tool_result"]
        yield from (Message("tool", _plain(part.get("content")) or " ") for part in results)
        yield Message(str(each.get("role", "user")), _plain(each.get("content")))


def _plain(content: Any) -> str:
    """The text of a content: a string, or parts of which some are text."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = [each if isinstance(each, str) else _inside(each, "text") for each in content]
        return "\n".join(part for part in parts if isinstance(part, str))
    return ""


# ---- answering


def filled(schema: dict[str, Any], text: str, whole: dict[str, Any] | None = None, depth: int = 0) -> Any:
    """A value of a JSON schema in which every free text is `text`."""
    whole = schema if whole is None else whole
    if depth > _DEPTH or not isinstance(schema, dict):
        return text
    if isinstance(schema.get("$ref"), str):
        found: Any = _inside(whole, *schema["$ref"].removeprefix("#/").split("/"))
        return filled(found or {}, text, whole, depth + 1)
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        return schema["enum"][0]
    if "const" in schema:
        return schema["const"]
    for choice in ("anyOf", "oneOf", "allOf"):
        if isinstance(schema.get(choice), list) and schema[choice]:
            return filled(schema[choice][0], text, whole, depth + 1)
    if isinstance(schema.get("properties"), dict):
        return {key: filled(each, text, whole, depth + 1) for key, each in schema["properties"].items()}
    if schema.get("type") == "array":
        return [filled(schema.get("items") or {}, text, whole, depth + 1)]
    plain: dict[str, Any] = {"integer": 1, "number": 1.0, "boolean": True, "null": None, "object": {}}
    return plain.get(str(schema.get("type")), text)


def _shaped(asked: Asked, reply: Reply) -> Reply:
    """The reply in the shape that was asked for."""
    if reply.calls or reply.raw is not None:
        return reply
    if (forced := asked.forced) is not None:
        given = filled(forced.schema, reply.text)
        return Reply(calls=((forced.name, given if isinstance(given, dict) else {}),))
    if (shape := asked.shape) is not None:
        return Reply(text=json.dumps(filled(shape, reply.text) if shape else {"answer": reply.text}))
    return reply


def answer(asked: Asked, reply: Reply) -> dict[str, Any]:
    """The whole answer as JSON values."""
    if asked.kind in ("embeddings", "embed"):
        return _embeddings(asked)
    reply = _shaped(asked, reply)
    model = str(asked.body.get("model", "twin"))
    used = {"prompt_tokens": len(asked.text) // 4 + 1, "completion_tokens": len(reply.text) // 4 + 1}
    used["total_tokens"] = sum(used.values())
    in_out = {"input_tokens": used["prompt_tokens"], "output_tokens": used["completion_tokens"]}
    stop = "tool_calls" if reply.calls else "stop"
    if asked.kind == "completion":
        choice = {"index": 0, "text": reply.text, "finish_reason": stop, "logprobs": None}
        return _head("text_completion", model) | {"choices": [choice], "usage": used}
    if asked.kind == "anthropic":
        return _of_anthropic(reply, model, in_out)
    if asked.kind == "responses":
        return _of_responses(reply, model, in_out | {"total_tokens": used["total_tokens"]})
    if asked.kind in ("ollama", "generate"):
        return _ollama(asked, reply, model) | {"done": True, "done_reason": "stop", "eval_count": 1}
    message: dict[str, Any] = {"role": "assistant", "content": reply.text or None}
    if reply.calls:
        message["tool_calls"] = [_called(*each) for each in _numbered(reply)]
    choice = {"index": 0, "message": message, "finish_reason": stop, "logprobs": None}
    return _head("chat.completion", model) | {"choices": [choice], "usage": used}


def _of_anthropic(reply: Reply, model: str, used: dict[str, int]) -> dict[str, Any]:
    content: list[dict[str, Any]] = [{"type": "text", "text": reply.text}] if reply.text else []
    content += [{"type": "tool_use", "id": i, "name": n, "input": a} for i, n, a in _numbered(reply)]
    ends = {"stop_reason": "tool_use" if reply.calls else "end_turn", "stop_sequence": None}
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": model}
    return {**head, **ends, "content": content, "usage": used}


def _of_responses(reply: Reply, model: str, used: dict[str, int]) -> dict[str, Any]:
    output: list[dict[str, Any]] = [
        {"type": "function_call", "id": i, "call_id": i, "name": n, "arguments": json.dumps(a)}
        for i, n, a in _numbered(reply)
    ]
    if reply.text or not output:
        part = {"type": "output_text", "text": reply.text, "annotations": []}
        output.append({"type": "message", "id": "m1", "role": "assistant", "status": "completed", "content": [part]})
    details = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    head = {"id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": model}
    rest = {"tools": [], "tool_choice": "auto", "parallel_tool_calls": True, "error": None}
    return {**head, **rest, "output": output, "usage": {**used, **details}}


def _head(kind: str, model: str) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": kind, "created": 1, "model": model}


def _numbered(reply: Reply) -> list[tuple[str, str, dict[str, Any]]]:
    return [(f"call_{number}", name, given) for number, (name, given) in enumerate(reply.calls)]


def _called(number: str, name: str, given: dict[str, Any]) -> dict[str, Any]:
    return {"id": number, "type": "function", "function": {"name": name, "arguments": json.dumps(given)}}


def _ollama(asked: Asked, reply: Reply, model: str) -> dict[str, Any]:
    head = {"model": model, "created_at": "2025-01-01T00:00:00Z"}
    if asked.kind == "generate":
        return head | {"response": reply.text}
    calls = [{"function": {"name": name, "arguments": given}} for name, given in reply.calls]
    message: dict[str, Any] = {"role": "assistant", "content": reply.text}
    return head | {"message": message | ({"tool_calls": calls} if calls else {})}


def pieces(asked: Asked, reply: Reply) -> Iterator[bytes]:
    """The answer as its provider streams it."""
    reply = _shaped(asked, reply)
    third = max(1, len(reply.text) // 3)
    parts = [reply.text[at : at + third] for at in range(0, len(reply.text), third)]
    whole = answer(asked, reply)
    if asked.kind in ("ollama", "generate"):
        for part in parts:
            yield json.dumps(_ollama(asked, Reply(part), whole["model"]) | {"done": False}).encode() + b"\n"
        end = _ollama(asked, Reply(calls=reply.calls), whole["model"])
        yield json.dumps(end | {"done": True, "done_reason": "stop"}).encode() + b"\n"
        return
    if asked.kind == "anthropic":
        yield from (_event(each["type"], each) for each in _anthropic(whole, parts))
        return
    if asked.kind == "responses":
        yield _event("response.created", {"type": "response.created", "response": whole | {"output": []}})
        for part in parts:
            place = {"item_id": "m1", "output_index": 0, "content_index": 0}
            delta = {"type": "response.output_text.delta", "delta": part, **place}
            yield _event("response.output_text.delta", delta)
        yield _event("response.completed", {"type": "response.completed", "response": whole})
        return
    yield from (_event("", each) for each in _chunks(asked, reply, parts, whole))
    yield b"data: [DONE]\n\n"


def _event(name: str, value: dict[str, Any]) -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(value)}\n\n".encode()


def _chunks(asked: Asked, reply: Reply, parts: list[str], whole: dict[str, Any]) -> Iterator[dict[str, Any]]:
    old = asked.kind == "completion"
    head = _head("text_completion" if old else "chat.completion.chunk", whole["model"])
    deltas: list[dict[str, Any]] = [{"content": part} for part in parts]
    deltas += [{"tool_calls": [{"index": at, **_called(*each)}]} for at, each in enumerate(_numbered(reply))]
    for number, delta in enumerate(deltas):
        inside: dict[str, Any] = {"delta": ({"role": "assistant"} if not number else {}) | delta}
        choice = {"index": 0, "finish_reason": None} | ({"text": delta.get("content", "")} if old else inside)
        yield head | {"choices": [choice]}
    last: dict[str, Any] = {"index": 0, "finish_reason": whole["choices"][0]["finish_reason"]}
    none: dict[str, Any] = {"text": ""} if old else {"delta": {}}
    yield head | {"choices": [last | none]}
    if _inside(asked.body, "stream_options", "include_usage"):
        yield head | {"choices": [], "usage": whole["usage"]}


def _anthropic(whole: dict[str, Any], parts: list[str]) -> Iterator[dict[str, Any]]:
    yield {"type": "message_start", "message": whole | {"content": [], "stop_reason": None}}
    for index, block in enumerate(whole["content"]):
        text = block["type"] == "text"
        start: dict[str, Any] = {"type": "text", "text": ""} if text else {**block, "input": {}}
        yield {"type": "content_block_start", "index": index, "content_block": start}
        given: list[dict[str, Any]] = [{"type": "text_delta", "text": part} for part in parts] if text else []
        given = given or [{"type": "input_json_delta", "partial_json": json.dumps(block.get("input", {}))}]
        yield from ({"type": "content_block_delta", "index": index, "delta": delta} for delta in given)
        yield {"type": "content_block_stop", "index": index}
    ends = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    yield {"type": "message_delta", "delta": ends, "usage": {"output_tokens": whole["usage"]["output_tokens"]}}
    yield {"type": "message_stop"}


# ---- embeddings


def _embeddings(asked: Asked) -> dict[str, Any]:
    given = asked.body.get("input", asked.body.get("prompt", ""))
    many = isinstance(given, list) and not all(isinstance(each, int) for each in given)
    texts = [_said(each) for each in given] if many else [_said(given)]
    model = str(asked.body.get("model", "twin"))
    wanted = asked.body.get("dimensions")
    size = wanted if isinstance(wanted, int) and 0 < wanted <= 4096 else 3072 if "large" in model else 1536
    vectors = [_vector(text, size) for text in texts[:2048]]
    if asked.kind == "embed":
        return {"model": model, "embeddings": vectors, "embedding": vectors[0] if vectors else []}
    packed = asked.body.get("encoding_format") == "base64"
    data = [
        {
            "object": "embedding",
            "index": at,
            "embedding": base64.b64encode(array("f", each).tobytes()).decode() if packed else each,
        }
        for at, each in enumerate(vectors)
    ]
    return {"object": "list", "data": data, "model": model, "usage": {"prompt_tokens": 1, "total_tokens": 1}}


def _said(given: Any) -> str:
    """The text of one input: as it is, or of tokens, which are bytes where the tokenizer is ours."""
    if not isinstance(given, list):
        return str(given)
    tokens = [each for each in given if isinstance(each, int)]
    if all(0 <= each < 256 for each in tokens):
        return bytes(tokens).decode(errors="replace")
    return " ".join(f"token{each}" for each in tokens)


def _vector(text: str, size: int) -> list[float]:
    """Counts of hashed words, of length 1: texts that share words are near each other."""
    counts = [0.0] * size
    for word in re.findall(r"\w{3,}", text.lower())[:5000]:
        counts[int.from_bytes(hashlib.blake2b(word.encode(), digest_size=4).digest(), "big") % size] += 1.0
    length = math.sqrt(sum(each * each for each in counts)) or 1.0
    return [each / length for each in counts]
