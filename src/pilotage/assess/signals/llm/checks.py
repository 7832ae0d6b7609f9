"""What a test of the code lets through: names compared with known values, and names that a check by name passes."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable

from pilotage.assess.signals.llm.origins import last_name
from pilotage.assess.source import dotted

__all__ = ["CONSOLE", "Pair", "checked", "compared", "confirmed"]

_VETS = re.compile(r"(?i)(safe|valid|allow|permit|check|confirm|approv|verif|whitelist|is_known|trusted|guard|moderat)")
_VETS_SPEECH = re.compile(r"(?i)question|prompt|query|message|inject|moderat|toxic|jailbreak")

CONSOLE = frozenset({
    "input", "click.confirm", "typer.confirm", "click.prompt", "typer.prompt", "rich.prompt.Confirm.ask",
    "rich.prompt.Prompt.ask", "questionary.confirm", "inquirer.confirm",
})  # fmt: skip
"""What asks a person at the console."""

Pair = tuple[set[str], set[str]]
"""Names where a test holds, and where it does not."""


def compared(test: ast.expr) -> Pair:
    """Names that are one of known values where the test holds, and where it does not."""
    if split := _split(test, compared):
        return split
    if isinstance(test, ast.Compare) and len(test.ops) == 1 and not isinstance(test.left, ast.Constant):
        names = _named(test.left)
        if isinstance(test.ops[0], (ast.In, ast.Eq)):
            return names, set()
        if isinstance(test.ops[0], (ast.NotIn, ast.NotEq)):
            return set(), names
    return set(), set()


def _named(node: ast.expr) -> set[str]:
    """What a comparison looks at: `block.type` is itself, and no word on `block`; a call looks at what it is given."""
    if (
        isinstance(node, ast.Attribute)
        and dotted(node).count(".")
        and not any(isinstance(each, (ast.Call, ast.Subscript)) for each in ast.walk(node))
    ):
        return {dotted(node)}
    return {dotted(each) for each in ast.walk(node) if isinstance(each, (ast.Name, ast.Attribute))}


def checked(test: ast.expr) -> Pair:
    """Names that a function named after checking lets through where the test holds, and where it does not."""
    if split := _split(test, checked):
        return split
    if isinstance(test, ast.Call):
        name = dotted(test.func)
        vets = _VETS.search(name) and not _VETS_SPEECH.search(name)
        if vets or last_name(test) in ("match", "fullmatch"):
            given = [*test.args, *(word.value for word in test.keywords)]
            return {
                dotted(e) for arg in given for e in ast.walk(arg) if isinstance(e, (ast.Name, ast.Attribute))
            }, set()
    return set(), set()


def confirmed(test: ast.expr, typed: bool) -> str:
    """Where a person at the console has agreed: "yes" where a test holds, "no" where it does not; empty for neither."""
    if not typed:
        return ""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return {"yes": "no", "no": "yes"}[confirmed(test.operand, typed)]
    if isinstance(test, ast.Compare) and isinstance(test.ops[0], (ast.NotEq, ast.NotIn)):
        return "no"
    return "yes"


def _split(test: ast.expr, read: Callable[[ast.expr], Pair]) -> Pair | None:
    """What `not`, `and`, `or` make of their parts; None for a test of one part."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        yes, no = read(test.operand)
        return no, yes
    if isinstance(test, ast.BoolOp):
        parts = [read(each) for each in test.values]
        if isinstance(test.op, ast.And):
            return set().union(*(yes for yes, _ in parts)), set()
        return set(), set().union(*(no for _, no in parts))
    return None
