"""A pilot's folder as it is read: files, Python of scripts and notebooks with real line numbers, the declaration.

Nothing in it is imported or unpickled, no link is followed, and every read is bounded. What is too large or unreadable
is listed as skipped, never taken for clean.
"""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, cast

from pilotage.assess.reading import MAX_BYTES, decoded, lines_of, read_bytes, shown, unpacked
from pilotage.assess.source import Module, Text, notebook, script
from pilotage.errors import NotFound, PilotageError
from pilotage.kernel.digests import digest
from pilotage.systems.model import AISystem
from pilotage.systems.parse import parse_system

__all__ = ["ARTEFACTS", "TABLES", "Folder"]

T = TypeVar("T")

ARTEFACTS = frozenset({".joblib", ".pkl", ".pickle", ".sav", ".onnx", ".h5", ".keras", ".pt", ".pth", ".cbm", ".ubj"})
TABLES = frozenset({".csv", ".csv.gz", ".tsv", ".parquet", ".jsonl", ".xlsx"})
_LEFT_OUT = {".git", ".venv", "node_modules", "__pycache__", ".ipynb_checkpoints", ".tox", ".mypy_cache"}
_MAX_FILES, _MAX_DEPTH = 20_000, 40
_MAX_TEXT, _MAX_NOTEBOOK, _MAX_SOURCE, _MAX_HELD = 4 << 20, 32 << 20, 6 << 20, 32 << 20
_MAX_HEAD = 1 << 20
_MAX_HASHED = 1 << 30
_PIECE = 1 << 20
"""Of a file to be hashed: memory for larger ones is taken from the kernel anew each time, which takes longer."""

_MAX_TOLD = 40


