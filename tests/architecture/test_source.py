"""How the source is kept: imports, exports, docstrings, nothing left open."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "pilotage"
MODULES = sorted(path for path in SOURCE.rglob("*.py"))
EXTRAS = {
    "joblib",
    "model_signing",
    "numpy",
    "onnx",
    "onnxruntime",
    "opentelemetry",
    "pandas",
    "psycopg",
    "scipy",
    "skl2onnx",
    "sklearn",
}
"""What an optional extra brings, and numpy beside it: imported inside functions, so that the rest runs without."""

ALLOWED = {
    ("storage/migrate.py", "alembic"),
    ("runtimes/open.py", "pilotage"),
    ("access/identities.py", "pilotage"),
    ("gateway/tokens.py", "pilotage"),
}
"""Alembic is needed only where a database is not at its newest migration, an HTTP client only where a remote model
answers, the library of tokens only where an issuer of them is trusted; every command, or every start of a worker, would
pay for its import."""

UNDERSCORED = {"__init__", "__main__"}

ALLOWED |= {("enrichment/open.py", "pilotage")}
"""An HTTP client, too, only where a source of features is asked over HTTP."""


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes(), filename=str(path))


def name_of(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def place(path: Path, node: ast.AST | None = None) -> str:
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"


def exported(path: Path) -> list[str] | None:
    """What `__all__` lists, or None when there is none."""
    for node in tree_of(path).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "__all__":
            return [str(name) for name in ast.literal_eval(node.value)]
    return None


def defined(path: Path) -> set[str]:
    """Names that a module binds itself at its top level; imported ones are not among them."""
    names: set[str] = set()
    for node in tree_of(path).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names.update(t.id for target in node.targets for t in ast.walk(target) if isinstance(t, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return names


def own_imports(path: Path) -> Iterator[tuple[ast.ImportFrom, str, str]]:
    """Every (statement, module, name) that a module imports from the package."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "pilotage":
            for alias in node.names:
                yield node, node.module, alias.name


def test_every_module_says_what_it_is_for() -> None:
    assert [place(path) for path in MODULES if not ast.get_docstring(tree_of(path))] == []


def test_public_names_have_docstrings() -> None:
    found = []
    for path in MODULES:
        public = set(exported(path) or ())
        for node in tree_of(path).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                command = any(
                    "command" in ast.unparse(each) or "group" in ast.unparse(each) for each in node.decorator_list
                )
                if node.name in public and not command and not ast.get_docstring(node):
                    found.append(f"{place(path, node)} {node.name}")
    assert found == []


def test_exports_are_sorted_and_exist() -> None:
    found = []
    for path in MODULES:
        names = exported(path)
        if names is None:
            continue
        if names != ruff_sorted(names) or len(set(names)) != len(names):
            found.append(f"{place(path)} __all__ is not sorted, or names one twice")
        found += [f"{place(path)} exports {name}, which is not defined there" for name in set(names) - defined(path)]
    assert found == []


def ruff_sorted(names: list[str]) -> list[str]:
    """CONSTANTS, then Classes, then functions, as ruff's RUF022 sorts them."""

    def rank(name: str) -> int:
        return 0 if name.isupper() else 1 if name[:1].isupper() else 2

    return sorted(names, key=lambda name: (rank(name), name))


def test_modules_with_public_names_export_them() -> None:
    """What another module imports is in `__all__` of the module that defines it."""
    of = {name_of(path): path for path in MODULES}
    found = []
    for path in MODULES:
        for node, module, name in own_imports(path):
            target = of.get(module)
            if target is None or f"{module}.{name}" in of or name.startswith("__"):
                continue
            if name not in (exported(target) or ()):
                found.append(f"{place(path, node)} imports {name}, which {module} does not export")
    assert found == []


def test_names_are_imported_from_the_module_that_defines_them() -> None:
    """Never from a package's `__init__`, which is how import cycles begin."""
    packages = {name_of(path) for path in MODULES if path.name == "__init__.py"}
    of = {name_of(path): path for path in MODULES}
    found = []
    for path in MODULES:
        for node, module, name in own_imports(path):
            submodule = f"{module}.{name}" in of
            if module in packages and not submodule and name not in defined(of[module]) and not name.startswith("__"):
                found.append(f"{place(path, node)} takes {name} from the package {module}")
    assert found == []


def hidden_imports(path: Path) -> Iterator[tuple[ast.AST, str]]:
    """(statement, module) of every import inside a function."""
    for function in ast.walk(tree_of(path)):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.Import):
                    yield from ((node, alias.name) for alias in node.names)
                elif isinstance(node, ast.ImportFrom):
                    yield node, node.module or "."


def test_imports_inside_functions_are_for_optional_extras_and_the_command_line_alone() -> None:
    found = [
        f"{place(path, node)} imports {module} inside a function"
        for path in MODULES
        if path.relative_to(SOURCE).parts[0] != "cli"
        for node, module in hidden_imports(path)
        if module.split(".")[0] not in EXTRAS and (str(path.relative_to(SOURCE)), module.split(".")[0]) not in ALLOWED
    ]
    assert found == []


def test_nothing_is_left_open() -> None:
    marks = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|X" r"XX|HA" r"CK)\b|NotImplemented" r"Error|\bpass\b\s*# *later")
    texts = [*MODULES, *(ROOT / "docs").rglob("*.md"), ROOT / "README.md", *(ROOT / "bench").rglob("*.py")]
    found = [f"{place(path)} {match[0]}" for path in texts if (match := marks.search(path.read_text(encoding="utf-8")))]
    assert found == []


def test_names_say_what_a_thing_is() -> None:
    vague = re.compile(r"(?:Manager|Helper|Util|Utils|Handler|Base|Impl|Data)$")
    found = [
        f"{place(path, node)} {node.name}"
        for path in MODULES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ClassDef) and vague.search(node.name)
    ]
    found += [place(path) for path in MODULES if path.stem in {"util", "utils", "helpers", "common", "misc", "base"}]
    assert found == []


def test_files_and_functions_have_one_job() -> None:
    found = []
    for path in MODULES:
        if "versions" in path.parts:
            continue  # a migration is a list
        lines = path.read_text(encoding="utf-8").count("\n")
        if lines > 560:
            found.append(f"{place(path)} has {lines} lines")
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (node.end_lineno or 0) - node.lineno > 70:
                found.append(f"{place(path, node)} {node.name} is longer than 70 lines")
    assert found == []


def test_sql_lives_in_the_stores() -> None:
    """Concepts keep their statements in a few modules; the edges and the pure ones have none."""
    edges = {
        "cli",
        "web",
        "wiring",
        "errors.py",
        "kernel",
        "contracts",
        "profiles",
        "evaluation",
        "runtimes",
        "sandbox",
    }
    verbs = {"select", "insert", "update", "delete", "text"}
    found = [
        f"{place(path, node)} {alias.name}"
        for path in MODULES
        if path.relative_to(SOURCE).parts[0] in edges
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ImportFrom) and node.module == "sqlalchemy"
        for alias in node.names
        if alias.name in verbs
    ]
    assert found == []


def test_imports_go_in_one_direction() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-1_000:]


@pytest.mark.parametrize("module", [name_of(path) for path in MODULES if path.stem not in UNDERSCORED])
def test_every_module_can_be_imported_and_has_what_it_exports(module: str) -> None:
    if ".migrations." in module:
        pytest.skip("run by Alembic, in its own context")
    loaded = importlib.import_module(module)
    assert [name for name in getattr(loaded, "__all__", []) if not hasattr(loaded, name)] == []
