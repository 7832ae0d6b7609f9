"""What a model is told to do: system messages in every form, and where a text that reaches one was put together."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pilotage.assess.signals.llm.flow import Flow
from pilotage.assess.signals.llm.pilot import arguments
from pilotage.assess.signals.llm.reading import makes_model
from pilotage.assess.signals.python import argument, literal
from pilotage.assess.source import dotted

__all__ = ["SYSTEM", "SYSTEM_WORDS", "Instruction", "callers_of", "instructions_of", "origins_of", "role_of"]

SYSTEM = ("system", "developer")
SYSTEM_WORDS = frozenset({
    "system", "system_instruction", "system_prompt", "instructions", "preamble", "system_message", "prefix",
    "state_modifier", "system_instructions", "developer_message",
})  # fmt: skip
_DEEP = 6


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """A text that is given as an instruction: the expression, and whether it is a template filled in later."""

    text: ast.expr
    template: bool = False


def instructions_of(flow: Flow) -> Iterator[Instruction]:
    """System messages, as dictionaries, message objects, pairs of a template, and arguments."""
    for node in flow.module.nodes:
        match node:
            case ast.Dict():
                role, text = role_of(node)
                if role in SYSTEM and text is not None:
                    yield Instruction(text=text)
            case ast.Tuple(elts=[role, text]) if literal(role) in SYSTEM:
                yield Instruction(text=text, template=True)
            case ast.Call():
                yield from _in_call(flow, node)


def _in_call(flow: Flow, node: ast.Call) -> Iterator[Instruction]:
    name = flow.module.name_of(node.func)
    last = name.rpartition(".")[2]
    first = node.args[0] if node.args else None
    if name == "dict":
        role, text = role_of(node)
        if role in SYSTEM and text is not None:
            yield Instruction(text=text)
    elif last in ("SystemMessage", "SystemChatMessage") or name.endswith("ChatMessage.from_system"):
        text = argument(node, "content") or argument(node, "text") or first
        if text is not None:
            yield Instruction(text=text)
    elif name.endswith("SystemMessagePromptTemplate.from_template") and first is not None:
        yield Instruction(text=first, template=True)
    elif last == "ChatMessage":
        role = argument(node, "role")
        text = argument(node, "content")
        if text is not None and role is not None and (literal(role) in SYSTEM or dotted(role).endswith("SYSTEM")):
            yield Instruction(text=text)
    elif id(node) in flow.asks or makes_model(name, node) or flow.labels(node):
        for word in node.keywords:
            if word.arg in SYSTEM_WORDS and not isinstance(word.value, ast.Dict):
                yield Instruction(text=word.value)


def role_of(node: ast.expr) -> tuple[object, ast.expr | None]:
    """Role and text of a message that is written as a dictionary; None for anything else."""
    if isinstance(node, ast.Call) and dotted(node.func) == "dict":
        return literal(argument(node, "role")), argument(node, "content")
    if not isinstance(node, ast.Dict):
        return None, None
    held = {literal(key): value for key, value in zip(node.keys, node.values, strict=True) if key}
    return literal(held.get("role")), held.get("content")


def origins_of(
    flows: Sequence[Flow], flow: Flow, text: ast.expr, label: str, deep: int = _DEEP
) -> list[tuple[Flow, ast.AST, ast.expr]]:
    """Where words with a label were put into a text: flow, node to name, and the expression.

    Through names and attributes that are given a value, and parameters that callers give one.
    """
    if not isinstance(text, (ast.Name, ast.Attribute)) or not deep:
        return [(flow, text, text)]
    around = flow.function_of(text)
    name = dotted(text)
    given = [
        node
        for node in flow.assigned(name)
        if label in flow.labels(node.value) and (not isinstance(text, ast.Name) or flow.function_of(node) is around)
    ]
    found: list[tuple[Flow, ast.AST, ast.expr]] = []
    for node in given:
        assert node.value is not None  # noqa: S101 - it has a label
        if isinstance(node.value, (ast.Name, ast.Attribute)) and dotted(node.value) != name:
            found += origins_of(flows, flow, node.value, label, deep - 1)
        else:
            found.append((flow, node, node.value))
    if not given and around is not None and isinstance(text, ast.Name):
        for caller, call, target in callers_of(flows, flow, around.name):
            for parameter, value in arguments(call, caller.pilot.parameters[target]):
                if parameter == name and label in caller.labels(value):
                    found += origins_of(flows, caller, value, label, deep - 1)
    return found or [(flow, text, text)]


def callers_of(flows: Sequence[Flow], flow: Flow, function: str) -> Iterator[tuple[Flow, ast.Call, tuple[str, str]]]:
    """Calls in the pilot of a function of this module, with what each calls it by: a class for its constructor."""
    names = {(flow.home, function)}
    if function == "__init__":
        names = {(flow.home, node.name) for node in flow.module.nodes if isinstance(node, ast.ClassDef)}
    for each in flows:
        for call, _ in each.module.calls:
            for target in each.entered.get(id(call), []):
                if target in names:
                    yield each, call, target
