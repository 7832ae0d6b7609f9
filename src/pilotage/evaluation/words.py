"""An evaluation in sentences that need no knowledge of statistics: what was found, and how sure it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["BASELINES", "LABELS", "amount", "compared", "in_order", "in_words", "label"]

LABELS = {
    "auc": "AUC",
    "average_precision": "Average precision",
    "ks": "KS distance",
    "top_tenth_lift": "Lift of the top tenth",
    "log_loss": "Log loss",
    "brier": "Brier score",
    "balanced_accuracy": "Balanced accuracy",
    "f1": "F1",
    "mcc": "MCC",
    "cost": "Cost of a decision",
    "accuracy": "Accuracy",
    "precision": "Precision",
    "recall": "Recall",
    "false_positive_rate": "False positive rate",
    "flagged": "Answered positive",
    "calibration_error": "Calibration error",
    "mae": "Mean absolute error",
    "rmse": "Root mean squared error",
    "r2": "R²",
    "bias": "Bias",
    "median_error": "Median absolute error",
    "mape": "Mean absolute percentage error",
    "interval_width": "Width of intervals",
    "interval_coverage": "Coverage of intervals",
    "map": "Mean average precision",
    "mrr": "Mean reciprocal rank",
}
"""What figures are called; others by their own name."""

BASELINES = {
    "single_feature": "{feature} alone, as a line",
    "single_feature_binned": "{feature} alone, in bins",
    "linear": "a line of all columns",
    "shallow_tree": "a shallow tree",
}
"""The simple models that a release is compared with."""


def compared(found: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """What the model is compared with, each by its words: a release's simple models, or a file's other predictions."""
    simple = found.get("baselines", {})
    named = [(words.format(**simple[name]), simple[name]) for name, words in BASELINES.items() if name in simple]
    return [*named, *found.get("against", {}).items()]


def in_order(metrics: dict[str, Any]) -> list[tuple[str, Any]]:
    """The figures in the order of LABELS, whatever order a file has them in; others after them."""
    places = {name: at for at, name in enumerate(LABELS)}
    return sorted(metrics.items(), key=lambda each: places.get(each[0], len(places)))


def label(name: str) -> str:
    """What a figure is called: `ndcg_at_10` is NDCG at 10, `pinball_0.9` is Pinball 0.9."""
    words = name.replace("ndcg", "NDCG").replace("_", " ")
    return LABELS.get(name, words[0].upper() + words[1:])


def in_words(found: dict[str, Any]) -> list[str]:
    """The sentences about an evaluation document, the most important first. What was not measured is left out."""
    kind = found.get("kind", "classification")
    parts = {"classification": _classification, "regression": _regression, "ranking": _ranking}
    return [*parts[kind](found), *_age(found)]


def _classification(found: dict[str, Any]) -> Iterator[str]:
    metrics, spans = found["metrics"], found["intervals_95"]
    if metrics.get("auc") is not None:
        yield (
            f"Of a positive and another row, the model scores the positive one higher {_percent(metrics['auc'])} of "
            f"the time{_span(spans, 'auc', _percent)}; 50 % is guessing."
        )
    for name, other in compared(found):
        if other["auc_gain"] is not None:
            yield _gain("the model's AUC", other["auc_gain"], other["auc_gain_interval_95"], name, "above", "below")
    yield from _calibration(found.get("calibration"))
    yield from _costs(found.get("costs"))
    yield from _luck(found.get("redrawn"))


def _calibration(found: dict[str, Any] | None) -> Iterator[str]:
    if found is None or "error_by_chance" not in found:
        return
    error, chance, large = found["expected_error"], found["error_by_chance"], found["in_the_large"]["value"]
    if error <= chance:
        yield (
            f"Scores can be read as chances: they are off by {error:.3f} on average, and chance alone explains up to "
            f"{chance:.3f}."
        )
        return
    slope = found.get("slope")
    how = ""
    if slope is not None and slope["interval_95"][1] < 1:
        how = " High scores promise too much and low ones too little."
    elif slope is not None and slope["interval_95"][0] > 1:
        how = " Scores are too timid: high ones promise too little."
    yield (
        f"Scores are not to be read as chances as they are: off by {error:.3f} on average, where chance explains "
        f"{chance:.3f}; over all they promise {abs(large):.3f} too {'much' if large > 0 else 'little'}.{how}"
    )


def _costs(found: dict[str, Any] | None) -> Iterator[str]:
    if found is None:
        return
    unit, now, best = found["unit"], found["current"], found["best"]
    low, high = best["between"]
    yield (
        f"A decision costs {amount(now['cost'], unit)} at the threshold {now['threshold']:g}. The cheapest threshold "
        f"is {best['threshold']:.3f}, and these rows cannot tell it from {low:.3f} to {high:.3f}."
    )
    saved, (least, most) = found["saving"]["cost"], found["saving"]["interval_95"]
    if least > 0:
        yield (
            f"Moving there would save {amount(saved, unit)} a decision (95 %: {amount(least, unit)} to "
            f"{amount(most, unit)}), counted on rows that did not choose it."
        )
    else:
        yield "Moving there would save nothing that is more than chance."
    same = {"adversely": found["all_adverse"], "favourably": found["all_favourable"]}
    way, cheapest = min(same.items(), key=lambda each: each[1]["cost"])
    if cheapest["cost"] <= now["cost"]:
        costs = amount(cheapest["cost"], unit)
        yield f"No model would be cheaper at this threshold: when all are answered {way}, a decision costs {costs}."


def _luck(found: dict[str, Any] | None) -> Iterator[str]:
    area = (found or {}).get("figures", {}).get("auc")
    if found and area:
        yield (
            f"On random halves of the rows the AUC lies between {area['lowest']:.3f} and {area['highest']:.3f}: that "
            "much is luck of the draw. How far the model would move if it were fitted again is not measured here."
        )


def _regression(found: dict[str, Any]) -> Iterator[str]:
    metrics, spans = found["metrics"], found["intervals_95"]
    yield f"Predictions are off by {metrics['mae']:,.4g} on average{_span(spans, 'mae', _short)}."
    low, high = spans.get("bias", (0.0, 0.0))
    if low > 0 or high < 0:
        way = "high" if metrics["bias"] > 0 else "low"
        yield f"They are too {way} by {abs(metrics['bias']):,.4g} on average{_span(spans, 'bias', _short)}."
    if "r2" in metrics:
        worse = "; the mean of the target would do better" if metrics["r2"] < 0 else ""
        yield f"They explain {_percent(metrics['r2'])} of the target's variance{_span(spans, 'r2', _percent)}{worse}."
    for name, other in found["against"].items():
        yield _gain("the model's error", other["mae_gain"], other["mae_gain_interval_95"], name, "below", "above")
    if "interval_coverage" in metrics:
        held = _span(spans, "interval_coverage", _percent)
        yield f"The predicted intervals hold {_percent(metrics['interval_coverage'])} of the truth{held}."


def _ranking(found: dict[str, Any]) -> Iterator[str]:
    metrics, spans = found["metrics"], found["intervals_95"]
    main = next(name for name in reversed(metrics) if name.startswith("ndcg_at_"))
    yield (
        f"Over {found['queries'] - found['queries_without_relevant']:,} queries the order is "
        f"{_percent(metrics[main])} as good as the best one, down to place {main.rsplit('_', 1)[1]}"
        f"{_span(spans, main, _percent)}."
    )
    if found["queries_without_relevant"]:
        yield f"{found['queries_without_relevant']:,} queries have nothing relevant and are left out."
    for name, other in found["against"].items():
        yield _gain("the model's NDCG", other["ndcg_gain"], other["ndcg_gain_interval_95"], name, "above", "below")


def _age(found: dict[str, Any]) -> Iterator[str]:
    age = found.get("age")
    if not age or age["slope"] is None:
        return
    slope, (low, high) = age["slope"]["value"], age["slope"]["interval_95"]
    name, falls = {"auc": "AUC"}.get(age["figure"], "error"), slope < 0
    if low <= 0 <= high:
        yield f"Over {age['slope']['periods']} {age['unit']}s the {name} neither rises nor falls by more than chance."
    else:
        way = "falls" if falls else "rises"
        yield f"The {name} {way} by {abs(slope):.4f} a {age['unit']} (95 %: {low:+.4f} to {high:+.4f})."


def _gain(what: str, gain: float, span: list[float] | None, name: str, better: str, worse: str) -> str:
    sentence = f"{what[0].upper()}{what[1:]} is {_short(abs(gain))} {better if gain >= 0 else worse} that of {name}"
    if span is None:
        return sentence + "."
    verdict = "better" if span[0] > 0 else "worse" if span[1] < 0 else "neither better nor worse"
    return f"{sentence} (95 %: {span[0]:+.4g} to {span[1]:+.4g}): {verdict} by more than chance."


def amount(value: float, unit: str) -> str:
    """An amount with its unit, four digits of it or to the cent."""
    return f"{value:,.2f} {unit}" if abs(value) >= 10 else f"{value:.4g} {unit}"


def _short(value: float) -> str:
    return f"{value:,.4g}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _span(spans: dict[str, Any], name: str, form: Any) -> str:
    if name not in spans:
        return ""
    low, high = spans[name]
    return f" (95 %: {form(low)} to {form(high)})"
