"""Measure a pilot: six dimensions, the evidence under each point, blockers, what to do first."""

from __future__ import annotations

from pathlib import Path

import click
from rich.progress import BarColumn, Progress, TextColumn

from pilotage.assess.model import Assessment, DimensionScore, Rating, State
from pilotage.assess.service import assess as assess_pilot
from pilotage.cli.identity import opened
from pilotage.cli.main import Chosen
from pilotage.cli.output import as_json, console, errors_console, json_option, show_table
from pilotage.errors import NotFound
from pilotage.systems.parse import load_system
from pilotage.wiring.readiness import keep_assessment, summary

__all__ = ["assess"]

_MARKS: dict[State, str] = {
    "holds": "[green]✓[/]",
    "partial": "[yellow]~[/]",
    "fails": "[red]✗[/]",
    "unknown": "[dim]?[/]",
}


@click.command()
@click.argument("path", type=click.Path(exists=True, file_okay=False, path_type=Path), default=".")
@click.option("--no-probes", is_flag=True, help="Static signals only: nothing of the pilot runs, not even boxed.")
@click.option("--evidence", is_flag=True, help="Show every finding under every point.")
@json_option
@click.pass_obj
def assess(chosen: Chosen, path: Path, no_probes: bool, evidence: bool, json_: bool) -> None:
    """Measure how ready the pilot in PATH is. Its code runs only inside a box, and only in the three probes."""
    columns = (TextColumn("assessing"), BarColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=errors_console(), transient=True) as bar:
        task = bar.add_task("", total=1.0)
        found = assess_pilot(
            path,
            probes=not no_probes,
            progress=lambda step, share: bar.update(task, completed=share, description=step),
        )
    _keep(chosen, path, found)
    if json_:
        as_json({**found.as_dict(), **summary(found)})
        return
    _show(found, evidence)


def _keep(chosen: Chosen, path: Path, found: Assessment) -> None:
    """Where there is an installation and the pilot declares its system, the result becomes evidence."""
    declaration = path / "pilotage.yaml"
    if not declaration.is_file():
        return
    try:
        installation = opened(chosen)
    except NotFound:
        return
    keep_assessment(installation, load_system(declaration).id, found)
    installation.close()


def _show(found: Assessment, evidence: bool) -> None:
    screen = console()
    brief = summary(found)
    screen.print(
        f"\n[bold]{found.path}[/]: level [bold]{brief['level']}[/] of 5, held by {brief['weakest']} "
        f"(stage {found.stage} asks for {found.required})"
    )
    show_table(
        ("dimension", "level", "score", "", "if all unknown held", "covered", "✓ ~ ✗ ?"),
        [
            (
                each.dimension,
                each.level,
                f"{each.score:.2f}",
                _bar(each),
                f"{each.interval[1]:.2f}",
                f"{each.coverage:.0%}",
                _counts(each),
            )
            for each in found.dimensions
        ],
    )
    for each in found.dimensions:
        screen.print(
            f"\n[bold]{each.dimension}[/] level {each.level}" + "".join(f"\n  [dim]{cap}[/]" for cap in each.caps)
        )
        for rating in each.ratings:
            _show_rating(rating, evidence)
    _show_lists(found)


def _bar(each: DimensionScore) -> str:
    low, high = each.interval
    return ("█" * round(low * 12) + "░" * round((high - low) * 12)).ljust(12)


def _counts(each: DimensionScore) -> str:
    states = [rating.state for rating in each.ratings]
    return " ".join(str(states.count(state)) for state in _MARKS)


def _show_rating(rating: Rating, evidence: bool) -> None:
    screen = console()
    screen.print(f"  {_MARKS[rating.state]} {rating.criterion.text} [dim]({rating.score:.2f})[/]")
    for item in rating.evidence:
        screen.print(f"      [dim]{item.grade} {item.collector.split()[-1]}:[/] {item.summary}")
        for finding in item.findings if evidence else item.findings[:2]:
            place = f"{finding.file}:{finding.line}" if finding.line else finding.file
            screen.print(f"        [cyan]{place}[/] {finding.message}")
        if not evidence and len(item.findings) > 2:
            screen.print(f"        [dim]and {len(item.findings) - 2} more (--evidence shows all)[/]")


def _show_lists(found: Assessment) -> None:
    screen = console()
    if found.blockers:
        screen.print("\n[bold red]Blockers[/]")
    for blocker in found.blockers:
        screen.print(f"  [red]✗[/] {blocker.text}: {blocker.why}\n    [dim]mend:[/] {blocker.mend}")
    if found.contradictions:
        screen.print("\n[bold yellow]Claimed, but measured otherwise[/]")
    for each in found.contradictions:
        screen.print(f"  {each.file}:{each.line} “{each.claim}”: {each.fact}")
    if found.raises:
        screen.print("\n[bold]What would raise the verdict most[/] [dim](days are first-use guesses)[/]")
    for step in found.raises[:8]:
        screen.print(
            f"  {step.mend} [dim]({step.dimension}, about {step.days:.1f} days, verdict {step.verdict_after})[/]"
        )
    for skipped in found.skipped:
        screen.print(f"[dim]not looked at: {skipped}[/]")
