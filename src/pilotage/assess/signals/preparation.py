"""Whether inputs are prepared alike in training and in serving, by code and not by a page only."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from pilotage.assess.folder import Folder
from pilotage.assess.model import Finding
from pilotage.assess.signals.python import finding, handlers, is_server, literal
from pilotage.assess.signals.seen import Seen
from pilotage.assess.source import Module

__all__ = ["preparation"]

_FITTED = {"fit_transform", "fit_resample", "get_dummies"}
_PREPARES = _FITTED | {
    "transform",
    "fillna",
    "make_pipeline",
    "Pipeline",
    "ColumnTransformer",
    "make_column_transformer",
}
_WHOLE = {"make_pipeline", "Pipeline", "ColumnTransformer", "make_column_transformer"}
_VALUES = {"fillna", "clip", "replace", "astype", "round"}


def preparation(folder: Folder) -> Iterator[Seen]:
    """Serving fits nothing and fills with what training filled with; a notebook is not the only place it is done."""
    modules = [module for module in folder.modules if not module.is_test]
    servers = [module for module in modules if is_server(module) and handlers(module)]
    others = [module for module in modules if module not in servers]
    trained = {(name, value) for module in others for _, name, value in _values(module)}
    findings: list[Finding] = []
    for module in servers:
        findings += [
            finding(module, call, f"{_last(name)} learns from the request what training had learned from the data")
            for call, name in module.calls
            if _last(name) in ("fit_transform", "fit_resample")
        ]
        findings += [
            finding(module, call, f"{name}({value!r}) is not what training does: {_said(name, trained)}")
            for call, name, value in _values(module)
            if (name, value) not in trained and any(name == other for other, _ in trained)
        ]
    findings += _page_only(modules)
    if servers or any(_last(name) == "fit" for module in others for _, name in module.calls):
        bad = f"{len(findings)} places prepare inputs apart from the rest"
        yield Seen.of("model.preprocessing", findings, bad, "inputs are prepared alike, as far as the code shows")


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _said(name: str, trained: set[tuple[str, object]]) -> str:
    return ", ".join(sorted(f"{name}({value!r})" for other, value in trained if other == name))


def _values(module: Module) -> Iterator[tuple[ast.Call, str, object]]:
    """Calls that change values by a constant: (call, method, constant)."""
    for call, name in module.calls:
        if _last(name) in _VALUES and isinstance(call.func, ast.Attribute) and len(call.args) == 1:
            value = call.args[0]
            if isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.USub):
                number = literal(value.operand)
                if isinstance(number, (int, float)):
                    yield call, _last(name), -number
            elif isinstance(literal(value), (int, float, str)) and not isinstance(literal(value), bool):
                yield call, _last(name), literal(value)


def _page_only(modules: list[Module]) -> Iterator[Finding]:
    scripts = [module for module in modules if not module.notebook]
    if any(_last(name) in _PREPARES for module in scripts for _, name in module.calls):
        return
    for module in modules:
        names = {_last(name) for _, name in module.calls}
        first = next((call for call, name in module.calls if _last(name) in _FITTED), None)
        if module.notebook and first is not None and not names & _WHOLE:
            yield finding(
                module, first, "inputs are prepared here and in no script", "save it with the model as a pipeline"
            )
