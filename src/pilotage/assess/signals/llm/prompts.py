"""Prompts: what people say kept apart from instructions, no secret among them, and one version of each."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from pilotage.assess.folder import Folder
from pilotage.assess.model import Finding
from pilotage.assess.signals.llm.flow import Flow
from pilotage.assess.signals.llm.origins import SECRET, USER
from pilotage.assess.signals.llm.reading import makes_model, read
from pilotage.assess.signals.python import argument, finding, literal
from pilotage.assess.signals.seen import Seen
from pilotage.assess.source import dotted

__all__ = ["instructions_apart", "prompt_secrets", "prompts_versioned"]

_SYSTEM = ("system", "developer")
_SYSTEM_WORDS = frozenset({
    "system", "system_instruction", "system_prompt", "instructions", "preamble", "system_message", "prefix",
    "state_modifier", "system_instructions", "developer_message",
})  # fmt: skip
_SPOKEN = re.compile(
    r"(?<!\{)\{(question|query|input|user_input|user_message|message|user_question|user_query|human_input|user_text"
    r"|user_prompt|customer_message|user)\}"
)
_INSTRUCTS = re.compile(
    r"(?i)\b(you are (a|an|the|our)\b|act as (a|an|the)\b|your (task|role|job) is|never (reveal|tell|say|answer)"
    r"|you must (not|never|only))"
)
_SHOWS = frozenset({
    "write", "text", "markdown", "code", "info", "success", "warning", "json", "caption", "print", "Markdown", "HTML",
    "Label", "Textbox", "Message", "markup",
})  # fmt: skip
_PAGES = ("st", "streamlit", "gradio", "chainlit", "panel", "nicegui")
_TYPED = re.compile(r"(?i)\b(api|secret|access)[ _-]?(key|token)\b|password|\btoken\b")
_KEEPS_A_SECRET = re.compile(
    r"(?i)\b(?:pass(?:word|code|phrase)|api[ _-]?key|secret(?: key| code| token)?|access (?:code|token)|auth token|pin"
    r"(?: code)?|credentials?)\b(?: (?:for|of|to) [\w ]{1,30})?\s*(?:is|are|=|:)\s*[\"'`]?([^\s\"'`]{4,})"
)
_NO_SECRET = re.compile(
    r"(?i)^(required|needed|not|never|correct|incorrect|wrong|valid|invalid|kept|stored|confidential|private|secret"
    r"|missing|empty|unknown|your|their|always|only|asked|given|set|what|that|this|these|those|safe|sensitive|handled"
    r"|provided|masked|redacted|hidden|\{.*|<.*|\$.*|\*+.*|\.\.\..*|strictly|from|about|must|any|none|when|if)\b|^[{<$*\[(]"
)
_CLEAR = "a key is typed in the clear"
_PROMPT_NAME = re.compile(r"(?i)(prompt|system|instruction|persona|preamble|template)")


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
                role, text = _role(node)
                if role in _SYSTEM and text is not None:
                    yield Instruction(text=text)
            case ast.Tuple(elts=[role, text]) if literal(role) in _SYSTEM:
                yield Instruction(text=text, template=True)
            case ast.Call():
                yield from _in_call(flow, node)


def _in_call(flow: Flow, node: ast.Call) -> Iterator[Instruction]:
    name = flow.module.name_of(node.func)
    last = name.rpartition(".")[2]
    first = node.args[0] if node.args else None
    if name == "dict":
        role, text = _role(node)
        if role in _SYSTEM and text is not None:
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
        if text is not None and role is not None and (literal(role) in _SYSTEM or dotted(role).endswith("SYSTEM")):
            yield Instruction(text=text)
    elif id(node) in flow.asks or makes_model(name, node) or flow.labels(node):
        for word in node.keywords:
            if word.arg in _SYSTEM_WORDS and not isinstance(word.value, ast.Dict):
                yield Instruction(text=word.value)


def instructions_apart(folder: Folder) -> Iterator[Seen]:
    """What people say is no part of a system prompt, nor one text with the instructions."""
    flows = folder.once(read).flows
    if not flows:
        return
    findings = [each for flow in flows for each in _mixed(flow)]
    bad = f"in {len(findings)} places what people say becomes part of the instructions"
    yield Seen.of("infrastructure.instructions_apart", findings, bad, "instructions and what people say are kept apart")


def _mixed(flow: Flow) -> Iterator[Finding]:
    told: set[int] = set()
    for each in instructions_of(flow):
        spoken = _SPOKEN.search(flow.text(each.text)) if each.template else None
        if USER in flow.labels(each.text) or spoken:
            at = _joined(flow, each.text)
            line = flow.module.place(at)
            if line not in told:
                told.add(line)
                yield finding(flow.module, at, "what a person says is written into the system prompt")
    for node in flow.module.nodes:
        if not isinstance(node, ast.List):
            continue
        roles = [_role(each) for each in node.elts]
        if any(role in _SYSTEM for role, _ in roles):
            continue
        for role, text in roles:
            mixed = role == "user" and text is not None and USER in flow.labels(text)
            if mixed and not _told_apart(flow, node) and _INSTRUCTS.search(flow.text(text)):
                at = _joined(flow, text)
                if flow.module.place(at) not in told:
                    told.add(flow.module.place(at))
                    yield finding(flow.module, at, "instructions and what a person says are one text")


def _role(node: ast.expr) -> tuple[object, ast.expr | None]:
    """Role and text of a message that is written as a dictionary; None for anything else."""
    if isinstance(node, ast.Call) and dotted(node.func) == "dict":
        return literal(argument(node, "role")), argument(node, "content")
    if not isinstance(node, ast.Dict):
        return None, None
    held = {literal(key): value for key, value in zip(node.keys, node.values, strict=True) if key}
    return literal(held.get("role")), held.get("content")


def _told_apart(flow: Flow, messages: ast.List) -> bool:
    """Whether the call that is given these messages has its instructions elsewhere."""
    for ask in flow.asks.values():
        words = {word.arg for word in ask.call.keywords}
        if words & _SYSTEM_WORDS and any(each is messages for each in ast.walk(ask.call)):
            return True
    return False


def _joined(flow: Flow, text: ast.AST | None) -> ast.AST:
    """Where a person's words meet the instructions: in the expression itself, or where its name is given its value."""
    assert text is not None  # noqa: S101 - the callers looked
    if not isinstance(text, ast.Name):
        return text
    for node in flow.module.nodes:
        if isinstance(node, (ast.Assign, ast.AugAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(dotted(each) == text.id for each in targets) and USER in flow.labels(node.value):
                return node
    return text


def prompt_secrets(folder: Folder) -> Iterator[Seen]:
    """No secret stands in a prompt, is shown by the user interface, or is typed in the clear."""
    flows = folder.once(read).flows
    if not flows:
        return
    found = {(each.file, each.line): each for flow in flows for each in _secrets(flow)}
    findings = [found[place] for place in sorted(found)]
    typed = [each for each in findings if each.message == _CLEAR]
    bad = f"{len(findings)} secrets stand in prompts or on the screen"
    yield Seen(
        criterion="governance.prompt_secrets",
        level=1 if not findings else 0.5 if len(typed) == len(findings) else 0,
        summary=bad if findings else "no secret in a prompt or on the screen",
        findings=findings,
    )


def _secrets(flow: Flow) -> Iterator[Finding]:
    for node in flow.module.nodes:
        if isinstance(node, ast.Assign) and _PROMPT_NAME.search(dotted(node.targets[0])):
            yield from _written(flow, node.value)
    for each in instructions_of(flow):
        for given in [each.text, *_given_to(flow, each.text)]:
            yield from _written(flow, given)
        if SECRET in flow.labels(each.text):
            yield finding(flow.module, _joined_secret(flow, each.text), "a secret is put into the system prompt")
    for node in flow.module.nodes:
        role, text = _role(node) if isinstance(node, ast.expr) else (None, None)
        if role == "user" and text is not None and SECRET in flow.labels(text):
            yield finding(flow.module, text, "a secret is put into a message")
    for call, name in flow.module.calls:
        yield from _on_screen(flow, call, name)


def _given_to(flow: Flow, text: ast.expr) -> list[ast.expr]:
    """What a name is given in this module."""
    name = dotted(text) if isinstance(text, (ast.Name, ast.Attribute)) else ""
    return [
        node.value
        for node in flow.module.nodes
        if name and isinstance(node, ast.Assign) and any(dotted(target) == name for target in node.targets)
    ]


def _joined_secret(flow: Flow, text: ast.expr) -> ast.AST:
    for node in flow.module.nodes:
        if isinstance(text, ast.Name) and isinstance(node, ast.Assign) and dotted(node.targets[0]) == text.id:
            return node
    return text


def _written(flow: Flow, node: ast.AST) -> Iterator[Finding]:
    """A secret that stands in the text of a prompt, at its line."""
    for each in ast.walk(node):
        if not isinstance(each, ast.Constant) or not isinstance(each.value, str):
            continue
        for found in _KEEPS_A_SECRET.finditer(each.value):
            value = found[1].rstrip(".,;)")
            if _NO_SECRET.search(value) or (
                value.isalpha() and value.islower() and not found[0].lower().startswith("pass")
            ):
                continue
            at = _line_of(flow, each, found[1])
            yield finding(flow.module, at, "a secret stands in the text of a prompt")


def _line_of(flow: Flow, text: ast.Constant, piece: str) -> int:
    """The line in the file on which a piece of a text stands, which may go over many lines."""
    last = min(text.end_lineno or text.lineno, len(flow.module.lines))
    for line in range(text.lineno, last + 1):
        if piece in flow.module.lines[line - 1]:
            return flow.module.places[line - 1]
    return flow.module.place(text)


def _on_screen(flow: Flow, call: ast.Call, name: str) -> Iterator[Finding]:
    root, _, last = name.rpartition(".")
    shows = last in _SHOWS and (not root or root.split(".")[0] in _PAGES)
    given = [*call.args, *(word.value for word in call.keywords if word.arg in ("value", "content", "body"))]
    if shows and any(SECRET in flow.labels(each) for each in given):
        yield finding(flow.module, call, f"{name} shows a secret")
    typed = last in ("text_input", "Textbox")
    label = flow.text(argument(call, "label") or (call.args[0] if call.args else None))
    if typed and _TYPED.search(label) and literal(argument(call, "type")) != "password":
        yield finding(flow.module, call, _CLEAR, 'pass type="password"')


def prompts_versioned(folder: Folder) -> Iterator[Seen]:
    """Prompts lie in the folder, or are fetched at a fixed version; nobody edits them while it runs."""
    flows = folder.once(read).flows
    findings = [each for flow in flows for each in _moving(flow)]
    count = sum(1 for flow in flows for _ in instructions_of(flow))
    kept = [
        path
        for path in folder.files
        if flows and re.search(r"(?i)(^|/)[^/]*prompts?[^/]*(/|\.(txt|md|ya?ml|j2|jinja2?|json)$)", path)
    ]
    if findings or count or kept:
        bad = f"{len(findings)} prompts may change without a trace"
        yield Seen.of("model.prompts_versioned", findings, bad, "the prompts change with the code only")


def _moving(flow: Flow) -> Iterator[Finding]:
    for call, name in flow.module.calls:
        last = name.rpartition(".")[2]
        text = flow.text(call.args[0] if call.args else None)
        if (name.endswith("hub.pull") or last == "pull_prompt") and ":" not in text:
            yield finding(flow.module, call, f"the newest {text or 'prompt'} is fetched", "name its commit")
        elif last in ("get_prompt", "load_prompt") and "." in name and not _versioned(call, text):
            yield finding(flow.module, call, "the newest version of a prompt is fetched", "pass version=")
        elif last in ("text_area", "text_input", "Textbox"):
            label = flow.text(argument(call, "label") or (call.args[0] if call.args else None))
            if re.search(r"(?i)\bsystem (prompt|message|instruction)", label):
                yield finding(flow.module, call, "whoever uses it edits the system prompt")


def _versioned(call: ast.Call, text: str) -> bool:
    named = any(word.arg in ("version", "commit", "commit_hash", "revision") for word in call.keywords)
    return named or bool(re.search(r"/\d+$|@[0-9a-f]{7,}$", text)) or text.endswith((".json", ".yaml", ".yml"))
