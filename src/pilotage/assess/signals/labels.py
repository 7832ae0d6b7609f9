"""Where labels and rows come from: observed, or drawn at random by the pilot's own code."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from pilotage.assess.folder import Folder
from pilotage.assess.model import Finding
from pilotage.assess.signals.python import finding, literal
from pilotage.assess.signals.seen import Seen
from pilotage.assess.source import Module

__all__ = ["labels_observed"]

_NAMES = {"y", "label", "labels", "target", "targets", "outcome", "outcomes", "y_train", "y_test"}
_DRAWS = {
    "randint", "random_integers", "integers", "rand", "random", "random_sample", "randn", "normal", "uniform",
    "choice", "choices", "binomial", "poisson", "standard_normal", "getrandbits",
}  # fmt: skip
_GENERATORS = {"numpy.random.default_rng", "numpy.random.RandomState", "random.Random"}
_SYNTHETIC = {f"sklearn.datasets.make_{kind}" for kind in ("classification", "regression", "blobs", "moons", "circles")}
_PEELED = {"astype", "tolist", "round", "reshape", "ravel", "flatten"}
_WRAPPED = {"numpy.where", "numpy.array", "numpy.asarray", "pandas.Series", "numpy.round"}


def labels_observed(folder: Folder) -> Iterator[Seen]:
    """Nothing that is fitted has labels, or whole rows, that its own code makes up."""
    modules = [module for module in folder.modules if not module.is_test]
    fitting = [module for module in modules if any(name.endswith(".fit") for _, name in module.calls)]
    if not fitting:
        return
    target = folder.declared.pilot.target if folder.declared and folder.declared.pilot else ""
    names = {*_NAMES, target} - {""}
    findings = [each for module in fitting for each in _made_up(module, names)]
    yield Seen.of("data.observed", findings, "it is fitted on what its own code makes up", "no label is made up")


def _made_up(module: Module, names: set[str]) -> Iterator[Finding]:
    generators = _generators(module)
    for node in module.nodes:
        if not (isinstance(node, ast.Assign) and any(_named(each, names) for each in node.targets)):
            continue
        if _drawn(module, node.value, generators):
            yield finding(module, node, "the labels are drawn at random", "take the outcomes that were observed")
    for call, name in module.calls:
        if name in _SYNTHETIC:
            yield finding(
                module, call, f"rows of {name.rpartition('.')[2]} are made up", "fit on rows that were observed"
            )


def _generators(module: Module) -> set[str]:
    """The names that hold a generator of random numbers."""
    return {
        target.id
        for node in module.nodes
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
        if module.name_of(node.value.func) in _GENERATORS
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _named(target: ast.expr, names: set[str]) -> bool:
    """`y`, or `frame["label"]`."""
    if isinstance(target, ast.Name):
        return target.id.lower() in names
    return isinstance(target, ast.Subscript) and literal(target.slice) in names


def _drawn(module: Module, value: ast.expr, generators: set[str]) -> bool:
    """Whether a value is nothing but a draw: cut to classes, cast or wrapped, but made of no other values."""
    while True:
        if isinstance(value, ast.Compare):
            value = value.left
        elif isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute) and value.func.attr in _PEELED:
            value = value.func.value
        elif isinstance(value, ast.Call) and value.args and module.name_of(value.func) in _WRAPPED:
            value = value.args[0]
        elif isinstance(value, ast.ListComp):
            value = value.elt
        else:
            break
    if not isinstance(value, ast.Call):
        return False
    owner, _, last = module.name_of(value.func).rpartition(".")
    if last not in _DRAWS or owner not in {"numpy.random", "random", *generators}:
        return False
    # What is chosen from values that are at hand is a sample of them.
    at_hand = (ast.Name, ast.Attribute, ast.Subscript)
    return not (last.startswith("choice") and value.args and isinstance(value.args[0], at_hand))
