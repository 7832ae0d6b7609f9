"""A notebook as a script: its code in the order of the page, what only looked as comments, and where a human must look.

Nothing runs. What cells showed is left out: outputs may hold rows about people.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence

from pilotage.assess.model import Finding
from pilotage.assess.reading import shown
from pilotage.assess.source import Cell, Module, dotted

__all__ = ["as_script"]

_LOOKS = {
    "boxplot", "corr", "count", "describe", "display", "groupby", "head", "hist", "info", "isna", "isnull", "legend",
    "mean", "memory_usage", "nunique", "pairplot", "plot", "print", "round", "sample", "scatter", "show", "sum", "tail",
    "title", "to_dict", "unique", "value_counts", "xlabel", "ylabel", "heatmap", "countplot", "histplot",
}  # fmt: skip


def as_script(module: Module, findings: Sequence[Finding], replaced: Mapping[int, tuple[str, str]]) -> str:
    """The notebook's code; `findings` of its file are said above their lines, `replaced` paths written anew."""
    said = _marks(module, [each for each in findings if each.line not in {module.places[row - 1] for row in replaced}])
    lines = [
        f'"""Converted from {_plain(module.path)}, cell by cell. Lines that say LOOK are for a human to decide on."""',
        "",
        *said.pop(0, []),
    ]
    for number, cell in enumerate(module.cells, 1):
        run = "not run" if cell.order is None else f"run as [{cell.order}]"
        rows = list(range(cell.first, cell.last + 1))
        only_looks = _only_looks(module, cell)
        told = ", only looked: kept as a comment" if only_looks else ""
        lines += ["", f"# %% cell {number}, line {cell.line} of the notebook, {run}{told}"]
        if cell.opaque:
            lines.append("# LOOK: this cell is no plain Python, or runs another file; write what it does")
        for row in rows:
            lines += said.pop(row, [])
            lines.append(_row(module, row, cell, only_looks, replaced))
    return "\n".join(line.rstrip() for line in lines).rstrip() + "\n"


def _row(module: Module, row: int, cell: Cell, only_looks: bool, replaced: Mapping[int, tuple[str, str]]) -> str:
    text = module.lines[row - 1]
    if not text.strip():
        place = module.places[row - 1]
        # The string of a row ends with the newline that begins another, empty one.
        raw = "" if row > cell.first and module.places[row - 2] == place else _raw(module, place)
        return f"# {raw}  # LOOK: no Python" if raw else ""
    if row in replaced:
        old, new = replaced[row]
        if old in text:
            text = f"{text.replace(old, new)}  # LOOK: it was a path of one person's machine"
    return f"# {text}" if only_looks else text


def _raw(module: Module, line: int) -> str:
    """What stands in a line of the notebook's file that is no Python, safe in a comment; empty for an empty one."""
    text = module.text.lines[line - 1].strip().rstrip(",") if line <= len(module.text.lines) else ""
    try:
        value = json.loads(text)
    except ValueError:
        return ""
    # A whole cell in one string has many rows: which of them this is cannot be told.
    return _plain(value.strip()) if isinstance(value, str) and value.count("\n") <= 1 else ""


def _marks(module: Module, findings: Sequence[Finding]) -> dict[int, list[str]]:
    """Comments by line of the tree, 0 for the head."""
    first = {place: at for at, place in reversed(list(enumerate(module.places, 1)))}
    found: dict[int, list[str]] = {}
    for each in findings:
        mend = f"; {each.mend}" if each.mend else ""
        row = _begin(module, first[each.line]) if each.line in first else 0
        found.setdefault(row, []).append(f"# LOOK: {_plain(each.message + mend)}")
    return {row: list(dict.fromkeys(marks)) for row, marks in found.items()}


def _begin(module: Module, row: int) -> int:
    """Where the innermost statement begins that a row is part of: a comment in the middle of one could break it."""
    around = [
        node.lineno
        for node in module.nodes
        if isinstance(node, ast.stmt) and node.lineno <= row <= (node.end_lineno or node.lineno)
    ]
    return max(around, default=row)


def _only_looks(module: Module, cell: Cell) -> bool:
    """Whether a cell has nothing but expressions that show something."""
    own = [node for node in module.tree.body if cell.first <= node.lineno <= cell.last]
    return bool(own) and all(isinstance(node, ast.Expr) and _looks(node.value) for node in own)


def _looks(value: ast.expr) -> bool:
    if isinstance(value, ast.Tuple):
        return all(map(_looks, value.elts))
    if isinstance(value, ast.Call):
        return dotted(value.func).rpartition(".")[2] in _LOOKS and not any(
            isinstance(each, ast.NamedExpr) or (isinstance(each, ast.keyword) and each.arg == "inplace")
            for each in ast.walk(value)
        )
    return isinstance(value, (ast.Name, ast.Attribute, ast.Subscript, ast.Constant, ast.BinOp, ast.Compare))


def _plain(text: str) -> str:
    """One line that ends no comment and no docstring."""
    return shown(" ".join(text.split())).replace('"""', "'''").replace("\\", "/")[:300]
