"""An evaluation document as what a page shows: words, rows of tables, pictures as numbers. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pilotage.evaluation.refits import rows_of_stability
from pilotage.evaluation.words import amount, compared, in_order, in_words, label
from pilotage.web.console.charts import polyline
from pilotage.web.console.release_charts import Calibration, calibration_plot

__all__ = ["AgePlot", "CostCurve", "EvaluationView", "Figure", "age_plot", "cost_curve", "evaluation_view"]

_MAIN = {"regression": ("mae", "bias"), "classification": ("auc", "flagged", "recall"), "ranking": ()}


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A row of the table of figures, as text; `others` are those of what the model is compared with."""

    name: str
    value: str
    span: str
    others: list[str]


@dataclass(frozen=True, kw_only=True)
class CostCurve:
    """The cost by threshold in a box: a line, and (x, y) of the threshold in force and of the best."""

    line: str
    now: tuple[float, float]
    best: tuple[float, float]
    low: float
    high: float
    least: str
    most: str
    first: str
    last: str
    width: float
    height: float


@dataclass(frozen=True, kw_only=True)
class AgePlot:
    """Points (x, y, top and bottom of the interval, words) by period, in a box."""

    points: list[tuple[float, float, float, float, str]]
    first: str
    last: str
    least: str
    most: str
    width: float
    height: float


@dataclass(frozen=True, kw_only=True)
class EvaluationView:
    """All of it; None or empty where a document has no such part."""

    words: list[str]
    figures: list[Figure]
    compared: list[str]
    calibration: Calibration | None
    costs: list[tuple[str, str, str]]
    curve: CostCurve | None
    age: AgePlot | None
    stability: dict[str, Any] | None
    refits: list[tuple[str, ...]]
    slice_columns: list[str]
    slices: list[tuple[str, int, list[str]]]


def evaluation_view(found: dict[str, Any]) -> EvaluationView:
    """What a page shows of a document of `pilotage evaluate` or of a release, also of one built by an older version."""
    others, spans = compared(found), found["intervals_95"]
    calibration = found.get("calibration")
    kind = found.get("kind", "classification")
    return EvaluationView(
        words=list(found.get("words") or in_words(found)),
        figures=[
            Figure(
                name=label(name),
                value=_text(value),
                span=_span(spans.get(name)),
                others=[_text(entry.get(name)) for _, entry in others],
            )
            for name, value in in_order(found["metrics"])
        ],
        compared=[name for name, _ in others],
        calibration=calibration_plot(calibration["bins"]) if calibration else None,
        costs=_costs(found.get("costs")),
        curve=cost_curve(found["costs"]) if found.get("costs") else None,
        age=age_plot(found["age"]) if found.get("age") else None,
        stability=(stability := found.get("stability")),
        refits=rows_of_stability(stability) if stability else [],
        slice_columns=[label(name) for name in _MAIN[kind]],
        slices=[_slice(each, _MAIN[kind]) for each in found["slices"]],
    )


def cost_curve(costs: dict[str, Any], width: float = 420.0, height: float = 160.0) -> CostCurve:
    """The cost of a decision by threshold. Thresholds outside of what was scored lie at the edge."""
    curve = sorted(costs["curve"])
    values = [cost for _, cost in curve]
    first, last = curve[0][0], curve[-1][0]
    low, high = min(values), max(values)
    span, rise = (last - first) or 1.0, (high - low) or 1.0

    def at(threshold: float, cost: float) -> tuple[float, float]:
        x = width * min(1.0, max(0.0, (threshold - first) / span))
        return x, height * (1 - min(1.0, max(0.0, (cost - low) / rise)))

    between = costs["best"]["between"]
    return CostCurve(
        line=polyline([at(*point) for point in curve]),
        now=at(costs["current"]["threshold"], costs["current"]["cost"]),
        best=at(costs["best"]["threshold"], costs["best"]["cost"]),
        low=at(between[0], low)[0],
        high=at(between[1], low)[0],
        least=amount(low, costs["unit"]),
        most=amount(high, costs["unit"]),
        first=f"{first:.2f}",
        last=f"{last:.2f}",
        width=width,
        height=height,
    )


def age_plot(age: dict[str, Any], width: float = 480.0, height: float = 140.0) -> AgePlot | None:
    """The figure by period with its interval; None when no period was judged."""
    judged = [(at, row) for at, row in enumerate(age["periods"]) if row["judged"]]
    if not judged:
        return None
    low = min(row["interval_95"][0] for _, row in judged)
    high = max(row["interval_95"][1] for _, row in judged)
    rise, step = (high - low) or 1.0, width / len(age["periods"])

    def y(value: float) -> float:
        return float(height * (1 - (value - low) / rise))

    return AgePlot(
        points=[
            (
                step * (at + 0.5),
                y(row["value"]),
                y(row["interval_95"][1]),
                y(row["interval_95"][0]),
                f"{row['period']}: {row['value']:.4f} on {row['rows']:,} rows",
            )
            for at, row in judged
        ],
        first=age["periods"][0]["period"],
        last=age["periods"][-1]["period"],
        least=_text(low),
        most=_text(high),
        width=width,
        height=height,
    )


def _costs(costs: dict[str, Any] | None) -> list[tuple[str, str, str]]:
    if costs is None:
        return []
    unit, now, best = costs["unit"], costs["current"], costs["best"]
    rows = [
        (f"Now, threshold {now['threshold']:g}", now),
        ("All answered adversely", costs["all_adverse"]),
        ("All answered favourably", costs["all_favourable"]),
    ]
    told = [(words, amount(entry["cost"], unit), _span(entry["interval_95"])) for words, entry in rows]
    low, high = best["between"]
    cheapest = f"Cheapest threshold {best['threshold']:.3f} ({low:.3f} to {high:.3f} cannot be told apart)"
    saving = ("Saved by moving there", amount(costs["saving"]["cost"], unit), _span(costs["saving"]["interval_95"]))
    return [told[0], (cheapest, amount(best["elsewhere"], unit), ""), saving, *told[1:]]


def _slice(entry: dict[str, Any], names: tuple[str, ...]) -> tuple[str, int, list[str]]:
    if not entry["judged"]:
        return f"{entry['column']}: {entry['slice']}", entry["rows"], []
    told = []
    for name in names:
        span = _span(entry.get(f"{name}_interval_95"))
        told.append(_text(entry[name]) + (f" ({span})" if span else ""))
    return f"{entry['column']}: {entry['slice']}", entry["rows"], told


def _text(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if abs(value) < 100 else f"{value:,.2f}"


def _span(span: list[float] | None) -> str:
    return f"{_text(span[0])} to {_text(span[1])}" if span else ""
