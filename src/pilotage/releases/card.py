"""The model card: Markdown with a YAML header in the Hugging Face form. Every figure is filled from the evaluation."""

from __future__ import annotations

from typing import Any

import yaml

from pilotage.contracts.model import DataContract
from pilotage.evaluation.explainer import Explainer
from pilotage.evaluation.words import BASELINES
from pilotage.releases.card_reasons import reasons_of_card
from pilotage.releases.card_table import table
from pilotage.runtimes.model import ServingSpec
from pilotage.systems.model import AISystem

__all__ = ["model_card"]


def model_card(
    system: AISystem, contract: DataContract, serving: ServingSpec, explainer: Explainer, evaluation: dict[str, Any]
) -> str:
    """The card as text, ending in a newline."""
    parts = [
        _header(system, evaluation),
        f"# {system.name}\n\n{system.purpose.strip()}",
        _owners(system),
        _answer(system, serving, evaluation),
        _inputs(contract),
        _performance(evaluation),
        _slices(evaluation),
        _fairness(serving, evaluation),
        reasons_of_card(explainer, evaluation["explanation"]),
        _limits(contract, evaluation),
    ]
    return "\n\n".join(parts) + "\n"


def _header(system: AISystem, evaluation: dict[str, Any]) -> str:
    metrics = [
        {"type": name, "value": value, "name": f"{name}, held-out rows"}
        for name, value in evaluation["metrics"].items()
        if value is not None
    ]
    result = {
        "task": {"type": "tabular-classification"},
        "dataset": {"type": "private", "name": f"{system.id}, rows held out by hash"},
        "metrics": metrics,
    }
    header = {
        "library_name": "pilotage",
        "pipeline_tag": "tabular-classification",
        "tags": ["pilotage", f"risk-tier-{system.risk_tier}"],
        "model-index": [{"name": system.id, "results": [result]}],
    }
    return "---\n" + yaml.safe_dump(header, sort_keys=False, allow_unicode=True).strip() + "\n---"


def _number(value: object) -> str:
    return "not measured" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)


def _owners(system: AISystem) -> str:
    owners = system.owners
    rows = [
        ["business", owners.business],
        ["model", owners.model],
        ["operations", owners.operations],
        ["risk", owners.risk],
    ]
    return f"## Who is accountable\n\nRisk tier: **{system.risk_tier}**.\n\n" + table(["for", "who"], rows)


def _answer(system: AISystem, serving: ServingSpec, evaluation: dict[str, Any]) -> str:
    proof = evaluation["conversion"]
    tested = ", ".join(f"{count} {kind.replace('_', '-')}" for kind, count in proof["rows"].items())
    served = next((each for each in proof["attempts"] if each["name"] == proof["served"]), None)
    if serving.runtime == "remote":
        how = (
            "The model is not in this release: it answers at another address, and whoever runs it can change it. "
            f"What is told here was measured on the day of the build, on {tested} rows, and no answer can be replayed."
        )
    elif served is None:
        how = "No conversion was proven equal to it, so the pilot's own model answers, in a process of its own."
    else:
        how = (
            f"Served as: {proof['served']}. On {tested} rows it never decided otherwise than the pilot's own model; "
            f"the largest difference of scores was {served['max_difference']:.3g}."
        )
    return (
        f"## How it answers\n\nThe score is the probability that `{system.pilot.target}` is `{system.pilot.positive}`. "
        f"At {serving.threshold:g} or above the answer is **{serving.adverse}**, below it **{serving.favourable}**. "
        f"{how}"
    )


def _inputs(contract: DataContract) -> str:
    rows = []
    for column in contract.features:
        if column.categories is not None:
            allowed = f"{len(column.categories)} categories"
        elif column.minimum is not None or column.maximum is not None:
            allowed = f"{column.minimum:g} to {column.maximum:g}"
        else:
            allowed = "any"
        marks = [name for name in ("nullable", "personal", "protected") if getattr(column, name)]
        rows.append([f"`{column.name}`", column.type, allowed, ", ".join(marks)])
    return "## What it takes\n\n" + table(["feature", "type", "allowed", "marks"], rows)


_COMPARED = {**BASELINES, "base_rate": "base rate"}


