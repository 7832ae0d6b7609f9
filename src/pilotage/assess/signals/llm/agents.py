"""Agents: tools that act ask a person first, and an agent ends."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from pilotage.assess.folder import Folder
from pilotage.assess.model import Finding
from pilotage.assess.signals.llm import libraries
from pilotage.assess.signals.llm.flow import Flow
from pilotage.assess.signals.llm.origins import ANSWER
from pilotage.assess.signals.llm.reading import read
from pilotage.assess.signals.python import argument, finding, literal
from pilotage.assess.signals.seen import Seen
from pilotage.assess.source import dotted

__all__ = ["agent_confirmation", "agent_steps"]

_NAMED_TOOLS = {
    "terminal": "a shell", "shell": "a shell", "bash": "a shell", "python_repl": "a Python interpreter",
    "requests_all": "any address", "requests_post": "any address", "requests_put": "any address",
    "requests_delete": "any address", "requests": "any address",
}  # fmt: skip
_MARKS = frozenset({"tool", "tool_plain", "function_tool", "ai_function", "kernel_function", "register_for_llm",
                    "register_for_execution"})  # fmt: skip
_WRAPS = re.compile(r"(^|\.)(Tool|StructuredTool|FunctionTool)(\.from_\w+)?$")
_ACTS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"^(subprocess\.\w+|os\.(system|popen)|asyncio\.create_subprocess_\w+)$"), "a shell"),
    (re.compile(r"^(exec|eval|builtins\.(exec|eval))$"), "a Python interpreter"),
    (re.compile(r"^(os\.(remove|unlink|rename|rmdir|makedirs)|shutil\.(rmtree|move|copy\w*))$|\.(write_text|write_bytes|unlink)$"),
     "files"),
    (re.compile(r"^(requests|httpx)\.(put|delete)$|(^|\.)(post|patch)$|\.(sendmail|send_(message|email)|chat_postMessage)$"),
     "others"),
    (re.compile(r"\.(execute|executescript|exec_driver_sql)$"), "a database"),
)  # fmt: skip
_ASKS_FIRST = re.compile(
    r"(?i)(human_?(approval|input|in_the_loop|confirm)|HumanApprovalCallbackHandler|HumanInputRun|HumanTool|HumanLayer"
    r"|require_?approval|requires_approval|needs_approval|request_approval|approval|approve|confirm|interrupt_before"
    r"|interrupt_on|(^|\.)interrupt$|ask_(the_)?(user|human)|human_node|ApprovalRequired|HumanInTheLoopMiddleware)"
)
_BOXED = re.compile(r"(?i)(DockerCommandLineCodeExecutor|E2B|docker|sandbox|firejail|modal|daytona|gvisor)")
_READS = re.compile(r"(?i)^\s*(select|with|explain|show|pragma|describe)\b")


def agent_confirmation(folder: Folder) -> Iterator[Seen]:
    """A tool that acts asks a person before it does, or acts in a box of its own."""
    reading = folder.once(read)
    if "agent" not in reading.facts:
        return
    if _asks_first(reading.flows):
        yield Seen(criterion="governance.agent_confirmation", level=1, summary="a person is asked before a tool acts")
        return
    found = {(each.file, each.line): each for flow in reading.flows for each in _acting(flow)}
    findings = [found[place] for place in sorted(found)]
    bad = f"{len(findings)} tools act and nobody is asked"
    yield Seen.of("governance.agent_confirmation", findings, bad, "no tool acts without being asked for")


def _asks_first(flows: list[Flow]) -> bool:
    for flow in flows:
        for node in flow.module.nodes:
            match node:
                case ast.keyword(arg=str()) if _ASKS_FIRST.search(node.arg or "") or node.arg == "human_input_mode":
                    if literal(node.value) not in (False, None, "NEVER") or isinstance(
                        node.value, (ast.List, ast.Name)
                    ):
                        return True
                case ast.Call() if _ASKS_FIRST.search(flow.module.name_of(node.func)):
                    return True
                case ast.ImportFrom() if any(_ASKS_FIRST.search(alias.name) for alias in node.names):
                    return True
                case _:
                    pass
        if any(name == "input" for function in _tools(flow) for _, name in flow.module.calls_in(function)):
            return True
        if _console_gate(flow):
            return True
    return False


def _console_gate(flow: Flow) -> bool:
    """Whether an answer typed at the console decides whether a call of a tool is made."""
    for node in flow.module.nodes:
        if isinstance(node, ast.If) and any(
            isinstance(each, ast.Call) and flow.module.name_of(each.func) == "input" for each in ast.walk(node.test)
        ):
            return True
    return False


def _acting(flow: Flow) -> Iterator[Finding]:
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
                named = _NAMED_TOOLS.get(str(literal(each)))
                if named:
                    yield finding(flow.module, each, f"the agent is given {named}, and nobody is asked")
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
    for function in _tools(flow):
        for call, name in flow.module.calls_in(function):
            on = next((what for pattern, what in _ACTS if pattern.search(name)), "")
            if not on and name in ("open", "io.open") and _writes(flow, call):
                on = "files"
            if on == "a database" and call.args and _READS.search(flow.text(call.args[0])):
                continue
            if on:
                yield finding(flow.module, call, f"the tool {function.name} acts on {on}, and nobody is asked")
                break


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


def _writes(flow: Flow, call: ast.Call) -> bool:
    mode = call.args[1] if len(call.args) > 1 else argument(call, "mode")
    return flow.text(mode)[:1] in ("w", "a", "x")


def _tools(flow: Flow) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Functions that a model may call: marked as a tool, wrapped into one, or kept in a table it chooses from."""
    named: set[str] = set()
    for call, name in flow.module.calls:
        if _WRAPS.search(name):
            given = [*call.args, *(w.value for w in call.keywords if w.arg in ("func", "fn", "coroutine", "async_fn"))]
            named |= {each.id for each in given if isinstance(each, ast.Name)}
        for word in call.keywords:
            if word.arg in ("tools", "functions") and isinstance(word.value, ast.List):
                named |= {each.id for each in word.value.elts if isinstance(each, ast.Name)}
        if name.endswith((".bind_tools", "create_react_agent", "ToolNode", "create_agent")):
            lists = [each for each in call.args if isinstance(each, ast.List)]
            named |= {each.id for item in lists for each in item.elts if isinstance(each, ast.Name)}
    for node in flow.module.nodes:
        if isinstance(node, ast.Assign) and re.search(
            r"(?i)(tools?|functions?)(_map|_table|_registry)?$", dotted(node.targets[0])
        ):
            values = node.value.values if isinstance(node.value, ast.Dict) else getattr(node.value, "elts", [])
            named |= {each.id for each in values if isinstance(each, ast.Name)}
    named |= _chosen_by_answer(flow)
    return [
        node
        for node in flow.module.nodes
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and (node.name in named or any(dotted(each).rpartition(".")[2] in _MARKS for each in node.decorator_list))
    ]


