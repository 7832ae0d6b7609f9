"""What hardware the code takes for granted."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from pilotage.assess.folder import Folder
from pilotage.assess.model import Finding
from pilotage.assess.signals.python import argument, finding, literal, scripts
from pilotage.assess.signals.seen import Seen
from pilotage.assess.source import Module

__all__ = ["hardware"]

_WORDS = ("device", "map_location", "device_map", "task_type", "tree_method")
_ASKS = ("cuda.is_available", "cuda.device_count", "config.list_physical_devices", "test.is_gpu_available")


def hardware(folder: Folder) -> Iterator[Seen]:
    """No GPU is taken for granted: code that wants one looks first whether it is there."""
    modules = [module for module in scripts(folder) if not module.is_test]
    if not modules:
        return
    asked = any(name.endswith(_ASKS) for module in modules for _, name in module.calls)
    findings = [] if asked else [each for module in modules for each in _granted(module)]
    yield Seen.of("infrastructure.hardware", findings, "it wants a GPU and does not look for one", "no GPU is assumed")


def _granted(module: Module) -> Iterator[Finding]:
    for call, name in module.calls:
        last = name.rpartition(".")[2]
        moved = last == "cuda" and isinstance(call.func, ast.Attribute) and not call.args
        placed = last in ("to", "device") and bool(call.args) and _is_gpu(call.args[0])
        if moved or placed or any(_is_gpu(argument(call, word)) for word in _WORDS):
            yield finding(module, call, "a GPU is taken for granted", "use one where it is there, else the processor")


def _is_gpu(value: ast.expr | None) -> bool:
    text = literal(value)
    return isinstance(text, str) and text.lower().split(":")[0] in ("cuda", "gpu", "/gpu", "gpu_hist")
