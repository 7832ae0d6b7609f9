"""What the pilot's documents claim, beside what was found. The measured one counts; the difference is reported.

A claim is contradicted by a fact only: what nobody measured speaks against nothing.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import resources
from typing import NamedTuple

import yaml

from pilotage.assess.folder import Folder
from pilotage.assess.model import Contradiction, DimensionScore, Rating
from pilotage.assess.reading import shown

__all__ = ["Claim", "between_evidence", "contradictions", "load_claims"]


class Claim(NamedTuple):
    """Words by which something is claimed, and the criteria that speak against it where they fail."""

    words: re.Pattern[str]
    against: tuple[str, ...]


@cache
def load_claims() -> tuple[Claim, ...]:
    """The claims that are known, read from the packaged `claims.yaml`."""
    document = yaml.safe_load(resources.files("pilotage.assess").joinpath("claims.yaml").read_text())
    return tuple(
        Claim(re.compile("|".join(each["words"]), re.IGNORECASE), tuple(each["against"])) for each in document["claims"]
    )


_READY = re.compile(
    r"(?i)production[- ](ready|grade|quality)|ready for production|(used|running|deployed|live) in production"
    r"|battle[- ]tested|enterprise[- ](grade|ready)|mission[- ]critical"
)
_NAMED = r"(ROC[- ]AUC|AUC|accuracy|accurate)"
_SHARE = r"(\d{1,3}(?:\.\d+)? ?%|0?\.\d+|1\.0+)"
_FIGURE = re.compile(rf"(?i)\b{_NAMED}\b\W{{0,12}}(?:score|of|is|=|:)?\W{{0,6}}{_SHARE}(?!\w)")
_FIGURE_BEFORE = re.compile(rf"(?i)(?<![\d.]){_SHARE}\s+(?:of\s+)?(?:\w+\s+)?{_NAMED}\b")
_SPEED = re.compile(
    r"(?i)\b(latency|respon\w+|inference|predict\w*|answer\w*)\b[^.|]{0,40}?(?:<|under|below|in|of|:|~|≤|less than)?\s*"
    r"(\d+(?:\.\d+)?) ?(ms|milliseconds?|s|seconds?)\b"
)
_NOT = re.compile(
    r"(?i)\b(not|never(?! hallucinat)|isn't|aren't|cannot|can't|until|before|to ?do|no longer|aims?|goal|plan(s|ned)?"
    r"|will|would|should|could|want|towards?|hope|future|how to|lacks?|make (it|this|them)|becom(e|es|ing)"
    r"|work in progress|wip|experimental)\b|^\s*[-*] \[ \]"
)
_LATER = re.compile(
    r"(?i)\b(to ?do|future|road ?map|planned|next steps?|limitations?|known issues|backlog|disclaimer|not yet"
    r"|improvements?|ideas|wish ?list|open questions)\b"
)
_HEADING = re.compile(r"^(#{1,6})\s+(.*)")
_DOCUMENTS = re.compile(r"(?i)^([^/]+\.(md|rst)|docs?/[^/]+\.(md|rst))$|(^|/)readme[^/]*$")
_NO_DOCUMENT = re.compile(
    r"(?i)(^|/)(changelog|licen[sc]e|contributing|code_of_conduct|security|history|news|roadmap|todo)[^/]*$"
)
_TOLERANCE = 0.005
_SLOWER = 2.0
_LONGEST = 300
_MOST_FACTS = 2


def contradictions(
    folder: Folder, dimensions: Sequence[DimensionScore], ratings: Mapping[str, Rating], verdict: int
) -> list[Contradiction]:
    """Claims that a fact speaks against: of the documents, and of weaker evidence against stronger."""
    found = list(between_evidence(ratings))
    for path, number, line in _claims(folder):
        found += [
            Contradiction(
                claim=shown(line.strip())[:_LONGEST],
                fact=shown(fact),
                file=shown(path),
                line=number,
                criterion=criterion,
            )
            for fact, criterion in _facts(line, dimensions, ratings, verdict)
        ]
    return found


def _claims(folder: Folder) -> Iterator[tuple[str, int, str]]:
    """Lines that may claim something: of documents, but for code and plans; of the description; of docstrings."""
    for path in folder.files:
        if _DOCUMENTS.search(path) and not _NO_DOCUMENT.search(path) and (text := folder.text(path)):
            yield from ((path, number, line) for number, line in _spoken(text.lines) if not _NOT.search(line))
        elif path == "pyproject.toml" and (text := folder.text(path)):
            for number, line in enumerate(text.lines, 1):
                if line.startswith("description") and not _NOT.search(line):
                    yield path, number, line
    for module in folder.modules:
        first = module.tree.body[0] if module.tree.body and not module.is_test and not module.notebook else None
        value = first.value if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) else None
        if value is not None and isinstance(value.value, str):
            for offset, line in enumerate(value.value.split("\n")):
                if not _NOT.search(line):
                    yield module.path, value.lineno + offset, line


def _spoken(lines: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Lines of a document but for code and for sections on what is still to be done."""
    fenced, later = False, 0
    for number, line in enumerate(lines, 1):
        if line.lstrip().startswith(("```", "~~~")):
            fenced = not fenced
            continue
        heading = None if fenced else _HEADING.match(line)
        if heading is not None:
            depth = len(heading[1])
            if later and depth <= later:
                later = 0
            if not later and _LATER.search(heading[2]):
                later = depth
        if not fenced and not later:
            yield number, line


