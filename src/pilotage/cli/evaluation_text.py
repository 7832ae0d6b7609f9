"""An evaluation as text: what it means, figures, and pictures made of letters."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from textwrap import fill
from typing import Any

import click

from pilotage.cli.output import console, show_table
from pilotage.evaluation.refits import rows_of_stability
from pilotage.evaluation.words import amount, compared, in_order, label
from pilotage.kernel.digests import short

__all__ = ["show_evaluation", "show_stability"]

_BAR = 24


def show_evaluation(found: dict[str, Any]) -> None:
    """Print all of an evaluation document."""
    source, rows = found["source"], found["rows"]["held_out"]
    positives = found["rows"].get("positives_held_out")
    counted = f"{rows:,} rows" + (f", {positives:,} of them {found['positive']}" if positives is not None else "")
    click.echo(f"{found['kind']} · {source['file']} {short(source['digest'])} · {counted}")
    if source.get("left_out"):
        click.echo(f"{source['left_out']:,} rows are left out: no target, or no number where one is needed")
    if (release := found.get("release")) is not None:
        own = "the rows that its build held out" if source["own"] else "rows of another file than its build's"
        click.echo(f"{release['name']} {short(release['digest'])} on {own}; recorded as evidence")
    if found.get("reproduced"):
        apart = found["reproduced"]["largest_difference"]
        click.echo(f"it answers as it did at its build: figures differ by at most {apart:.1e}")
    width = min(console().width, 100) if sys.stdout.isatty() else 100
    for sentence in found["words"]:
        click.echo(fill(sentence, width, initial_indent="- ", subsequent_indent="  "))
    _figures(found)
    _calibration(found)
    _amounts(found.get("by_tenth"))
    _gains(found.get("gains"))
    _costs(found.get("costs"))
    _age(found.get("age"))
    show_stability(found.get("stability"))
    _slices(found)
    _limits(found.get("limits"))


def _titled(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    click.echo("\n" + click.style(title, bold=True))
    show_table(columns, rows)


def _figures(found: dict[str, Any]) -> None:
    spans, others = found["intervals_95"], compared(found)
    rows = [
        (
            label(name),
            number(value),
            f"{number(spans[name][0])} to {number(spans[name][1])}" if name in spans else "",
            *(number(other.get(name)) for _, other in others),
        )
        for name, value in in_order(found["metrics"])
    ]
    _titled("Figures", ("figure", "model", "95 %", *(name for name, _ in others)), rows)


def _calibration(found: dict[str, Any]) -> None:
    calibration = found.get("calibration")
    if calibration is None:
        return
    most = max(max(row["rate_high"], row["mean_score"]) for row in calibration["bins"]) or 1.0
    rows = [
        (
            f"{row['mean_score']:.3f}",
            f"{row['rate']:.3f}",
            _bar(row["rate"] / most, row["mean_score"] / most),
            f"{row['rate_low']:.3f} to {row['rate_high']:.3f}",
            f"{row['rows']:,}",
        )
        for row in calibration["bins"]
    ]
    _titled("Promised and happened", ("promised", "happened", "bar: happened, │ promised", "95 %", "rows"), rows)


def _amounts(table: list[dict[str, Any]] | None) -> None:
    if table:
        rows = [
            (number(r["predicted"]), number(r["truth"]), f"{number(r['low'])} to {number(r['high'])}") for r in table
        ]
        _titled("Predicted and true, by tenth", ("mean prediction", "mean truth", "95 %"), rows)


def _gains(table: list[dict[str, Any]] | None) -> None:
    if table:
        most = max(row["rate_high"] for row in table) or 1.0
        rows = [
            (
                f"{row['share']:.0%}",
                f"{row['lowest']:.3f}",
                f"{row['rate']:.3f}",
                _bar(row["rate"] / most),
                f"{row['lift']:.2f}",
                f"{row['caught']:.1%}",
            )
            for row in table
        ]
        _titled("Gains: highest scores first", ("rows down to", "score", "rate", "", "lift", "caught"), rows)


def _costs(found: dict[str, Any] | None) -> None:
    if found is None:
        return
    unit, best = found["unit"], found["best"]
    rows = [
        (f"now, threshold {found['current']['threshold']:g}", *_cost(found["current"], unit)),
        (f"best, threshold {best['threshold']:.3f}", amount(best["elsewhere"], unit), ""),
        ("all answered adversely", *_cost(found["all_adverse"], unit)),
        ("all answered favourably", *_cost(found["all_favourable"], unit)),
    ]
    _titled("Cost of a decision", ("", "cost", "95 %"), rows)


def _cost(entry: dict[str, Any], unit: str) -> tuple[str, str]:
    low, high = entry["interval_95"]
    return amount(entry["cost"], unit), f"{low:,.4g} to {high:,.4g}"


def _age(found: dict[str, Any] | None) -> None:
    if not found:
        return
    judged = [row for row in found["periods"] if row["judged"]]
    most = max((row["interval_95"][1] for row in judged), default=1.0) or 1.0
    rows = [
        (
            row["period"],
            f"{row['rows']:,}",
            number(row["value"]) if row["judged"] else "too few",
            _bar(row["value"] / most) if row["judged"] else "",
            f"{number(row['interval_95'][0])} to {number(row['interval_95'][1])}" if row["judged"] else "",
        )
        for row in found["periods"]
    ]
    _titled(f"By {found['unit']}", (found["unit"], "rows", label(found["figure"]), "", "95 %"), rows)


def show_stability(found: dict[str, Any] | None) -> None:
    """What fitting the model again showed; nothing where it was never tried."""
    if found is None:
        return
    if not found["measured"]:
        click.echo(f"\nstability of a fit: not measured: {found['why']}")
        return
    head = ("other", "refits", "figure", "mean", "deviation", "one more, 95 %", "two differ", "not all agree")
    _titled("Fitted again", head, rows_of_stability(found))
    fitted = f"fitted on {found['rows_fitted']:,} rows, judged on {found['rows']:,} held out"
    click.echo(fitted + (f"; {found['why']}" if found["why"] else ""))


def _slices(found: dict[str, Any]) -> None:
    if not found["slices"]:
        return
    main = ("mae", "bias") if found["kind"] == "regression" else ("auc", "flagged", "recall")
    rows = []
    for each in found["slices"]:
        span = each.get(f"{main[0]}_interval_95")
        figures = [number(each[name]) if each["judged"] else "too few" for name in main]
        text = f"{number(span[0])} to {number(span[1])}" if span else ""
        rows.append((f"{each['column']}: {each['slice']}", f"{each['rows']:,}", figures[0], text, *figures[1:]))
    _titled("Slices", ("slice", "rows", label(main[0]), "95 %", *map(label, main[1:])), rows)


def _limits(limits: list[dict[str, Any]] | None) -> None:
    if limits:
        rows = [
            (
                each["name"],
                number(each["limit"]),
                number(each["value"]),
                ("holds" if each["holds"] else "broken") + ("" if each["certain"] else ", not more than chance"),
            )
            for each in limits
        ]
        _titled("Declared limits", ("figure", "limit", "found", "verdict"), rows)


def number(value: object) -> str:
    """A figure with four decimals, or four digits of a large one; nothing where there is none."""
    if not isinstance(value, float):
        return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
    return f"{value:.4f}" if abs(value) < 100 else f"{value:,.2f}"


def _bar(share: float, mark: float | None = None) -> str:
    """A bar of a share of its width, with a mark at another; plain text gets none."""
    if not sys.stdout.isatty():
        return ""
    cells = list(("█" * round(share * _BAR)).ljust(_BAR, "·"))
    if mark is not None:
        cells[min(_BAR - 1, max(0, round(mark * _BAR)))] = "│"
    return "".join(cells)
