"""Whether a call says something: by an argument, or by a key of what it is given."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence

from pilotage.assess.signals.llm.flow import Flow
from pilotage.assess.signals.llm.instructions import callers_of
from pilotage.assess.signals.llm.origins import Function
from pilotage.assess.signals.python import literal
from pilotage.assess.source import dotted

__all__ = ["spells", "unspelt"]

_SETTINGS = frozenset({
    "config", "client", "http_client", "async_client", "http_async_client", "http_options", "request_options",
    "client_kwargs", "generation_config", "model_settings", "settings", "options", "params", "sampling_params",
    "model_kwargs",
})  # fmt: skip
"""Arguments in which limits may lie: where what they are given cannot be seen, nothing is said."""


def spells(flow: Flow, call: ast.Call, pattern: re.Pattern[str]) -> bool | None:
    """Whether an argument, or a key of a dictionary that is given or that a name stands for, is so called; None:
    it cannot be seen."""
    if any(word.arg and pattern.search(word.arg) for word in call.keywords):
        return True
    unseen = False
    spread = {id(word.value) for word in call.keywords if word.arg is None or word.arg in _SETTINGS}
    todo: list[ast.AST] = [*call.args, *(word.value for word in call.keywords)]
    looked: set[str] = set()
    while todo:
        part = todo.pop()
        for each in ast.walk(part):
            if isinstance(each, ast.keyword) and each.arg and pattern.search(each.arg):
                return True
            if isinstance(each, ast.Dict) and any(pattern.search(str(literal(key) or "")) for key in each.keys):
                return True
            inner = _spread_in(each)
            spread |= {id(value) for value in inner}
            todo += inner
        name = dotted(part) if isinstance(part, (ast.Name, ast.Attribute)) else ""
        if name and name not in looked:
            looked.add(name)
            values = _values(flow, name)
            todo += values
            unseen |= id(part) in spread and not values
        elif not name and id(part) in spread and not isinstance(part, (ast.Dict, ast.Constant)):
            unseen = not isinstance(part, ast.Call) or not part.keywords or unseen
    return None if unseen else False


def unspelt(
    flows: Sequence[Flow], flow: Flow, call: ast.Call, pattern: re.Pattern[str], deep: int = 3
) -> list[tuple[Flow, ast.Call]] | None:
    """Where it should be said and is not; None: it cannot be seen.

    At the call, also where it hands on what its function is given by name and no caller says it; else at the callers
    that leave out what others say.
    """
    spelt = spells(flow, call, pattern)
    if spelt is not None:
        return [] if spelt else [(flow, call)]
    around = flow.function_of(call)
    if around is None or not deep or not _hands_on(around, call, flow):
        return None
    callers = callers_of(flows, flow, around.name)
    places = [unspelt(flows, caller, each, pattern, deep - 1) for caller, each, _ in callers]
    seen = [each for each in places if each is not None]
    if seen and all(seen):
        return [(flow, call)]
    return [place for each in seen for place in each] if seen else None


def _hands_on(around: Function, call: ast.Call, flow: Flow) -> bool:
    """Whether a call, or a dictionary that it is given, takes in whatever the function around it was given by name."""
    kept = around.args.kwarg.arg if around.args.kwarg else ""
    given = [*call.args, *(word.value for word in call.keywords)]
    given += [value for each in given if isinstance(each, ast.Name) for value in _values(flow, each.id)]
    spread = [word.value for word in call.keywords if word.arg is None]
    spread += [value for part in given for each in ast.walk(part) for value in _spread_in(each)]
    known = [each for each in spread if not (isinstance(each, ast.Dict) or _values(flow, dotted(each)))]
    return bool(known) and all(isinstance(each, ast.Name) and each.id == kept for each in known)


def _spread_in(node: ast.AST) -> list[ast.expr]:
    """What a dictionary takes in whole: `{**rest}`, `dict(**rest)`."""
    if isinstance(node, ast.Dict):
        return [value for key, value in zip(node.keys, node.values, strict=True) if key is None]
    if isinstance(node, ast.Call) and dotted(node.func) == "dict":
        return [word.value for word in node.keywords if word.arg is None]
    return []


def _values(flow: Flow, name: str) -> list[ast.expr]:
    """What a name is given in this module, and what is put into it by key."""
    found: list[ast.expr] = []
    for each in {name, name.removeprefix("self."), name.removeprefix("cls.")}:
        for node in flow.assigned(each):
            if (value := node.value) is None:
                continue
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Subscript):
                    found.append(ast.Dict(keys=[target.slice], values=[value]))
                elif dotted(target) == each:
                    found.append(value)
    for call, called in flow.module.calls:
        if called == f"{name}.setdefault" and len(call.args) > 1:
            found.append(ast.Dict(keys=[call.args[0]], values=[call.args[1]]))
        elif called == f"{name}.update":
            found.append(ast.Dict(keys=[None for _ in call.args], values=list(call.args)))
            found.append(ast.Call(func=ast.Name(id="dict"), args=[], keywords=call.keywords))
    return found
