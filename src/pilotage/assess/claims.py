"""What the pilot's documents claim, beside what was found. The measured one counts; the difference is reported."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from pilotage.assess.folder import Folder
from pilotage.assess.model import Contradiction, DimensionScore, Rating
from pilotage.assess.reading import shown

__all__ = ["between_evidence", "contradictions"]

_READY = re.compile(r"(?i)production[- ](ready|grade)|ready for production|battle[- ]tested|enterprise[- ]grade")
_REPEAT = re.compile(r"(?i)(fully |completely |100 ?% )?reproducible")
_TESTED = re.compile(r"(?i)(fully|well|thoroughly|extensively)[- ]tested|test coverage")
_FIGURE = re.compile(r"(?i)\b(AUC|ROC[- ]AUC|accuracy)\b\W{0,12}(?:of|is|=|:)?\W{0,6}(\d{1,2}(?:\.\d+)? ?%|0?\.\d+)")
_NOT = re.compile(r"(?i)\b(not|never|isn't|until|before|to ?do|no longer)\b")
_TOLERANCE = 0.005
_LONGEST = 300


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
    for path in folder.files:
        name = path.rpartition("/")[2].lower()
        if name.startswith("readme") and (text := folder.text(path)):
            for number, line in enumerate(text.lines, 1):
                if not _NOT.search(line):
                    yield path, number, line


def _facts(
    line: str, dimensions: Sequence[DimensionScore], ratings: Mapping[str, Rating], verdict: int
) -> Iterator[tuple[str, str]]:
    if _READY.search(line) and verdict < 4:
        weakest = min(dimensions, key=lambda each: (each.level, each.score))
        yield f"readiness is level {verdict} of 5; weakest is {weakest.dimension}, {weakest.score:.0%}", ""
    if _REPEAT.search(line):
        for name in ("model.seeded", "infrastructure.pins"):
            if name in ratings and ratings[name].state == "fails":
                yield ratings[name].evidence[0].summary, name
    if _TESTED.search(line) and "infrastructure.tests" in ratings and ratings["infrastructure.tests"].state == "fails":
        yield ratings["infrastructure.tests"].evidence[0].summary, "infrastructure.tests"
    for what, value in _FIGURE.findall(line):
        claimed = float(value.rstrip(" %")) / (100 if "%" in value else 1)
        if fact := _measured(what.lower(), claimed, ratings):
            yield fact, "model.held_out"


def _measured(what: str, claimed: float, ratings: Mapping[str, Rating]) -> str:
    """What was measured instead; empty when the claim is within its error or nothing was measured."""
    tested = (
        [e for e in ratings["model.held_out"].evidence if "auc" in e.figures] if "model.held_out" in ratings else []
    )
    if not tested:
        return ""
    figures = tested[0].figures
    if "auc" in what:
        low, high = figures["auc_low"], figures["auc_high"]
        inside = low - _TOLERANCE <= claimed <= high + _TOLERANCE
        return "" if inside else f"AUC measured on held-out rows: {figures['auc']:.3f} [{low:.3f}, {high:.3f}]"
    error = 1.96 * (figures["accuracy"] * (1 - figures["accuracy"]) / figures["rows"]) ** 0.5 + _TOLERANCE
    inside = abs(claimed - figures["accuracy"]) <= error
    return "" if inside else f"accuracy measured on held-out rows: {figures['accuracy']:.3f} ± {error:.3f}"


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
