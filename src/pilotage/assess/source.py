"""Python as it is read: scripts, and the code cells of notebooks with the line that each has in the file."""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pilotage.kernel.digests import digest

__all__ = ["Cell", "Module", "Text", "dotted", "notebook", "script"]

_MAGIC = ("%", "!", "?")
_TIMED = ("%%time", "%%capture", "%%prun")
_RUNS = re.compile(r"\s*%(run|load|pylab|store|loadpy|macro)\b")
_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"|[{}\[\]:,]|\n', re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Text:
    """A text file: its path in the folder and its lines."""

    path: str
    lines: list[str]

    def line_digest(self, line: int) -> str:
        """The digest of one line (from 1), which a finding keeps as its proof."""
        return digest(self.lines[line - 1].encode(errors="replace")) if 0 < line <= len(self.lines) else ""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One code cell: the line in the file where it begins, its execution count, what it showed, its lines of the tree.

    `opaque`: some of what it does cannot be seen, since it does not parse or runs another file.
    """

    line: int
    order: int | None
    outputs: list[Any]
    first: int
    last: int
    opaque: bool = False


@dataclass(frozen=True, kw_only=True)
class Module:
    """One unit of Python: a script, or the code cells of a notebook in page order.

    `lines[i]` is the source of line i + 1 of the tree; `places[i]` its line in the file. A cell's `first` and `last`
    are lines of the tree.
    """

    text: Text
    tree: ast.Module
    lines: list[str]
    places: list[int]
    notebook: bool = False
    cells: list[Cell] = field(default_factory=list)

    @property
    def path(self) -> str:
        return self.text.path

    @property
    def orders(self) -> list[int | None]:
        """A notebook's execution counts, None for a cell that was not run."""
        return [cell.order for cell in self.cells]

    @cached_property
    def is_test(self) -> bool:
        """Whether it is a test, by its name or folder."""
        name = Path(self.path).name
        folders = Path(self.path).parts[:-1]
        return name.startswith("test_") or name.endswith("_test.py") or name == "conftest.py" or "tests" in folders

    def place(self, node: ast.AST) -> int:
        """The line in the file of a node of the tree."""
        line = getattr(node, "lineno", 1)
        return self.places[line - 1] if 0 < line <= len(self.places) else line

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """Every node of the tree, walked once."""
        return list(ast.walk(self.tree))

    @cached_property
    def origins(self) -> dict[str, str]:
        """What an imported name stands for: {"np": "numpy", "auc": "sklearn.metrics.roc_auc_score"}."""
        known: dict[str, str] = {}
        for node in self.nodes:
            if isinstance(node, ast.Import):
                known |= {alias.asname: alias.name for alias in node.names if alias.asname}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                known |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        return known

    @cached_property
    def roots(self) -> frozenset[str]:
        """The first words of what is imported: `numpy`, `sklearn`; empty for a relative import without a name."""
        return frozenset(
            (alias.name if isinstance(node, ast.Import) else node.module or "").split(".")[0]
            for node in self.nodes
            if isinstance(node, (ast.Import, ast.ImportFrom))
            for alias in node.names
        )

    def name_of(self, node: ast.AST) -> str:
        """The dotted name of a node, by what its first part was imported as."""
        first, dot, rest = dotted(node).partition(".")
        return self.origins.get(first, first) + dot + rest

    @cached_property
    def calls(self) -> list[tuple[ast.Call, str]]:
        """Every call with the dotted name of what is called, import aliases seen through."""
        return [(node, self.name_of(node.func)) for node in self.nodes if isinstance(node, ast.Call)]

    def calls_in(self, tree: ast.AST) -> Iterator[tuple[ast.Call, str]]:
        """The same below one node."""
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                yield node, self.name_of(node.func)


def dotted(node: ast.AST) -> str:
    """`a.b.c` of a name or attribute; empty for anything else. A call in between is seen through."""
    parts: list[str] = []
    while not isinstance(node, ast.Name):
        if isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        elif isinstance(node, ast.Call):
            node = node.func
        else:
            break
    if isinstance(node, ast.Name):
        parts.append(node.id)
    return ".".join(reversed(parts))


def script(text: Text) -> Module:
    """A script. Raises SyntaxError, ValueError, RecursionError or MemoryError when it does not parse."""
    source = "\n".join(text.lines)
    return Module(text=text, tree=_parse(source), lines=text.lines, places=list(range(1, len(text.lines) + 1)))


def _parse(source: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(source)


def notebook(text: Text) -> Module:
    """The code cells as one module; a cell that does not parse is left blank, a magic line too.

    Raises ValueError, KeyError or TypeError for what is no notebook.
    """
    whole = "\n".join(text.lines)
    document: dict[str, Any] = json.loads(whole)
    if not isinstance(document, dict) or not isinstance(document.get("cells"), list):
        raise ValueError("it has no cells")
    starts = _source_lines(whole)
    lines: list[str] = []
    places: list[int] = []
    cells: list[Cell] = []
    for cell, where in zip(document["cells"], starts, strict=True):
        if cell.get("cell_type") != "code":
            continue
        parts = [cell["source"]] if isinstance(cell["source"], str) else cell["source"]
        rows, at = _rows(parts, where)
        kept, opaque = _python_of(rows)
        first = len(lines) + 1
        lines += kept
        places += at
        cells.append(
            Cell(
                line=where[0] if where else 1,
                order=cell.get("execution_count"),
                outputs=list(cell.get("outputs") or []),
                first=first,
                last=len(lines),
                opaque=opaque,
            )
        )
    tree = _parse("\n".join(lines))
    return Module(text=text, tree=tree, lines=lines, places=places, notebook=True, cells=cells)


def _python_of(rows: list[str]) -> tuple[list[str], bool]:
    """The rows of a cell that are Python, others blank, and whether it does more than they show."""
    blank = [""] * len(rows)
    first = next((row.strip() for row in rows if row.strip()), "")
    if first.startswith("%%") and not first.startswith(_TIMED):
        return blank, False
    opaque = any(_RUNS.match(row) for row in rows)
    kept = ["" if row.lstrip().startswith(_MAGIC) else row for row in rows]
    try:
        _parse("\n".join(kept))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return blank, True
    return kept, opaque


def _rows(parts: list[str], where: list[int]) -> tuple[list[str], list[int]]:
    """The rows of a cell and the line of each: a row lies where the string lies in which it begins."""
    rows, at = [""], [where[0] if where else 1]
    for part, line in zip(parts, where, strict=True):
        for number, row in enumerate(re.split(r"\r\n|\r|\n", part)):
            if number:
                rows.append("")
                at.append(line)
            elif not rows[-1]:
                at[-1] = line
            rows[-1] += row
    return rows, at


def _source_lines(whole: str) -> list[list[int]]:
    """For each cell of the notebook's text, the lines of the strings of its `source`, without a JSON tree."""
    found: list[list[int]] = []
    path: list[str] = []
    line, key, last = 1, "", ""
    for token in _TOKEN.finditer(whole):
        word = token[0]
        if word == "\n":
            line += 1
        elif word in "{[":
            path.append(key + word)
            key = ""
            if path == ["{", "cells[", "{"]:
                found.append([])
        elif word in "}]":
            if path:
                path.pop()
            key = last = ""
        elif word == ":":
            key = last
        elif word == ",":
            key = last = ""
        else:
            last = _plain(word)
            inside = path[:3] == ["{", "cells[", "{"] and (
                (len(path) == 3 and key == "source") or path[3:] == ["source["]
            )
            if inside:
                found[-1].append(line)
    return found


def _plain(word: str) -> str:
    return word[1:-1] if len(word) < 40 else ""
