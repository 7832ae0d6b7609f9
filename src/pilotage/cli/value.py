"""What a system is worth: the sheet of its business case, and what it comes to."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec
from rich.markup import escape

from pilotage.access.model import require
from pilotage.cli.identity import acting, opened
from pilotage.cli.main import Chosen
from pilotage.cli.output import OUT_FILE, as_json, console, json_option, show_facts, show_table
from pilotage.errors import InputError
from pilotage.kernel.digests import digest
from pilotage.releases.load import open_release
from pilotage.releases.store import find_release
from pilotage.storage.database import reading
from pilotage.value.case import DRAWS, Judgement, Spread, judge
from pilotage.value.model import Case, Estimate, figure
from pilotage.value.sheet import blank_sheet, parse_sheet

if TYPE_CHECKING:
    from pilotage.wiring.realising import RealisedValue

__all__ = ["value"]

STOP = 3
"""Exit code when there is no way in which the case pays."""

_MOST_DRAWS = 1_000_000
_WIDTH = 30
_VERDICTS = {
    "stop": "[red]stop[/]: even with every figure at its better end it loses money",
    "pays": "[green]pays[/]: in at least nine of ten draws",
    "may pay": "[yellow]may pay[/]: see what it hangs on",
}


@click.group()
def value() -> None:
    """What a system is worth: the business case before it is live, and what it brought since."""


@value.command("sheet")
@click.option(
    "--out",
    type=OUT_FILE,
    default="business-case.yaml",
    show_default=True,
    help="Where to write it; nothing is overwritten.",
)
@click.option("--name", default="A name for what is decided here", help="What the case is about.")
@click.option("--release", "ref", default="", help="Take the shares of its errors from this release's evaluation.")
@click.pass_obj
def sheet(chosen: Chosen, out: Path, name: str, ref: str) -> None:
    """Write a sheet with every question of a business case, to be filled in."""
    if out.exists():
        raise InputError("there is such a file already", got=out, mend="give another name with --out")
    known = _errors_of(chosen, ref) if ref else {}
    out.write_text(blank_sheet(name, known), encoding="utf-8")
    click.echo(f"wrote {out}: fill it in, then `pilotage value case {out}`")


@value.command("case")
@click.argument("sheet", type=click.Path(exists=True, dir_okay=False, path_type=Path), default="business-case.yaml")
@click.option(
    "--draws",
    type=click.IntRange(1_000, _MOST_DRAWS),
    default=DRAWS,
    show_default=True,
    help="How many draws of all inputs.",
)
@click.option("--seed", type=int, default=2026, show_default=True, help="What the draws begin from.")
@click.option("--html", type=OUT_FILE, help="Write it as a page that loads nothing.")
@json_option
def case(sheet: Path, draws: int, seed: int, html: Path | None, json_: bool) -> None:
    """Compute what the business case in SHEET comes to: over what is possible, and what it hangs on most.

    Exit code 3 when it loses money even with every figure at its better end.
    """
    found = judge(parse_sheet(sheet.read_bytes(), str(sheet)), draws=draws, seed=seed)
    if html is not None:
        from pilotage.web.console.value_pages import case_file

        html.write_text(case_file(found), encoding="utf-8")
    if json_:
        as_json({**msgspec.to_builtins(found), "verdict": found.verdict})
    else:
        _show(found)
    if found.verdict == "stop":
        raise SystemExit(STOP)


@value.command("realised")
@click.option("--system", required=True, help="The system's id.")
@click.option(
    "--sheet",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default="business-case.yaml",
    show_default=True,
    help="The business case that was planned.",
)
@click.option("--keep", is_flag=True, help="Keep the whole months as evidence about the live release.")
@json_option
@click.pass_obj
def realised(chosen: Chosen, system: str, sheet: Path, keep: bool, json_: bool) -> None:
    """Say month by month what a live system brought beside the plan, and by what it differs.

    Exit code 3 when it asks for a review (under 70 % of the plan in two whole months) or for an exit plan (nothing
    gained in three).
    """
    from pilotage.wiring.realising import keep_value, realised_value

    installation = opened(chosen)
    person = acting(installation)
    require(person, "monitor.read")
    content = sheet.read_bytes()
    planned = parse_sheet(content, str(sheet))
    found = realised_value(installation, system, planned)
    kept = keep_value(installation, person, system, found, digest(content)) if keep else None
    if json_:
        as_json(
            {
                "release": found.release,
                "verdict": found.verdict,
                "months": msgspec.to_builtins(found.months),
                "attribution": planned.attribution,
                "evidence": kept.id if kept is not None else None,
            }
        )
    else:
        _show_realised(found, planned)
        if keep:
            click.echo(f"kept: {kept.id}" if kept is not None else "nothing is kept: there is no whole month yet")
    if found.verdict in ("review", "exit plan"):
        raise SystemExit(STOP)


def _show_realised(found: RealisedValue, planned: Case) -> None:
    money = partial(_money, planned.currency)
    show_table(
        ("month", "days", "planned", "realised", "of plan", "volume", "adoption", "unit saving", "quality"),
        [
            (
                each.month + ("" if each.whole else " (in part)"),
                f"{each.days:g}",
                money(each.planned),
                money(each.realised),
                *map(_part, (each.ratio, each.volume, each.adoption, each.unit_saving)),
                _part(each.quality) if each.errors_measured else "not measured",
            )
            for each in found.months
        ],
        title="Beside the plan, month by month",
    )
    click.echo(f"verdict: {found.verdict}; attribution: {planned.attribution}")


def _part(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.0%}"


def _errors_of(chosen: Chosen, ref: str) -> dict[str, Estimate]:
    """How often a release errs, of all held-out rows, by its own threshold; with Wilson's interval as low and high."""
    from pilotage.evaluation.intervals import wilson

    installation = opened(chosen)
    with reading(installation.control) as connection:
        release = find_release(connection, ref)
    flags = json.loads(open_release(installation.releases, release.digest).file("evaluation.json"))["confusion"]
    rows = sum(flags[each] for each in ("true_positive", "false_positive", "true_negative", "false_negative"))
    source = f"evaluation of {release.name} ({release.digest[7:19]}) on {rows} held-out rows"
    date = datetime.datetime.fromtimestamp(release.created / 1e6, datetime.UTC).date().isoformat()
    known = {}
    for cell in ("false_positive", "false_negative"):
        share = wilson(flags[cell], rows)
        known[f"{cell}_rate"] = Estimate(low=share.low, likely=share.rate, high=share.high, source=source, date=date)
    return known


