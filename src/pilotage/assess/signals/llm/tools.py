"""Tools: functions that a model may call, wherever in the pilot they stand, and what they act on."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator

from pilotage.assess.signals.llm.flow import Flow
from pilotage.assess.signals.llm.origins import ANSWER, TOOL_MARKS, Function, last_name
from pilotage.assess.signals.llm.pilot import Target
from pilotage.assess.signals.python import argument, literal
from pilotage.assess.source import dotted

__all__ = ["dispatches", "first_act", "tools_in", "tools_of"]

_MARKS = TOOL_MARKS | {"register_for_execution"}
_WRAPS = re.compile(r"(^|\.)(Tool|StructuredTool|FunctionTool)(\.from_\w+)?$")
_TABLES = re.compile(
    r"(?i)(tools?|functions?|actions?|skills?|commands?|handlers?)(_?(map|table|registry|list|by_name))?$"
)
_GIVEN = frozenset({"tools", "functions", "available_functions", "actions"})
_TAKERS = (
    ".bind_tools",
    "create_react_agent",
    "ToolNode",
    "create_agent",
    "create_tool_calling_agent",
    "AgentExecutor",
)
_ACTS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"^(subprocess\.\w+|os\.(system|popen|kill)|asyncio\.create_subprocess_\w+|pexpect\.\w+)$"
                r"|(^|\.)(exec_command|exec_run)$"), "a shell"),
    (re.compile(r"^(exec|eval|builtins\.(exec|eval))$"), "a Python interpreter"),
    (re.compile(r"^(os\.(remove|unlink|rename|replace|rmdir|makedirs|chmod)|shutil\.(rmtree|move|copy\w*))$"
                r"|(^|\.)(write_text|write_bytes|unlink)$"), "files"),
    (re.compile(r"^stripe\.|^(braintree|paypal\w*|adyen|square)\."
                r"|(^|\.)(refunds?|charges?|payouts?|transfers?|payments?)\.create$"), "money"),
    (re.compile(r"(^|\.)(post|patch)$|^(requests|httpx)\.(put|delete)$|^(requests|httpx)\.request$"
                r"|(^|\.)(session|client|http|c|s|api)\.(put|delete)$|(^|\.)urlopen$"
                r"|\.(sendmail|send|send_(message|email|mail|sms|raw_email)|chat_postMessage|files_upload\w*|messages\.create)$"
                r"|\.(create_(issue|ticket|event|pull|user|comment)|add_comment|close_issue|merge|transition_issue)$"),
     "others"),
    (re.compile(r"\.(execute|executemany|executescript|exec_driver_sql|insert_(one|many)|update_(one|many)|delete_(one|many)"
                r"|bulk_write|bulk_create|session\.(add|delete|commit)|db\.commit)$"), "a database"),
    (re.compile(r"\.(put_object|delete_objects?|upload_file\w*|terminate_instances|stop_instances|run_instances|put_item"
                r"|delete_item|delete_namespaced_\w+|patch_namespaced_\w+|create_namespaced_\w+)$"), "the cloud"),
)  # fmt: skip
_READS = re.compile(r"(?i)^\s*(select|with|explain|show|pragma|describe)\b")
_LOOKS = frozenset({"ls", "cat", "df", "ps", "head", "tail", "wc", "grep", "du", "stat", "date", "uptime"})
_LOOKERS = frozenset({"git", "kubectl", "docker", "helm", "systemctl", "terraform"})
_LOOKS_AT = frozenset(
    {"log", "status", "diff", "show", "blame", "get", "describe", "logs", "ps", "images", "list", "plan"}
)
_RUNS = frozenset({"_run", "_arun", "run", "arun", "forward", "execute", "call", "invoke", "__call__"})


def tools_of(flows: Iterable[Flow]) -> set[Target]:
    """Functions that a model may call: marked, wrapped, given, kept in a table, or chosen by its answer."""
    named: set[Target] = set()
    for flow in flows:
        for each in _mentioned(flow):
            named |= set(flow.targets(each))
        for node in flow.module.nodes:
            if isinstance(node, ast.ClassDef) and any(_tool_class(dotted(base)) for base in node.bases):
                named |= {(flow.home, e.name) for e in node.body if isinstance(e, Function) and e.name in _RUNS}
        if any(word.arg in ("tools", "functions") for each in flow.asks.values() for word in each.call.keywords):
            handed = flow.functions
            named |= {
                (flow.home, name) for name in handed if any(ANSWER in each for each in flow.given_to(name).values())
            }
        named |= _any_of_a_module(flow)
        named |= _registered(flow)
    return named


def _tool_class(base: str) -> bool:
    return base.rpartition(".")[2] in ("BaseTool", "Tool", "BaseToolSpec", "AgentTool", "FunctionTool")


def tools_in(flow: Flow, named: set[Target]) -> list[Function]:
    """The tools that stand in a module."""
    return [
        node
        for node in flow.module.nodes
        if isinstance(node, Function)
        and (
            (flow.home, node.name) in named
            or any(dotted(each).rpartition(".")[2] in _MARKS for each in node.decorator_list)
        )
    ]


def _mentioned(flow: Flow) -> Iterator[ast.expr]:
    """Expressions that name a tool."""
    for call, name in flow.module.calls:
        if _WRAPS.search(name):
            yield from [
                *call.args,
                *(w.value for w in call.keywords if w.arg in ("func", "fn", "coroutine", "async_fn")),
            ]
        lists = [word.value for word in call.keywords if word.arg in _GIVEN]
        if name.endswith(_TAKERS):
            lists += call.args
        for each in lists:
            yield from _members(flow, each)
    chosen = _chosen_tables(flow)
    for node in flow.module.nodes:
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            target = dotted(node.targets[0] if isinstance(node, ast.Assign) else node.target)
            if target in chosen or _TABLES.search(target):
                yield from _members(flow, node.value)


def _members(flow: Flow, node: ast.expr) -> Iterator[ast.expr]:
    """What lies in a list or table, also one that a name stands for."""
    if isinstance(node, ast.Name):
        for each in flow.assigned(node.id):
            if each.value is not None and not isinstance(each.value, ast.Name):
                yield from _members(flow, each.value)
    if isinstance(node, (ast.ListComp, ast.DictComp, ast.SetComp)):
        for part in node.generators:
            yield from _members(flow, part.iter)
    if isinstance(node, ast.Call) and dotted(node.func) in ("list", "tuple", "dict", "set") and node.args:
        yield from _members(flow, node.args[0])
    values = node.values if isinstance(node, ast.Dict) else getattr(node, "elts", [])
    for value in values:
        if isinstance(value, ast.Dict):
            yield from (each for each in value.values if isinstance(each, (ast.Name, ast.Attribute)))
        elif isinstance(value, (ast.Name, ast.Attribute)):
            yield value


def _chosen_tables(flow: Flow) -> set[str]:
    """Names of tables in which an answer looks something up."""
    return {dotted(table) for table, key in _lookups(flow) if ANSWER in flow.labels(key)}


def _registered(flow: Flow) -> set[Target]:
    """Functions under a decorator that puts them into a table in which an answer looks something up."""
    chosen = {table.rpartition(".")[2] for table in _chosen_tables(flow)}
    keepers = {
        around.name
        for node in flow.module.nodes
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Subscript)
        and isinstance(node.value, ast.Name)
        if last_name(node.targets[0].value) in chosen and (around := flow.function_of(node)) is not None
    }
    return {
        (flow.home, node.name)
        for node in flow.module.nodes
        if isinstance(node, Function) and any(last_name(each) in keepers for each in node.decorator_list)
    }


def _lookups(flow: Flow) -> Iterator[tuple[ast.expr, ast.expr]]:
    for node in flow.module.nodes:
        if isinstance(node, ast.Subscript) and isinstance(node.value, (ast.Name, ast.Attribute)):
            yield node.value, node.slice
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "get"
            and node.args
        ):
            yield node.func.value, node.args[0]


def dispatches(flow: Flow) -> Iterator[ast.Call]:
    """Calls by which an answer chooses any function of a module or an object: `getattr(actions, answer)`."""
    for call, name in flow.module.calls:
        if name == "getattr" and len(call.args) > 1 and ANSWER in flow.labels(call.args[1]):
            yield call


def _any_of_a_module(flow: Flow) -> set[Target]:
    """The functions among which such a call chooses."""
    found: set[Target] = set()
    for call in dispatches(flow):
        where, own = flow.imports.get(dotted(call.args[0]), ("", ""))
        home = flow.home if dotted(call.args[0]) == "self" else own or where
        prefix = flow.text(call.args[1]).partition("{}")[0]
        found |= {
            (home, name)
            for module, name in flow.pilot.parameters
            if module == home and name.startswith(prefix) and (prefix or not name.startswith("_"))
        }
    return found


def first_act(flow: Flow, function: Function) -> tuple[ast.Call, str] | None:
    """The first call of a tool that changes something, and what it acts on."""
    for call, name in sorted(flow.module.calls_in(function), key=lambda each: each[0].lineno):
        if id(call) in flow.asks or id(call) in flow.finds or "embeddings" in name:
            continue
        on = next((what for pattern, what in _ACTS if pattern.search(name)), "")
        if not on and name in ("open", "io.open") and _writes(flow, call):
            on = "files"
        if on == "a database" and call.args and _READS.search(flow.text(call.args[0])):
            continue
        if on == "others" and name.endswith("urlopen") and len(call.args) < 2 and argument(call, "data") is None:
            continue
        if on == "a shell" and call.args and _only_looks(call.args[0]):
            continue
        if on:
            return call, on
    return None


def _only_looks(command: ast.expr) -> bool:
    """Whether a command is a fixed one that changes nothing: `["git", "log", ...]`."""
    words = [str(literal(each)) for each in command.elts[:2]] if isinstance(command, ast.List) else []
    if not words:
        return False
    return words[0] in _LOOKS or (words[0] in _LOOKERS and words[-1] in _LOOKS_AT)


def _writes(flow: Flow, call: ast.Call) -> bool:
    mode = call.args[1] if len(call.args) > 1 else argument(call, "mode")
    return flow.text(mode)[:1] in ("w", "a", "x")
