"""Prompts: what people say kept apart from instructions, no secret among them, and one version of each."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence

from pilotage.assess.folder import Folder
from pilotage.assess.model import Finding
from pilotage.assess.signals.llm.flow import Flow
from pilotage.assess.signals.llm.instructions import SYSTEM, SYSTEM_WORDS, instructions_of, origins_of, role_of
from pilotage.assess.signals.llm.origins import SECRET, USER
from pilotage.assess.signals.llm.reading import read
from pilotage.assess.signals.python import argument, finding, literal
from pilotage.assess.signals.seen import Seen
from pilotage.assess.source import dotted

__all__ = ["instructions_apart", "prompt_secrets", "prompts_versioned"]

_SPOKEN = re.compile(
    r"(?<!\{)\{(question|query|input|user_input|user_message|message|user_question|user_query|human_input|user_text"
    r"|user_prompt|customer_message|user)\}"
)
_INSTRUCTS = re.compile(
    r"(?i)\b(you are (a|an|the|our)\b|act as (a|an|the)\b|your (task|role|job) is|never (reveal|tell|say|answer)"
    r"|you must (not|never|only))"
    r"|(?:^|\n|[.:;] )\s*(?:please )?(?:write|give|convert|translate|turn|summari[sz]e|classify|extract|generate"
    r"|rewrite|reply|draft|create|produce|return|explain|decide|list|find|compose|analy[sz]e|describe|review"
    r"|answer the)\b(?: [\w'-]+){2}"
)
_PROMPT_WORDS = frozenset({"prompt", "prompts", "contents", "input", "inputs", "message", "inputText", "text_prompt"})
_SHOWS = frozenset({
    "write", "text", "markdown", "code", "info", "success", "warning", "json", "caption", "print", "Markdown", "HTML",
    "Label", "Textbox", "Message", "markup",
})  # fmt: skip
_PAGES = ("st", "streamlit", "gradio", "chainlit", "panel", "nicegui")
_TYPED = re.compile(r"(?i)\b(api|secret|access)[ _-]?(key|token)\b|password|\btoken\b")
_KEEPS_A_SECRET = re.compile(
    r"(?i)\b(?:pass(?:word|code|phrase)|api[ _-]?key|secret(?: key| code| token)?|access (?:code|token)|auth token|pin"
    r"(?: code)?|(?:override|admin|master|door|staff|unlock|backup|internal|security)(?: \w+)?"
    r" (?:code|key|pin)|credentials?)\b"
    r"(?: (?:for|of|to) [\w ]{1,30})?(?:\s*(?:is|are|=|:)\s*[\"'`]?|\s+[\"'`])([^\s\"'`]{4,})"
)
_PROMPT_FILES = re.compile(
    r"(?i)(^|/)([^/]*(prompts?|instructions?|persona|system)[^/]*|prompts?/.+)\.(txt|md|ya?ml|j2|jinja2?|json|prompt"
    r"|toml)$"
)
_NO_SECRET = re.compile(
    r"(?i)^(required|needed|not|never|correct|incorrect|wrong|valid|invalid|kept|stored|confidential|private|secret"
    r"|missing|empty|unknown|your|their|always|only|asked|given|set|what|that|this|these|those|safe|sensitive|handled"
    r"|provided|masked|redacted|hidden|\{.*|<.*|\$.*|\*+.*|\.\.\..*|strictly|from|about|must|any|none|when|if)\b|^[{<$*\[(]"
)
_CLEAR = "a key is typed in the clear"
_PROMPT_NAME = re.compile(r"(?i)(prompt|system|instruction|persona|preamble|template)|(?i:^|_)(?i:sys|role|rules)(_|$)")


def instructions_apart(folder: Folder) -> Iterator[Seen]:
    """What people say is no part of a system prompt, nor one text with the instructions."""
    flows = folder.once(read).flows
    if not flows:
        return
    findings = list(_mixed(flows))
    bad = f"in {len(findings)} places what people say becomes part of the instructions"
    yield Seen.of("infrastructure.instructions_apart", findings, bad, "instructions and what people say are kept apart")


def _mixed(flows: Sequence[Flow]) -> Iterator[Finding]:
    told: set[tuple[str, int]] = set()
    for where, node, why in _joined(flows):
        place = where.module.path, where.module.place(node)
        if place not in told:
            told.add(place)
            yield finding(where.module, node, why)


def _joined(flows: Sequence[Flow]) -> Iterator[tuple[Flow, ast.AST, str]]:
    """Where words of people and instructions become one text."""
    for flow in flows:
        for node, value in _put_in_place(flow):
            if USER in flow.labels(value):
                yield flow, node, "what a person says is written into the system prompt"
        for each in instructions_of(flow):
            spoken = _SPOKEN.search(flow.text(each.text)) if each.template else None
            if USER in flow.labels(each.text) or spoken:
                for where, node, _ in origins_of(flows, flow, each.text, USER):
                    yield where, node, "what a person says is written into the system prompt"
        for text in _whole_prompts(flow):
            if USER in flow.labels(text):
                for where, node, put in origins_of(flows, flow, text, USER):
                    if _INSTRUCTS.search(where.text(put)):
                        yield where, node, "instructions and what a person says are one text"


def _put_in_place(flow: Flow) -> Iterator[tuple[ast.AST, ast.expr]]:
    """What is put into the first message of a conversation afterwards: `messages[0]["content"] += text`."""
    for node in flow.module.nodes:
        if isinstance(node, (ast.Assign, ast.AugAssign)):
            match node.targets[0] if isinstance(node, ast.Assign) else node.target:
                case ast.Subscript(
                    value=ast.Subscript(slice=ast.Constant(value=0)), slice=ast.Constant(value="content")
                ):
                    yield node, node.value


def _whole_prompts(flow: Flow) -> Iterator[ast.expr]:
    """Texts that are all a model is given: no system message stands beside them."""
    for node in flow.module.nodes:
        if isinstance(node, ast.List):
            roles = [role_of(each) for each in node.elts]
            if any(role in SYSTEM for role, _ in roles) or _told_apart(flow, node):
                continue
            yield from (text for role, text in roles if role == "user" and text is not None)
    for ask in flow.asks.values():
        if any(word.arg in SYSTEM_WORDS for word in ask.call.keywords):
            continue
        for value in [*ask.call.args, *(word.value for word in ask.call.keywords if word.arg in ("json", "body"))]:
            for each in ast.walk(value):
                if isinstance(each, ast.Dict):
                    held = {literal(key): text for key, text in zip(each.keys, each.values, strict=True) if key}
                    yield from (text for key, text in held.items() if key in _PROMPT_WORDS and "system" not in held)
        yield from (word.value for word in ask.call.keywords if word.arg in _PROMPT_WORDS)
        yield from (each for each in ask.call.args[:1] if isinstance(each, (ast.Name, ast.JoinedStr, ast.BinOp)))


def _told_apart(flow: Flow, messages: ast.List) -> bool:
    """Whether the call that is given these messages has its instructions elsewhere."""
    for ask in flow.asks.values():
        words = {word.arg for word in ask.call.keywords}
        if words & SYSTEM_WORDS and any(each is messages for each in ast.walk(ask.call)):
            return True
    return False


def prompt_secrets(folder: Folder) -> Iterator[Seen]:
    """No secret stands in a prompt, is shown by the user interface, or is typed in the clear."""
    flows = folder.once(read).flows
    if not flows:
        return
    found = {(each.file, each.line): each for flow in flows for each in _secrets(flows, flow)}
    found |= {(each.file, each.line): each for each in _in_prompt_files(folder)}
    findings = [found[place] for place in sorted(found)]
    typed = [each for each in findings if each.message == _CLEAR]
    bad = f"{len(findings)} secrets stand in prompts or on the screen"
    yield Seen(
        criterion="governance.prompt_secrets",
        level=1 if not findings else 0.5 if len(typed) == len(findings) else 0,
        summary=bad if findings else "no secret in a prompt or on the screen",
        findings=findings,
    )


def _secrets(flows: Sequence[Flow], flow: Flow) -> Iterator[Finding]:
    for node in flow.module.nodes:
        if isinstance(node, ast.Assign) and (
            _PROMPT_NAME.search(dotted(node.targets[0])) or _INSTRUCTS.search(flow.text(node.value))
        ):
            yield from _written(flow, node.value)
    for each in instructions_of(flow):
        for given in [each.text, *_given_to(flow, each.text)]:
            yield from _written(flow, given)
        if SECRET in flow.labels(each.text):
            for where, node, _ in origins_of(flows, flow, each.text, SECRET):
                yield finding(where.module, node, "a secret is put into the system prompt")
    for node in flow.module.nodes:
        role, text = role_of(node) if isinstance(node, ast.expr) else (None, None)
        if role == "user" and text is not None and SECRET in flow.labels(text):
            yield finding(flow.module, text, "a secret is put into a message")
    for call, name in flow.module.calls:
        yield from _on_screen(flow, call, name)


def _in_prompt_files(folder: Folder) -> Iterator[Finding]:
    """Secrets in prompts that lie in files of their own."""
    for path, size in folder.files.items():
        if size < 1 << 18 and _PROMPT_FILES.search(path) and (text := folder.text(path)):
            for number, line in enumerate(text.lines, 1):
                if any(_is_secret(found) for found in _KEEPS_A_SECRET.finditer(line)):
                    yield Finding(
                        file=path,
                        line=number,
                        message="a secret stands in the text of a prompt",
                        digest=text.line_digest(number),
                    )


def _is_secret(found: re.Match[str]) -> bool:
    """Whether what follows such a word looks like one, and is no word of a sentence."""
    value = found[1].rstrip(".,;)")
    plain = value.isalpha() and value.islower() and not found[0].lower().startswith("pass")
    return not _NO_SECRET.search(value) and not plain


def _given_to(flow: Flow, text: ast.expr) -> list[ast.expr]:
    """What a name is given in this module."""
    name = dotted(text) if isinstance(text, (ast.Name, ast.Attribute)) else ""
    return [
        node.value
        for node in flow.module.nodes
        if name and isinstance(node, ast.Assign) and any(dotted(target) == name for target in node.targets)
    ]


def _written(flow: Flow, node: ast.AST) -> Iterator[Finding]:
    """A secret that stands in the text of a prompt, at its line."""
    for each in ast.walk(node):
        if not isinstance(each, ast.Constant) or not isinstance(each.value, str):
            continue
        for found in _KEEPS_A_SECRET.finditer(each.value):
            if not _is_secret(found):
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