def _show(found: Judgement) -> None:
    money = partial(_money, found.currency)
    screen = console()
    screen.print(f"\n[bold]{escape(found.name)}[/], over {found.horizon} years: {_VERDICTS[found.verdict]}\n")
    show_facts(
        [
            ("net present value", f"{money(found.npv)} at the likely figures"),
            ("", f"{_spread(found.npv_spread, money)}; loses money in {found.loses:.0%} of draws"),
            ("", f"{money(found.npv_worst)} with every figure at its worse end, {money(found.npv_best)} at its better"),
            ("paid back", _payback(found)),
            ("internal rate", "none" if found.internal_rate is None else f"{found.internal_rate:.0%} a year"),
            ("return", "nothing is invested" if found.roi is None else f"{found.roi:.0%}, undiscounted"),
            (
                "a decision",
                f"costs {found.cost_today:,.2f} today, {found.cost_with_it:,.2f} with it ({found.currency})",
            ),
            ("a month's delay", f"costs {money(found.delay_a_month)}"),
            ("break-even", _break_even(found)),
            ("attribution", found.attribution),
        ]
    )
    show_table(
        ("year", "decisions", "gain", "in today's money", "summed up"),
        [
            (each.year, f"{each.decisions:,.0f}", *map(money, (each.benefit, each.discounted, each.cumulative)))
            for each in found.years
        ],
        title="Year by year, at the likely figures",
    )
    _show_levers(found)
    if found.assumptions:
        screen.print(f"\nassumptions, without source and date: {', '.join(found.assumptions)}", style="yellow")


def _show_levers(found: Judgement) -> None:
    if not found.levers:
        return
    low = min(min(each.at_low, each.at_high) for each in found.levers)
    high = max(max(each.at_low, each.at_high) for each in found.levers)
    rows = []
    for each in found.levers[:12]:
        bar = _bar(each.at_low, each.at_high, found.npv, low, high)
        turn = "" if each.turns_at is None else figure(each.turns_at)
        rows.append((each.name, bar, _short(each.at_low), _short(each.at_high), turn))
    show_table(
        ("input", f"net present value, {_short(low)} to {_short(high)}", "at its low", "at its high", "turns at"),
        rows,
        title="What it hangs on",
    )


def _bar(one: float, other: float, middle: float, low: float, high: float) -> str:
    """A span on a scale, with a mark where the likely value is."""
    places = [round((each - low) / ((high - low) or 1.0) * (_WIDTH - 1)) for each in (*sorted((one, other)), middle)]
    cells = ["█" if places[0] <= at <= places[1] else "·" for at in range(_WIDTH)]
    cells[places[2]] = "│"
    return "".join(cells)


def _money(currency: str, amount: float) -> str:
    return f"{amount:,.0f} {currency}"


def _short(amount: float) -> str:
    for size, mark in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(amount) >= size:
            return f"{amount / size:.3g}{mark}"
    return f"{amount:.3g}"


def _spread(spread: Spread, shown: Callable[[float], str]) -> str:
    told = ["never" if each is None else shown(each) for each in (spread.p10, spread.p50, spread.p90)]
    return f"P10 {told[0]}, P50 {told[1]}, P90 {told[2]}"


def _payback(found: Judgement) -> str:
    likely = "never" if found.payback_years is None else f"after {found.payback_years:.1f} years"
    spread = _spread(found.payback_spread, lambda each: f"{each:.1f} years")
    return f"{likely} at the likely figures; {spread}; in {found.pays_back:.0%} of draws within the horizon"


def _break_even(found: Judgement) -> str:
    if found.break_even_accuracy is None or found.accuracy is None:
        return "its errors cost nothing on this sheet"
    told = f"at an accuracy of {found.break_even_accuracy:.1%}; it has {found.accuracy:.1%}"
    return told if found.threshold is None else f"{told}; the cheapest threshold is {found.threshold:.3f}"
