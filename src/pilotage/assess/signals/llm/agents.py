"""Agents: tools that act ask a person first, and an agent ends."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from pilotage.assess.folder import Folder
from pilotage.assess.model import Finding
from pilotage.assess.signals.llm import libraries
from pilotage.assess.signals.llm.checks import CONSOLE
from pilotage.assess.signals.llm.flow import Flow
from pilotage.assess.signals.llm.pilot import Target
from pilotage.assess.signals.llm.reading import asks_in_turn, read
from pilotage.assess.signals.llm.tools import first_act, tools_in, tools_of
from pilotage.assess.signals.python import argument, finding, literal
from pilotage.assess.signals.seen import Seen
from pilotage.assess.source import dotted

__all__ = ["agent_confirmation", "agent_steps"]

_NAMED_TOOLS = {
    "terminal": "a shell", "shell": "a shell", "bash": "a shell", "python_repl": "a Python interpreter",
    "requests_all": "any address", "requests_post": "any address", "requests_put": "any address",
    "requests_delete": "any address", "requests": "any address",
}  # fmt: skip
_ASKS_FIRST = re.compile(
    r"(?i)(human_?(approval|input|in_the_loop|confirm)|HumanApprovalCallbackHandler|HumanInputRun|HumanTool|HumanLayer"
    r"|require_?approval|requires_approval|needs_approval|request_approval|approval|approve|confirm|interrupt_before"
    r"|interrupt_on|(^|\.)interrupt$|ask_(the_)?(user|human)|human_node|ApprovalRequired|HumanInTheLoopMiddleware)"
)
_WAITS = re.compile(
    r"(^|\.)(input|receive\w*|get_message\w*|recv\w*|ask|sleep|accept|next|listen\w*|poll\w*|prompt|readline|text_input"
    r"|brpop|blpop|fetch\w*|consume\w*|wait)$|(?i:queue|inbox|mailbox|\bq)\.get(_nowait)?$"
)
_BOXED = re.compile(r"(?i)(DockerCommandLineCodeExecutor|E2B|docker|sandbox|firejail|modal|daytona|gvisor)")


def agent_confirmation(folder: Folder) -> Iterator[Seen]:
    """A tool that acts asks a person before it does, or acts in a box of its own."""
    reading = folder.once(read)
    if "agent" not in reading.facts:
        return
    named = tools_of(reading.flows)
    if _asks_first(reading.flows, named):
        yield Seen(criterion="governance.agent_confirmation", level=1, summary="a person is asked before a tool acts")
        return
    found = {(each.file, each.line): each for flow in reading.flows for each in _acting(flow, named)}
    findings = [found[place] for place in sorted(found)]
    bad = f"{len(findings)} tools act and nobody is asked"
    yield Seen.of("governance.agent_confirmation", findings, bad, "no tool acts without being asked for")


def _asks_first(flows: list[Flow], named: set[Target]) -> bool:
    """Whether a person is asked before any tool acts: by a setting, or outside the tools themselves."""
    for flow in flows:
        inside = {id(each) for function in tools_in(flow, named) for each in ast.walk(function)}
        for node in flow.module.nodes:
            match node:
                case ast.keyword(arg=str()) if _ASKS_FIRST.search(node.arg or "") or node.arg == "human_input_mode":
                    if literal(node.value) not in (False, None, "NEVER") or isinstance(
                        node.value, (ast.List, ast.Name)
                    ):
                        return True
                case ast.Call() if id(node) not in inside and _ASKS_FIRST.search(flow.module.name_of(node.func)):
                    return True
                case _:
                    pass
        if _console_gate(flow, inside):
            return True
    return False


def _console_gate(flow: Flow, inside: set[int]) -> bool:
    """Whether an answer typed at the console decides whether a call of a tool is made."""
    for node in flow.module.nodes:
        if isinstance(node, ast.If) and id(node) not in inside and flow.typed(node.test):
            return True
    return False


def _acting(flow: Flow, named: set[Target]) -> Iterator[Finding]:
    for call, name in flow.module.calls:
        last = name.rpartition(".")[2]
        maker = last if last in libraries.ACTING_TOOLS else name.split(".")[-2] if name.count(".") else ""
        on = libraries.ACTING_TOOLS.get(last) or (
            libraries.ACTING_TOOLS.get(maker) if last.startswith("from_") else None
        )
        if on and not _boxed(call) and not _reads_only(flow, call):
            yield finding(flow.module, call, f"the agent is given {on}, and nobody is asked")
        elif last == "load_tools" and call.args:
            for each in ast.walk(call.args[0]):
                what = _NAMED_TOOLS.get(str(literal(each)))
                if what:
                    yield finding(flow.module, each, f"the agent is given {what}, and nobody is asked")
        elif last == "CodeAgent" and literal(argument(call, "executor_type")) in (None, "local"):
            yield finding(flow.module, call, "the agent is given a Python interpreter, and nobody is asked")
        elif last in ("UserProxyAgent", "ConversableAgent", "AssistantAgent") and _executes(call):
            yield finding(flow.module, call, "the agent is given a shell, and nobody is asked")
        elif literal(argument(call, "allow_dangerous_requests")) is True:
            yield finding(flow.module, call, "the agent is given any address, and nobody is asked")
        elif (
            literal(argument(call, "allow_code_execution")) is True
            and literal(argument(call, "code_execution_mode")) != "safe"
        ):
            yield finding(flow.module, call, "the agent is given a Python interpreter, and nobody is asked")
    for function in tools_in(flow, named):
        if (act := first_act(flow, function)) and not _gated(flow, function):
            call, on = act
            yield finding(flow.module, call, f"the tool {function.name} acts on {on}, and nobody is asked")


def _gated(flow: Flow, function: ast.AST) -> bool:
    """Whether a tool asks a person itself."""
    return any(name in CONSOLE or _ASKS_FIRST.search(name) for _, name in flow.module.calls_in(function))


def _boxed(call: ast.Call) -> bool:
    return any(
        _BOXED.search(word.arg or "") or _BOXED.search(dotted(word.value)) or _BOXED.search(str(literal(word.value)))
        for word in call.keywords
    )


def _reads_only(flow: Flow, call: ast.Call) -> bool:
    """Whether a toolkit of files or a database is limited to reading."""
    chosen = argument(call, "selected_tools")
    if isinstance(chosen, ast.List):
        names = [str(literal(each)) for each in chosen.elts]
        return bool(names) and all(name.startswith(("read", "list", "search")) for name in names)
    return any(word.arg in ("read_only", "readonly") and literal(word.value) is True for word in call.keywords)


def _executes(call: ast.Call) -> bool:
    """Whether an agent of a conversation runs code on the machine itself."""
    given = argument(call, "code_execution_config")
    if given is None or literal(given) is False:
        return False
    for each in ast.walk(given):
        if isinstance(each, ast.Dict):
            held = {literal(key): value for key, value in zip(each.keys, each.values, strict=True) if key}
            if "executor" in held:
                return not _BOXED.search(dotted(held["executor"]))
            return "use_docker" not in held or literal(held["use_docker"]) is False
    return not _BOXED.search(dotted(given))


def agent_steps(folder: Folder) -> Iterator[Seen]:
    """An agent ends after a number of steps."""
    reading = folder.once(read)
    if "agent" not in reading.facts:
        return
    findings = [each for flow in reading.flows for each in _endless(flow, reading.asking)]
    bad = f"{len(findings)} agents may go on without end"
    yield Seen.of("infrastructure.agent_steps", findings, bad, "every agent ends")


def _endless(flow: Flow, asking: set[Target]) -> Iterator[Finding]:
    for call, _ in flow.module.calls:
        for word in call.keywords:
            unbounded = word.arg in (
                "max_iterations",
                "max_turns",
                "max_steps",
                "recursion_limit",
                "max_consecutive_auto_reply",
            )
            if unbounded and isinstance(word.value, ast.Constant) and word.value.value is None:
                yield finding(flow.module, word.value, f"{word.arg} is switched off", "name a number of steps")
    for node in flow.module.nodes:
        if isinstance(node, ast.While) or (isinstance(node, ast.For) and _unending(flow, node.iter)):
            inside = list(ast.walk(node))
            if any(asks_in_turn(flow, each, asking) for each in inside) and not _ends(flow, inside, asking):
                yield finding(flow.module, node, "the model is asked until it says stop", "count the steps")


def _unending(flow: Flow, over: ast.expr) -> bool:
    return isinstance(over, ast.Call) and flow.module.name_of(over.func) in ("itertools.count", "itertools.cycle")


def _ends(flow: Flow, inside: list[ast.AST], asking: set[Target]) -> bool:
    """Whether a loop waits for somebody in each turn, or counts."""
    waits = any(
        isinstance(each, ast.Call)
        and _WAITS.search(flow.module.name_of(each.func))
        and not asks_in_turn(flow, each, asking)
        for each in inside
    )
    counted = any(
        isinstance(each, ast.Compare) and any(isinstance(op, (ast.Gt, ast.GtE, ast.Lt, ast.LtE)) for op in each.ops)
        for each in inside
    )
    return waits or counted
