"""The evidence that a build leaves: one piece for each check of the gate that a build can answer."""

from __future__ import annotations

from typing import Any

from pilotage.contracts.model import DataContract
from pilotage.evaluation.explainer import Explainer
from pilotage.evaluation.words import BASELINES
from pilotage.evidence.model import Evidence, tested
from pilotage.kernel.clock import now_us
from pilotage.releases.together import CHECK as TOGETHER
from pilotage.releases.together import Judged
from pilotage.runtimes.environment import environment_digest, installed_distributions
from pilotage.runtimes.model import ServingSpec
from pilotage.systems.model import AISystem

__all__ = ["MOST_REFUSED", "evaluation_findings", "findings"]

MOST_REFUSED = 0.01
"""The largest share of the pilot's own data that its contract may refuse."""
_UNJUDGED = "no held-out row was answered adversely, or too few rows (or calls of a remote model) for two backgrounds"


def findings(
    release: str,
    system: AISystem,
    contract: DataContract,
    serving: ServingSpec,
    explainer: Explainer,
    evaluation: dict[str, Any],
    together: Judged,
) -> list[Evidence]:
    """Evidence about a release, each passed or not, with the figures that decided it."""
    made = [
        ("contract.valid", *_contract(contract, evaluation)),
        *evaluation_findings(system, evaluation, fitted=True),
        ("evaluation.leakage", *_leakage(evaluation)),
        ("evaluation.messy", *_messy(evaluation)),
        ("conversion.equal", True, _conversion(serving, evaluation)),
        ("environment.locked", True, _environment()),
        ("explanation.exact", *_explanation(explainer, evaluation)),
        ("reasons.permitted", *_permitted(evaluation)),
        ("reasons.stable", *_stable(evaluation)),
        ("reasons.complete", *_complete(explainer, evaluation)),
        # A finding either way: where rows may not go together each is answered alone, and nothing is amiss.
        (TOGETHER, True, together.as_facts()),
        *([("remote.identity", *_identity(serving, evaluation))] if serving.runtime == "remote" else []),
    ]
    at = now_us()
    return [tested(check, release, at, passed=passed, figures=figures) for check, passed, figures in made]


_Verdict = tuple[bool, dict[str, Any]]


def evaluation_findings(
    system: AISystem, evaluation: dict[str, Any], fitted: bool
) -> list[tuple[str, bool, dict[str, Any]]]:
    """(check, passed, figures) of all that an evaluation decides; of the baseline only where it was `fitted`."""
    return [
        ("evaluation.holdout", *_holdout(evaluation)),
        *([("evaluation.baseline", *_baseline(evaluation))] if fitted else []),
        ("evaluation.slices", *_slices(system, evaluation)),
        ("evaluation.fairness", *_fairness(evaluation)),
        ("evaluation.limits", *_limits(evaluation)),
    ]


def _contract(contract: DataContract, evaluation: dict[str, Any]) -> _Verdict:
    counts = evaluation["rows"]
    refused, fit = sum(counts["refused_by_contract"].values()), counts["held_out"] + counts["others"]
    share = refused / (refused + fit)
    figures = {"features": len(contract.features), "rows_checked": refused + fit, "rows_refused": refused}
    return share <= MOST_REFUSED, figures | {"contract": contract.digest()}


def _holdout(evaluation: dict[str, Any]) -> _Verdict:
    figures = {
        "rows": evaluation["rows"]["held_out"],
        **evaluation["metrics"],
        "seen_in_training": evaluation["holdout_seen_in_training"],
    }
    return evaluation["metrics"]["auc"] is not None, figures


def _baseline(evaluation: dict[str, Any]) -> _Verdict:
    """Whether the baseline named `to_beat` is beaten by more than chance; the figures show all of them."""
    baselines = evaluation["baselines"]
    shown = ("feature", "auc", "auc_gain", "auc_gain_interval_95", "beaten")
    figures = {name: {key: entry[key] for key in shown} for name, entry in baselines.items() if name in BASELINES}
    return bool(baselines[baselines["to_beat"]]["beaten"]), {"to_beat": baselines["to_beat"], **figures}


def _limits(evaluation: dict[str, Any]) -> _Verdict:
    """Whether every declared limit holds. Where none is declared nothing is judged, and so nothing passes."""
    limits = evaluation["limits"]
    broken = [each["name"] for each in limits if not each["holds"]]
    return bool(limits) and not broken, {"limits": limits, "broken": broken}


def _slices(system: AISystem, evaluation: dict[str, Any]) -> _Verdict:
    judged = {entry["column"] for entry in evaluation["slices"] if entry["judged"]}
    missing = sorted(set(system.pilot.slices) - judged)
    return not missing, {"slices": len(evaluation["slices"]), "columns": sorted(judged), "columns_missing": missing}


