"""How the model was made and measured: seeds, splits, metrics, notebooks."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import pairwise

from pilotage.assess.folder import Folder
from pilotage.assess.model import Finding
from pilotage.assess.signals.python import argument, finding, literal, name_in
from pilotage.assess.signals.seen import Seen
from pilotage.assess.source import Module, dotted

__all__ = ["fit_after_split", "held_out", "label_as_input", "seeded"]

_METRICS = {
    "accuracy_score", "roc_auc_score", "f1_score", "log_loss", "precision_score", "recall_score", "r2_score",
    "mean_squared_error", "mean_absolute_error", "brier_score_loss", "average_precision_score",
    "classification_report", "balanced_accuracy_score", "confusion_matrix",
}  # fmt: skip
_RANDOM = {
    "RandomForestClassifier", "RandomForestRegressor", "ExtraTreesClassifier", "ExtraTreesRegressor", "MLPClassifier",
    "MLPRegressor", "SGDClassifier", "SGDRegressor", "KMeans", "MiniBatchKMeans", "SMOTE", "RandomOverSampler",
    "RandomUnderSampler", "BaggingClassifier", "BaggingRegressor", "IsolationForest",
}  # fmt: skip
_SEEDS = ("numpy.random.seed", "random.seed", "torch.manual_seed", "tensorflow.random.set_seed")
_TOGETHER = {"fit", "train_test_split", "cross_val_score", "cross_validate"}
_SPLITS = {"train_test_split", "KFold", "StratifiedKFold", "ShuffleSplit", "StratifiedShuffleSplit"}


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _measured(module: Module) -> list[tuple[ast.Call, str]]:
    """Metric calls, each as `train`, `self` (scored against its own prediction) or `test`."""
    if not any(_last(name) in _METRICS or _last(name) == "score" for _, name in module.calls):
        return []
    found, fitted = [], _fitted_on(module)
    for call, name in module.calls:
        scoring = _last(name) == "score" and len(call.args) == 2
        if not (_last(name) in _METRICS or scoring) or len(call.args) < 2:
            continue
        on_prediction = name_in(call.args[1 if scoring else 0], "pred")
        same = ast.dump(call.args[0]) == ast.dump(call.args[1])
        on_train = name_in(call.args[0], "train") or name_in(call.args[1], "train")
        on_train = on_train or _seen_rows(module, call, fitted)
        found.append((call, "self" if on_prediction or same else "train" if on_train else "test"))
    return found


def _scopes(module: Module) -> list[list[ast.AST]]:
    """The nodes of each function, and of the page outside all functions."""
    functions = [node for node in module.nodes if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    inside = [list(ast.walk(node)) for node in functions]
    within = {id(node) for nodes in inside for node in nodes}
    return [*inside, [node for node in module.nodes if id(node) not in within]]


def _fitted_on(module: Module) -> dict[int, tuple[set[str], dict[str, ast.Call]]]:
    """For each metric call, by its identity: what was fitted in the same scope, and the predictions held by name."""
    known: dict[int, tuple[set[str], dict[str, ast.Call]]] = {}
    for nodes in _scopes(module):
        calls = [(node, _last(dotted(node.func))) for node in nodes if isinstance(node, ast.Call)]
        fitted = {ast.dump(call.args[0]) for call, name in calls if name == "fit" and len(call.args) > 1}
        if not fitted or any(name in _SPLITS for _, name in calls):
            continue
        held = {
            target.id: node.value
            for node in nodes
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        known |= {id(call): (fitted, held) for call, _ in calls}
    return known


def _seen_rows(module: Module, call: ast.Call, known: dict[int, tuple[set[str], dict[str, ast.Call]]]) -> bool:
    """Whether a metric is computed on a prediction for exactly what was fitted, where nothing was split."""
    if id(call) not in known:
        return False
    fitted, held = known[id(call)]
    if _last(dotted(call.func)) == "score":
        return ast.dump(call.args[0]) in fitted
    names = [held[each.id] for each in ast.walk(call.args[1]) if isinstance(each, ast.Name) and each.id in held]
    inside = [each for each in ast.walk(call.args[1]) if isinstance(each, ast.Call)]
    return any(
        _last(dotted(each.func)).startswith("predict") and each.args and ast.dump(each.args[0]) in fitted
        for each in [*names, *inside]
    )


def held_out(folder: Folder) -> Iterator[Seen]:
    """Metrics are computed on rows that were held out, not on training rows or on the prediction itself."""
    modules = [(module, _measured(module)) for module in folder.modules if not module.is_test]
    findings: list[Finding] = []
    for module, measured in modules:
        tested = any(kind == "test" for _, kind in measured)
        for call, kind in measured:
            if kind == "self":
                findings.append(finding(module, call, "the prediction is scored against itself", "pass the labels"))
            elif kind == "train" and not tested:
                findings.append(finding(module, call, "a metric on the training rows", "measure on held-out rows"))
    if any(measured for _, measured in modules):
        bad = "quality was measured on rows the model has seen"
        yield Seen.of("model.held_out", findings, bad, "metrics are computed on held-out rows")


def seeded(folder: Folder) -> Iterator[Seen]:
    """Splits, shuffles and random learners carry a seed, or the module sets one for all."""
    looked, findings = 0, []
    for module in folder.modules:
        if module.is_test or any(name in _SEEDS and call.args for call, name in module.calls):
            continue
        for call, name in module.calls:
            kind = _last(name)
            if kind not in _SPLITS | _RANDOM:
                continue
            if kind.endswith("KFold") and literal(argument(call, "shuffle")) is not True:
                continue
            if any(word.arg is None for word in call.keywords):
                continue  # what ** brings cannot be seen
            looked += 1
            seed = argument(call, "random_state")
            if seed is None or (isinstance(seed, ast.Constant) and seed.value is None):
                findings.append(finding(module, call, f"{kind} without a seed", "pass random_state"))
    if looked:
        bad = f"{len(findings)} of {looked} splits and learners have no seed"
        yield Seen.of("model.seeded", findings, bad, "splits and learners are seeded")


def label_as_input(folder: Folder) -> Iterator[Seen]:
    """The label is among the inputs. Only what is seen is said: that it is nowhere else cannot be read."""
    findings = [each for module in folder.modules if not module.is_test for each in _leaks(module)]
    if findings:
        yield Seen.of("data.leakage", findings, "the label is an input of the model", "")


def _leaks(module: Module) -> Iterator[Finding]:
    lists = {
        target.id: [literal(each) for each in node.value.elts]
        for node in module.nodes
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.List)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    if not any(_last(name) in _TOGETHER for _, name in module.calls):
        return
    for nodes in _scopes(module):
        pairs = [pair for node in nodes if isinstance(node, ast.Assign) for pair in _assigned(node)]
        labels = {name: made for name, value, _ in pairs if (made := _column(value))}
        calls = [node for node in nodes if isinstance(node, ast.Call)]
        together = {
            (one.id, two.id)
            for call in calls
            if _last(dotted(call.func)) in _TOGETHER
            for one, two in pairwise(call.args)
            if isinstance(one, ast.Name) and isinstance(two, ast.Name)
        }
        for name, value, node in pairs:
            for other, (frame, label) in labels.items():
                if (name, other) in together and _holds(value, frame, label, lists) and not _removed(nodes, label):
                    yield finding(module, node, f"the label {label} is among the inputs", "take it out of the inputs")


def _assigned(node: ast.Assign) -> Iterator[tuple[str, ast.expr, ast.Assign]]:
    for target in node.targets:
        if isinstance(target, ast.Name):
            yield target.id, node.value, node
        elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            for each, value in zip(target.elts, node.value.elts, strict=False):
                if isinstance(each, ast.Name):
                    yield each.id, value, node


def _column(value: ast.expr) -> tuple[str, str] | None:
    """(frame, column) of `frame["column"]`."""
    if isinstance(value, ast.Subscript) and isinstance(value.value, ast.Name):
        name = literal(value.slice)
        return (value.value.id, name) if isinstance(name, str) else None
    return None


def _holds(value: ast.expr, frame: str, label: str, lists: dict[str, list[object]]) -> bool:
    """Whether the inputs are the whole frame, or a list of its columns with the label in it."""
    if isinstance(value, ast.Name):
        return value.id == frame
    if not (isinstance(value, ast.Subscript) and dotted(value.value) == frame):
        return False
    listed = value.slice
    if isinstance(listed, ast.Name):
        return label in lists.get(listed.id, [])
    return isinstance(listed, ast.List) and label in [literal(each) for each in listed.elts]


def _removed(nodes: list[ast.AST], label: str) -> bool:
    """Whether a call in the scope drops or pops the label, or `del` takes it."""
    return any(
        isinstance(node, ast.Delete)
        or (isinstance(node, ast.Call) and _last(dotted(node.func)) in ("drop", "pop") and _names(node, label))
        for node in nodes
    )


def _names(node: ast.AST, text: str) -> bool:
    return any(literal(each) == text for each in ast.walk(node))


def fit_after_split(folder: Folder) -> Iterator[Seen]:
    """Nothing is fitted or resampled before the split."""
    findings, splits = [], 0
    for module in folder.modules:
        named = [(call, _last(name), name) for call, name in module.calls]
        lines = [call.lineno for call, name, _ in named if name == "train_test_split"]
        splits += len(lines)
        for call, name, whole in named:
            early = lines and call.lineno < min(lines)
            if early and name in ("fit_transform", "fit_resample") and "label" not in whole.lower():
                findings.append(finding(module, call, f"{name} before the split", "fit on the training part only"))
    if splits:
        yield Seen.of("model.fit_after_split", findings, "test rows leak into what is fitted", "split comes first")
