"""`pilotage decisions replay --release`: a candidate answers a window of recorded decisions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
import msgspec

from pilotage.access.model import Person
from pilotage.cli.gate import chosen_release
from pilotage.cli.output import as_json, progress_bar, show_facts, show_table
from pilotage.cli.performance import show_realised
from pilotage.errors import InputError
from pilotage.evaluation.intervals import Rate
from pilotage.kernel.digests import short
from pilotage.ledger.outcomes import Outcomes
from pilotage.releases.store import list_releases
from pilotage.replay.backtest import Backtest, Limits
from pilotage.replay.backtesting import backtest, keep_backtest
from pilotage.replay.shift import QUANTILES
from pilotage.replay.window import Window
from pilotage.storage.database import reading
from pilotage.web.console.backtest_pages import report_file
from pilotage.wiring.installation import Installation

__all__ = ["BEYOND", "run_backtest"]

BEYOND = 3
"""Exit code when a candidate is beyond its limits."""


def run_backtest(
    installation: Installation, person: Person, window: Window, given: dict[str, Any], json_: bool
) -> None:
    """Run it, keep it as evidence, print it, write the file; exit code 3 beyond the limits."""
    candidate = chosen_release(installation, "", given["candidate"])
    limits = Limits(max_flips=given["max_flips"], max_new_faults=given["max_new_faults"])
    costs = _costs(given["costs"], ">", "OLD>NEW=COST, such as 'approve>refer=12.50'")
    outcome_costs = _costs(given["outcome_costs"], "/", "ANSWER/OUTCOME=COST, such as 'approve/1=900'")
    with progress_bar("backtesting") as progress:
        found = backtest(
            installation.ledger(),
            installation.releases,
            candidate,
            window,
            limits=limits,
            costs=costs,
            outcomes=Outcomes(installation.ledger_engine),
            outcome_costs=outcome_costs,
            progress=progress,
        )
    evidence = keep_backtest(installation.control, installation.objects, found, person.id)
    with reading(installation.control) as connection:
        names = {each.digest: each.name for each in list_releases(connection, found.system)}
    if given["report"]:
        given["report"].write_text(report_file(found, names), encoding="utf-8")
    if json_:
        as_json({"evidence": evidence.id, "passed": found.passed, **msgspec.to_builtins(found)})
    else:
        _show(found, names, evidence.id)
    if not found.passed:
        raise SystemExit(BEYOND)


def _costs(texts: Sequence[str], between: str, expected: str) -> dict[tuple[str, str], float]:
    """Costs by the two names that `between` parts. Raises InputError."""
    costs = {}
    for text in texts:
        change, _, cost = text.rpartition("=")
        old, arrow, new = change.partition(between)
        try:
            costs[old.strip(), new.strip()] = float(cost)
        except ValueError:
            arrow = ""
        if not arrow or not old or not new:
            raise InputError(
                "a cost cannot be read",
                got=text,
                expected=expected,
                mend="quote it",
            )
    return costs


def _rate(rate: Rate) -> str:
    return f"{rate.rate:.2%} ({rate.count:,} of {rate.of:,}; 95 %: {rate.low:.2%} to {rate.high:.2%})"


def _show(found: Backtest, names: dict[str, str], evidence: str) -> None:
    facts: list[tuple[str, object]] = [
        ("candidate", f"{names.get(found.candidate, '')}  {found.candidate}"),
        ("answered then by", ", ".join(f"{names.get(d, short(d))} ({n:,})" for d, n in found.champions.items())),
        ("decisions", ", ".join(f"{count:,} {outcome}" for outcome, count in found.outcomes.items()) or "none"),
        *[("not asked", f"{count:,}: {why}") for why, count in found.skipped.items()],
        ("flips", _rate(found.flips)),
        ("newly rejected", _rate(found.newly_faulty)),
        ("newly answered", _rate(found.newly_answered)),
        *[(f"was {outcome}", f"would be answered: {_rate(rate)}") for outcome, rate in found.unanswered.items()],
        *[("failed", f"{count:,}: {why}") for why, count in found.failures.items()],
    ]
    if found.cost is not None:
        facts.append(("cost of changes", f"{found.cost:,.2f} ({found.cost_per_1000 or 0:,.2f} per 1,000 decisions)"))
    if found.shift:
        s = found.shift
        facts += [
            ("mean change", f"{s.mean:+.6f} (95 %: {s.mean_low:+.6f} to {s.mean_high:+.6f})"),
            ("PSI, KS", f"{s.psi:.4f} (95 %: {s.psi_low:.4f} to {s.psi_high:.4f}), {s.ks:.4f}"),
        ]
    show_facts(facts)
    _show_tables(found)
    if found.realised:
        show_realised(found.realised)
    for why in found.missing:
        click.echo(f"beyond limits: {why}")
    click.echo(f"{'within limits' if found.passed else 'BEYOND LIMITS'}; evidence {evidence}; {found.seconds:.1f} s")


def _show_tables(found: Backtest) -> None:
    if found.changes:
        show_table(("from", "to", "decisions"), [(each.old, each.new, each.decisions) for each in found.changes])
    if found.shift:
        rows = (("then", found.shift.old), ("candidate", found.shift.new), ("change", found.shift.difference))
        header = ("quantile", *(f"{100 * q:g} %" for q in QUANTILES))
        show_table(header, [(name, *(f"{value:.4f}" for value in row)) for name, row in rows])
    faults = {**found.new_faults, **found.gone_faults}
    if faults:
        rows_ = [(each, found.new_faults.get(each, 0), found.gone_faults.get(each, 0)) for each in faults]
        show_table(("fault", "only candidate", "only then"), rows_)
    if found.segments:
        show_table(
            ("segment", "decisions", "flips", "95 %", "newly rejected", "mean change"),
            [
                (
                    f"{each.dimension}: {each.value}",
                    each.decisions,
                    f"{each.flips.rate:.2%}",
                    f"{each.flips.low:.2%} to {each.flips.high:.2%}",
                    f"{each.newly_faulty.rate:.2%}",
                    f"{each.shift:+.5f}",
                )
                for each in found.segments
            ],
            title=f"segments of at least {found.fewest} decisions",
        )
    show_table(
        ("latency", "decisions", "p50 µs", "p99 µs"),
        [(name, each.decisions, f"{each.p50_us:.0f}", f"{each.p99_us:.0f}") for name, each in found.latency.items()],
    )
