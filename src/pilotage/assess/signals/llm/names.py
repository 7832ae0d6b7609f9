"""Names that hold labels: under which one a value is kept, and what holds after branches."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from pilotage.assess.signals.llm.origins import NONE, Names
from pilotage.assess.source import dotted

__all__ = ["is_chain", "merge", "place"]


def is_chain(node: ast.AST) -> bool:
    """Whether it is a name with attributes alone: `a.b.c`, and not `a[0].b`."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name)


def merge(names: Names, ends: Sequence[Names]) -> None:
    """Let names hold what any of the ends holds."""
    for end in ends[1:]:
        for name in end:
            ends[0][name] = ends[0].get(name, names.get(name, NONE)) | end[name]
    names.clear()
    names.update(ends[0])


def place(node: ast.AST) -> str:
    """The dotted name under which a value is kept: `state["chain"]` is `state.chain`; another index is the whole."""
    if isinstance(node, ast.Subscript):
        key = node.slice.value if isinstance(node.slice, ast.Constant) else None
        base = dotted(node.value)
        return f"{base}.{key}" if base.endswith("session_state") and isinstance(key, str) else base
    return dotted(node)
