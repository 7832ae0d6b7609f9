"""The report of an assessment as Markdown: what executives read in two minutes, then the evidence."""

from __future__ import annotations

from collections.abc import Iterator

from pilotage.assess.model import Assessment, DimensionScore, Rating
from pilotage.assess.planning import Plan
from pilotage.assess.roadmap import as_markdown as roadmap_as_markdown
from pilotage.kernel.clock import rfc3339

__all__ = ["as_markdown"]

_MARKS = {"holds": "✓", "partial": "~", "fails": "✗", "unknown": "?"}


def as_markdown(found: Assessment, plan: Plan) -> str:
    """The whole report. Text of the pilot is never markup of it."""
    return "\n".join(_lines(found, plan)) + "\n" + roadmap_as_markdown(plan.roadmap).replace("# ", "## ", 1)


def _lines(found: Assessment, plan: Plan) -> Iterator[str]:
    weakest = min(found.dimensions, key=lambda each: (each.level, each.score))
    yield "# Readiness"
    yield ""
    yield f"**Level {found.verdict} of 5**, held by {weakest.dimension}; stage {found.stage} asks for {found.required}."
    yield f"**Triage: {plan.triage.what}, by {plan.triage.who}.**"
    yield ""
    yield f"{_plain(found.path)}, {rfc3339(found.at)}, subject `{found.subject}`, Pilotage {found.version}."
    yield ""
    for title, lines in (
        ("Because", plan.triage.because),
        ("Take along", plan.triage.keep),
        ("What would flip it", plan.triage.flips),
        ("Not known", plan.triage.unknown),
    ):
        if lines:
            yield from [f"{title}:", "", *(f"- {_plain(line)}" for line in lines), ""]
    yield "| dimension | level | score | if all unknown held | covered |"
    yield "|---|---|---|---|---|"
    for each in found.dimensions:
        yield f"| {each.dimension} | {each.level} | {each.score:.2f} | {each.interval[1]:.2f} | {each.coverage:.0%} |"
    if found.blockers:
        yield from ["", "## Blockers", ""]
        for blocker in found.blockers:
            knock = " (knock-out)" if blocker.knock_out else ""
            yield f"- {_plain(blocker.text)}{knock}: {_plain(blocker.why)}. Mend: {_plain(blocker.mend)}."
    if found.contradictions:
        yield from ["", "## Claimed, but measured otherwise", ""]
        for one in found.contradictions:
            yield f"- {_place(one.file, one.line)}: “{_plain(one.claim)}”: {_plain(one.fact)}"
    yield from ["", "## Evidence", ""]
    for dimension in found.dimensions:
        yield from _dimension(dimension)
    if found.skipped:
        yield from ["## Not looked at", "", *(f"- {_plain(each)}" for each in found.skipped), ""]


def _dimension(each: DimensionScore) -> Iterator[str]:
    yield f"### {each.dimension.capitalize()}: level {each.level}"
    yield ""
    yield from (f"- capped: {_plain(cap)}" for cap in each.caps)
    for rating in each.ratings:
        yield from _rating(rating)
    yield ""


def _rating(rating: Rating) -> Iterator[str]:
    yield f"- {_MARKS[rating.state]} {_plain(rating.criterion.text)} ({rating.score:.2f})"
    for piece in rating.evidence:
        yield f"    - {piece.grade} {_plain(piece.collector)}: {_plain(piece.summary)}"
        for finding in piece.findings:
            mend = f" Mend: {_plain(finding.mend)}." if finding.mend else ""
            yield f"        - {_place(finding.file, finding.line)}: {_plain(finding.message)}.{mend}"


def _place(file: str, line: int) -> str:
    return f"`{_plain(file)}:{line}`" if line else f"`{_plain(file)}`"


def _plain(text: str) -> str:
    """Text of the pilot on one line, without what Markdown, HTML or a terminal would act on."""
    shown = "".join(letter if letter.isprintable() else " " for letter in text)
    for letter in "\\`*_[]<>|":
        shown = shown.replace(letter, {"<": "&lt;", ">": "&gt;"}.get(letter, "\\" + letter))
    return " ".join(shown.split())
