"""Whose words the parameters of a function hold: a person's, a model's, or what its callers give."""

from __future__ import annotations

import ast

from pilotage.assess.signals.llm.origins import (
    ANSWER,
    EVENT_METHODS,
    EVENTS,
    NONE,
    PLAIN,
    REGISTERS,
    ROUTES,
    SAID,
    SPOKEN,
    TOOL_MARKS,
    UI_FUNCTION,
    USER,
    WILD,
    Function,
    Names,
    last_name,
)
from pilotage.assess.source import Module, dotted

__all__ = ["parameters", "ui_functions"]

_NOT_SAID = ("Session", "BackgroundTasks", "Response", "RunContext", "User", "Principal")


def parameters(module: Module, node: Function, given: Names, called_by_ui: bool) -> Names:
    """What each parameter of a function holds when its body begins; `given` is what callers hand over."""
    whose = USER if called_by_ui else _whose(module, node)
    injected = {
        arg.arg
        for arg, default in _defaults(node)
        if isinstance(default, ast.Call) and last_name(default) in ("Depends", "Security", "Provide")
    }
    held: Names = {}
    for arg in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]:
        labels = given.get(arg.arg, NONE)
        typed = dotted(arg.annotation) if arg.annotation is not None else ""
        depends = arg.annotation is not None and any(last_name(e) == "Depends" for e in ast.walk(arg.annotation))
        if arg.arg not in ("self", "cls") and arg.arg not in injected and not depends:
            if whose and not typed.endswith(_NOT_SAID):
                labels |= {whose, WILD, PLAIN}
            elif SPOKEN.search(arg.arg):
                labels |= SAID
        held[arg.arg] = labels
    return held


def _whose(module: Module, node: Function) -> str:
    """A person's (routes, events, widgets), a model's (tools), or nobody's that is known."""
    for each in node.decorator_list:
        name, last = module.name_of(each), last_name(each)
        if last in TOOL_MARKS:
            return ANSWER
        if last in EVENTS or (last in ROUTES and "." in name):
            return USER
    return USER if EVENT_METHODS.match(node.name) and len(node.args.args) > 1 else ""


def ui_functions(module: Module) -> set[str]:
    """Functions that an interface calls with what a person typed or sent."""
    named: set[str] = set()
    for call, name in module.calls:
        if name.rpartition(".")[2] in UI_FUNCTION:
            inside = [*call.args[:1], *(word.value for word in call.keywords if word.arg == "fn")]
            named |= {each.id for each in inside if isinstance(each, ast.Name)}
        elif name.rpartition(".")[2] in REGISTERS:
            inside = [*call.args, *(word.value for word in call.keywords)]
            named |= {each.id for each in inside if isinstance(each, ast.Name)}
    return named


def _defaults(node: Function) -> list[tuple[ast.arg, ast.expr | None]]:
    plain = [*node.args.posonlyargs, *node.args.args]
    missing: list[ast.expr | None] = [None] * (len(plain) - len(node.args.defaults))
    pairs = list(zip(plain, [*missing, *node.args.defaults], strict=True))
    return [*pairs, *zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)]
