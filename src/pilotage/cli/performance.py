"""Realised performance as text."""

from __future__ import annotations

from collections.abc import Sequence

import click

from pilotage.cli.output import show_facts, show_table
from pilotage.evaluation.intervals import Rate
from pilotage.evaluation.realised import Realised
from pilotage.kernel.digests import short
from pilotage.monitor.performance import Performance
from pilotage.replay.against import Against, Told

__all__ = ["rate_text", "show_performance", "show_realised"]

_NOT_ENOUGH = "not enough data"
_STATES = {
    "broken": click.style("degraded", fg="red", bold=True),
    "near": "not worse by more than chance",
    "not enough data": _NOT_ENOUGH,
    "holds": click.style("holds", fg="green"),
}


def rate_text(rate: Rate | None) -> str:
    """A rate with its interval, or that there is not enough data."""
    if rate is None:
        return _NOT_ENOUGH
    return f"{rate.rate:.2%} ({rate.count:,} of {rate.of:,}; 95 %: {rate.low:.2%} to {rate.high:.2%})"


def show_performance(found: Performance) -> None:
    """Print all of it."""
    meaning = found.meaning
    told = ", ".join(f"{count:,} {name}" for name, count in found.outcomes.items())
    auc = f"{found.auc.area:.4f} (95 %: {found.auc.low:.4f} to {found.auc.high:.4f})" if found.auc else _NOT_ENOUGH
    click.echo(
        f"{found.system} {short(found.release)}: {meaning.adverse} from {meaning.threshold:g} on,"
        f" against outcome {meaning.positive}"
    )
    show_facts(
        [
            ("coverage", f"{rate_text(found.known)} of decisions have an outcome" if found.known.of else "no decision"),
            ("outcomes", told or "none"),
            *_facts(found.whole),
            ("AUC by cells", auc),
        ]
    )
    show_table(
        ("age", "decisions", "with outcome"), [(c.age, c.known.of, f"{c.known.rate:.1%}") for c in found.coverage]
    )
    show_table(
        ("score", "with outcome", "positive", "observed rate", "95 %"),
        [(b.label, b.decisions, b.positives, *_two(b.rate)) for b in found.bins],
    )
    if found.slices:
        show_table(
            ("slice", "with outcome", "accuracy", "95 %", "recall", "95 %", "false positives", "95 %"),
            [
                (
                    f"{each.slice}: {each.value}",
                    each.figures.decisions,
                    *_two(each.figures.accuracy),
                    *_two(each.figures.recall),
                    *_two(each.figures.false_positive_rate),
                )
                for each in found.slices
            ],
        )
    for name, why in found.left_out.items():
        click.echo(f"slice {name}: {why}")
    if found.state is not None:
        click.echo(f"against what its build fixed: {_STATES[found.state]}")
        for each in found.degradation:
            click.echo(f"- {each.words}")
    for note in found.notes:
        click.echo(note)


def show_realised(found: Told) -> None:
    """Print what outcomes say of a backtest."""
    whole = found.whole
    click.echo(f"against outcome {found.positive}: {rate_text(whole.known)} of what both answered has an outcome")
    if whole.champion is None:
        click.echo(f"{_NOT_ENOUGH} to judge by outcomes")
        return
    rows = [_row("all", whole), *(_row(f"{each.dimension}: {each.value}", each) for each in found.segments)]
    both = ("accuracy then", "candidate", "change, 95 %", "AUC then", "candidate", "cost/1,000 then", "candidate")
    show_table(("segment", "with outcome", *both), rows)
    if whole.auc_change:
        click.echo(f"AUC change: {_span(whole.auc_change)}")
    if whole.cost_change:
        click.echo(f"cost change of a decision: {_span(whole.cost_change)}")


def _row(name: str, each: Against) -> tuple[object, ...]:
    both = [side for side in (each.champion, each.candidate) if side is not None]
    accuracy = [_two(side.figures.accuracy)[0] for side in both]
    areas = ["" if side.auc is None else f"{side.auc.area:.4f}" for side in both]
    costs = ["" if side.cost_per_1000 is None else f"{side.cost_per_1000:,.2f}" for side in both]
    return (name, each.known.count, *accuracy, _span(each.accuracy_change or []), *areas, *costs)


def _span(values: Sequence[float]) -> str:
    return "{:+.4f} ({:+.4f} to {:+.4f})".format(*values) if values else ""


def _facts(figures: Realised) -> list[tuple[str, object]]:
    cells = (figures.true_positive, figures.false_positive, figures.false_negative, figures.true_negative)
    return [
        ("answers", "{:,} true and {:,} false positive, {:,} false and {:,} true negative".format(*cells)),
        ("base rate", rate_text(figures.base_rate)),
        ("accuracy", rate_text(figures.accuracy)),
        ("recall", rate_text(figures.recall)),
        ("false positives", rate_text(figures.false_positive_rate)),
        ("precision", rate_text(figures.precision)),
    ]


def _two(rate: Rate | None) -> tuple[str, str]:
    return (_NOT_ENOUGH, "") if rate is None else (f"{rate.rate:.2%}", f"{rate.low:.2%} to {rate.high:.2%}")