class Folder:
    """The files of one pilot. Raises NotFound when `root` is no folder."""

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise NotFound("no such folder", got=root, expected="a pilot's folder", mend="name the folder")
        self.root = root.resolve()
        self.skipped: list[str] = []
        self.unparsed: list[tuple[str, int, str]] = []
        self._held: dict[str, Text | None] = {}
        self._room = _MAX_HELD
        self._read: dict[Callable[[Folder], Any], Any] = {}
        self._digests: dict[str, str] = {}
        self.files: dict[str, int] = {}
        for path, size in self._walk(self.root, "", 0):
            if len(self.files) == _MAX_FILES:
                self.skip(f"more than {_MAX_FILES} files: the rest was not read")
                break
            self.files[path] = size

    def _walk(self, folder: Path, inside: str, depth: int) -> Iterator[tuple[str, int]]:
        """(path, size) in the order of the names' bytes, whatever order the file system gives."""
        try:
            with os.scandir(folder) as listed:
                entries = sorted(listed, key=lambda entry: os.fsencode(entry.name))
        except OSError as error:
            self.skip(f"{inside or '.'}: cannot be listed ({error.strerror})")
            return
        below = []
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                below.append(entry)
                continue
            if entry.is_symlink() or not entry.is_file(follow_symlinks=False):
                self.skip(f"{inside}{entry.name}: a link or device, not read")
                continue
            try:
                size = entry.stat(follow_symlinks=False).st_size
            except OSError:
                continue
            yield inside + entry.name, size
        for entry in below:
            if entry.name in _LEFT_OUT or os.path.lexists(Path(entry.path, "pyvenv.cfg")):
                continue
            if depth == _MAX_DEPTH:
                self.skip(f"{inside}{entry.name}: more than {_MAX_DEPTH} folders deep, not read")
                continue
            yield from self._walk(Path(entry.path), f"{inside}{entry.name}/", depth + 1)

    def once(self, reading: Callable[[Folder], T]) -> T:
        """What a function reads of this folder; it is called at the first asking only."""
        if reading not in self._read:
            self._read[reading] = reading(self)
        return cast(T, self._read[reading])

    def named(self, *names: str) -> list[str]:
        """Files whose base name is one of `names`, upper or lower case."""
        wanted = {name.lower() for name in names}
        return [path for path in self.files if Path(path).name.lower() in wanted]

    def ending(self, endings: frozenset[str]) -> list[str]:
        """Files that end so."""
        return [path for path in self.files if any(path.lower().endswith(end) for end in endings)]

    def content(self, path: str, limit: int = MAX_BYTES) -> bytes:
        """A file's bytes; empty, and listed as skipped, when it is too large or cannot be read."""
        if self.files[path] > limit:
            self.skip(f"{path}: larger than {limit >> 20} MiB, not read")
            return b""
        try:
            return read_bytes(self.root / path, limit)
        except OSError as error:
            self.skip(f"{path}: cannot be read ({error.strerror or error})")
            return b""

    def head(self, path: str) -> str:
        """The text at the head of a file, unpacked, up to its last whole line within 1 MiB."""
        try:
            content = unpacked(read_bytes(self.root / path, _MAX_HEAD))[:_MAX_HEAD]
        except OSError as error:
            self.skip(f"{path}: cannot be read ({error.strerror or error})")
            return ""
        whole = content if self.files[path] < _MAX_HEAD else content[: content.rfind(b"\n") + 1]
        text = decoded(whole, python=False)
        if text is None:
            self.skip(f"{path}: no text, not read")
        return text or ""

    def digest(self, path: str, tell: Callable[[int], None] = lambda _bytes: None) -> str:
        """The digest of a whole file, however large; its bytes are read at the first asking only.

        Empty, and listed as skipped, when it cannot be read. `tell` is called with the bytes read so far.
        """
        if path not in self._digests:
            hashed = hashlib.sha256()
            try:
                for start in range(0, self.files[path], _PIECE):
                    if start % MAX_BYTES == 0:
                        tell(start)
                    hashed.update(read_bytes(self.root / path, _PIECE, start=start))
                self._digests[path] = f"sha256:{hashed.hexdigest()}"
            except OSError as error:
                self.skip(f"{path}: cannot be read ({error.strerror or error})")
                self._digests[path] = ""
        return self._digests[path]

    def skip(self, why: str) -> None:
        """List what could not be looked at, and why; each once, and no more than can be read."""
        why = shown(why)
        if why in self.skipped:
            return
        if len(self.skipped) < _MAX_TOLD:
            self.skipped.append(why)
        elif len(self.skipped) == _MAX_TOLD:
            self.skipped.append("and more")

    def text(self, path: str) -> Text | None:
        """A file as text; None when it is too large or no text (listed as skipped)."""
        if path not in self._held:
            text = self._text(path)
            if self.files[path] > self._room:
                return text
            self._room -= self.files[path]
            self._held[path] = text
        return self._held[path]

    def _text(self, path: str) -> Text | None:
        limit = _MAX_NOTEBOOK if path.endswith(".ipynb") else _MAX_TEXT
        if self.files[path] > limit:
            self.skip(f"{path}: larger than {limit >> 20} MiB, not read as text")
            return None
        text = decoded(self.content(path, limit), python=path.endswith(".py"))
        if text is None:
            self.skip(f"{path}: not UTF-8, not read as text")
            return None
        return Text(path=path, lines=lines_of(text))

    @cached_property
    def modules(self) -> list[Module]:
        """Every script and notebook that parses, 6 MiB of them; `unparsed` names the others."""
        found, left = [], _MAX_SOURCE
        for path in self.files:
            if not path.endswith((".py", ".ipynb")):
                continue
            if path.endswith(".py"):
                left -= self.files[path]
            if left < 0:
                self.skip(f"more than {_MAX_SOURCE >> 20} MiB of Python: the rest was not parsed")
                break
            if text := self.text(path):
                try:
                    found.append(notebook(text) if path.endswith(".ipynb") else script(text))
                except (SyntaxError, ValueError, KeyError, TypeError, AttributeError) as error:
                    self._unparsed(path, getattr(error, "lineno", 0) or 0, str(getattr(error, "msg", error)))
                except (RecursionError, MemoryError):
                    self._unparsed(path, 0, "nested too deep")
        return found

    def _unparsed(self, path: str, line: int, why: str) -> None:
        self.unparsed.append((path, line, why))
        self.skip(f"{path}: cannot be parsed ({why})")

    @cached_property
    def declared(self) -> AISystem | None:
        """What `pilotage.yaml` declares; None without one or with a faulty one (listed as skipped).

        A draft counts: owners may be open, and data or model not made yet."""
        if not 0 < self.files.get("pilotage.yaml", 0) <= _MAX_HEAD:
            return None
        try:
            return parse_system(read_bytes(self.root / "pilotage.yaml", _MAX_HEAD), draft=True)
        except OSError as error:
            self.skip(f"pilotage.yaml: cannot be read ({error.strerror or error})")
            return None
        except PilotageError as error:
            self.skip(f"pilotage.yaml: {error.what}")
            return None

    @cached_property
    def subject(self) -> str:
        """The digest of all file names with their contents: code evidence is bound to it.

        Past 1 GiB in all, a file counts by its size and its two ends.
        """
        whole, left = hashlib.sha256(), _MAX_HASHED
        for path, size in self.files.items():
            if size <= left:
                left -= size
                known = self.digest(path)
            else:
                known = self._ends(path, size)
            whole.update(f"{size} {known} ".encode() + os.fsencode(path) + b"\0")
        return digest(whole.digest())

    def _ends(self, path: str, size: int) -> str:
        """The digest of a file's first and last MiB."""
        try:
            first = read_bytes(self.root / path, _MAX_HEAD)
            return digest(first + read_bytes(self.root / path, _MAX_HEAD, start=max(0, size - _MAX_HEAD)))
        except OSError as error:
            self.skip(f"{path}: cannot be read ({error.strerror or error})")
            return ""

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
        return self.rows(self.table)

    def rows(self, path: str) -> list[list[str]]:
        """The first 200 rows of a CSV as text, names first; empty when it is no readable CSV."""
        if not path.lower().endswith((".csv", ".csv.gz", ".tsv")):
            return []
        head = lines_of(self.head(path))[:200]
        try:
            return [row for row in csv.reader(head, delimiter="\t" if path.lower().endswith(".tsv") else ",") if row]
        except csv.Error as error:
            self.skip(f"{path}: cannot be read ({error})")
            return []
