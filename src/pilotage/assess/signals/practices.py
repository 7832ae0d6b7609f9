"""Practices that the ML Test Score asks for and a folder shows: what tests touch, gates, tuning, watched packages."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from pilotage.assess.folder import Folder
from pilotage.assess.signals.python import is_server
from pilotage.assess.source import Module, dotted

__all__ = ["PRACTICES", "practices"]

PRACTICES = (
    "features tested",
    "model code tested",
    "pipeline tested",
    "numbers tested",
    "quality gate",
    "tuned",
    "features judged",
    "groups compared",
    "dependencies watched",
    "speed measured",
)
"""What is looked for, each at its place or not at all."""

_FEATURE_CALLS = frozenset({
    "fit_transform", "transform", "get_dummies", "ColumnTransformer", "SimpleImputer", "OneHotEncoder",
    "StandardScaler",
    "FunctionTransformer", "OrdinalEncoder", "TfidfVectorizer", "CountVectorizer",
})  # fmt: skip
_FEATURE_NAMES = re.compile(r"(?i)(feature|prepar|preprocess|clean|encode|transform|imput|tokeni|normali|extract)")
_TUNES = frozenset({
    "GridSearchCV", "RandomizedSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV", "BayesSearchCV",
    "create_study", "hyperopt.fmin", "cross_val_score",
})  # fmt: skip
_JUDGES = frozenset(
    {"permutation_importance", "RFE", "RFECV", "SelectKBest", "SelectFromModel", "feature_importances_"}
)
_GROUPS = ("fairlearn", "aif360", "aequitas")
_METRIC = re.compile(r"(?i)(auc|accuracy|f1|recall|precision|score|rmse|mae|r2|loss|metric)")
_FINITE = ("isfinite", "isnan", "isinf", "assert_all_finite")
_WATCHERS = re.compile(r"(^|/)(\.github/dependabot\.ya?ml|renovate\.json5?|\.renovaterc(\.json)?|\.pyup\.yml)$")
_SPEED = re.compile(r"(?i)(^|/)(locustfile\.py|[^/]*(benchmark|load_?test|k6)[^/]*\.(py|js))$")


def practices(folder: Folder) -> dict[str, str]:
    """The place at which each practice shows (`tests/test_x.py:3`); empty where it was looked for and is not there."""
    found = dict.fromkeys(PRACTICES, "")
    modules = {Path(module.path).stem: module for module in folder.modules if not module.is_test}
    for module in folder.modules:
        for practice, node in _in_test(module, modules) if module.is_test else _in_code(module):
            found[practice] = found[practice] or f"{module.path}:{module.place(node)}"
        for node in module.nodes:
            if _gates(node):
                found["quality gate"] = found["quality gate"] or f"{module.path}:{module.place(node)}"
    found["dependencies watched"] = next((path for path in folder.files if _WATCHERS.search(path)), "")
    found["speed measured"] = next((path for path in folder.files if _SPEED.search(path)), "")
    return found


def _in_test(module: Module, modules: dict[str, Module]) -> Iterator[tuple[str, ast.AST]]:
    """What the asserting tests of a module call."""
    brought = _brought(module, modules)
    for node in module.nodes:
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) or not node.name.startswith("test"):
            continue
        inside = list(ast.walk(node))
        names = [dotted(each.func) for each in inside if isinstance(each, ast.Call)]
        if not any(isinstance(each, ast.Assert) for each in inside) and not any(n.endswith("raises") for n in names):
            continue
        touched = {brought[name.split(".")[0]] for name in names if name.split(".")[0] in brought}
        lasts = {name.rpartition(".")[2] for name in names}
        if any(_prepares(modules[stem]) for stem in touched) or any(
            _FEATURE_NAMES.search(name) and name.split(".")[0] in brought for name in names
        ):
            yield "features tested", node
        fits = any(_fits(modules[stem]) for stem in touched)
        if fits:
            yield "model code tested", node
        served = "test_client" in lasts or any(name.endswith("TestClient") for _, name in module.calls)
        if (fits or "fit" in lasts) and (lasts & {"predict", "predict_proba", "post"} or served):
            yield "pipeline tested", node
        if lasts & set(_FINITE):
            yield "numbers tested", node


def _brought(module: Module, modules: dict[str, Module]) -> dict[str, str]:
    """Names that a test imports from the pilot's own modules, and the module of each."""
    found: dict[str, str] = {}
    for node in module.nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                stem = alias.name.rpartition(".")[2]
                if stem in modules:
                    found[alias.asname or alias.name.split(".")[0]] = stem
        elif isinstance(node, ast.ImportFrom):
            stem = (node.module or "").rpartition(".")[2]
            for alias in node.names:
                home = stem if stem in modules else alias.name if alias.name in modules else ""
                if home:
                    found[alias.asname or alias.name] = home
    return found


def _prepares(module: Module) -> bool:
    return not is_server(module) and any(name.rpartition(".")[2] in _FEATURE_CALLS for _, name in module.calls)


def _fits(module: Module) -> bool:
    return any(name.rpartition(".")[2] in ("fit", "fit_transform", "train") and "." in name for _, name in module.calls)


def _in_code(module: Module) -> Iterator[tuple[str, ast.AST]]:
    for call, name in module.calls:
        last = name.rpartition(".")[2]
        if last in _TUNES or name in _TUNES:
            yield "tuned", call
        if last in _JUDGES:
            yield "features judged", call
        if name.split(".")[0] in _GROUPS:
            yield "groups compared", call
    for node in module.nodes:
        if isinstance(node, ast.Attribute) and node.attr == "feature_importances_":
            yield "features judged", node


def _gates(node: ast.AST) -> bool:
    """`assert auc >= 0.8`, or a comparison of a metric with a number that ends in an error."""
    if isinstance(node, ast.Assert):
        return _compares(node.test)
    if isinstance(node, ast.If) and _compares(node.test):
        return any(
            isinstance(each, ast.Raise) or (isinstance(each, ast.Call) and dotted(each.func) in ("sys.exit", "exit"))
            for part in node.body
            for each in ast.walk(part)
        )
    return False


def _compares(test: ast.expr) -> bool:
    if not isinstance(test, ast.Compare) or len(test.ops) != 1:
        return False
    if not isinstance(test.ops[0], (ast.Gt, ast.GtE, ast.Lt, ast.LtE)):
        return False
    sides = [test.left, *test.comparators]
    number = any(isinstance(each, ast.Constant) and isinstance(each.value, float) for each in sides)
    named = any(_METRIC.search(dotted(each)) for each in sides if not isinstance(each, ast.Constant))
    limit = any(re.search(r"(?i)threshold|minimum|limit|floor|baseline", dotted(each)) for each in sides)
    return named and (number or limit)
