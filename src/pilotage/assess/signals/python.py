"""Reading Python by its syntax tree: the calls of a module, its names, its request handlers."""

from __future__ import annotations

import ast

from pilotage.assess.folder import Folder
from pilotage.assess.model import Finding
from pilotage.assess.source import Module, dotted

__all__ = ["argument", "finding", "folded", "handlers", "is_server", "literal", "name_in", "scripts"]

_SERVERS = {"flask", "fastapi", "starlette", "bottle", "tornado", "sanic", "aiohttp", "falcon", "litestar"}
_VERBS = {"route", "get", "post", "put", "api_route", "websocket"}


def argument(call: ast.Call, name: str) -> ast.expr | None:
    """A keyword argument's value."""
    return next((word.value for word in call.keywords if word.arg == name), None)


def literal(node: ast.AST | None) -> object:
    """The value of a constant; None for anything else."""
    return node.value if isinstance(node, ast.Constant) else None


def folded(node: ast.AST) -> str | None:
    """The text of a string, or of strings that are added; None for anything else."""
    parts: list[str] = []
    todo = [node]
    while todo:
        each = todo.pop()
        if isinstance(each, ast.BinOp) and isinstance(each.op, ast.Add):
            todo += [each.right, each.left]
        elif isinstance(each, ast.Constant) and isinstance(each.value, str):
            parts.append(each.value)
        else:
            return None
    return "".join(parts)


def name_in(node: ast.AST, *parts: str) -> bool:
    """Whether any name below a node contains one of the parts."""
    names = [dotted(each).lower() for each in ast.walk(node) if isinstance(each, (ast.Name, ast.Attribute))]
    return any(part in name for part in parts for name in names)


def scripts(folder: Folder) -> list[Module]:
    """Modules that are neither tests nor notebooks."""
    return [module for module in folder.modules if not module.is_test and not module.notebook]


def is_server(module: Module) -> bool:
    """Whether a module imports a web framework."""
    return bool(module.roots & _SERVERS)


def handlers(module: Module) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Functions that answer requests: those with a route decorator."""
    return [
        node
        for node in module.nodes
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and any(dotted(each).rpartition(".")[2] in _VERBS and "." in dotted(each) for each in node.decorator_list)
    ]


def finding(module: Module, node: ast.AST | int, message: str, mend: str = "") -> Finding:
    """A finding at a node, or at a line of the file."""
    line = node if isinstance(node, int) else module.place(node)
    return Finding(file=module.path, line=line, message=message, mend=mend, digest=module.text.line_digest(line))
