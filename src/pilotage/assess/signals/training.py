"""How the model was made and measured: seeds, splits, metrics, notebooks."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from pilotage.assess.folder import Folder, Module
from pilotage.assess.model import Finding
from pilotage.assess.signals.python import argument, calls, finding, literal, name_in
from pilotage.assess.signals.seen import Seen

__all__ = ["fit_after_split", "held_out", "notebook_order", "seeded"]

_METRICS = {
    "accuracy_score", "roc_auc_score", "f1_score", "log_loss", "precision_score", "recall_score", "r2_score",
    "mean_squared_error", "mean_absolute_error", "brier_score_loss", "average_precision_score",
    "classification_report", "balanced_accuracy_score", "confusion_matrix",
}  # fmt: skip
_SPLITS = {"train_test_split", "KFold", "StratifiedKFold", "ShuffleSplit", "StratifiedShuffleSplit"}


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _measured(module: Module) -> list[tuple[ast.Call, str]]:
    """Metric calls, each as `train`, `self` (scored against its own prediction) or `test`."""
    found = []
    for call, name in calls(module.tree):
        scoring = _last(name) == "score" and len(call.args) == 2
        if not (_last(name) in _METRICS or scoring) or len(call.args) < 2:
            continue
        on_prediction = name_in(call.args[1 if scoring else 0], "pred")
        same = ast.dump(call.args[0]) == ast.dump(call.args[1])
        on_train = name_in(call.args[0], "train") or name_in(call.args[1], "train")
        found.append((call, "self" if on_prediction or same else "train" if on_train else "test"))
    return found


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
    """Splits and shuffles carry a seed."""
    splits, findings = 0, []
    for module in folder.modules:
        for call, name in calls(module.tree):
            kind = _last(name)
            if kind not in _SPLITS or (kind.endswith("KFold") and literal(argument(call, "shuffle")) is not True):
                continue
            splits += 1
            seed = argument(call, "random_state")
            if seed is None or (isinstance(seed, ast.Constant) and seed.value is None):
                findings.append(finding(module, call, f"{kind} without a seed", "pass random_state"))
    if splits:
        yield Seen.of("model.seeded", findings, f"{len(findings)} of {splits} splits have no seed", "splits are seeded")


def fit_after_split(folder: Folder) -> Iterator[Seen]:
    """Nothing is fitted or resampled before the split."""
    findings, splits = [], 0
    for module in folder.modules:
        named = [(call, _last(name), name) for call, name in calls(module.tree)]
        lines = [call.lineno for call, name, _ in named if name == "train_test_split"]
        splits += len(lines)
        for call, name, whole in named:
            early = lines and call.lineno < min(lines)
            if early and name in ("fit_transform", "fit_resample") and "label" not in whole.lower():
                findings.append(finding(module, call, f"{name} before the split", "fit on the training part only"))
    if splits:
        yield Seen.of("model.fit_after_split", findings, "test rows leak into what is fitted", "split comes first")


def notebook_order(folder: Folder) -> Iterator[Seen]:
    """Notebooks were run from top to bottom: execution counts 1, 2, 3 without a gap."""
    notebooks = [module for module in folder.modules if module.notebook and module.orders]
    findings = []
    for module in notebooks:
        counts = [count for count in module.orders if count is not None]
        line = module.places[0] if module.places else 1
        if not counts:
            findings.append(finding(module, line, "no cell was run before it was saved", "run all, save"))
        elif counts != list(range(1, len(module.orders) + 1)):
            shown = " ".join(str(count or "-") for count in module.orders)
            findings.append(finding(module, line, f"cells were run in the order {shown}", "restart, run all, save"))
    if notebooks:
        yield Seen.of("model.notebook_order", findings, "the page does not produce its results", "run in order")