def _facts(
    line: str, dimensions: Sequence[DimensionScore], ratings: Mapping[str, Rating], verdict: int
) -> Iterator[tuple[str, str]]:
    if _READY.search(line) and verdict < 4:
        weakest = min(dimensions, key=lambda each: (each.level, each.score))
        yield f"readiness is level {verdict} of 5; weakest is {weakest.dimension}, {weakest.score:.0%}", ""
    for claim in load_claims():
        if claim.words.search(line):
            failing = [name for name in claim.against if name in ratings and ratings[name].state == "fails"]
            yield from ((_seen(ratings[name]), name) for name in failing[:_MOST_FACTS])
    figures = _FIGURE.findall(line) + [(what, value) for value, what in _FIGURE_BEFORE.findall(line)]
    for what, value in dict.fromkeys(figures):
        claimed = float(value.rstrip(" %")) / (100 if "%" in value else 1)
        if claimed <= 1 and (told := _measured(what.lower(), claimed, ratings)):
            yield told
    for _, value, unit in _SPEED.findall(line):
        if took := _timed(float(value) * (1 if unit.lower().startswith("m") else 1000), ratings):
            yield took


def _seen(rating: Rating) -> str:
    """What was found, with the first place of it."""
    piece = rating.evidence[0]
    places = [f"{each.file}:{each.line} {each.message}" for each in piece.findings[:1]]
    return "; ".join([piece.summary, *places])


def _measured(what: str, claimed: float, ratings: Mapping[str, Rating]) -> tuple[str, str] | None:
    """What was measured instead, and by which criterion; None where the claim is within its error or nothing was."""
    for name in ("data.leakage", "model.held_out"):
        if name in ratings and ratings[name].state == "fails":
            return f"no such figure is valid: {ratings[name].evidence[0].summary}", name
    tested = (
        [e for e in ratings["model.held_out"].evidence if "auc" in e.figures] if "model.held_out" in ratings else []
    )
    if not tested:
        return None
    figures = tested[0].figures
    if "auc" in what:
        low, high = figures["auc_low"], figures["auc_high"]
        inside = low - _TOLERANCE <= claimed <= high + _TOLERANCE
        said = f"AUC measured on held-out rows: {figures['auc']:.3f} [{low:.3f}, {high:.3f}]"
        return None if inside else (said, "model.held_out")
    error = 1.96 * (figures["accuracy"] * (1 - figures["accuracy"]) / figures["rows"]) ** 0.5 + _TOLERANCE
    inside = abs(claimed - figures["accuracy"]) <= error
    said = f"accuracy measured on held-out rows: {figures['accuracy']:.3f} ± {error:.3f}"
    return None if inside else (said, "model.held_out")


def _timed(claimed_ms: float, ratings: Mapping[str, Rating]) -> tuple[str, str] | None:
    """How long an answer took in the box, where that is more than twice what is claimed: of a service or a row."""
    for name, figure, what in (
        ("infrastructure.latency", "p95_ms", "of twenty answers of the service the slowest took"),
        ("model.predicts", "ms_per_row", "one row took"),
    ):
        evidence = ratings[name].evidence if name in ratings else []
        took = next((float(each.figures[figure]) for each in evidence if figure in each.figures), 0.0)
        if took > _SLOWER * claimed_ms:
            return f"{what} {took:.1f} ms in the box", name
    return None


def between_evidence(ratings: Mapping[str, Rating]) -> Iterator[Contradiction]:
    """Evidence that says more than evidence of a higher class does."""
    for rating in ratings.values():
        for weak in rating.evidence:
            strong = [e for e in rating.evidence if e.grade > weak.grade and e.level < weak.level]
            if strong:
                place = weak.findings[0] if weak.findings else None
                yield Contradiction(
                    claim=weak.summary,
                    fact=strong[0].summary,
                    file=place.file if place else "",
                    line=place.line if place else 0,
                    criterion=rating.criterion.id,
                )
