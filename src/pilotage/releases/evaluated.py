"""The evaluation of a pilot as it is, before there is a release of it: what a pipeline's step `evaluate` makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pilotage.evaluation.words import in_words
from pilotage.kernel.digests import file_digest
from pilotage.releases.declared import contract_of, opening, read_declared, serving_of
from pilotage.releases.evaluating import evaluate
from pilotage.systems.parse import load_system

__all__ = ["evaluate_pilot"]


def evaluate_pilot(yaml_path: Path) -> dict[str, Any]:
    """The evaluation document of the model that `pilotage.yaml` declares, on the rows that a build holds out.

    Its own scores are judged, asked of it in its box; a build judges those of the form that is served, which are the
    same but for the last digits. The same files give the same document. Nothing is registered. Raises InputError.
    """
    folder, system = yaml_path.parent, load_system(yaml_path)
    contract = contract_of(folder, system)
    serving = serving_of(system, contract)
    with opening(folder / system.pilot.artefact, serving, system.pilot) as opened:
        declared = read_declared(folder, system, contract, b"")
        scores = opened().score(declared.rows.part(held_out=True)[0])
    found = {
        "kind": "classification",
        "source": {
            "file": declared.data.name,
            "digest": file_digest(declared.data),
            "own": True,
            "rows": len(declared.rows.rows),
        },
        "positive": system.pilot.positive,
        "seed": system.pilot.seed,
        **evaluate(system, contract, serving, declared.rows, scores),
    }
    return found | {"words": in_words(found)}