def _chosen_by_answer(flow: Flow) -> set[str]:
    """Functions in a table that is looked up by an answer, and those that are called with parts of one."""
    tables = {
        dotted(node.value)
        for node in flow.module.nodes
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and ANSWER in flow.labels(node.slice)
    }
    tables |= {
        dotted(call.func.value)
        for call, name in flow.module.calls
        if isinstance(call.func, ast.Attribute)
        and name.endswith(".get")
        and any(ANSWER in flow.labels(each) for each in call.args[:1])
    }
    found: set[str] = set()
    for node in flow.module.nodes:
        if isinstance(node, ast.Assign) and dotted(node.targets[0]) in tables and isinstance(node.value, ast.Dict):
            found |= {each.id for each in node.value.values if isinstance(each, ast.Name)}
    if any(word.arg in ("tools", "functions") for ask in flow.asks.values() for word in ask.call.keywords):
        found |= {name for name in flow.functions if any(ANSWER in labels for labels in flow.given_to(name).values())}
    return found


def agent_steps(folder: Folder) -> Iterator[Seen]:
    """An agent ends after a number of steps."""
    reading = folder.once(read)
    if "agent" not in reading.facts:
        return
    findings = [each for flow in reading.flows for each in _endless(flow)]
    bad = f"{len(findings)} agents may go on without end"
    yield Seen.of("infrastructure.agent_steps", findings, bad, "every agent ends")


def _endless(flow: Flow) -> Iterator[Finding]:
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
        if not isinstance(node, ast.While) or literal(node.test) not in (True, 1):
            continue
        inside = list(ast.walk(node))
        asked = any(id(each) in flow.asks for each in inside)
        waits = any(
            isinstance(each, ast.Call)
            and re.search(r"(^|\.)(input|receive\w*|get|recv|ask|sleep|accept|next)$", flow.module.name_of(each.func))
            for each in inside
        )
        counted = any(
            isinstance(each, ast.Compare) and any(isinstance(op, (ast.Gt, ast.GtE, ast.Lt, ast.LtE)) for op in each.ops)
            for each in inside
        )
        if asked and not waits and not counted:
            yield finding(flow.module, node, "the model is asked until it says stop", "count the steps")