def _performance(evaluation: dict[str, Any]) -> str:
    limits, baselines = evaluation["intervals_95"], evaluation["baselines"]
    compared = [name for name in _COMPARED if name in baselines]
    rows = [
        [
            name,
            _number(value),
            " to ".join(_number(limit) for limit in limits.get(name, [])) or "not measured",
            *(_number(baselines[each].get(name)) for each in compared),
        ]
        for name, value in evaluation["metrics"].items()
    ]
    head = ["figure", "model", "95 % interval", *(_COMPARED[each].format(**baselines[each]) for each in compared)]
    counts, flags = evaluation["rows"], evaluation["confusion"]
    text = (
        f"On {counts['held_out']} rows held out by a {evaluation['split']['by']}. Whether the author of the model "
        f"fitted it on some of them: **{evaluation['holdout_seen_in_training']}**."
    )
    rest = (
        f"At the threshold: flagged {_number(flags['flagged'])}, recall {_number(flags['recall'])}, precision "
        f"{_number(flags['precision'])}. "
        f"Expected calibration error: {_number(evaluation['calibration']['expected_error'])}."
    )
    gains = [_gain(baselines[name], _COMPARED[name]) for name in compared if "auc_gain" in baselines[name]]
    return "\n\n".join(["## How good it is", text, table(head, rows), *gains, rest])


def _gain(baseline: dict[str, Any], words: str) -> str:
    low, high = baseline["auc_gain_interval_95"] or (None, None)
    verdict = "more than chance" if baseline["beaten"] else "**not more than chance**"
    interval = f"{_number(low)} to {_number(high)}"
    return f"AUC gained over {words.format(**baseline)}: {_number(baseline['auc_gain'])} ({interval}): {verdict}."


def _slices(evaluation: dict[str, Any]) -> str:
    if not evaluation["slices"]:
        return "## Slices\n\nNone declared."
    rows = [
        [
            f"`{entry['column']}`",
            entry["slice"],
            str(entry["rows"]),
            *(_number(entry[name]) if entry["judged"] else "too few" for name in ("rate", "auc", "flagged", "recall")),
        ]
        for entry in evaluation["slices"]
    ]
    fewest = f"A slice of fewer than {evaluation['slices_fewest_rows']} rows is counted and not judged."
    return (
        "## Slices\n\n" + fewest + "\n\n" + table(["column", "slice", "rows", "rate", "auc", "flagged", "recall"], rows)
    )


def _fairness(serving: ServingSpec, evaluation: dict[str, Any]) -> str:
    """The four-fifths ratio and equal opportunity of each protected column, and of two at once, with their limits."""
    named = ("disparate_impact_ratio", "equal_opportunity_difference")
    rows = [
        [f"`{block['column']}`", *(_disparity(block, name) for name in named), _verdict(block["limits"])]
        for block in evaluation["fairness"]
        if block["disparities"]
    ]
    if not rows:
        return "## Fairness\n\nNo protected column with two groups that are large enough to be compared."
    text = (
        f"Who is answered **{serving.favourable}**, between the groups of each protected column: the smallest share to "
        "the largest, and the largest difference among people who turned out to deserve it; with 95 % intervals."
    )
    return f"## Fairness\n\n{text}\n\n" + table(["column", "ratio of shares", "equal opportunity", "limits"], rows)


def _disparity(block: dict[str, Any], name: str) -> str:
    own = block["disparities"].get(name)
    if own is None:
        return "not measured"
    return f"{own['value']:.3f} ({own['low']:.3f} to {own['high']:.3f}; {own['lowest']} and {own['highest']})"


def _verdict(limits: list[dict[str, Any]]) -> str:
    if not limits:
        return "none declared"
    broken = [f"{each['name']} {each['value']:.3f} beyond {each['limit']:g}" for each in limits if not each["holds"]]
    return "**broken**: " + ", ".join(broken) if broken else f"{len(limits)} hold"


def _limits(contract: DataContract, evaluation: dict[str, Any]) -> str:
    lines = [
        f"- Held-out rows seen in training: {evaluation['holdout_seen_in_training']}.",
        "- Inputs outside the data contract are refused; within it, the profile says what the data looked like.",
    ]
    used = evaluation["protected_features_used"]
    if used:
        lines.append(f"- The contract takes protected features ({', '.join(used)}). They are never given as reasons.")
    worst = max(evaluation["messy"], key=lambda entry: entry["labels_changed"], default=None)
    if worst is not None:
        share = f"{worst['labels_changed']:.1%}"
        lines.append(
            f"- Messy data: the kind that changes most answers is `{worst['kind']}` ({share} of {worst['rows']} rows)."
        )
    if contract.subject:
        lines.append(f"- It decides about a person, named by `{contract.subject}`.")
    return "## Limits\n\n" + "\n".join(lines)
