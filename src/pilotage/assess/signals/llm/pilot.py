"""What the modules of a pilot know of each other: their functions, what these are given and give back, their names."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from pilotage.assess.signals.llm.origins import NONE, Function, Labels, Names, last_name
from pilotage.assess.source import Module, dotted

__all__ = ["Pilot", "Target", "arguments", "bases", "home", "imported", "parameter_names"]

_CLOSED = frozenset({"Literal", "bool", "int", "float", "UUID", "datetime", "date", "Decimal"})

Target = tuple[str, str]
"""A function of the pilot: the module's last name, and its own. A class stands for its constructor."""


@dataclass(kw_only=True)
class Pilot:
    """Shared by the flows of all modules.

    `known`: labels of names and of what functions return. `given`: what callers hand to each function.
    """

    parameters: dict[Target, list[str]] = field(default_factory=dict)
    methods: dict[str, list[Target]] = field(default_factory=dict)
    known: dict[Target, Labels] = field(default_factory=dict)
    given: dict[Target, Names] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)
    """Fields of classes that hold one of known values or a number, in every class that has them."""

    _kinds: dict[str, set[str]] = field(default_factory=dict)

    @staticmethod
    def of(modules: Sequence[Module]) -> Pilot:
        """The functions of all modules."""
        pilot = Pilot()
        for module in modules:
            for node in module.nodes:
                if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    pilot.parameters[home(module), node.name] = parameter_names(node)
                elif isinstance(node, ast.ClassDef):
                    pilot._of_class(home(module), node)
        pilot.closed = {name for name, kinds in pilot._kinds.items() if kinds <= _CLOSED}
        return pilot

    def _of_class(self, where: str, node: ast.ClassDef) -> None:
        fields = {
            each.target.id: last_name(getattr(each.annotation, "value", each.annotation))
            for each in node.body
            if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
        }
        self.parameters[where, node.name] = list(fields)
        for name, kind in fields.items():
            self._kinds.setdefault(name, set()).add(kind)
        for each in node.body:
            if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef)):
                if each.name == "__init__":
                    self.parameters[where, node.name] = parameter_names(each)
                self.methods.setdefault(each.name, []).append((where, each.name))

    @cached_property
    def homes(self) -> frozenset[str]:
        """The modules that have functions."""
        return frozenset(where for where, _ in self.parameters)

    def give(self, target: Target, parameter: str, labels: Labels) -> None:
        """Hand labels to a parameter."""
        held = self.given.setdefault(target, {})
        held[parameter] = held.get(parameter, NONE) | labels

    def size(self) -> int:
        """Grows whenever something is learnt."""
        handed = sum(len(labels) for names in self.given.values() for labels in names.values())
        return handed + sum(map(len, self.known.values())) + len(self.known)


def home(module: Module) -> str:
    """The name by which others import a module: its file's, or its folder's for a package."""
    folder, _, file = module.path.rpartition("/")
    stem = file.rpartition(".")[0] or file
    return folder.rpartition("/")[2] if stem == "__init__" else stem


def parameter_names(node: Function) -> list[str]:
    """Names of parameters in the order in which a caller gives them."""
    names = [arg.arg for arg in [*node.args.posonlyargs, *node.args.args]]
    return names[1:] if names[:1] in (["self"], ["cls"]) else names


def imported(module: Module) -> Iterator[tuple[str, Target]]:
    """Names that a module imports from another, with module and name there; a module itself has no name."""
    for node in module.nodes:
        if isinstance(node, ast.ImportFrom):
            stem = (node.module or "").rpartition(".")[2]
            for alias in node.names:
                yield alias.asname or alias.name, (stem, alias.name)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.asname or alias.name, (alias.name.rpartition(".")[2], "")


def arguments(call: ast.Call, parameters: Sequence[str]) -> Iterator[tuple[str, ast.expr]]:
    """The parameters that a call gives, with what they are given."""
    for name, each in zip(parameters, call.args, strict=False):
        if isinstance(each, ast.Starred):
            break
        yield name, each
    for word in call.keywords:
        if word.arg:
            yield word.arg, word.value
    named = {word.arg for word in call.keywords}
    for word in call.keywords:
        if word.arg is None:
            yield from ((name, word.value) for name in parameters[len(call.args) :] if name not in named)


def bases(module: Module) -> set[str]:
    """Last names of the classes that those of a module are made from."""
    return {
        dotted(each).rpartition(".")[2]
        for node in module.nodes
        if isinstance(node, ast.ClassDef)
        for each in node.bases
    }
