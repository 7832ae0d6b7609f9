"""Inside the box: how a foreign text stands in what a model is asked: whose role, and set apart or not."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from pilotage.assess.probing.llm.boxed_wire import SYSTEM, Asked, Message

__all__ = ["Stood", "apart", "closing", "standing"]

_OPENS = re.compile(r"<([A-Za-z][\w-]*)(?:\s[^<>]*)?>")
_FENCES = ("```", '"""', "'''", "~~~")
_RULE = re.compile(r"(?m)^\s*([-=#*_])\1{2,}.*$")
_FEW_LETTERS = 40


def closing(text: str, word: str) -> str:
    """What would close the delimiters around a word: `</document>`, a fence, a rule; empty where none are."""
    at = text.find(word)
    if at < 0:
        return ""
    before, after = text[:at], text[at + len(word) :]
    for found in reversed(list(_OPENS.finditer(before))):
        end = f"</{found[1]}>"
        if end in after and before.rfind(end) < found.start():
            return end
    for fence in _FENCES:
        if before.count(fence) % 2 and fence in after:
            return fence
    rules = _RULE.findall(before)
    last = _RULE.search(after)
    return last[0].strip() if rules and last and last[1] in rules else ""


def apart(text: str, word: str) -> bool:
    """Whether a word is set apart from the rest: between delimiters, or inside a value of JSON."""
    if closing(text, word):
        return True
    for start in {text.find("{"), text.find("[")} - {-1}:
        try:
            value, _ = json.JSONDecoder().raw_decode(text[start:])
        except (ValueError, RecursionError):
            continue
        if word in json.dumps(value, ensure_ascii=False):
            return True
    return False


@dataclass(frozen=True)
class Stood:
    """How a foreign text stood: `level` 1 apart, 0 not; `what` is wrong, empty where nothing is; `text` it stood in."""

    level: float = 1.0
    what: str = ""
    text: str = ""


def standing(asked: Asked, word: str, whole: str, *, document: bool) -> Stood:
    """The worst place of a foreign text `whole`, told by a word of it, in one request.

    A caller's text may stand alone in a message of the user's role; beside instructions of a system message it may
    stand in a sentence of the user's. A document must be set apart wherever it stands, and never in a system message.
    """
    system = any(each.role in SYSTEM for each in asked.messages)
    places = [each for each in asked.messages if word in each.text and each.role not in ("tool", "assistant")]
    found = [Stood(*_fault(each, word, whole, document=document, system=system), each.text) for each in places]
    return min(found, key=lambda each: each.level, default=Stood())


def _fault(message: Message, word: str, whole: str, *, document: bool, system: bool) -> tuple[float, str]:
    privileged, shut = message.role in SYSTEM, apart(message.text, word)
    if document:
        if not shut:
            return 0.0, f"a document stands in the {message.role} message with nothing that sets it apart"
        return (0.5, "a document stands in the system message, though set apart") if privileged else (1.0, "")
    if privileged:
        return 0.0, "what a caller writes stands in the system message"
    rest = re.sub(r"\W", "", message.text.replace(whole, ""))
    if not system and len(rest) > _FEW_LETTERS and not shut:
        return 0.0, "what a caller writes is one text with the instructions, and nothing sets it apart"
    return 1.0, ""
