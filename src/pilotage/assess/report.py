"""The report of an assessment as Markdown: what executives read in two minutes, then the evidence."""

from __future__ import annotations

from collections.abc import Iterator

from pilotage.assess.model import Assessment, Coverage, DimensionScore, Makeup, MLTestScore, Rating
from pilotage.assess.planning import Plan
from pilotage.assess.roadmap import as_markdown as roadmap_as_markdown
from pilotage.kernel.clock import rfc3339
from pilotage.kernel.markdown import code_in_markdown, in_markdown

__all__ = ["as_markdown", "told_of", "told_of_owasp", "told_of_score"]

_KINDS = {
    "llm": "asks a language model",
    "rag": "retrieves for it",
    "agent": "lets it call tools",
    "classic": "a model of its own",
}
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
    yield f"{in_markdown(found.path)}, {rfc3339(found.at)}, subject `{found.subject}`, Pilotage {found.version}."
    yield ""
    for title, lines in (
        ("Because", plan.triage.because),
        ("Take along", plan.triage.keep),
        ("What would flip it", plan.triage.flips),
        ("Not known", plan.triage.unknown),
    ):
        if lines:
            yield from [f"{title}:", "", *(f"- {in_markdown(line)}" for line in lines), ""]
    yield "| dimension | level | score | if all unknown held | covered |"
    yield "|---|---|---|---|---|"
    for each in found.dimensions:
        yield f"| {each.dimension} | {each.level} | {each.score:.2f} | {each.interval[1]:.2f} | {each.coverage:.0%} |"
    yield from _kind(found)
    if found.blockers:
        yield from ["", "## Blockers", ""]
        for blocker in found.blockers:
            knock = " (knock-out)" if blocker.knock_out else ""
            why, mend = in_markdown(blocker.why), in_markdown(blocker.mend)
            yield f"- {in_markdown(blocker.text)}{knock}: {why}. Mend: {mend}."
    if found.raises:
        yield from ["", "## What would raise it soonest", ""]
        for step in found.raises[:8]:
            about = f"{step.dimension}, about {step.days:.1f} days, then level {step.verdict_after}"
            yield f"1. {in_markdown(step.text)}: {in_markdown(step.mend)} ({about})"
    if found.contradictions:
        yield from ["", "## Claimed, but measured otherwise", ""]
        for one in found.contradictions:
            yield f"- {_place(one.file, one.line)}: “{in_markdown(one.claim)}”: {in_markdown(one.fact)}"
    yield from _owasp(found.owasp)
    yield from _ml_test_score(found.ml_test_score)
    yield from ["", "## Evidence", ""]
    for dimension in found.dimensions:
        yield from _dimension(dimension)
    if found.environment:
        box = found.isolation
        shut = f"files {box.get('filesystem', 'open')}, network {box.get('network', 'open')}"
        yield from [f"Probed with {in_markdown(found.environment)}, in a box ({in_markdown(shut)}).", ""]
    if found.skipped:
        yield from ["## Not looked at", "", *(f"- {in_markdown(each)}" for each in found.skipped), ""]


def _kind(found: Assessment) -> Iterator[str]:
    lines = [f"What it is: {in_markdown(told)}."] if (told := told_of(found.makeup)) else []
    lines += [f"{told_of_owasp(found.owasp)}."] if found.owasp else []
    lines += [f"{told_of_score(found.ml_test_score)}."] if found.ml_test_score else []
    for line in lines:
        yield from ["", line]


def told_of(makeup: Makeup) -> str:
    """What a pilot is, in a line; empty for one of which nothing is known."""
    kinds = [_KINDS[each] for each in ("llm", "rag", "agent", "classic") if each in makeup.kinds]
    parts = (
        ("by", makeup.libraries),
        ("index", makeup.stores),
        ("asks", makeup.models),
        ("shown by", makeup.interfaces),
    )
    return "; ".join([", ".join(kinds), *(f"{word} {', '.join(names[:6])}" for word, names in parts if names)])


def told_of_owasp(found: Coverage) -> str:
    """The coverage of the OWASP Top 10 in a line."""
    absent = len(found.risks) - found.applicable
    rest = f", {absent} about what it lacks" if absent else ""
    return (
        f"OWASP LLM Top 10 ({found.edition}): {found.looked_at} of {len(found.risks)} read{rest}, "
        f"{found.tested} tested by attack; faults in {found.faults}"
    )


def told_of_score(found: MLTestScore) -> str:
    """The ML Test Score in a line."""
    sections = ", ".join(f"{name} {points:g}" for name, points in found.sections.items())
    return f"ML Test Score: {found.score:g} of 7, the lowest of {sections}: {found.band}"


def _owasp(found: Coverage | None) -> Iterator[str]:
    if found is None:
        return
    yield from ["", f"## OWASP LLM Top 10 ({found.edition})", "", f"{told_of_owasp(found)}. Unknown is not no.", ""]
    yield from ["| risk | | measured | not measured |", "|---|---|---|---|"]
    for each in found.risks:
        if each.applies:
            measured, missing = (
                "; ".join(map(in_markdown, many)) or "-" for many in (each.measured, each.not_measured)
            )
            yield f"| {each.id} {each.name} | {_MARKS[each.state]} | {measured} | {missing} |"
        else:
            yield f"| {each.id} {each.name} | | does not apply: it lacks what this is about | |"


def _ml_test_score(found: MLTestScore | None) -> Iterator[str]:
    if found is None:
        return
    yield from ["", "## ML Test Score", "", f"{told_of_score(found)}.", ""]
    yield from ["| test | | points | why |", "|---|---|---|---|"]
    for each in found.tests:
        yield f"| {each.id} {each.text} | {each.done} | {each.points:g} | {in_markdown(each.why)} |"


def _dimension(each: DimensionScore) -> Iterator[str]:
    yield f"### {each.dimension.capitalize()}: level {each.level}"
    yield ""
    yield from (f"- capped: {in_markdown(cap)}" for cap in each.caps)
    for rating in each.ratings:
        yield from _rating(rating)
    yield ""


def _rating(rating: Rating) -> Iterator[str]:
    yield f"- {_MARKS[rating.state]} {in_markdown(rating.criterion.text)} ({rating.score:.2f})"
    for piece in rating.evidence:
        yield f"    - {piece.grade} {in_markdown(piece.collector)}: {in_markdown(piece.summary)}"
        for finding in piece.findings:
            mend = f" Mend: {in_markdown(finding.mend)}." if finding.mend else ""
            yield f"        - {_place(finding.file, finding.line)}: {in_markdown(finding.message)}.{mend}"


def _place(file: str, line: int) -> str:
    return code_in_markdown(f"{file}:{line}" if line else file)
