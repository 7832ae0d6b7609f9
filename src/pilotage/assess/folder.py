"""A pilot's folder as it is read: files, Python of scripts and notebooks with real line numbers, the declaration.

Nothing in it is imported or unpickled. What is too large or unreadable is listed as skipped, never taken for clean.
"""

from __future__ import annotations

import ast
import csv
import gzip
import json
import os
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pilotage.errors import NotFound, PilotageError
from pilotage.kernel.digests import digest, file_digest
from pilotage.systems.model import AISystem
from pilotage.systems.parse import load_system

__all__ = ["ARTEFACTS", "TABLES", "Folder", "Module", "Text", "unpacked"]

ARTEFACTS = frozenset({".joblib", ".pkl", ".pickle", ".sav", ".onnx", ".h5", ".keras", ".pt", ".pth", ".cbm", ".ubj"})
TABLES = frozenset({".csv", ".csv.gz", ".tsv", ".parquet", ".jsonl", ".xlsx"})
_LEFT_OUT = {".git", ".venv", "venv", "env", "node_modules", "__pycache__", ".ipynb_checkpoints", ".tox", ".mypy_cache"}
_MAX_FILES, _MAX_TEXT, _MAX_BYTES = 5_000, 4 << 20, 64 << 20


@dataclass(frozen=True, kw_only=True)
class Text:
    """A text file: its path in the folder and its lines."""

    path: str
    lines: list[str]

    def line_digest(self, line: int) -> str:
        """The digest of one line (from 1), which a finding keeps as its proof."""
        return digest(self.lines[line - 1].encode()) if 0 < line <= len(self.lines) else ""


@dataclass(frozen=True, kw_only=True)
class Module:
    """One unit of Python: a script, or the code cells of a notebook in page order.

    `lines[i]` is the source of line i + 1 of the tree; `places[i]` its line in the file. `orders` are a notebook's
    execution counts, None for a cell that was not run.
    """

    text: Text
    tree: ast.Module
    lines: list[str]
    places: list[int]
    notebook: bool = False
    orders: list[int | None] = field(default_factory=list)

    @property
    def path(self) -> str:
        return self.text.path

    @property
    def is_test(self) -> bool:
        """Whether it is a test, by its name or folder."""
        name = Path(self.path).name
        return name.startswith("test_") or name.endswith("_test.py") or "tests" in Path(self.path).parts[:-1]

    def place(self, node: ast.AST) -> int:
        """The line in the file of a node of the tree."""
        line = getattr(node, "lineno", 1)
        return self.places[line - 1] if 0 < line <= len(self.places) else line