def _leakage(evaluation: dict[str, Any]) -> _Verdict:
    """Whether nothing gives the target away so that the figures mean nothing; the rest is told, for people to judge."""
    found = evaluation["leakage"]
    shown = ("kind", "columns", "severity", "strength")
    findings = [{name: each[name] for name in shown} for each in found["findings"]]
    figures = {"rows": found["rows"], "looked_at": found["looked_at"], **found["counts"], "findings": findings[:20]}
    return not found["counts"]["high"], figures


def _messy(evaluation: dict[str, Any]) -> _Verdict:
    """Whether no more spoilt rows than declared get another answer without a word, and the model fails on none.

    Without a declared limit it is not judged, and so does not pass; nor where nobody asked the model.
    """
    found = evaluation["messy_cases"]
    counts, limit = found["counts"], found["limit"]
    passed = limit is not None and found["silent_share"] <= limit and not counts["fails"] and not counts["unasked"]
    silent = [
        f"{each['kind']}: {', '.join(each['columns'][:2])}" for each in found["cases"] if each["verdict"] == "silent"
    ]
    figures = {"cases": len(found["cases"]), **counts, "silent_share": found["silent_share"], "limit": limit}
    return passed, {**figures, "tolerance": found["tolerance"], "silent_cases": silent[:40]}


def _fairness(evaluation: dict[str, Any]) -> _Verdict:
    """Whether every declared limit holds for every protected column. A column without a limit is not judged, and so
    does not pass."""
    judged = {block["column"]: block["limits"] for block in evaluation["fairness"] if " × " not in block["column"]}
    broken = [f"{name}: {each['name']}" for name, limits in judged.items() for each in limits if not each["holds"]]
    unjudged = sorted(name for name, limits in judged.items() if not limits)
    figures = {"columns": {name: limits for name, limits in judged.items() if limits}}
    return not broken and not unjudged, figures | {"broken": broken, "without_limits": unjudged}


def _conversion(serving: ServingSpec, evaluation: dict[str, Any]) -> dict[str, Any]:
    proof = evaluation["conversion"]
    chosen = next((each for each in proof["attempts"] if each["name"] == proof["served"]), None)
    return {
        "runtime": serving.runtime,
        "served": proof["served"],
        "rows": proof["rows"],
        "max_difference": 0.0 if chosen is None else chosen["max_difference"],
    }


def _environment() -> dict[str, Any]:
    return {"environment": environment_digest(), "distributions": installed_distributions().count("\n")}


def _explanation(explainer: Explainer, evaluation: dict[str, Any]) -> _Verdict:
    """Whether somebody declared what people are told; exact, or with a standard error, reasons are in any case."""
    facts = evaluation["explanation"]
    figures = {"method": explainer.method, "groups": len(explainer.groups), "generated": explainer.generated}
    figures |= {name: facts[name] for name in ("max_log_odds_difference", "max_difference", "reason") if name in facts}
    return len(explainer.generated) < len(explainer.groups), figures


def _permitted(evaluation: dict[str, Any]) -> _Verdict:
    """A build that finds a prohibited input fails: what is left to tell are exceptions and proxies, as declared."""
    facts = evaluation["explanation"]
    figures = {"protected_inputs": facts["protected_inputs"], "proxies": facts["proxies"], "limits": facts["limits"]}
    return True, figures


def _identity(serving: ServingSpec, evaluation: dict[str, Any]) -> _Verdict:
    """What the other side says that its model is, pinned; and whether it answered twice alike."""
    facts = evaluation["remote"]
    return bool(facts["metadata"]) and facts["repeated"]["same"] == facts["repeated"]["rows"], facts


def _stable(evaluation: dict[str, Any]) -> _Verdict:
    judged = evaluation["explanation"]["stability"]
    if judged is None:
        return False, {"why": _UNJUDGED}
    names = ("rows", "backgrounds", "background_rows", "same_reasons", "same_order", "same_first")
    return True, {name: judged[name] for name in names}


def _complete(explainer: Explainer, evaluation: dict[str, Any]) -> _Verdict:
    """Whether every factor among the strongest has a code that was declared, and texts fit the model's direction."""
    judged = evaluation["explanation"]["stability"]
    if judged is None:
        return False, {"why": _UNJUDGED}
    against = sorted(code for code, each in judged["directions"].items() if each["as_declared"] < 0.5)
    figures = {name: judged[name] for name in ("rows", "complete", "withheld")}
    figures |= {"generated": explainer.generated, "directions_contradicted": against}
    return not explainer.generated and not against, figures
