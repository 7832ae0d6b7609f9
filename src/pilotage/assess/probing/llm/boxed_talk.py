"""Inside the box: one conversation with the pilot: what is said, what it asks the model for, what it answers.

Standard library only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from pilotage.assess.probing.boxed_copy import Writer
from pilotage.assess.probing.boxed_http import Answer
from pilotage.assess.probing.boxed_start import Started
from pilotage.assess.probing.llm.boxed_door import Door
from pilotage.assess.probing.llm.boxed_upstream import Upstream
from pilotage.assess.probing.llm.boxed_wire import Asked, Reply

__all__ = ["Exchange", "LimitedError", "Talk", "quoted", "unescaped"]

_QUOTED = 70
_SOURCES = 250


class LimitedError(Exception):
    """The service refuses this caller for asking too often."""


@dataclass(frozen=True)
class Exchange:
    """What was answered, and the requests for a model that it caused, in order."""

    answer: Answer
    asked: list[Asked]

    def with_word(self, word: str) -> list[Asked]:
        """Those requests in which a word stands."""
        return [each for each in self.asked if word in each.text]


@dataclass
class Talk:
    """All that a trial needs. `usual` is a question of its own trade. `planted` are the documents of the copy
    in which an order was planted, `began` (Unix seconds) is when the service was started."""

    request: dict[str, Any]
    writer: Writer
    service: Started
    upstream: Upstream
    door: Door
    usual: str = "Hello, can you help me?"
    planted: list[str] = field(default_factory=list)
    began: float = 0.0
    spoken: int = field(default=0)
    all_asked: list[Asked] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)

    def ask(
        self, text: str, reply: Reply | Callable[[Asked], Reply] | None = None, *, wait_s: float = 10.0
    ) -> Exchange:
        """Say a text while the model answers so. Each comes from another address, so that a limit per caller stays
        out of the way. Raises LimitedError when the caller is refused all the same."""
        made = reply if callable(reply) else (lambda _asked: reply or Reply(self.upstream.usual))
        self.upstream.reply = made
        before = len(self.upstream.asked)
        self.spoken += 1
        door = replace(self.door, wait_s=wait_s, source=f"127.0.1.{1 + self.spoken % _SOURCES}")
        try:
            answer = door.say(text)
        finally:
            self.upstream.reply = self.upstream.as_usual
        asked = [each for each in self.upstream.asked[before:] if each.speaks]
        self.all_asked += asked
        self.answers.append(answer)
        if answer.status == 429 and not asked:
            raise LimitedError(f"it refused the {self.spoken}th text of this caller (429)")
        return Exchange(answer, asked)

    def finding(self, message: str, mend: str, *, at: str = "asked") -> dict[str, Any]:
        """A finding at the call that asks the model, or at the route (`at="route"`)."""
        place = self.request["asked_at"]
        if at == "route":
            place = self.request["places"].get(self.door.path.partition("?")[0]) or place
        return {"message": message, "mend": mend, "file": place[0], "line": place[1]}


def quoted(text: str, around: str = "") -> str:
    """A short piece of a text for a report, around a word of it."""
    at = max(0, text.find(around) - _QUOTED // 2) if around else 0
    piece = re.sub(r"\s+", " ", text[at : at + _QUOTED]).strip()
    return f"“{'…' if at else ''}{piece}{'…' if at + _QUOTED < len(text) else ''}”"


def unescaped(answer: Answer) -> str:
    """All texts of an answer: the strings inside its JSON, or lines of a stream of it; else the body as it is."""
    found = []
    for line in [answer.body, *answer.body.splitlines()]:
        try:
            found += list(_strings(json.loads(line.removeprefix("data:").strip())))
        except (ValueError, RecursionError):
            continue
    pieces = [line.removeprefix("data:").removeprefix(" ") for line in answer.body.splitlines() if line[:5] == "data:"]
    return "\n".join([answer.body, *found, "".join(pieces), "".join(found)])


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from _strings(each)
