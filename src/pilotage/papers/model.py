"""A paper: sections of words, lists and tables in which every figure knows the evidence that it was read from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

__all__ = [
    "KINDS",
    "NOT_MEASURED",
    "NOT_STATED",
    "Bullets",
    "Figure",
    "Kind",
    "Line",
    "Paper",
    "Section",
    "Source",
    "Sources",
    "Table",
    "Words",
    "stated",
    "words",
]

Kind = Literal["model-card", "system-card", "data-sheet", "bom", "notes"]
KINDS: tuple[Kind, ...] = ("model-card", "system-card", "data-sheet", "bom", "notes")

NOT_STATED = "not stated"
"""What stands where only a person could say it, and nobody did."""
NOT_MEASURED = "not measured"


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Where figures were read: a file of the release, a row of the registry, a piece of evidence.

    `id` is the evidence's (empty for a file), `digest` that of the file or evidence, `address` its page in the console.
    """

    name: str
    title: str
    id: str = ""
    digest: str = ""
    address: str = ""


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One figure: as it is written, the value it was written from, and where that value stands."""

    text: str
    value: float | int | str | bool
    source: str
    path: str


Line = tuple[str | Figure, ...]
"""Text with figures in it."""


class Words(msgspec.Struct, frozen=True, kw_only=True, tag="words"):
    """A paragraph."""

    line: Line


class Bullets(msgspec.Struct, frozen=True, kw_only=True, tag="bullets"):
    """A list."""

    lines: tuple[Line, ...]


class Table(msgspec.Struct, frozen=True, kw_only=True, tag="table"):
    """A table; every cell is a line."""

    head: tuple[str, ...]
    rows: tuple[tuple[Line, ...], ...]


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """A heading and what stands under it."""

    title: str
    blocks: tuple[Words | Bullets | Table, ...]


class Paper(msgspec.Struct, frozen=True, kw_only=True):
    """A whole paper. `header` is the YAML header of its Markdown, where the form has one."""

    kind: Kind
    title: str
    lead: Line
    release: str
    sections: tuple[Section, ...]
    sources: tuple[Source, ...]
    header: dict[str, Any] = {}


@dataclass(kw_only=True)
class Sources:
    """Documents that figures are read from, by name. Nothing is a figure of a paper but what stands in one of them."""

    known: dict[str, tuple[Source, Any]] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)

    def add(self, source: Source, document: Any) -> None:
        """A document of JSON values."""
        self.known[source.name] = (source, document)

    def has(self, name: str) -> bool:
        """Whether there is such a document."""
        return name in self.known

    def value(self, name: str, *path: str | int) -> Any:
        """What stands at a path; None where nothing does."""
        found = self.known[name][1] if name in self.known else None
        for step in path:
            try:
                found = found[step] if found is not None else None
            except (KeyError, IndexError, TypeError):
                return None
        return found

    def figure(self, name: str, *path: str | int, form: str | Callable[[Any], str] = "") -> str | Figure:
        """The figure at a path, written by a format or a function; `not measured` where nothing stands."""
        value = self.value(name, *path)
        if value is None or isinstance(value, dict | list):
            return NOT_MEASURED
        self.used.add(name)
        text = form(value) if callable(form) else format(value, form) if not isinstance(value, str) else value
        return Figure(text=text, value=value, source=name, path=".".join(str(step) for step in path))

    def cite(self, *names: str) -> None:
        """Name sources that words of the paper rest on."""
        self.used.update(name for name in names if name in self.known)

    def cited(self) -> tuple[Source, ...]:
        """The sources that were used, in the order in which they were added."""
        return tuple(source for name, (source, _) in self.known.items() if name in self.used)


def words(*parts: str | Figure) -> Words:
    """A paragraph of parts."""
    return Words(line=parts)


def stated(text: str) -> Words:
    """What somebody declared, or that nobody did."""
    return words(text.strip() or NOT_STATED)
