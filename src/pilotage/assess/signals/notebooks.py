"""Notebooks: whether the page, run from top to bottom, gives what it shows."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterator

from pilotage.assess.folder import Folder
from pilotage.assess.model import Finding
from pilotage.assess.signals.python import finding
from pilotage.assess.signals.seen import Seen
from pilotage.assess.source import Module

__all__ = ["order"]

_GIVEN = {*dir(builtins), "display", "get_ipython", "In", "Out", "exit", "quit", "__file__"}
_RECALLED = re.compile(r"_+[i\d]*\d*$")
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)


def order(folder: Folder) -> Iterator[Seen]:
    """Cells were run 1, 2, 3 without a gap, none ended in an error, and no name comes from a cell that is gone."""
    notebooks = [module for module in folder.modules if module.notebook and module.cells]
    findings = [each for module in notebooks for each in (*_run(module), *_hidden(module))]
    if notebooks:
        yield Seen.of("model.notebook_order", findings, "the page does not produce its results", "run in order")


def _run(module: Module) -> Iterator[Finding]:
    counts = [count for count in module.orders if count is not None]
    top = module.cells[0].line
    if not counts:
        yield finding(module, top, "no cell was run before it was saved", "run all, save")
        return
    if counts != list(range(1, len(counts) + 1)):
        shown = " ".join(str(count or "-") for count in module.orders)
        yield finding(module, top, f"cells were run in the order {shown}", "restart, run all, save")
    for cell in module.cells:
        if any(isinstance(each, dict) and each.get("output_type") == "error" for each in cell.outputs):
            yield finding(module, cell.line, "this cell ended in an error", "mend it, run all, save")
        elif cell.order is None and cell.outputs:
            yield finding(module, cell.line, "this cell shows what no run of it gave", "restart, run all, save")
        elif cell.order is None and any(module.lines[cell.first - 1 : cell.last]):
            yield finding(module, cell.line, "this cell was not run before it was saved", "run all, save")


def _hidden(module: Module) -> Iterator[Finding]:
    """The first use of each name that the page has not defined above it; silent where a cell cannot be read."""
    if any(cell.opaque for cell in module.cells) or any(
        isinstance(node, ast.ImportFrom) and node.names[0].name == "*" for node in module.nodes
    ):
        return
    everywhere = {name for statement in module.tree.body for name in _bound(statement)}
    known = set(_GIVEN)
    for statement in module.tree.body:
        bound = set(_bound(statement))
        now = known | (_inner(statement) if isinstance(statement, (ast.Assign, ast.AugAssign, ast.Expr)) else bound)
        for node in _loads(statement):
            if node.id not in now and not _RECALLED.match(node.id):
                known.add(node.id)
                now.add(node.id)
                when = "defined further down only" if node.id in everywhere else "defined nowhere on the page"
                yield finding(module, node, f"{node.id} is {when}", "restart, run all, mend what breaks, save")
        known |= bound


def _loads(statement: ast.stmt) -> Iterator[ast.Name]:
    """Names read when the statement runs: not those inside functions and classes, which run later or on their own."""
    todo: list[ast.AST] = [statement]
    found = []
    while todo:
        node = todo.pop()
        if isinstance(node, _SCOPES):
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            found.append(node)
        todo += ast.iter_child_nodes(node)
    yield from sorted(found, key=lambda node: (node.lineno, node.col_offset))


def _inner(statement: ast.stmt) -> set[str]:
    """Names that a comprehension or a walrus binds within the statement."""
    return {
        each.id
        for node in ast.walk(statement)
        if isinstance(node, (ast.comprehension, ast.NamedExpr))
        for each in ast.walk(node.target)
        if isinstance(each, ast.Name)
    }


def _bound(statement: ast.stmt) -> Iterator[str]:
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from ((alias.asname or alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)) and node.name:
            yield node.name
