"""Which functions of a pilot take a text and ask the model: what is called where there is no service to start."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from pilotage.assess.folder import Folder
from pilotage.assess.probing.calling import Call, Command
from pilotage.assess.signals.llm.flow import Flow
from pilotage.assess.signals.llm.reading import read
from pilotage.assess.source import dotted

__all__ = ["entries"]

_SPEAKS = re.compile(r"(?i)question|query|message|prompt|text|input|task|request|content|topic|^q$")
_LIKELY = re.compile(r"(?i)ask|answer|chat|respond|reply|query|run|agent|main|assist|complete|generate|summar|handle")
_MOST = 4

Function = ast.FunctionDef | ast.AsyncFunctionDef


def entries(folder: Folder) -> tuple[list[Command], list[Call]]:
    """The command that serves the likeliest functions of one module, and a call of each; empty without any."""
    best = max((_of(flow) for flow in folder.once(read).flows if not flow.module.notebook), key=_worth, default=None)
    if not best or not best[1]:
        return [], []
    path, functions = best[0].module.path, best[1][:_MOST]
    words = ["python", "-m", "pilotage.assess.probing.llm.boxed_entry", Path(path).name]
    inside = str(Path(path).parent)
    names = [each.name for each in functions]
    command = Command(argv=[*words, *names], cwd="" if inside == "." else inside, said=f"{path}: {names[0]}")
    calls = [
        Call(
            method="POST",
            path=f"/{each.name}",
            kind="json",
            body={"text": "a"},
            file=path,
            line=best[0].module.place(each),
        )
        for each in functions
    ]
    return [command], calls


def _of(flow: Flow) -> tuple[Flow, list[Function]]:
    """Functions of a module that take one text and ask, by themselves or through others; the outermost first."""
    known = [node for node in flow.module.tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    called = {each.name: {dotted(node.func) for node in ast.walk(each) if isinstance(node, ast.Call)} for each in known}
    asking = {each.name for each in known if any(id(node) in flow.asks for node in ast.walk(each))}
    for _ in known:
        asking |= {name for name, inner in called.items() if inner & asking}
    depth = {name: len(called[name] & asking) for name in asking}
    fit = [each for each in known if each.name in asking and _takes_text(each)]
    fit.sort(key=lambda each: (-bool(_LIKELY.search(each.name)), -depth[each.name], each.lineno))
    return flow, fit


def _worth(found: tuple[Flow, list[Function]]) -> tuple[int, bool]:
    return len(found[1][:1]), any(_LIKELY.search(each.name) for each in found[1])


def _takes_text(function: Function) -> bool:
    """Whether one argument must be given, and it may be a text."""
    given = function.args
    needed = given.args[: len(given.args) - len(given.defaults)]
    late = [each for each, default in zip(given.kwonlyargs, given.kw_defaults, strict=True) if default is None]
    if len(needed) != 1 or late or given.posonlyargs:
        return False
    kind = dotted(needed[0].annotation) if needed[0].annotation else ""
    return kind == "str" or (not kind and bool(_SPEAKS.search(needed[0].arg)))
