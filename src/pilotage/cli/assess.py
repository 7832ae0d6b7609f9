"""Measure a pilot: six dimensions, the evidence under each point, blockers, what to do first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import Any

import click
import msgspec
from rich.markup import escape

from pilotage.assess.compare import Moved, compare, decode_report
from pilotage.assess.model import Assessment, DimensionScore, Rating, State
from pilotage.assess.planning import Plan, make_plan
from pilotage.assess.report import told_of, told_of_owasp, told_of_score
from pilotage.cli.identity import opened
from pilotage.cli.interview import interview
from pilotage.cli.main import Chosen
from pilotage.cli.output import OUT_FILE, as_json, console, json_option, show_table
from pilotage.cli.probing import assessed, probe_options, show_skipped
from pilotage.errors import NotFound
from pilotage.systems.parse import parse_system
from pilotage.wiring.readiness import keep_assessment, summary

__all__ = ["assess", "show_dimensions", "show_lists", "show_rating", "show_rubrics"]

_MARKS: dict[State, str] = {
    "holds": "[green]✓[/]",
    "partial": "[yellow]~[/]",
    "fails": "[red]✗[/]",
    "unknown": "[dim]?[/]",
}


_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("path", type=click.Path(exists=True, file_okay=False, path_type=Path), default=".")
@probe_options
@click.option("--evidence", is_flag=True, help="Show every finding under every point.")
@click.option("--interview", "ask", is_flag=True, help="First ask what cannot be measured; kept in readiness.yaml.")
@click.option("--compare", "before", type=_FILE, help="Say what moved since this report, kept from --json.")
@click.option("--contract", type=OUT_FILE, help="Write the contract that its data suggests (ODCS).")
@click.option("--html", type=OUT_FILE, help="Write the report as a page that loads nothing.")
@click.option("--markdown", type=OUT_FILE, help="Write the report as Markdown.")
@json_option
@click.pass_obj
def assess(
    chosen: Chosen,
    /,
    path: Path,
    evidence: bool,
    ask: bool,
    before: Path | None,
    contract: Path | None,
    html: Path | None,
    markdown: Path | None,
    json_: bool,
    **probing: Any,
) -> None:
    """Measure how ready the pilot in PATH is. Its code runs only in a box, by the probes."""
    earlier = None if before is None else decode_report(before.read_bytes(), str(before))
    if ask:
        interview(path)
    found = assessed(path, **probing)
    plan = make_plan(path, found)
    _keep(chosen, path, found)
    if contract is not None:
        _write_contract(found, contract)
    if html is not None:
        from pilotage.web.console.readiness_report import report_file

        html.write_text(report_file(found, plan), encoding="utf-8")
    if markdown is not None:
        from pilotage.assess.report import as_markdown

        markdown.write_text(as_markdown(found, plan), encoding="utf-8")
    moved = None if earlier is None else compare(earlier, found)
    if json_:
        told = {"plan": plan.as_dict()} | ({} if moved is None else {"moved": msgspec.to_builtins(moved)})
        as_json({"level": found.verdict, "weakest": summary(found)["weakest"], **found.as_dict(), **told})
        return
    _show(found, evidence)
    _show_triage(plan, path)
    if moved is not None:
        _show_moved(moved)


def _write_contract(found: Assessment, path: Path) -> None:
    if not found.draft_contract:
        raise NotFound(
            "no contract could be drafted",
            got=next((each for each in found.skipped if "contract" in each), "no data file, or no probes"),
            expected="a CSV, Parquet or JSON lines file beside the pilot",
            mend="pilotage contract infer DATA",
        )
    path.write_text(found.draft_contract, encoding="utf-8")


def _keep(chosen: Chosen, path: Path, found: Assessment) -> None:
    """Where there is an installation and the pilot declares its system, the result becomes evidence."""
    declaration = path / "pilotage.yaml"
    if not declaration.is_file():
        return
    try:
        installation = opened(chosen)
    except NotFound:
        return
    keep_assessment(installation, parse_system(declaration.read_bytes(), draft=True).id, found)
    installation.close()


def _show(found: Assessment, evidence: bool) -> None:
    screen = console()
    brief = summary(found)
    screen.print(
        f"\n[bold]{escape(found.path)}[/]: level [bold]{brief['level']}[/] of 5, held by {brief['weakest']} "
        f"(stage {found.stage} asks for {found.required})"
    )
    show_dimensions(found.dimensions)
    for each in found.dimensions:
        screen.print(
            f"\n[bold]{each.dimension}[/] level {each.level}" + "".join(f"\n  [dim]{cap}[/]" for cap in each.caps)
        )
        for rating in each.ratings:
            show_rating(rating, evidence)
    show_lists(found)
    show_rubrics(found, evidence)


def show_dimensions(dimensions: Sequence[DimensionScore]) -> None:
    """The six dimensions as a table."""
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
            for each in dimensions
        ],
    )


def show_rubrics(found: Assessment, evidence: bool) -> None:
    """What it is, the OWASP Top 10 and the ML Test Score: a line each, and with the evidence all of both."""
    screen = console()
    if told := told_of(found.makeup):
        screen.print(f"\n[bold]What it is:[/] {escape(told)}", highlight=False)
    where = "" if evidence else " [dim](--evidence, --html and --json show each)[/]"
    if found.owasp is not None:
        screen.print(f"{escape(told_of_owasp(found.owasp))}{where}", highlight=False)
        for risk in found.owasp.risks if evidence else ():
            screen.print(f"  {_MARKS[risk.state] if risk.applies else '-'} {risk.id} {risk.name}")
            for line in risk.measured:
                screen.print(f"      {escape(line)}")
            for line in risk.not_measured:
                screen.print(f"      [dim]not measured: {escape(line)}[/]")
    if found.ml_test_score is not None:
        screen.print(f"{escape(told_of_score(found.ml_test_score))}{where}", highlight=False)
        for test in found.ml_test_score.tests if evidence else ():
            screen.print(f"  {test.points:3.1f} {test.id} {test.text} [dim]({test.done}: {escape(test.why)})[/]")


def _bar(each: DimensionScore) -> str:
    low, high = each.interval
    return ("█" * round(low * 12) + "░" * round((high - low) * 12)).ljust(12)


def _counts(each: DimensionScore) -> str:
    states = [rating.state for rating in each.ratings]
    return " ".join(str(states.count(state)) for state in _MARKS)


def show_rating(rating: Rating, evidence: bool) -> None:
    """One criterion and its evidence; with every finding where `evidence` is asked for."""
    screen = console()
    screen.print(f"  {_MARKS[rating.state]} {rating.criterion.text} [dim]({rating.score:.2f})[/]")
    for item in rating.evidence:
        screen.print(f"      [dim]{item.grade} {item.collector.split()[-1]}:[/] {escape(item.summary)}")
        for finding in item.findings if evidence else item.findings[:2]:
            place = f"{finding.file}:{finding.line}" if finding.line else finding.file
            screen.print(f"        [cyan]{escape(place)}[/] {escape(finding.message)}")
            if evidence:
                screen.print(f"          [dim]risk:[/] {escape(finding.risk)} [dim]mend:[/] {escape(finding.mend)}")
        if not evidence and len(item.findings) > 2:
            screen.print(f"        [dim]and {len(item.findings) - 2} more (--evidence shows all)[/]")


def show_lists(found: Assessment) -> None:
    """Blockers, contradictions, the next steps, and what was not looked at."""
    screen = console()
    if found.blockers:
        screen.print("\n[bold red]Blockers[/]")
    for blocker in found.blockers:
        screen.print(f"  [red]✗[/] {blocker.text}: {escape(blocker.why)}\n    [dim]mend:[/] {blocker.mend}")
    if found.contradictions:
        screen.print("\n[bold yellow]Claimed, but measured otherwise[/]")
    for each in found.contradictions:
        place = f"{each.file}:{each.line} " if each.file else ""
        screen.print(f"  {escape(place)}“{escape(each.claim)}”: {escape(each.fact)}")
    if found.raises:
        screen.print("\n[bold]What would raise the verdict most[/] [dim](days are first-use guesses)[/]")
    for step in found.raises[:8]:
        screen.print(
            f"  {step.text}: {step.mend} "
            f"[dim]({step.dimension}, about {step.days:.1f} days, then level {step.verdict_after})[/]"
        )
    if more := found.raises[8:]:
        level = more[-1].verdict_after
        screen.print(f"  [dim]and {len(more)} more{f', then level {level}' if level > found.verdict else ''}[/]")
    show_skipped(found)


def _show_triage(plan: Plan, path: Path) -> None:
    screen, decided, road = console(), plan.triage, plan.roadmap
    tone = {"stop": "red", "rebuild": "yellow", "fix": "green"}[decided.what]
    screen.print(f"\n[bold]Triage:[/] [{tone}]{decided.what}[/], by {decided.who}")
    for title, lines in (
        ("because", decided.because),
        ("take along", decided.keep),
        ("what would flip it", decided.flips),
        ("not known", decided.unknown),
    ):
        if len(lines) == 1:
            screen.print(f"  [dim]{title}:[/] {escape(lines[0])}")
        elif lines:
            screen.print(f"  [dim]{title}:[/]")
        for line in lines if len(lines) > 1 else ():
            screen.print(f"    {escape(line)}")
    screen.print(
        f"\n[bold]Roadmap:[/] {len(road.items)} items, {road.effort.p10:.0f} to {road.effort.p90:.0f} engineer-days, "
        f"{road.weeks.p10:.0f} to {road.weeks.p90:.0f} weeks with {road.engineers:g} engineers"
        + (" (a guess)" if road.guessed else "")
    )
    here = "" if path == Path() else f" {quote(str(path))}"
    ask = f"pilotage assess{here} --interview"
    screen.print(escape(f"next: pilotage roadmap make{here}; what only people can say: {ask}"))


def _show_moved(moved: Moved) -> None:
    screen = console()
    screen.print(f"\n[bold]Since then[/]: verdict {moved.verdict_before} → {moved.verdict}")
    show_table(
        ("dimension", "level", "score"),
        [
            (each.name, f"{each.level_before} → {each.level}", f"{each.score_before:.2f} → {each.score:.2f}")
            for each in moved.dimensions
        ],
    )
    for title, lines in (
        ("better", moved.better),
        ("worse", moved.worse),
        ("new blocker", moved.new_blockers),
        ("blocker gone", moved.gone_blockers),
    ):
        for line in lines:
            screen.print(f"  [dim]{title}:[/] {escape(line)}")
