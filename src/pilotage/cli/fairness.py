"""How protected groups fare with the live release, and the review of it by two people."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from pilotage.access.model import require
from pilotage.cli.identity import acting, opened
from pilotage.cli.main import Chosen
from pilotage.cli.output import as_json, json_option, show_facts, show_table
from pilotage.evidence.model import Evidence
from pilotage.gates.reviewing import Measured, reviews_of
from pilotage.gates.reviewing import confirm as stand_for
from pilotage.gates.reviewing import review as say
from pilotage.kernel.clock import now_us, rfc3339
from pilotage.kernel.digests import short
from pilotage.storage.database import reading
from pilotage.wiring.reviewing import measured_fairness

__all__ = ["fairness"]

_system = click.option("--system", required=True, help="The system's id; what is reviewed is its live release.")


@click.group()
def fairness() -> None:
    """Compare protected groups on live decisions; two people say whether it is acceptable."""


@fairness.command("show")
@_system
@json_option
@click.pass_obj
def show(chosen: Chosen, system: str, json_: bool) -> None:
    """Show groups, disparities and declared limits since the release went live, and the reviews of it."""
    installation = opened(chosen)
    require(acting(installation), "evidence.read")
    release, found = measured_fairness(installation, system)
    with reading(installation.control) as connection:
        reviews = reviews_of(connection, release)
    if json_:
        told = {"release": release, **msgspec.to_builtins(found), "broken": found.broken}
        as_json(told | {"reviews": [msgspec.to_builtins(each) for each in reviews]})
        return
    _show(system, release, found)
    for each in reviews:
        word = "acceptable" if each.passed else "NOT acceptable"
        click.echo(f"{each.check} {each.id}: {word}, until {rfc3339(each.expires)}")


@fairness.command("review")
@_system
@click.option("--statement", required=True, help="What you looked at and why it is so; kept with the evidence.")
@click.option("--acceptable/--not-acceptable", required=True, help="What you conclude.")
@json_option
@click.pass_obj
def review(chosen: Chosen, system: str, statement: str, acceptable: bool, json_: bool) -> None:
    """Say, in your name, whether the figures are acceptable; that they are counts once another person confirms it."""
    installation = opened(chosen)
    person = acting(installation)
    release, found = measured_fairness(installation, system)
    made = say(installation.control, person, release, found, acceptable=acceptable, statement=statement, at=now_us())
    after = (
        f"another person confirms it: pilotage fairness confirm {made.id}" if acceptable else "the gate stays closed"
    )
    _tell(made, after, json_)


@fairness.command("confirm")
@click.argument("review")
@json_option
@click.pass_obj
def confirm(chosen: Chosen, review: str, json_: bool) -> None:
    """Stand, in your name, for the REVIEW of another person, by its id."""
    installation = opened(chosen)
    made = stand_for(installation.control, acting(installation), review, at=now_us())
    _tell(made, f"it counts until {rfc3339(made.expires)}", json_)


def _tell(made: Evidence, after: str, json_: bool) -> None:
    if json_:
        as_json(msgspec.to_builtins(made))
        return
    word = "acceptable" if made.passed else "not acceptable"
    show_facts(
        [("evidence", f"{made.check} {made.id}"), ("release", short(made.subject)), ("says", word), ("then", after)]
    )


def _show(system: str, release: str, found: Measured) -> None:
    click.echo(f"{system} {short(release)}, decisions of {found.since} to {found.until}")
    for block in found.columns:
        click.echo(f"\n{block['column']} ({block['source']})")
        if block["groups"]:
            show_table(
                ("group", "decisions", "favourable", "of the deserving", "of the others"),
                [(each["group"], each["rows"], *map(_rate, map(each.get, _RATES))) for each in block["groups"]],
            )
        show_table(
            ("limit", "asked", "found", "holds"),
            [
                (each["name"], each["limit"], f"{each['value']:.3f}", "yes" if each["holds"] else "NO")
                for each in block["limits"]
            ],
        )
    for name, why in found.lacks.items():
        click.echo(f"\n{name}: not measured; {why}")
    if not found.columns and not found.lacks:
        click.echo("the release's contract names no protected column: a review says why none is needed")


_RATES = ("selection_rate", "true_positive_rate", "false_positive_rate")


def _rate(rate: Any) -> str:
    return "" if rate is None else f"{rate['rate']:.1%} [{rate['low']:.1%}, {rate['high']:.1%}]"
