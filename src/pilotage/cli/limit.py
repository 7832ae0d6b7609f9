"""Limits of keys, systems and the whole installation."""

from __future__ import annotations

import click

from pilotage.access.limits import PERIODS, Limit
from pilotage.access.model import require
from pilotage.cli.identity import acting, opened
from pilotage.cli.main import Chosen
from pilotage.cli.output import as_json, json_option, show_table
from pilotage.errors import InputError
from pilotage.wiring.access import limits_now

__all__ = ["limit"]


@click.group()
def limit() -> None:
    """Limits: what a key, a system or the whole installation may use in a second, an hour, a day, a month (UTC)."""


@limit.command("set")
@click.argument("amount", type=click.IntRange(0))
@click.option("--key", "key_", default="", help="For this API key (its id).")
@click.option("--system", default="", help="For this system, whoever asks.")
@click.option("--installation", is_flag=True, help="For everything together.")
@click.option("--unit", default="rows", show_default=True, help="requests, rows, or another unit that answers count.")
@click.option("--per", type=click.Choice(PERIODS), required=True, help="How often the amount may be used.")
@click.option(
    "--burst", type=click.IntRange(0), default=0, help="With --per second: at most at once (default: AMOUNT)."
)
@json_option
@click.pass_obj
def set_(
    chosen: Chosen,
    amount: int,
    key_: str,
    system: str,
    installation: bool,
    unit: str,
    per: str,
    burst: int,
    json_: bool,
) -> None:
    """Declare or change a limit; gateways hold requests to it within a second."""
    asked = Limit(scope=_scope(key_, system, installation), unit=unit, per=per, amount=amount, burst=burst)  # type: ignore[arg-type]  # click has checked the period
    opened_ = opened(chosen)
    made = opened_.rollout.set_limit(acting(opened_), asked)
    if json_:
        as_json({"id": made.id, **_facts(made)})
    else:
        click.echo(f"{made.id}: at most {_words(made)}")


@limit.command("remove")
@click.argument("id_", metavar="ID")
@click.pass_obj
def remove(chosen: Chosen, id_: str) -> None:
    """End a limit, named as in the list: system:credit/rows/day."""
    installation = opened(chosen)
    installation.rollout.remove_limit(acting(installation), id_)
    click.echo(f"{id_} is removed")


@limit.command("list")
@json_option
@click.pass_obj
def list_(chosen: Chosen, json_: bool) -> None:
    """List limits, and what of each was given out to gateways in the present hour, day or month."""
    installation = opened(chosen)
    require(acting(installation), "system.read")
    found = limits_now(installation)
    if json_:
        as_json([{"id": each.id, **_facts(each), "given_out": used} for each, used in found])
        return
    show_table(
        ("id", "at most", "given out"),
        [(each.id, _words(each), "" if used is None else f"{used:,}") for each, used in found],
    )


def _scope(key: str, system: str, installation: bool) -> str:
    named = [f"key:{key}"] * bool(key) + [f"system:{system}"] * bool(system) + ["installation"] * installation
    if len(named) != 1:
        raise InputError(
            "a limit holds for one thing", expected="--key ID, --system NAME or --installation", mend="name one of them"
        )
    return named[0]


def _facts(limit: Limit) -> dict[str, object]:
    return {"scope": limit.scope, "unit": limit.unit, "per": limit.per, "amount": limit.amount, "burst": limit.burst}


def _words(limit: Limit) -> str:
    at_once = f", {limit.burst:,} at once" if limit.per == "second" else ""
    return f"{limit.amount:,} {limit.unit} a {limit.per}{at_once}"
