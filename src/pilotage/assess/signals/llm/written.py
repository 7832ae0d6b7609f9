"""What stands in a module: texts, what names are given, and in which function a piece of code lies."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cached_property

from pilotage.assess.signals.llm.checks import CONSOLE
from pilotage.assess.signals.llm.origins import Function
from pilotage.assess.signals.llm.texts import constants_of, text_of
from pilotage.assess.source import Module, dotted

__all__ = ["Written"]


@dataclass(kw_only=True)
class Written:
    """A module, looked up by name and by node."""

    module: Module

    def function_of(self, node: ast.AST) -> Function | None:
        """The innermost function in which a node stands."""
        return self._around.get(id(node))

    @cached_property
    def _around(self) -> dict[int, Function]:
        functions = [n for n in self.module.nodes if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]
        return {id(each): function for function in functions for each in ast.walk(function) if each is not function}

    def assigned(self, name: str) -> list[ast.Assign | ast.AugAssign | ast.AnnAssign]:
        """The statements that give a value to a name or to one of its keys, or to an attribute by its dotted name."""
        return self._assigned.get(name, [])

    @cached_property
    def _assigned(self) -> dict[str, list[ast.Assign | ast.AugAssign | ast.AnnAssign]]:
        found: dict[str, list[ast.Assign | ast.AugAssign | ast.AnnAssign]] = {}
        for node in self.module.nodes:
            if isinstance(node, (ast.Assign, ast.AugAssign, ast.AnnAssign)) and node.value is not None:
                for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                    place = target.value if isinstance(target, ast.Subscript) else target
                    found.setdefault(dotted(place), []).append(node)
        return found

    def text(self, node: ast.AST | None) -> str:
        """The text of an expression as far as it stands in the code; what is filled in at run time stands as `{}`."""
        return text_of(node, self.constants)

    @cached_property
    def constants(self) -> dict[str, str]:
        """Names that are given a text in this module, and that text."""
        return constants_of(self.module)

    def typed(self, test: ast.expr) -> bool:
        """Whether a test looks at what a person typed at the console, by itself or under a name."""
        values = [
            node.value for each in ast.walk(test) if isinstance(each, ast.Name) for node in self.assigned(each.id)
        ]
        looked = [part for each in [test, *values] if each is not None for part in ast.walk(each)]
        return any(isinstance(each, ast.Call) and self.module.name_of(each.func) in CONSOLE for each in looked)