class Folder:
    """The files of one pilot. Raises NotFound when `root` is no folder."""

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise NotFound("no such folder", got=root, expected="a pilot's folder", mend="name the folder")
        self.root = root.resolve()
        self.skipped: list[str] = []
        self.files: dict[str, int] = dict(self._walk())

    def _walk(self) -> Iterator[tuple[str, int]]:
        count = 0
        for base, folders, names in os.walk(self.root):
            folders[:] = sorted(name for name in folders if name not in _LEFT_OUT)
            for name in sorted(names):
                path = Path(base, name)
                if path.is_symlink() or not path.is_file():
                    self.skipped.append(f"{path.relative_to(self.root)}: a link or device, not read")
                    continue
                count += 1
                if count > _MAX_FILES:
                    self.skipped.append(f"more than {_MAX_FILES} files: the rest was not read")
                    return
                yield path.relative_to(self.root).as_posix(), path.stat().st_size

    def named(self, *names: str) -> list[str]:
        """Files whose base name is one of `names`, upper or lower case."""
        wanted = {name.lower() for name in names}
        return [path for path in self.files if Path(path).name.lower() in wanted]

    def ending(self, endings: frozenset[str]) -> list[str]:
        """Files that end so."""
        return [path for path in self.files if any(path.lower().endswith(end) for end in endings)]

    def content(self, path: str) -> bytes:
        """A file's bytes; empty, and listed as skipped, when it is too large."""
        if self.files[path] > _MAX_BYTES:
            self._skip(f"{path}: larger than {_MAX_BYTES >> 20} MiB, not read")
            return b""
        return (self.root / path).read_bytes()

    def _skip(self, why: str) -> None:
        if why not in self.skipped:
            self.skipped.append(why)

    def text(self, path: str) -> Text | None:
        """A file as text; None when it is too large or no UTF-8 (listed as skipped)."""
        if self.files[path] > _MAX_TEXT:
            self._skip(f"{path}: larger than {_MAX_TEXT >> 20} MiB, not read as text")
            return None
        try:
            return Text(path=path, lines=(self.root / path).read_text("utf-8").splitlines())
        except UnicodeDecodeError:
            self._skip(f"{path}: not UTF-8, not read as text")
            return None

    @cached_property
    def modules(self) -> list[Module]:
        """Every script and notebook that parses."""
        found = []
        for path in self.files:
            if path.endswith((".py", ".ipynb")) and (text := self.text(path)):
                try:
                    found.append(_notebook(text) if path.endswith(".ipynb") else _script(text))
                except (SyntaxError, ValueError, KeyError, TypeError, RecursionError) as error:
                    self._skip(f"{path}: cannot be parsed ({error})")
        return found

    @cached_property
    def declared(self) -> AISystem | None:
        """What `pilotage.yaml` declares; None without one or with a faulty one (listed as skipped)."""
        if "pilotage.yaml" not in self.files:
            return None
        try:
            return load_system(self.root / "pilotage.yaml")
        except PilotageError as error:
            self._skip(f"pilotage.yaml: {error.what}")
            return None

    @cached_property
    def subject(self) -> str:
        """The digest of all file names with their contents: code evidence is bound to it."""
        rows = [f"{path} {file_digest(self.root / path)}" for path in self.files]
        return digest("\n".join(rows).encode())

    @cached_property
    def artefact(self) -> str:
        """The model file: the declared one, else the only or largest one; empty when there is none."""
        return self._chosen(self.declared.pilot.artefact if self.declared else "", ARTEFACTS)

    @cached_property
    def table(self) -> str:
        """The data file: the declared one, else the largest table; empty when there is none."""
        return self._chosen(self.declared.pilot.data if self.declared else "", TABLES)

    def _chosen(self, declared: str, endings: frozenset[str]) -> str:
        if declared in self.files:
            return declared
        return max(self.ending(endings), key=lambda path: self.files[path], default="")

    @cached_property
    def columns(self) -> list[str]:
        """The column names of the data file when it is a CSV; else empty."""
        return self.sample[0] if self.sample else []

    @cached_property
    def sample(self) -> list[list[str]]:
        """The first rows of the data file as text, names first; empty when it is no readable CSV."""
        if not self.table.lower().endswith((".csv", ".csv.gz", ".tsv")):
            return []
        opened = gzip.open if self.table.lower().endswith(".gz") else open
        try:
            with opened(self.root / self.table, "rt", encoding="utf-8", newline="") as file:
                head = [line for line, _ in zip(file, range(200), strict=False)]
        except (OSError, UnicodeDecodeError, EOFError) as error:
            self._skip(f"{self.table}: cannot be read ({error})")
            return []
        tab = self.table.lower().endswith(".tsv")
        return [row for row in csv.reader(head, delimiter="\t" if tab else ",") if row]


def unpacked(content: bytes) -> bytes:
    """The bytes inside gzip or zlib, up to 64 MiB of them; others as they are. Never raises: a torn end is cut."""
    if content[:2] == b"\x1f\x8b":
        window = 31
    elif content[:1] == b"\x78" and content[1:2] in (b"\x01", b"\x5e", b"\x9c", b"\xda"):
        window = 15
    else:
        return content
    try:
        return zlib.decompressobj(window).decompress(content, _MAX_BYTES)
    except zlib.error:
        return content


def _script(text: Text) -> Module:
    source = "\n".join(text.lines)
    return Module(text=text, tree=_parse(source), lines=text.lines, places=list(range(1, len(text.lines) + 1)))


def _parse(source: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        return ast.parse(source)


def _notebook(text: Text) -> Module:
    """The code cells as one module; a cell that does not parse is left blank, a magic line too."""
    document: dict[str, Any] = json.loads("\n".join(text.lines))
    lines: list[str] = []
    places: list[int] = []
    orders: list[int | None] = []
    at = 0
    for cell in document["cells"]:
        if cell.get("cell_type") != "code":
            continue
        source = cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])
        orders.append(cell.get("execution_count"))
        kept = ["" if row.lstrip().startswith(("%", "!", "?")) else row for row in source.splitlines()]
        try:
            _parse("\n".join(kept))
        except SyntaxError:
            kept = [""] * len(kept)
        for shown, row in zip(source.splitlines(), kept, strict=True):
            at = _find(text.lines, json.dumps(shown)[1:-1], at)
            lines.append(row)
            places.append(at + 1)
    tree = _parse("\n".join(lines))
    return Module(text=text, tree=tree, lines=lines, places=places, notebook=True, orders=orders)


def _find(lines: list[str], wanted: str, start: int) -> int:
    """The next line of the notebook's file that holds a source line; the start itself when it is not found."""
    for index in range(start, len(lines)):
        if wanted and wanted in lines[index]:
            return index
    return start
