"""All that a release has to say of reasons: what was followed, the explainer, and what its reasons are worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pilotage.contracts.model import Column, DataContract
from pilotage.evaluation.association import Columns
from pilotage.evaluation.explainer import Explainer
from pilotage.kernel.rows import Rows, Value
from pilotage.releases.code_map import check_inputs, make_code_map, proxies_of
from pilotage.releases.conversion import ProofRows
from pilotage.releases.data import PilotRows
from pilotage.releases.explaining import (
    Followed,
    Score,
    attributions,
    background_size,
    choose_backgrounds,
    depends_on,
    make_explainer,
    verify_form,
    verify_trees,
    without_idle_fills,
)
from pilotage.releases.pilot_model import PilotModel
from pilotage.releases.remote_pilot import BACKGROUND, LOOKED_AT, RemotePilot
from pilotage.releases.stability import judge_reasons
from pilotage.runtimes.model import ServingSpec
from pilotage.systems.model import AISystem

__all__ = ["Reasons", "follow", "make_reasons"]

MOST_BACKGROUNDS = 3
_COMPARED = 20_000
"""Rows from which associations are measured."""


@dataclass(frozen=True, kw_only=True)
class Reasons:
    """The explainer, the rows that it explains against, and the figures for `evaluation.json`."""

    explainer: Explainer
    background: list[list[Value]]
    facts: dict[str, Any]


def follow(pilot: PilotModel, names: Sequence[str], columns: Sequence[Column], proof: ProofRows) -> Followed:
    """The linear form or the trees of the pilot's model, if they give its own scores on every row of the proof."""
    every = Rows.joined(proof.kinds.values(), len(names))
    own = np.concatenate([proof.scores[kind] for kind in proof.kinds])
    found, why = pilot.linear_form()
    if found is not None:
        form = without_idle_fills(found, columns)
        facts: dict[str, Any] = verify_form(form, names, every, own)
        if facts["exact"]:
            return Followed(form=form, facts=facts)
        return Followed(facts={**facts, "reason": "the linear form that was found does not give the model's scores"})
    trees, why_no_trees = pilot.tree_form()
    if trees is None:
        return Followed(facts={"exact": False, "reason": f"{why}; {why_no_trees}" if why != why_no_trees else why})
    facts = verify_trees(trees, names, every, own)
    if facts["exact"]:
        return Followed(trees=trees, facts=facts)
    return Followed(facts={**facts, "reason": "the trees that were found do not give the model's scores"})


def make_reasons(
    system: AISystem,
    contract: DataContract,
    serving: ServingSpec,
    rows: PilotRows,
    followed: Followed,
    score: Score,
    scores: NDArray[np.float64],
    remote: RemotePilot | None = None,
) -> Reasons:
    """The explainer of a release and what it is worth on held-out rows, whose served `scores` are given.

    A `remote` model is asked as often as its calls allow, and what they do not allow is not judged. Raises InputError
    when the model takes what it may not.
    """
    held_out, _ = rows.part(held_out=True)
    others, _ = rows.part(held_out=False)
    used = depends_on(followed, score, serving.names, held_out, 500 if remote is None else LOOKED_AT)
    check_inputs(system, contract, used)
    columns, protected = _columns(system, contract, rows)
    proxies = proxies_of(system, columns, used, protected)
    code_map = make_code_map(system, contract, columns, used)
    seed = system.pilot.seed
    size = background_size(system.explanation, followed, len(others))
    if remote is not None:
        size = min(size, system.explanation.background or BACKGROUND)
    parts = choose_backgrounds(others, seed, size, MOST_BACKGROUNDS)
    explainer = make_explainer(
        followed=followed,
        contract=contract,
        serving=serving,
        code_map=code_map,
        background=parts[0],
        score=score,
        seed=seed,
    )
    adverse = held_out[scores >= serving.threshold]
    if remote is not None:
        adverse = adverse[: remote.left // (len(parts) * 2 * size * (len(serving.names) + 1))]
    judged = judge_reasons(explainer, attributions(followed, score, serving.names, seed), parts, adverse)
    facts = {
        "method": explainer.method,
        **followed.facts,
        "background": {"rows": size, "digest": explainer.background, "kept": followed.form is None},
        "stability": judged,
        "used": used,
        "generated": code_map.generated,
        "correlated_across_groups": code_map.across,
        "proxies": proxies,
        "protected_inputs": {name: why for name, why in system.pilot.protected_inputs.items() if name in used},
        "limits": {"correlated": system.explanation.correlated, "proxy": system.explanation.proxy},
    }
    return Reasons(explainer=explainer, background=parts[0], facts=facts)


def _columns(system: AISystem, contract: DataContract, rows: PilotRows) -> tuple[Columns, list[str]]:
    """The features and the protected columns of the file's first rows, to be compared; and which are protected."""
    features = [column.name for column in contract.features]
    table: dict[str, Sequence[Value]] = dict(zip(features, zip(*rows.rows[:_COMPARED], strict=True), strict=True))
    tagged = [column.name for column in contract.columns if column.protected]
    protected = [name for name in dict.fromkeys([*tagged, *system.pilot.prohibited]) if name != contract.subject]
    table |= {name: rows.sliced[name][:_COMPARED] for name in protected if name in rows.sliced and name not in table}
    kinds = {column.name: column for column in contract.columns}
    numeric = [name for name in table if kinds[name].numeric and kinds[name].categories is None]
    return Columns(table, numeric), [name for name in protected if name in table]
