"""The data sheet: what of the questions of Gebru et al. (Datasheets for Datasets, 2021) can be measured, is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pilotage.papers.gather import Dossier
from pilotage.papers.model import NOT_MEASURED, Bullets, Line, Paper, Section, Sources, Table, Words, stated, words
from pilotage.profiles.model import SCORE

__all__ = ["data_sheet"]


def data_sheet(dossier: Dossier) -> Paper:
    """The sheet of the data that a release was built and evaluated on."""
    sources, system = dossier.sources, dossier.system
    paper = system.paper
    sections = (
        Section(title="Why was it made, and who collected it", blocks=(stated(paper.data_collection),)),
        Section(title="What it is used for here", blocks=(_uses(dossier),)),
        Section(title="Composition", blocks=tuple(_composition(dossier))),
        Section(title="Columns", blocks=(_columns(dossier),)),
        Section(title="People in it", blocks=tuple(_people(dossier))),
        Section(title="Span of time", blocks=(_span(sources),)),
        Section(title="Split", blocks=tuple(_split(sources))),
        Section(title="Duplicates and leaks", blocks=tuple(_leaks(sources))),
        Section(title="Distribution and upkeep", blocks=(stated(""),)),
        Section(title="Contact", blocks=(stated(paper.contact),)),
    )
    sources.cite("release", "contract")
    return Paper(
        kind="data-sheet",
        title=f"{system.name}: data sheet of {dossier.release.name}",
        lead=(f"The file {system.pilot.data}, with the target {system.pilot.target}.",),
        release=dossier.release.digest,
        sections=sections,
        sources=sources.cited(),
    )


def _uses(dossier: Dossier) -> Words:
    if dossier.system.data_use:
        return words("Declared purposes: " + ", ".join(dossier.system.data_use) + ".")
    return stated("")


def _composition(dossier: Dossier) -> Iterator[Words]:
    sources = dossier.sources
    yield words("Digest of the file: ", sources.figure("release", "origin", "data"), ".")
    yield words(
        "Rows that were read: ",
        sources.figure("profile", "rows", form=",d"),
        "; held out: ",
        sources.figure("evaluation", "rows", "held_out", form=",d"),
        "; others: ",
        sources.figure("evaluation", "rows", "others", form=",d"),
        "; of the held-out ones the target is the positive class in ",
        sources.figure("evaluation", "rows", "positives_held_out", form=",d"),
        ".",
    )
    refused: dict[str, Any] = sources.value("evaluation", "rows", "refused_by_contract") or {}
    for name in refused:
        count = sources.figure("evaluation", "rows", "refused_by_contract", name, form=",d")
        yield words(f"Refused by the contract, {name}: ", count, ".")


def _columns(dossier: Dossier) -> Table:
    """Every column: what it may hold, how often it is missing, and how it is marked."""
    sources = dossier.sources
    profiles = {
        each["name"]: (at, each) for at, each in enumerate(sources.value("profile", "columns")) if each["name"] != SCORE
    }
    rows = []
    for column in dossier.loaded.contract.columns:
        missing: Line = (NOT_MEASURED,)
        span: Line = ("",)
        if column.name in profiles:
            at, own = profiles[column.name]
            profile = dossier.loaded.profile.columns[at]
            missing = (sources.figure("profile", "columns", at, "counts", profile.null, form=",d"),)
            if own["kind"] == "numeric":
                low, high = (sources.figure("profile", "columns", at, end, form=".10g") for end in ("low", "high"))
                span = (low, " to ", high)
            else:
                span = (", ".join(str(each) for each in profile.categories[:12]),)
        marks = [mark for mark in ("personal", "protected") if getattr(column, mark)]
        rows.append(
            ((column.name,), (column.role,), (column.type,), span, missing, (", ".join(marks),), (column.unit or "",))
        )
    return Table(head=("column", "role", "type", "values", "missing rows", "marks", "unit"), rows=tuple(rows))


def _people(dossier: Dossier) -> Iterator[Words]:
    contract = dossier.loaded.contract
    personal = [each.name for each in contract.columns if each.personal]
    protected = [each.name for each in contract.columns if each.protected]
    protected = list(dict.fromkeys([*protected, *dossier.system.pilot.protected, *dossier.system.pilot.prohibited]))
    yield words("Personal data: ", ", ".join(personal) or "no column is marked so", ".")
    yield words("Protected characteristics: ", ", ".join(protected) or "no column is marked so", ".")
    yield words("A row is about: ", contract.subject or "nobody: no subject is declared", ".")
    yield words("Consent, and whether people were told: not stated.")


def _span(sources: Sources) -> Words:
    skipped = sources.value("evaluation", "leakage", "skipped", "time travel")
    if skipped:
        sources.cite("evaluation")
        return words(f"{NOT_MEASURED.capitalize()}: {skipped}.")
    return words(NOT_MEASURED)


def _split(sources: Sources) -> Iterator[Words]:
    if not sources.value("evaluation", "split"):
        yield words(NOT_MEASURED)
        return
    yield words(
        "By a ",
        sources.figure("evaluation", "split", "by"),
        ", seed ",
        sources.figure("evaluation", "split", "seed", form="d"),
        ". Whether the model's author trained on held-out rows: ",
        sources.figure("evaluation", "holdout_seen_in_training"),
        ".",
    )


def _leaks(sources: Sources) -> Iterator[Words | Bullets]:
    if not sources.value("evaluation", "leakage"):
        yield words(NOT_MEASURED)
        return
    counts = [sources.figure("evaluation", "leakage", "counts", name, form="d") for name in ("high", "medium", "ask")]
    rows = sources.figure("evaluation", "leakage", "rows", form=",d")
    high, medium, ask = counts
    yield words("Looked for in ", rows, " rows. Found: high ", high, ", medium ", medium, ", to ask about ", ask, ".")
    lines: list[Line] = [
        (f"looked at by so many rows: {name}, ", sources.figure("evaluation", "leakage", "looked_at", name, form=",d"))
        for name in sources.value("evaluation", "leakage", "looked_at") or {}
    ]
    for at, each in enumerate((sources.value("evaluation", "leakage", "findings") or [])[:30]):
        severity = sources.figure("evaluation", "leakage", "findings", at, "severity")
        lines.append((f"{each['kind']}: {', '.join(each['columns'])} (", severity, ")"))
    if lines:
        yield Bullets(lines=tuple(lines))
    for name, why in (sources.value("evaluation", "leakage", "skipped") or {}).items():
        yield words(f"Not looked for: {name}, since {why}.")
