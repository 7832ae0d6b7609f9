"""A contract in words: the data dictionary that people read who do not read YAML."""

from __future__ import annotations

from typing import Any

from pilotage.contracts.faults import expectation
from pilotage.contracts.model import Column, DataContract
from pilotage.kernel.markdown import code_in_markdown, in_markdown

__all__ = ["as_document", "as_markdown", "deeds", "marks"]

_DEEDS = {
    "reject": "turned away",
    "repair": "repaired",
    "review": "a person decides",
    "fallback": "the rules answer",
}


def marks(column: Column) -> list[str]:
    """What the column is to people and files, in words."""
    known = {
        "personal": column.personal,
        "protected": column.protected,
        "unique": column.unique,
        f"at most {column.max_age} old": column.max_age,
        f"for {', '.join(column.purposes)} only": column.purposes,
    }
    return [name for name, held in known.items() if held]


def deeds(column: Column) -> str:
    """What is done about the column's faults, in words."""
    told = [f"{code.replace('_', ' ')}: {_DEEDS[action]}" for code, action in column.on_fault.items()]
    if column.impute is not None:
        told.append(f"repaired with {column.impute:g}" if isinstance(column.impute, float) else f"with {column.impute}")
    return "; ".join(told) or ("turned away" if column.role in ("feature", "subject") else "")


def as_document(contract: DataContract) -> dict[str, Any]:
    """The contract with what each column takes, is and does about faults in words, as JSON values, and its digest."""
    document = contract.as_dict()
    for column, told in zip(contract.columns, document["columns"], strict=True):
        takes = expectation(column) if column.role in ("feature", "subject") else ""
        told["words"] = {"takes": takes, "marks": marks(column), "on_a_fault": deeds(column)}
    return document | {"digest": contract.digest()}


def as_markdown(contract: DataContract) -> str:
    """The dictionary as a page of Markdown."""
    lines = [
        f"# {in_markdown(contract.name)}, version {in_markdown(contract.version)}",
        "",
        f"{len(contract.features)} inputs"
        + (f", about the {in_markdown(contract.subject)}" if contract.subject else "")
        + ".",
        "",
        "| column | role | takes | unit | meaning | marks | on a fault |",
        "|---|---|---|---|---|---|---|",
    ]
    for column in contract.columns:
        takes = expectation(column) if column.role in ("feature", "subject") else "no input"
        cells = (column.name, column.role, takes, column.unit, column.description, ", ".join(marks(column)))
        lines.append("| " + " | ".join(map(in_markdown, (*cells, deeds(column)))) + " |")
    if contract.rules:
        lines += ["", "## Rules of a row", ""]
        lines += [
            f"- {in_markdown(rule.name)}: {code_in_markdown(rule.check)}"
            + (f", {in_markdown(rule.message)}" if rule.message else "")
            + f" ({_DEEDS[rule.action]})"
            for rule in contract.rules
        ]
    if contract.keys:
        lines += ["", "No two rows share " + "; nor ".join(in_markdown(" × ".join(key)) for key in contract.keys) + "."]
    if contract.enrichment:
        lines += ["", "## What sources bring", ""]
        lines += [
            in_markdown(f"- {', '.join(each.columns)} from {each.source}, by {', '.join(each.key)}")
            for each in contract.enrichment
        ]
    return "\n".join(lines) + "\n"
