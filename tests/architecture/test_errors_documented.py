"""Every stable error code has its heading in docs/reference/errors.md, and no heading is left over."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "pilotage"
PAGE = ROOT / "docs" / "reference" / "errors.md"
_CODE = re.compile(r"[a-z][a-z0-9_]*")


def codes_of(tree: ast.Module) -> set[str]:
    """Every error code that a module writes down: as class attribute, argument, mapping value or closed list."""
    found: set[str | None] = set()
    positions = {f.name: at for f in _functions(tree) if (at := _position(f)) is not None}
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            found.update(_class_code(node))
        elif isinstance(node, ast.Call):
            given = [each.value for each in node.keywords if each.arg == "code"]
            found.update(_text(choice) for value in given for choice in _choices(value))
            at = positions.get(node.func.id) if isinstance(node.func, ast.Name) else None
            if at is not None and at < len(node.args):
                found.add(_text(node.args[at]))
        elif isinstance(node, ast.Dict):
            found.update(_text(v) for k, v in zip(node.keys, node.values, strict=True) if k and _text(k) == "code")
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found.update(_listed(node.targets[0].id, node.value))
    return {code for code in found if code and _CODE.fullmatch(code)}


def _functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def _position(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int | None:
    names = [each.arg for each in function.args.args]
    return names.index("code") if "code" in names else None


def _class_code(node: ast.ClassDef) -> Iterator[str | None]:
    for each in node.body:
        if isinstance(each, ast.Assign):
            target, value = each.targets[0], each.value
            if isinstance(target, ast.Name) and target.id == "code":
                yield _text(value)
            elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                names = [name.id for name in target.elts if isinstance(name, ast.Name)]
                if "code" in names:
                    yield _text(value.elts[names.index("code")])


def _listed(name: str, value: ast.expr) -> Iterator[str | None]:
    """`REFUSALS = {code: ...}` and `Code = Literal[code, ...]`."""
    if name == "REFUSALS" and isinstance(value, ast.Dict):
        yield from (_text(key) for key in value.keys if key)
    elif name == "Code" and isinstance(value, ast.Subscript) and isinstance(value.slice, ast.Tuple):
        yield from (_text(item) for item in value.slice.elts)


def _choices(node: ast.expr) -> list[ast.expr]:
    return [node.body, node.orelse] if isinstance(node, ast.IfExp) else [node]


def _text(node: ast.expr) -> str | None:
    if not isinstance(node, ast.Constant):
        return None
    if isinstance(node.value, bytes):
        return node.value.decode("latin-1")
    return node.value if isinstance(node.value, str) else None


def codes_in_source() -> dict[str, str]:
    """Each code with one module that uses it."""
    found: dict[str, str] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        for code in codes_of(ast.parse(path.read_bytes())):
            found.setdefault(code, str(path.relative_to(SOURCE)))
    return found


def headings() -> list[str]:
    return re.findall(r"^### `([a-z0-9_]+)`$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)


def test_the_scan_sees_every_way_to_write_a_code() -> None:
    module = ast.parse(
        "class A(E):\n    code, status = 'one', 4\n"
        "class B(E):\n    code = 'two'\n"
        "def refuse(send, code): ...\n"
        "raise A('x', code='three')\n"
        "refuse(1, b'four')\n"
        "fault = {'path': 'p', 'code': 'five'}\n"
        "REFUSALS = {'six': ('a', 'b')}\n"
        "Code = Literal['seven', 'eight']\n"
        "raise A('x', code='nine' if late else 'ten')\n"
    )
    words = "one two three four five six seven eight nine ten"
    assert codes_of(module) == set(words.split())


def test_every_code_has_its_heading_and_no_heading_is_left_over() -> None:
    used, written = codes_in_source(), headings()
    assert len(used) > 60, "the scan sees the source"
    missing = {code: module for code, module in used.items() if code not in written}
    assert missing == {}, "write a heading in docs/reference/errors.md"
    assert sorted(set(written) - set(used)) == [], "no code in the source has this name any more"
    assert sorted(written) == sorted(set(written)), "a code has one heading"


def test_every_heading_says_what_it_means_and_the_mend() -> None:
    sections = re.split(r"^### ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    short = [s.splitlines()[0] for s in sections if "Mend:" not in s or len(s.split()) < 12]
    assert short == []
