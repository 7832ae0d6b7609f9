"""The roadmap of a pilot: make it, hand it on, see how far it has come."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Any

import click
import msgspec

from pilotage.assess.keeping import PLAN, Kept, keep_plan, read_plan
from pilotage.assess.planning import make_plan
from pilotage.assess.roadmap import Progress, Roadmap, as_csv, as_markdown, progressed
from pilotage.cli.output import OUT_FILE, as_json, console, json_option, show_facts, show_table
from pilotage.cli.probing import assessed, probe_options, show_skipped
from pilotage.errors import InputError

__all__ = ["roadmap", "show_plan"]

_BLOCKS = "▁▂▃▄▅▆▇█"
_WIDTH = 40


@click.group()
def roadmap() -> None:
    """The way from a pilot to production, and how far it has come."""


_folder = click.argument("path", type=click.Path(exists=True, file_okay=False, path_type=Path), default=".")


@roadmap.command("make")
@_folder
@probe_options
@click.option("--again", is_flag=True, help="Replace the plan that is there, and its history.")
@json_option
def make(path: Path, again: bool, json_: bool, **probing: Any) -> None:
    """Assess the pilot in PATH and keep its roadmap beside it, in roadmap.json."""
    if (path / PLAN).exists() and not again:
        raise InputError(
            "there is a roadmap already", got=path / PLAN, mend="see `pilotage roadmap status`, or --again"
        )
    found = assessed(path, **probing)
    plan = make_plan(path, found)
    keep_plan(path, Kept(plan=plan.roadmap, history=[progressed(plan.roadmap, found)]))
    if json_:
        as_json(plan.as_dict())
        return
    show_plan(plan.roadmap)
    show_skipped(found)
    click.echo(f"kept in {path / PLAN}; next: pilotage roadmap status {quote(str(path))}")


@roadmap.command("export")
@_folder
@click.option("--markdown", type=OUT_FILE, help="Write it as a page that can be mailed.")
@click.option("--csv", "table", type=OUT_FILE, help="Write its items as a table.")
def export(path: Path, markdown: Path | None, table: Path | None) -> None:
    """Write the roadmap of the pilot in PATH as Markdown or CSV; as Markdown to standard output unless told."""
    plan = read_plan(path).plan
    if markdown is not None:
        markdown.write_text(as_markdown(plan), encoding="utf-8")
    if table is not None:
        table.write_text(as_csv(plan), encoding="utf-8", newline="")
    if markdown is None and table is None:
        click.echo(as_markdown(plan), nl=False)


@roadmap.command("status")
@_folder
@probe_options
@click.option("--html", type=OUT_FILE, help="Write it as a page with the burn-up chart, which loads nothing.")
@json_option
def status(path: Path, html: Path | None, json_: bool, **probing: Any) -> None:
    """Assess the pilot in PATH anew and say how far its roadmap has come. Each look is kept, for the burn-up."""
    kept = read_plan(path)
    found = assessed(path, **probing)
    now = progressed(kept.plan, found)
    kept = msgspec.structs.replace(kept, history=[*kept.history, now])
    keep_plan(path, kept)
    if html is not None:
        from pilotage.web.console.burn_up import status_file

        html.write_text(status_file(kept), encoding="utf-8")
    if json_:
        as_json({"now": msgspec.to_builtins(now), "history": msgspec.to_builtins(kept.history)})
        return
    _show_status(kept, now)
    show_skipped(found)


def show_plan(plan: Roadmap) -> None:
    """The plan in phases: effort, items, what each is accepted by."""
    guess = ", a guess" if plan.guessed else ""
    show_facts(
        [
            ("level", f"{plan.verdict} of 5; the next stage asks for {plan.required}"),
            (
                "work",
                f"{plan.effort.p10:.0f} to {plan.effort.p90:.0f} engineer-days (P10 to P90), {len(plan.items)} items",
            ),
            ("time", f"{plan.weeks.p10:.0f} to {plan.weeks.p90:.0f} weeks with {plan.engineers:g} engineers{guess}"),
        ]
    )
    for phase in plan.phases:
        days = f"{phase.effort.p10:.0f} to {phase.effort.p90:.0f} days" if phase.items else "nothing to do"
        console().print(f"\n[bold]{phase.number} {phase.name}[/] [dim]{days}[/]")
        if phase.items:
            show_table(
                ("item", "deliverable", "owner", "days", "now"),
                [(each.id, each.deliverable, each.role, f"{each.expected:.1f}", each.state) for each in phase.items],
            )
    console().print("\n[dim]Days are first-use guesses of ours; every item is accepted by a new assessment.[/]")


def _show_status(kept: Kept, now: Progress) -> None:
    share = now.days_done / now.days_planned if now.days_planned else 1.0
    first = kept.history[0]
    show_facts(
        [
            ("done", f"{len(now.done)} of {len(now.done) + len(now.open)} items, {share:.0%} of the work"),
            ("", "█" * round(share * _WIDTH) + "░" * (_WIDTH - round(share * _WIDTH))),
            ("burn-up", f"{_burn_up(kept.history)}  {len(kept.history)} looks"),
            ("level", f"{now.verdict} of 5, {first.verdict} at the start"),
        ]
    )
    show_table(("phase", "may be left"), [(name, "yes" if done else "no") for name, done in now.phases])
    open_items = [item for item in kept.plan.items if item.id in now.open]
    show_table(
        ("next", "deliverable", "owner", "days"),
        [
            (each.id, each.deliverable, each.role, f"{each.expected:.1f}")
            for each in open_items
            if not set(each.after) & set(now.open)
        ][:8],
        title="What can be begun now",
    )
    if now.regressed:
        console().print(f"\n[red]held when the plan was made and no longer does:[/] {', '.join(now.regressed)}")


def _burn_up(history: list[Progress]) -> str:
    shares = [each.days_done / each.days_planned if each.days_planned else 1.0 for each in history[-_WIDTH:]]
    return "".join(_BLOCKS[round(share * (len(_BLOCKS) - 1))] for share in shares)
