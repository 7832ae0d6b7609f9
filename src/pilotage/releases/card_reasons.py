"""What a model card says of reasons: how they are made, what they are worth, and what they may never be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pilotage.evaluation.explainer import Explainer
from pilotage.releases.card_table import table

__all__ = ["reasons_of_card"]


def reasons_of_card(explainer: Explainer, facts: dict[str, Any]) -> str:
    """The section, from the explainer and the `explanation` part of the evaluation."""
    rows = [
        [
            reason.code,
            reason.text,
            ", ".join(reason.features),
            reason.direction,
            "yes" if reason.actionable else "no",
            "by nobody: generated" if reason.code in explainer.generated else "declared",
        ]
        for reason in explainer.groups
    ]
    head = ["code", "what a person is told", "features", "adverse values", "can act on it", "text"]
    parts = [_method(explainer, facts), _background(facts["background"]), *_worth(facts["stability"]), *_inputs(facts)]
    return "\n\n".join(["## Reasons", *parts, *([table(head, rows)] if rows else [])])


def _method(explainer: Explainer, facts: dict[str, Any]) -> str:
    if explainer.method == "sampling":
        return f"Sampled Shapley values of the probability, each with its standard error, since: {facts['reason']}."
    what = "contributions" if explainer.method == "linear" else "Shapley values of the model's own trees,"
    apart = facts.get("max_log_odds_difference", facts["max_difference"])
    return (
        f"Exact: {what} to the {explainer.unit}, checked against the model on {facts['rows']} rows "
        f"(largest difference {apart:.2g})."
    )


def _background(background: dict[str, Any]) -> str:
    kept = (
        "The rows themselves are in the release, encrypted under the installation's keyring."
        if background["kept"]
        else "Of them only the means are in the release."
    )
    return (
        f"Explained against {background['rows']} rows of the reference data, pinned by the digest "
        f"`{background['digest']}`. {kept}"
    )


def _worth(judged: dict[str, Any] | None) -> Iterator[str]:
    if judged is None:
        yield "**Stability was not measured**: no held-out row was answered adversely, or rows are too few."
        return
    yield (
        f"Another background of {judged['background_rows']} rows gives the same principal reasons for "
        f"{judged['same_reasons']:.1%} of {judged['rows']} adverse rows, in the same order for "
        f"{judged['same_order']:.1%}, the same first one for {judged['same_first']:.1%} (the worst of "
        f"{judged['backgrounds'] - 1} other backgrounds)."
    )
    if judged["withheld"]:
        names = ", ".join(f"`{name}` ({count} rows)" for name, count in judged["withheld"].items())
        yield (
            f"**Reasons are the whole truth for {judged['complete']:.1%} of adverse rows only**: these rank among the "
            f"four strongest factors and may not be told: {names}."
        )
    for code, each in judged["directions"].items():
        yield f"{code} is a reason in {each['rows']} rows, {each['as_declared']:.1%} with values as declared."


def _inputs(facts: dict[str, Any]) -> Iterator[str]:
    if facts["protected_inputs"]:
        lines = [f"- `{name}`: {why}" for name, why in facts["protected_inputs"].items()]
        yield "**The model takes protected features**, by exception:\n\n" + "\n".join(lines)
    if facts["proxies"]:
        rows = [[f"`{e['feature']}`", f"`{e['protected']}`", f"{e['association']:.2f}"] for e in facts["proxies"]]
        limit = facts["limits"]["proxy"]
        yield f"Proxies of protected columns (association from {limit:g}):\n\n" + table(
            ["input", "protected", "association"], rows
        )
    if facts["correlated_across_groups"]:
        rows = [[" and ".join(e["features"]), f"{e['association']:.2f}"] for e in facts["correlated_across_groups"]]
        yield "Features that go together and stand in different groups:\n\n" + table(["features", "association"], rows)
