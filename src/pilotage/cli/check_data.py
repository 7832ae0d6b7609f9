"""Look for leaks in a table, before there is a model or after."""

from __future__ import annotations

from pathlib import Path

import click

from pilotage.cli.output import as_json, console, json_option, show_table, step_bar
from pilotage.evaluation.leakage.model import Finding, Leakage
from pilotage.evaluation.leakage.reading import read_table
from pilotage.evaluation.leakage.suite import find_leaks

__all__ = ["check_data"]

FOUND = 3
"""The exit status when a finding is of high severity."""


@click.command(name="check-data")
@click.argument("data", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--target", required=True, metavar="COLUMN", help="The column that a model is to predict.")
@click.option("--positive", default="", metavar="VALUE", help="Its value of interest (default: every class, in turn).")
@click.option("--subject", default="", metavar="COLUMN", help="Names the person or thing that a row is about.")
@click.option("--time", default="", metavar="COLUMN", help="When the decision is made: ISO dates or numbers.")
@click.option("--split", default="", metavar="COLUMN", help="Which rows are held out: train and test, or 0 and 1.")
@click.option("--ignore", multiple=True, metavar="COLUMN", help="A column that no model takes; repeat.")
@json_option
@click.pass_context
def check_data(
    context: click.Context,
    data: Path,
    target: str,
    positive: str,
    subject: str,
    time: str,
    split: str,
    ignore: tuple[str, ...],
    json_: bool,
) -> None:
    """Look in DATA (CSV, also .gz, or Parquet) for what gives the target away and would not be known in use.

    Exit status 3 when a finding is of high severity. The more columns are named, the more is looked for.
    """
    with step_bar("checking") as tell:
        table = read_table(
            data,
            target=target,
            positive=positive,
            subject=subject,
            time=time,
            split=split,
            ignore=ignore,
            progress=lambda step, share: tell(step, 0.5 * share),
        )
        found = find_leaks(table, progress=lambda step, share: tell(step, 0.5 + 0.5 * share))
    if json_:
        as_json(found.as_dict())
    else:
        _show(data, found)
    if found.counts()["high"]:
        context.exit(FOUND)


_MARKS = {"high": "[red]high[/]", "medium": "[yellow]medium[/]", "ask": "[cyan]ask[/]"}


def _show(data: Path, found: Leakage) -> None:
    from rich.markup import escape

    screen = console()
    screen.print(f"[bold]{escape(data.name)}[/]: {found.rows:,} rows, {found.columns} columns")
    if min(found.looked_at.values()) < found.rows:
        looked = ", ".join(f"{name} {rows:,}" for name, rows in found.looked_at.items())
        screen.print(f"[dim]by so many rows:[/] {looked}; all else by every row")
    if found.findings:
        show_table(
            ("severity", "finding", "columns", "strength", "95 %", "measure"),
            [_row(each) for each in found.findings],
        )
        for each in found.findings:
            screen.print(f"\n{_MARKS[each.severity]} {escape(each.said)}")
            screen.print(f"  [dim]mend:[/] {escape(each.mend)}")
        screen.print()
    else:
        screen.print("no leak was found")
    for name, why in found.skipped.items():
        screen.print(f"[dim]not looked for:[/] {name}: {escape(why)}")
    counts = found.counts()
    if found.findings:
        screen.print(f"{counts['high']} high, {counts['medium']} medium, {counts['ask']} to ask about")


def _row(found: Finding) -> tuple[str, ...]:
    span = f"{found.low:.3f} to {found.high:.3f}"
    return found.severity, found.kind, ", ".join(found.columns), f"{found.strength:.3f}", span, found.measure
