"""Inside the box: by which request, and which field of it, a text reaches the model. Standard library only.

Nothing is guessed for good: a field is the door when a word that was put into it arrives at the twin.
"""

from __future__ import annotations

import copy
import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pilotage.assess.probing.boxed_http import Answer, call
from pilotage.assess.probing.boxed_schema import example_of
from pilotage.assess.probing.llm.boxed_upstream import USUAL, Upstream

__all__ = ["Door", "find_door"]

_SPEAKS = re.compile(
    r"(?i)^(q|question|query|message|prompt|input|text|content|utterance|user_\w+|ask|msg|task|topic)$"
)
_LIKELY = re.compile(r"(?i)chat|ask|answer|query|question|complet|message|generate|agent|summar|assist|invoke|predict")
_MOST_CALLS, _MOST_FIELDS = 16, 5
_REFUSES = (401, 403)

Way = tuple[str | int, ...]


@dataclass(frozen=True)
class Door:
    """A request of which the value at `way` is what a caller says. `headers` let the caller in."""

    port: int
    method: str
    path: str
    kind: str
    body: Any
    way: Way
    headers: dict[str, str] = field(default_factory=dict)
    wait_s: float = 10.0
    source: str = "127.0.0.1"

    def say(self, text: str) -> Answer:
        """Send a text through it."""
        body = _put(self.body, self.way, text)
        given = {"headers": self.headers, "wait_s": self.wait_s, "source": self.source}
        return call(self.port, self.method, self.path, self.kind, body, **given)  # type: ignore[arg-type]  # of two kinds

    @property
    def example(self) -> str:
        """The text that stood there before."""
        found = self.body
        for part in self.way:
            found = found[part]
        return found if isinstance(found, str) and len(found) > 8 else ""

    @property
    def said(self) -> str:
        """Where it is, in words."""
        return f"{self.method} {self.path} ({'.'.join(map(str, self.way))})"


def find_door(port: int, request: Mapping[str, Any], upstream: Upstream, seconds: float) -> tuple[Door | None, str]:
    """The first request whose text reaches the model and is answered well; else None, and what was met instead."""
    until = time.monotonic() + seconds
    schema = _schema(port)
    own = [each for each in request["calls"] if each["stated"]]
    made = [each for each in request["calls"] if not each["stated"]]
    examples = [*own, *_described(schema), *made]
    examples.sort(key=lambda each: (not each.get("stated"), not _LIKELY.search(each["path"])))
    met: list[str] = []
    reached = ""
    for number, door in enumerate(_doors(port, examples)):
        if time.monotonic() > until:
            break
        mark = f"pilotagemark{number}x"
        for tried in _let_in(door, request):
            before = len(upstream.asked)
            got = tried.say(f"Hello, what is {mark}?")
            met.append(f"{door.method} {door.path} {got.status or got.why}")
            arrived = any(mark in asked.text for asked in upstream.asked[before:] if asked.speaks)
            if arrived and (got.good or _digests(tried, upstream)):
                return tried, ""
            if arrived:
                reached = f"what is said to {door.path} reaches the model, but the answer was {got.status or got.why}"
            if got.status not in _REFUSES:
                break
    if reached:
        return None, reached
    told = ", ".join(dict.fromkeys(met)) or "no route that takes a text was found"
    return None, f"no text that was sent reached the model ({told})"


def _digests(door: Door, upstream: Upstream) -> bool:
    """Whether there is a kind of answer with which the pilot can do something; it is the usual one from then on."""
    for usual in USUAL[1:]:
        upstream.usual = usual
        if door.say("Hello, what can you do?").good:
            return True
    upstream.usual = USUAL[0]
    return False


def _let_in(door: Door, request: Mapping[str, Any]) -> Iterator[Door]:
    """The door as a stranger, then with each decoy as the caller's key."""
    yield door
    names = dict.fromkeys(["X-API-Key", "Api-Key", *request["headers"]])
    for value in request["decoys"].values():
        yield replace(door, headers={"Authorization": f"Bearer {value}", **dict.fromkeys(names, value)})


def _doors(port: int, examples: list[dict[str, Any]]) -> Iterator[Door]:
    for each in examples[:_MOST_CALLS]:
        ways = sorted(_ways(each["body"]), key=lambda way: (not _SPEAKS.search(_name(way)), len(way)))
        for way in ways[:_MOST_FIELDS]:
            yield Door(port, each["method"], each["path"], each["kind"], each["body"], way)


def _name(way: Way) -> str:
    return next((part for part in reversed(way) if isinstance(part, str)), "")


def _ways(body: Any, before: Way = ()) -> Iterator[Way]:
    """Where texts stand in a body, deepest inside six; a placeholder of ours (1) may be one."""
    if len(before) > 6:
        return
    if isinstance(body, dict):
        for key, value in body.items():
            yield from _ways(value, (*before, key))
    elif isinstance(body, list):
        for at, value in enumerate(body[:3]):
            yield from _ways(value, (*before, at))
    elif (isinstance(body, str) or body == 1 or body is None) and _name(before) != "role":
        yield before


def _put(body: Any, way: Way, text: str) -> Any:
    changed = copy.deepcopy(body)
    if not way:
        return text
    inner = changed
    for part in way[:-1]:
        inner = inner[part]
    inner[way[-1]] = text
    return changed


# ---- what the service says of itself


def _schema(port: int) -> dict[str, Any]:
    answer = call(port, "GET", "/openapi.json")
    try:
        document = json.loads(answer.body) if answer.good else {}
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _described(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Requests that its OpenAPI document describes: bodies, and texts in the query."""
    paths = document.get("paths")
    for path, operations in list(paths.items())[:40] if isinstance(paths, dict) else []:
        for verb in ("post", "get") if isinstance(operations, dict) and "{" not in path else ():
            try:
                yield from _request(document, path, verb, operations.get(verb))
            except (KeyError, TypeError, AttributeError, ValueError):
                continue


def _request(document: dict[str, Any], path: str, verb: str, operation: Any) -> Iterator[dict[str, Any]]:
    if not isinstance(operation, dict):
        return
    common = {"method": verb.upper(), "path": path, "stated": False}
    asked = operation.get("parameters", [])
    query = {
        each["name"]: example_of(each.get("schema", {}), document, {}, 0) for each in asked if each["in"] == "query"
    }
    content = operation.get("requestBody", {}).get("content", {})
    for media, kind in (("application/json", "json"), ("application/x-www-form-urlencoded", "form")):
        if media in content:
            body = example_of(content[media]["schema"], document, {}, 0)
            yield {**common, "kind": kind, "body": _roles(body)}
            return
    if query:
        yield {**common, "kind": "query", "body": query}


def _roles(body: Any) -> Any:
    """A role in a list of messages is the user's."""
    if isinstance(body, dict):
        return {key: "user" if key == "role" else _roles(value) for key, value in body.items()}
    return [_roles(each) for each in body] if isinstance(body, list) else body
