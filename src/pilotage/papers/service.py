"""Make a paper about a release, from what is recorded now."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Engine

from pilotage.errors import InputError
from pilotage.evidence.store import latest, recorded_digest
from pilotage.kernel.clock import day, now_us
from pilotage.papers.bom import bill_of_materials
from pilotage.papers.bom_paper import bom_paper
from pilotage.papers.data_sheet import data_sheet
from pilotage.papers.gather import Dossier, gather
from pilotage.papers.markdown import markdown
from pilotage.papers.model import KINDS, Kind, Paper, Source
from pilotage.papers.model_card import model_card
from pilotage.papers.notes import release_notes
from pilotage.papers.system_card import system_card
from pilotage.releases.load import open_release
from pilotage.releases.model import Release
from pilotage.releases.store import find_release
from pilotage.replay.backtest import Backtest
from pilotage.replay.backtesting import CHECK, find_backtest
from pilotage.storage.database import reading
from pilotage.storage.objects import Objects

__all__ = ["Made", "chosen_kinds", "make_paper"]


@dataclass(frozen=True, kw_only=True)
class Made:
    """A paper, and its document: the CycloneDX one of a bill of materials, else the paper itself as JSON values."""

    paper: Paper
    document: dict[str, Any]

    @property
    def markdown(self) -> str:
        """The paper as Markdown."""
        return markdown(self.paper)

    @property
    def json(self) -> bytes:
        """The document, indented."""
        return msgspec.json.format(msgspec.json.encode(self.document), indent=2) + b"\n"

    @property
    def json_name(self) -> str:
        """The name of its file of JSON."""
        return "bom.cdx.json" if self.paper.kind == "bom" else f"{self.paper.kind}.json"


def chosen_kinds(name: str) -> tuple[Kind, ...]:
    """The kinds that a word names: one of KINDS, or `all`. Raises InputError."""
    if name == "all":
        return KINDS
    found = tuple(kind for kind in KINDS if kind == name)
    if not found:
        raise InputError(
            "there is no such paper", got=name[:80], expected=", ".join((*KINDS, "all")), mend="name one of them"
        )
    return found


def make_paper(
    control: Engine, objects: Objects, releases: Path, ref: str, kind: Kind, *, against: str = "", at: int | None = None
) -> Made:
    """One paper about the release that `ref` names. `against` names what the notes compare with; else what serves now.

    Raises NotFound, IntegrityError.
    """
    moment = now_us() if at is None else at
    with reading(control) as connection:
        release = find_release(connection, ref)
        other = find_release(connection, against) if against else None
    dossier = gather(control, release, open_release(releases, release.digest), moment)
    match kind:
        case "model-card":
            paper = model_card(dossier)
        case "system-card":
            paper = system_card(dossier)
        case "data-sheet":
            paper = data_sheet(dossier)
        case "bom":
            document = bill_of_materials(dossier)
            return Made(paper=bom_paper(dossier, document), document=document)
        case "notes":
            before = _before(control, releases, dossier, other, moment)
            paper = release_notes(dossier, before, _backtest(control, objects, release))
    return Made(paper=paper, document=msgspec.to_builtins(paper))


def _before(control: Engine, releases: Path, dossier: Dossier, other: Release | None, at: int) -> Dossier | None:
    """What the notes compare with."""
    if other is None and dossier.live is not None:
        with reading(control) as connection:
            other = find_release(connection, dossier.live.release)
    if other is None:
        return None
    if other.system != dossier.release.system:
        raise InputError(
            "that is a release of another system",
            got=other.name,
            expected=f"a release of {dossier.release.system}",
            mend="see `pilotage release list`",
        )
    return gather(control, other, open_release(releases, other.digest), at)


def _backtest(control: Engine, objects: Objects, release: Release) -> tuple[Source, Backtest] | None:
    """The newest backtest of a release, whole."""
    with reading(control) as connection:
        evidence = latest(connection, release.digest, CHECK)
        recorded = "" if evidence is None else recorded_digest(connection, evidence.id)
    if evidence is None or not evidence.artefact:
        return None
    _, found = find_backtest(control, objects, evidence.id)
    source = Source(
        name="backtest",
        title=f"backtest on recorded decisions, {day(evidence.collected)}",
        id=evidence.id,
        digest=recorded,
        address=f"/backtests/{evidence.id}",
    )
    return source, found
