"""The bill of materials for people: the model, its data, and every package with its licence."""

from __future__ import annotations

from typing import Any

from pilotage.papers.gather import Dossier
from pilotage.papers.model import Figure, Line, Paper, Section, Source, Sources, Table, words

__all__ = ["bom_paper"]


def bom_paper(dossier: Dossier, document: dict[str, Any]) -> Paper:
    """The same as the CycloneDX document says, to be read."""
    sources, parts = dossier.sources, document["components"]
    kinds: dict[str, list[int]] = {}
    for at, each in enumerate(parts):
        kinds.setdefault(each["type"], []).append(at)
    counts = {kind: len(places) for kind, places in kinds.items()}
    unknown = sum("licenses" not in parts[at] for at in kinds.get("library", []))
    lock = dossier.loaded.manifest.files["environment.lock"].digest
    sources.add(
        Source(name="bom", title="bom.cdx.json, made of the release's manifest and lock", digest=lock),
        {"counts": counts, "unknown": unknown, "components": parts},
    )

    def row(at: int) -> tuple[Line, ...]:
        return tuple((sources.figure("bom", "components", at, name),) for name in ("name", "version"))

    libraries = tuple((*row(at), (_licence(sources, at),)) for at in kinds.get("library", []))
    files = tuple(
        ((parts[at]["name"],), (sources.figure("bom", "components", at, "hashes", 0, "content"),))
        for at in kinds.get("file", [])
    )
    named = [at for kind in ("machine-learning-model", "data") for at in kinds.get(kind, [])]
    made = tuple(
        ((parts[at]["type"],), (parts[at]["name"],), (sources.figure("bom", "components", at, "hashes", 0, "content"),))
        for at in named
    )
    lead = words(
        sources.figure("bom", "counts", "library", form=",d"),
        " packages; licence unknown for ",
        sources.figure("bom", "unknown", form=",d"),
        " of them. Whether any is known to be vulnerable is told by pilotage release scan.",
    )
    sources.cite("release")
    return Paper(
        kind="bom",
        title=f"{dossier.system.name}: bill of materials of {dossier.release.name}",
        lead=lead.line,
        release=dossier.release.digest,
        sections=(
            Section(title="Model and data", blocks=(Table(head=("kind", "name", "SHA-256"), rows=made),)),
            Section(title="Files of the release", blocks=(Table(head=("file", "SHA-256"), rows=files),)),
            Section(title="Packages", blocks=(Table(head=("package", "version", "licence"), rows=libraries),)),
        ),
        sources=sources.cited(),
    )


def _licence(sources: Sources, at: int) -> str | Figure:
    if sources.value("bom", "components", at, "licenses") is None:
        return "unknown"
    return sources.figure("bom", "components", at, "licenses", 0, "expression")
