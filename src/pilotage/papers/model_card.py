"""The model card: Markdown in the Hugging Face form; every figure is read from evidence, words from the declaration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pilotage.evaluation.refits import KINDS as REFIT_KINDS
from pilotage.papers.gather import Dossier
from pilotage.papers.model import (
    NOT_MEASURED,
    NOT_STATED,
    Bullets,
    Figure,
    Line,
    Paper,
    Section,
    Sources,
    Table,
    Words,
    stated,
    words,
)

__all__ = ["evidence_section", "model_card"]

_FIGURE = ".4f"
_METRICS = {"auc": "AUC (larger is better)", "log_loss": "log loss (smaller is better)", "brier": "Brier score"}
_GROUPS = {
    "disparate_impact_ratio": "ratio of shares answered favourably",
    "equal_opportunity_difference": "difference among those who deserved it",
    "equalized_odds_difference": "largest difference of rates",
    "demographic_parity_difference": "difference of shares answered favourably",
}


def model_card(dossier: Dossier) -> Paper:
    """The card of a release."""
    sources, system = dossier.sources, dossier.system
    sections = [
        Section(title="Intended use", blocks=(stated(system.paper.intended_use),)),
        Section(title="Out of scope", blocks=(stated(system.paper.out_of_scope),)),
        _owners(dossier),
        _answer(dossier),
        _inputs(sources),
        Section(title="Evaluation", blocks=tuple(_evaluation(sources))),
        _baselines(sources),
        _stability(sources),
        _slices(sources),
        _fairness(dossier),
        _reasons(dossier),
        Section(title="Limitations", blocks=tuple(_limitations(dossier))),
        Section(title="Ethical considerations", blocks=(stated(system.paper.ethical_considerations),)),
        evidence_section(dossier),
        Section(title="Contact", blocks=(stated(system.paper.contact),)),
    ]
    sources.cite("release", "declaration")
    return Paper(
        kind="model-card",
        title=f"{system.name}: model card of {dossier.release.name}",
        lead=(system.purpose.strip(),),
        release=dossier.release.digest,
        sections=tuple(sections),
        sources=sources.cited(),
        header=_header(dossier),
    )


def _header(dossier: Dossier) -> dict[str, Any]:
    """The header that the Hugging Face hub reads: metrics as numbers, with the release as their source."""
    metrics = [
        {"type": name, "value": value, "name": f"{name}, held-out rows"}
        for name, value in (dossier.sources.value("evaluation", "metrics") or {}).items()
        if value is not None
    ]
    system = dossier.system
    head: dict[str, Any] = {
        "library_name": "pilotage",
        "pipeline_tag": "tabular-classification",
        "tags": ["pilotage", f"risk-tier-{system.risk_tier}"],
    }
    if metrics:
        result = {
            "task": {"type": "tabular-classification"},
            "dataset": {"type": "private", "name": f"{system.id}, rows held out by hash"},
            "metrics": metrics,
            "source": {
                "name": f"evaluation.json of {dossier.release.name}",
                "url": f"{dossier.address}/evaluation.json",
            },
        }
        head["model-index"] = [{"name": system.id, "results": [result]}]
    return head


def _owners(dossier: Dossier) -> Section:
    owners = dossier.system.owners
    rows = [(name, getattr(owners, name)) for name in ("business", "model", "operations", "risk")]
    tier = words("Risk tier: ", dossier.sources.figure("declaration", "risk_tier"), ".")
    return Section(
        title="Who is accountable",
        blocks=(tier, Table(head=("for", "who"), rows=tuple(((name,), (who,)) for name, who in rows))),
    )


def _answer(dossier: Dossier) -> Section:
    sources, pilot = dossier.sources, dossier.system.pilot
    serving = dossier.loaded.serving
    how = words(
        f"The score is the probability that {pilot.target} is {pilot.positive}. From ",
        sources.figure("serving", "threshold", form=".10g"),
        f" on the answer is {serving.adverse}, below it {serving.favourable}. Runtime: ",
        sources.figure("serving", "runtime"),
        ".",
    )
    blocks = [how]
    if sources.value("conversion.equal", "figures", "max_difference") is not None:
        blocks.append(
            words(
                "Served as: ",
                sources.figure("conversion.equal", "figures", "served"),
                "; largest difference of scores from the pilot's own model on the rows of the proof: ",
                sources.figure("conversion.equal", "figures", "max_difference", form=".3g"),
                ".",
            )
        )
    return Section(title="How it answers", blocks=tuple(blocks))


def _inputs(sources: Sources) -> Section:
    rows = []
    for at, column in enumerate(sources.value("contract", "columns")):
        if column.get("role", "feature") != "feature":
            continue
        marks = [name for name in ("nullable", "personal", "protected") if column.get(name)]
        allowed: Line = ("any",)
        if column.get("categories") is not None:
            allowed = (", ".join(str(each) for each in column["categories"][:12]),)
            if len(column["categories"]) > 12:
                allowed = (*allowed, ", …")
        elif column.get("minimum") is not None or column.get("maximum") is not None:
            low, high = (sources.figure("contract", "columns", at, end, form=".10g") for end in ("minimum", "maximum"))
            allowed = (_end(low), " to ", _end(high))
        rows.append(((column["name"],), (column["type"],), allowed, (", ".join(marks),)))
    sources.cite("contract")
    return Section(
        title="What it takes", blocks=(Table(head=("feature", "type", "allowed", "marks"), rows=tuple(rows)),)
    )


def _end(found: str | Figure) -> str | Figure:
    return "no end" if found == NOT_MEASURED else found


def _evaluation(sources: Sources) -> Iterator[Words | Table]:
    if not sources.value("evaluation", "metrics"):
        yield words("This release holds no evaluation: ", NOT_MEASURED, ".")
        return
    yield words(
        "On ",
        sources.figure("evaluation", "rows", "held_out", form=",d"),
        " rows held out by a ",
        sources.figure("evaluation", "split", "by"),
        ". Whether the model's author fitted it on some of them: ",
        sources.figure("evaluation", "holdout_seen_in_training"),
        ".",
    )
    rows = [
        (
            (_METRICS.get(name, name),),
            (sources.figure("evaluation", "metrics", name, form=_FIGURE),),
            _interval(sources, "evaluation", "intervals_95", name),
        )
        for name in sources.value("evaluation", "metrics")
    ]
    for title, path in (
        ("answered adversely at the threshold", ("confusion", "flagged")),
        ("recall at the threshold", ("confusion", "recall")),
        ("precision at the threshold", ("confusion", "precision")),
        ("expected calibration error", ("calibration", "expected_error")),
    ):
        rows.append(((title,), (sources.figure("evaluation", *path, form=_FIGURE),), (NOT_MEASURED,)))
    yield Table(head=("figure", "value", "95 % interval"), rows=tuple(rows))


def _interval(sources: Sources, name: str, *path: str | int) -> Line:
    if not sources.value(name, *path):
        return (NOT_MEASURED,)
    low, high = (sources.figure(name, *path, end, form=_FIGURE) for end in (0, 1))
    return (low, " to ", high)


def _baselines(sources: Sources) -> Section:
    rows = []
    for name, own in (sources.value("evaluation", "baselines") or {}).items():
        if not isinstance(own, dict) or "auc_gain" not in own:
            continue
        path = ("baselines", name)
        rows.append(
            (
                (sources.figure("evaluation", *path, "feature"), " alone, in bins" if "binned" in name else " alone"),
                (sources.figure("evaluation", *path, "auc", form=_FIGURE),),
                (sources.figure("evaluation", *path, "auc_gain", form="+.4f"),),
                _interval(sources, "evaluation", *path, "auc_gain_interval_95"),
                ("more than chance" if own["beaten"] else "not more than chance",),
            )
        )
    table = Table(head=("baseline", "its AUC", "the model's gain", "95 % interval", "verdict"), rows=tuple(rows))
    return Section(title="Against simple baselines", blocks=(table,) if rows else (words(NOT_MEASURED),))


def _stability(sources: Sources) -> Section:
    """What fitting the model again showed."""
    check, title = "evaluation.stability", "Stability of a fit"
    if not sources.value(check, "figures", "measured"):
        why = sources.value(check, "figures", "why")
        return Section(title=title, blocks=(words(f"{NOT_MEASURED}: {why}" if why else f"{NOT_MEASURED}."),))
    rows = []
    for kind in sources.value(check, "figures", "by"):
        at = ("figures", "by", kind)
        for name in sources.value(check, *at, "metrics"):
            low, high = (sources.figure(check, *at, "metrics", name, "next_95", end, form=".4f") for end in (0, 1))
            rows.append(
                (
                    (REFIT_KINDS[kind],),
                    (sources.figure(check, *at, "refits"),),
                    (name,),
                    (sources.figure(check, *at, "metrics", name, "mean", form=".4f"),),
                    (sources.figure(check, *at, "metrics", name, "deviation", form=".4f"),),
                    (low, " to ", high),
                    (sources.figure(check, *at, "flips", "pair", form=".2%"),),
                )
            )
    head = ("fitted again with", "refits", "figure", "mean", "deviation", "one more, 95 %", "two answer otherwise")
    return Section(title=title, blocks=(Table(head=head, rows=tuple(rows)),))


def _slices(sources: Sources) -> Section:
    rows = []
    for at, each in enumerate(sources.value("evaluation", "slices") or []):
        figures: list[Line] = [
            (sources.figure("evaluation", "slices", at, name, form=_FIGURE) if each["judged"] else "too few",)
            for name in ("rate", "auc", "flagged", "recall")
        ]
        count = sources.figure("evaluation", "slices", at, "rows", form=",d")
        rows.append(((f"{each['column']}: {each['slice']}",), (count,), *figures))
    head = ("slice", "rows", "rate", "AUC", "answered adversely", "recall")
    return Section(
        title="Slices", blocks=(Table(head=head, rows=tuple(rows)) if rows else words("None was declared."),)
    )


def _fairness(dossier: Dossier) -> Section:
    sources, rows = dossier.sources, []
    for at, block in enumerate(sources.value("evaluation", "fairness") or []):
        limits = {each["name"]: (i, each) for i, each in enumerate(block["limits"])}
        for name in block["disparities"] if " × " not in block["column"] else ():
            if name not in _GROUPS:
                continue
            path = ("fairness", at, "disparities", name)
            low, high = (sources.figure("evaluation", *path, end, form=".3f") for end in ("low", "high"))
            own = block["disparities"][name]
            limit: Line = ("none declared",)
            if name in limits:
                i, each = limits[name]
                number = sources.figure("evaluation", "fairness", at, "limits", i, "limit", form=".10g")
                limit = (number, ": holds" if each["holds"] else ": broken")
            rows.append(
                (
                    (block["column"],),
                    (_GROUPS[name],),
                    (sources.figure("evaluation", *path, "value", form=".3f"), " (", low, " to ", high, ")"),
                    (f"{own['lowest']}, {own['highest']}",),
                    limit,
                )
            )
    lead = words(f"Who is answered {dossier.loaded.serving.favourable}, between groups, with 95 % intervals.")
    head = ("column", "measure", "found", "lowest, highest", "limit")
    if not rows:
        return Section(title="Fairness", blocks=(words("No protected column was compared: ", NOT_MEASURED, "."),))
    return Section(title="Fairness", blocks=(lead, Table(head=head, rows=tuple(rows))))


def _reasons(dossier: Dossier) -> Section:
    sources = dossier.sources
    rows = tuple(
        ((each.code,), (each.text,), (", ".join(each.features),), ("yes" if each.actionable else "no",))
        for each in dossier.loaded.explainer().groups
    )
    method = words(
        "Method: ",
        dossier.loaded.explainer().method,
        ". Share of adverse rows with the same principal reasons against another background: ",
        sources.figure("reasons.stable", "figures", "same_reasons", form=".1%"),
        ".",
    )
    table = Table(head=("code", "what a person is told", "features", "can act on it"), rows=rows)
    return Section(title="Reasons", blocks=(method, table) if rows else (method,))


def _limitations(dossier: Dossier) -> Iterator[Words | Bullets]:
    sources = dossier.sources
    yield stated(dossier.system.paper.limitations)
    lines: list[Line] = [("Inputs outside the data contract are handled as it says; the rest was never measured.",)]
    used = sources.value("evaluation", "protected_features_used")
    if used:
        lines.append((f"The model takes protected features ({', '.join(used)}); they are never given as reasons.",))
    if sources.value("evaluation", "messy_cases", "silent_share") is not None:
        share = sources.figure("evaluation", "messy_cases", "silent_share", form=".1%")
        lines.append(("Of the ways to spoil a row, ", share, " change answers without a word."))
    if dossier.system.pilot.subject:
        lines.append((f"It decides about a person, named by {dossier.system.pilot.subject}.",))
    yield words("Measured:")
    yield Bullets(lines=tuple(lines))


def evidence_section(dossier: Dossier) -> Section:
    """Every check with evidence, its state now and since when."""
    rows = tuple(
        (
            (check,),
            (now,),
            (dossier.sources.figure(check, "grade"),),
            (dossier.sources.figure(check, "day"),),
            (each.producer,),
        )
        for check, (each, now) in dossier.evidence.items()
    )
    if not rows:
        return Section(title="Evidence", blocks=(words("None is recorded: ", NOT_STATED, "."),))
    return Section(
        title="Evidence", blocks=(Table(head=("check", "state", "class", "collected", "made by"), rows=rows),)
    )
