"""Where a pilot begins: the code that fits its model, the rows it reads, the decision its server takes. Only read."""

from __future__ import annotations

import ast
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from pilotage.assess.folder import Folder
from pilotage.assess.signals.python import handlers, is_server, literal
from pilotage.assess.source import Module, dotted

__all__ = ["Decision", "Training", "decision", "personal_paths", "servers", "training"]

_READS = {"read_csv", "read_table", "read_parquet", "read_json", "open"}
_WRITES = {"dump", "save", "save_model", "to_pickle"}
_MODELS = (".joblib", ".pkl", ".pickle", ".sav")


@dataclass(frozen=True, kw_only=True)
class Training:
    """The code that fits the model.

    `at` is the folder from which its relative paths begin, `artefact` what it writes below the pilot's folder, `fitted`
    the name that holds the model where it writes none. `data` are the files that it reads.
    """

    module: Module
    at: str
    artefact: str
    fitted: str
    data: list[str]


@dataclass(frozen=True, kw_only=True)
class Decision:
    """How a score becomes an answer in the code: from `threshold` up it is `adverse`."""

    file: str
    line: int
    threshold: float
    adverse: str
    favourable: str


def servers(folder: Folder) -> list[Module]:
    """Modules that answer requests."""
    return [m for m in folder.modules if not m.is_test and not m.notebook and is_server(m) and handlers(m)]


def training(folder: Folder) -> Training | None:
    """The module that most likely makes the model: a script before a notebook, one that writes it before one that does
    not; None where nothing is fitted."""
    candidates = [
        module
        for module in folder.modules
        if not module.is_test and any(_last(name) in ("fit", "fit_transform") for _, name in module.calls)
    ]
    candidates = [module for module in candidates if _fits(module)]
    if not candidates:
        return None
    module = min(candidates, key=lambda each: (each.notebook, not _written(each), "train" not in each.path, each.path))
    data = list(dict.fromkeys(path for _, value in _read(module) if (path := _resolved(folder, module, value))))
    below = str(PurePosixPath(module.path).parent)
    relative = [value for _, value in _read(module) if not _away(value)]
    from_root = any(str(PurePosixPath(value)) in folder.files for value in relative)
    at = below if not from_root and any(_resolved(folder, module, value) for value in relative) else "."
    written = _written(module)
    name = str(PurePosixPath(at, written)) if written else ""
    usable = bool(name) and not PurePosixPath(name).is_absolute() and ".." not in PurePosixPath(name).parts
    fitted = "" if usable else _fitted(module)
    artefact = name if usable else "model.joblib" if fitted else ""
    return Training(module=module, at=at, artefact=artefact, fitted=fitted, data=data)


def decision(folder: Folder) -> Decision | None:
    """The first `"refer" if score > 0.3 else "approve"` of a server; None where there is none."""
    for module in servers(folder):
        for node in module.nodes:
            if isinstance(node, ast.IfExp) and (found := _compared(node.test)) is not None:
                above, threshold = found
                yes, no = literal(node.body), literal(node.orelse)
                if isinstance(yes, str) and isinstance(no, str) and yes != no:
                    adverse, favourable = (yes, no) if above else (no, yes)
                    line = module.place(node)
                    return Decision(
                        file=module.path, line=line, threshold=threshold, adverse=adverse, favourable=favourable
                    )
    return None


def _compared(test: ast.expr) -> tuple[bool, float] | None:
    """(whether it holds above, the number) of a comparison with a share."""
    if not isinstance(test, ast.Compare) or len(test.ops) != 1:
        return None
    value = literal(test.comparators[0])
    if not isinstance(value, float) or not 0 < value < 1:
        return None
    if isinstance(test.ops[0], (ast.Gt, ast.GtE)):
        return True, value
    return (False, value) if isinstance(test.ops[0], (ast.Lt, ast.LtE)) else None


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _fits(module: Module) -> bool:
    """Whether something is fitted to labels, not only scaled: `fit` with two arguments, or with a `y`."""
    return any(
        _last(name) == "fit" and (len(call.args) > 1 or any(word.arg == "y" for word in call.keywords))
        for call, name in module.calls
    )


def _written(module: Module) -> str:
    """The path of the model that a module writes, as it says it; the last one."""
    found = ""
    for call, name in module.calls:
        if _last(name) not in _WRITES:
            continue
        values = [literal(each) for each in ast.walk(call) if isinstance(each, ast.Constant)]
        texts = [value for value in values if isinstance(value, str) and value.lower().endswith(_MODELS)]
        found = texts[0] if texts else found
    return found


def _read(module: Module) -> Iterator[tuple[ast.Constant, str]]:
    """String constants that a reading call is given."""
    for call, name in module.calls:
        if _last(name) in _READS and call.args:
            for node in ast.walk(call.args[0]):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node, node.value


def _resolved(folder: Folder, module: Module, value: str) -> str:
    """The file of the folder that a path in the code means: by its path, else the only one of its name."""
    plain = value.replace("\\", "/")
    for base in (PurePosixPath(), PurePosixPath(module.path).parent):
        parts: list[str] = []
        for part in (base / plain).parts:
            if part == ".." and parts:
                parts.pop()
            elif part != ".":
                parts.append(part)
        if "/".join(parts) in folder.files:
            return "/".join(parts)
    named = folder.named(PurePosixPath(plain).name) if PurePosixPath(plain).suffix else []
    # A file that was packed since has one more ending.
    named = named or [path for path in folder.files if PurePosixPath(path).name == f"{PurePosixPath(plain).name}.gz"]
    return named[0] if len(named) == 1 else ""


def _fitted(module: Module) -> str:
    """The name at the top of a module that holds what was fitted last; empty where a function keeps it."""
    found = ""
    for statement in module.tree.body:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
            called = statement.value.func
            if isinstance(called, ast.Attribute) and called.attr == "fit" and isinstance(called.value, ast.Name):
                found = called.value.id
        elif isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Call):
            target = statement.targets[0]
            if _last(dotted(statement.value.func)) == "fit" and isinstance(target, ast.Name):
                found = target.id
    return found


def _away(value: str) -> bool:
    """Whether a path leads out of the folder, as on its author's machine."""
    return value.startswith(("/", "~")) or value[1:3] in (":\\", ":/")


def personal_paths(folder: Folder, module: Module, at: str = ".") -> dict[int, tuple[str, str]]:
    """By line of the tree: a path of one person's machine in a reading call, and the file here that it means.

    Files are named from the folder `at`, where the module will run.
    """
    found = {}
    for node, value in _read(module):
        if _away(value) and (here := _resolved(folder, module, value)):
            found[node.lineno] = (value, posixpath.relpath(here, at))
    return found
