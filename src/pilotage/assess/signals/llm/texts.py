"""The text of an expression as far as it stands in the code."""

from __future__ import annotations

import ast

from pilotage.assess.signals.llm.origins import last_name
from pilotage.assess.source import Module, dotted

__all__ = ["constants_of", "text_of"]


def text_of(node: ast.AST | None, constants: dict[str, str]) -> str:
    """Through names, defaults of settings, `+`, `%`, f-strings, `format`, `join` and paths.

    What is filled in at run time stands as `{}`; nothing known, or what is nested too deep, gives the empty text.
    """
    try:
        return _read(node, constants)
    except RecursionError:
        return ""


def _read(node: ast.AST | None, constants: dict[str, str]) -> str:
    match node:
        case ast.Constant(value=str()):
            return str(node.value)
        case ast.Name() | ast.Attribute():
            return constants.get(dotted(node).removeprefix("self."), "")
        case ast.BinOp(op=ast.Add()):
            return (_read(node.left, constants) or "{}") + (_read(node.right, constants) or "{}")
        case ast.BinOp(op=ast.Mod()):
            return _read(node.left, constants)
        case ast.JoinedStr():
            return "".join(_read(each, constants) or "{}" for each in node.values)
        case ast.FormattedValue():
            return _read(node.value, constants) or "{}"
        case ast.Call() if last_name(node) in ("getenv", "get") and len(node.args) > 1:
            return _read(node.args[1], constants)
        case ast.Call() if last_name(node) in ("format", "strip", "dedent", "format_map") and isinstance(
            node.func, ast.Attribute
        ):
            return _read(node.args[0] if last_name(node) == "dedent" and node.args else node.func.value, constants)
        case ast.BinOp(op=ast.Div()):
            return f"{_read(node.left, constants)}/{_read(node.right, constants)}".strip("/")
        case ast.Call() if last_name(node) in ("Path", "PurePath", "join", "joinpath", "resolve", "absolute", "str"):
            return _joined(node, constants)
        case ast.BoolOp():
            return next((text for each in reversed(node.values) if (text := _read(each, constants))), "")
        case _:
            return ""


def _joined(node: ast.Call, constants: dict[str, str]) -> str:
    """The text of a path that is put together, or of a list of texts that are joined."""
    texts = [_read(each, constants) for each in node.args]
    if isinstance(node.func, ast.Attribute):
        between = node.func.value
        if isinstance(between, ast.Constant) and node.args and isinstance(node.args[0], (ast.List, ast.Tuple)):
            return str(between.value).join(_read(each, constants) or "{}" for each in node.args[0].elts)
        if last_name(node) in ("joinpath", "resolve", "absolute"):
            texts = [_read(between, constants), *texts]
    return "/".join(text for text in texts if text)


def constants_of(module: Module) -> dict[str, str]:
    """Names that are given a text in a module, and that text; of several the last."""
    found: dict[str, str] = {}
    for node in module.nodes:
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            name = dotted(node.targets[0]).removeprefix("self.")
            if name and (text := text_of(node.value, found)):
                found[name] = text
        elif isinstance(node, ast.AnnAssign) and node.value is not None and (text := text_of(node.value, found)):
            found[dotted(node.target)] = text
    return found
