"""Where a running system stands: six dimensions fed by its own telemetry, tests, gates and statements."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click
import msgspec
from rich.markup import escape

from pilotage.access.model import require
from pilotage.assess.model import Dimension
from pilotage.assess.standing import AHEAD_DAYS, Standing
from pilotage.cli.assess import show_dimensions, show_lists, show_rating, show_rubrics
from pilotage.cli.identity import acting, opened
from pilotage.cli.main import Chosen
from pilotage.cli.output import OUT_FILE, as_json, console, errors_console, json_option, show_table
from pilotage.errors import InputError
from pilotage.kernel.clock import day, now_us
from pilotage.storage.database import reading
from pilotage.wiring.readiness import summary
from pilotage.wiring.standing import days_of, keep_standing, kept_on, standing_of

__all__ = ["readiness"]


@click.command()
@click.option("--system", required=True)
@click.option("--evidence", is_flag=True, help="Show the evidence under every point, and what no longer counts.")
@click.option(
    "--ahead", type=click.IntRange(0, 365), default=AHEAD_DAYS, show_default=True, help="Warn so many days ahead."
)
@click.option("--day", "on", default="", metavar="DAY", help="As it was kept on this UTC day, such as 2026-03-01.")
@click.option("--keep", is_flag=True, help="Keep it as today's point of the history, as the steward does every day.")
@click.option("--html", type=OUT_FILE, help="Write the report as a page that loads nothing.")
@json_option
@click.pass_obj
def readiness(
    chosen: Chosen, system: str, evidence: bool, ahead: int, on: str, keep: bool, html: Path | None, json_: bool
) -> None:
    """Say how ready a system is now, by the criteria of `pilotage assess`, and which evidence expires soon.

    Evidence is that of the live release: its telemetry, what the platform tested, gates, and what people stated.
    """
    installation = opened(chosen)
    require(acting(installation), "evidence.read")
    if keep and on:
        raise InputError("a day that is over cannot be kept again", got=on, mend="leave out --day or --keep")
    found = kept_on(installation, system, on) if on else standing_of(installation, system, ahead_days=ahead)
    if keep:
        keep_standing(installation, found)
    if html is not None:
        from pilotage.web.console.readiness_report import standing_file

        html.write_text(standing_file(installation, found), encoding="utf-8")
    with reading(installation.control) as connection:
        days = days_of(connection, system)
    if json_:
        told = {"level": found.assessment.verdict, "weakest": summary(found.assessment)["weakest"]}
        as_json({**told, **found.as_dict(), "history": msgspec.to_builtins(days)})
        return
    _warn(found)
    _show(found, evidence)
    if days:
        console().print(f"\n[bold]Kept by day[/] [dim](last {min(len(days), 7)} of {len(days)})[/]")
        names = [each["name"] for each in days[-1].dimensions]
        rows = [(each.day, each.level, *(f"{d['score']:.2f}" for d in each.dimensions)) for each in days[-7:]]
        show_table(("day", "level", *names), rows)


def _warn(found: Standing) -> None:
    """What expires soon, on standard error, so that a script's log shows it too."""
    if not found.due:
        return
    screen, now = errors_console(), now_us()
    screen.print(f"[yellow]warning:[/] {len(found.due)} pieces of evidence expire soon or have begun to fade")
    for each in found.due:
        when = f"since {day(each.due)}" if each.due <= now else f"on {day(each.due)}"
        what = each.criterion or each.text
        screen.print(
            f"  [yellow]{when}[/] {what} [dim]({each.grade}, loses {each.loses:.2f})[/] → {escape(each.renew)}"
        )


def _show(found: Standing, evidence: bool) -> None:
    screen, assessed = console(), found.assessment
    brief = summary(assessed)
    about = f", release {found.release_name}" if found.release_name else ""
    screen.print(
        f"[bold]{escape(found.system)}[/]{escape(about)}: level [bold]{brief['level']}[/] of 5, held by "
        f"{brief['weakest']} (after stage {assessed.stage} {assessed.required} is asked for)"
    )
    if found.window:
        screen.print(f"[dim]telemetry of {found.window}[/]")
    show_dimensions(assessed.dimensions)
    screen.print("\n[bold]What each stage asks for[/]")
    show_table(
        ("stage", "level", "short of it"),
        [(each.stage, _asked(each.levels), ", ".join(each.short) or "nothing") for each in found.stages],
    )
    for each in assessed.dimensions if evidence else ():
        screen.print(f"\n[bold]{each.dimension}[/] level {each.level}")
        for cap in each.caps:
            screen.print(f"  [dim]{cap}[/]")
        for rating in each.ratings:
            show_rating(rating, evidence)
            for gone in (one for one in found.lapsed if one.criterion == rating.criterion.id):
                screen.print(f"      [dim]no longer counts: {gone.grade} {escape(gone.summary)}: {escape(gone.why)}[/]")
    show_lists(assessed)
    show_rubrics(assessed, evidence)
    if not evidence:
        screen.print("[dim]--evidence shows what stands under every point[/]")


def _asked(levels: Mapping[Dimension, int]) -> str:
    least = min(levels.values())
    more = [name for name, level in levels.items() if level > least]
    return f"{least}" + (f" ({', '.join(more)} {max(levels.values())})" if more else "")
