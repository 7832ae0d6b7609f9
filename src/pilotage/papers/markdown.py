"""A paper as Markdown: figures as they are, and under each block where they were read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import yaml

from pilotage.kernel.markdown import in_markdown
from pilotage.papers.model import Bullets, Figure, Line, Paper, Table, Words

__all__ = ["markdown", "plain"]


def plain(line: Line) -> str:
    """A line as text."""
    return "".join(part.text if isinstance(part, Figure) else part for part in line)


def markdown(paper: Paper) -> str:
    """The whole paper, ending in a newline; the same paper gives the same bytes."""
    parts = []
    if paper.header:
        parts.append("---\n" + yaml.safe_dump(paper.header, sort_keys=False, allow_unicode=True).strip() + "\n---")
    parts += [f"# {in_markdown(paper.title)}", _safe(paper.lead)]
    for section in paper.sections:
        parts.append(f"## {section.title}")
        for block in section.blocks:
            parts.append(_block(block))
            if read := sorted(_read(block)):
                parts.append("*Read from " + ", ".join(f"[{name}](#{_anchor(name)})" for name in read) + ".*")
    parts += ["## Sources", "\n".join(_sources(paper))]
    return "\n\n".join(parts) + "\n"


def _block(block: Words | Bullets | Table) -> str:
    match block:
        case Words():
            return _safe(block.line)
        case Bullets():
            return "\n".join(f"- {_safe(line)}" for line in block.lines)
        case Table():
            head = [*block.head]
            rows = [[_safe(cell) for cell in row] for row in block.rows]
            return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])


def _read(block: Words | Bullets | Table) -> set[str]:
    lines: Iterable[Line]
    match block:
        case Words():
            lines = (block.line,)
        case Bullets():
            lines = block.lines
        case Table():
            lines = (cell for row in block.rows for cell in row)
    return {part.source for line in lines for part in line if isinstance(part, Figure)}


def _sources(paper: Paper) -> Iterator[str]:
    for each in paper.sources:
        facts = [each.title]
        if each.id:
            facts.append(f"evidence `{each.id}`")
        if each.digest:
            facts.append(f"`{each.digest}`")
        if each.address:
            facts.append(f"[{each.address}]({each.address})")
        yield f'- <a id="{_anchor(each.name)}"></a>**{each.name}**: ' + ", ".join(facts)


def _anchor(name: str) -> str:
    return "source-" + name.replace(".", "-").replace(":", "-").replace(" ", "-")


def _safe(line: Line) -> str:
    """Words of people, which must not become markup of the page that shows them."""
    return in_markdown(plain(line))
